"""`reelscript doctor`: whether this machine is ready, and the commands that mend it.

All checks run side by side, each in a thread; what may hang or crash (programs, and libraries that
are loaded to see whether they load) runs in processes that are killed in time. A check that breaks
or is late is a finding too, so that the answer comes in two seconds whatever the machine is like.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial

from reelscript.jobs.doctor import (
    engines,
    media,
    models,
    packages,
    recognition,
    resources,
    sites,
    training,
)
from reelscript.jobs.doctor.asking import Said, started
from reelscript.jobs.doctor.finding import Answer, Finding, State
from reelscript.schemas.text import one_line

VERBS = ("build", "features")
WITHIN_S = 1.7  # of two seconds; the rest is Python's own start
SPARE_S = 0.3  # programs are killed so much earlier, so that their checks can say so
FOUND_CHARS = 500
COMMAND_CHARS = 2000  # none is that long but for an absurd path
UNNEEDED: dict[State, State] = {"missing": "absent", "unknown": "warning"}


@dataclass(frozen=True)
class Machine:
    """What checks look at: a folder, and what programs say that several checks ask.

    Attributes:
        folder: where a corpus is to stand.
        program_s: seconds that a program may take.
        ctranslate2: of CTranslate2, imported.
        nvidia: of nvidia-smi.
    """

    folder: str
    program_s: float
    ctranslate2: Future[Said]
    nvidia: Future[Said]


@dataclass(frozen=True)
class Check:
    """A thing to look at, the verbs that do not work without it, and how to look."""

    name: str
    needed_by: tuple[str, ...]
    look: Callable[[Machine], Answer]


CHECKS = (
    Check("Python", VERBS, lambda _: packages.python()),
    Check("packages", VERBS, lambda m: packages.core(m.program_s)),
    Check("FFmpeg libraries", VERBS, lambda m: media.ffmpeg(m.program_s)),
    Check("speech recognition", ("build",), lambda m: recognition.packages(m.ctranslate2)),
    Check("speech model", ("build",), lambda m: models.model(m.ctranslate2, m.program_s)),
    Check("GPU", ("build",), lambda m: recognition.gpu(m.ctranslate2, m.nvidia)),
    Check("cores and memory", VERBS, lambda _: resources.cores_and_memory()),
    Check("disk", VERBS, lambda m: resources.disk(m.folder)),
    Check("networks", ("features",), lambda m: training.torch(m.nvidia)),
    Check("yt-dlp", (), lambda m: sites.yt_dlp(m.program_s)),
    Check("JavaScript", (), lambda m: sites.javascript(m.program_s)),
    Check("Ray and Beam", (), lambda _: engines.others()),
)


def doctor(folder: str = ".", verb: str = "build", within_s: float = WITHIN_S) -> list[Finding]:
    """Returns what was found, a finding for each of `CHECKS`, in their order.

    The machine is ready for the verb if nothing is `missing`, as far as nothing is `unknown`.

    Args:
        folder: where a corpus is to stand; its disk is looked at.
        verb: one of `VERBS`; what it does not need is no fault where it is not there.
        within_s: seconds after which what has not answered is not waited for.
    """
    until_s = time.monotonic() + within_s
    program_s = max(0.1, within_s - SPARE_S)
    ctranslate2 = started(partial(recognition.ask_ctranslate2, program_s))
    nvidia = started(partial(recognition.ask_nvidia, program_s))
    machine = Machine(folder, program_s, ctranslate2, nvidia)
    looks = [(check, started(partial(check.look, machine))) for check in CHECKS]
    return [_finding(check, _answer(look, until_s, within_s), verb) for check, look in looks]


def _answer(look: Future[Answer], until_s: float, within_s: float) -> Answer:
    wait([look], max(0.0, until_s - time.monotonic()))
    if not look.done():
        return Answer("unknown", f"not known within {within_s:.1f} s: ask again")
    error = look.exception()
    return look.result() if error is None else Answer("unknown", f"this check broke: {error!r}")


def _finding(check: Check, answer: Answer, verb: str) -> Finding:
    """Returns the answer as it counts for a verb, harmless to print: PATH and files may hold it."""
    needed = verb in check.needed_by
    state = answer.state if needed else UNNEEDED.get(answer.state, answer.state)
    found = one_line(answer.found, FOUND_CHARS)
    mend = None if answer.mend is None else one_line(answer.mend, COMMAND_CHARS)
    return Finding(check.name, state, found, check.needed_by, mend)
