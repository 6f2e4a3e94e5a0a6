"""The estimate in a process of its own, which a source may kill without harm."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from rich.console import Console

from reelscript.jobs.config import Config
from reelscript.jobs.estimate.estimate import Estimate, estimate
from reelscript.jobs.progress import Progress
from reelscript.pipeline.engines.leash import interrupts_held, kill_group, lead_group
from reelscript.pipeline.engines.limits import share_of_memory
from reelscript.pipeline.errors import DataError, ReelscriptError
from reelscript.pipeline.store import Store
from reelscript.schemas.videos import Videos

LIMIT_S = 900.0
"""It takes a minute or two: a minute of trying excerpts, then the last one is finished. One of 45 s
with the largest recogniser on one core takes four minutes, loading it one more."""
GRACE_S = 5.0  # for a killed process to be gone
SURVIVES = "a build survives that and says which it is"


def estimate_apart(
    videos: Videos, config: Config, work: Store, corpus: Store, workers: int, gpus: int, quiet: bool
) -> Estimate:
    """Returns what `estimate` does, and raises what it does.

    Raises:
        DataError: a sampled source killed the process that looked at it, or kept it for LIMIT_S.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    asked = (videos, config, work, corpus, workers, gpus, quiet)
    process = context.Process(target=_answer, args=(theirs, _estimate, asked), daemon=True)
    try:
        with interrupts_held():
            process.start()
            theirs.close()  # else its end would never be seen
        answer = _heard(ours)
    finally:
        _end(process)
        ours.close()
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _heard(pipe: Connection) -> Estimate | ReelscriptError | OSError:
    """Returns what the process says. Raises DataError where it dies or says nothing."""
    if not pipe.poll(LIMIT_S):
        raise DataError(
            f"no estimate after {LIMIT_S:.0f} s: one of the sampled sources keeps the process busy "
            f"that looks at it; {SURVIVES}"
        )
    try:
        answer: Estimate | ReelscriptError | OSError = pipe.recv()
    except (EOFError, OSError):
        raise DataError(
            "no estimate: one of the sampled sources killed the process that looked at it; "
            f"{SURVIVES}"
        ) from None
    return answer


def _end(process: BaseProcess) -> None:
    """Ends the process, with all that it has started."""
    if process.pid is not None:
        kill_group(process.pid)
        process.kill()  # where it has made no group yet
        process.join(GRACE_S)


def _answer(pipe: Connection, work: Callable[..., Estimate], asked: tuple[Any, ...]) -> None:
    """What the process does: it says one thing. Of other errors the traceback is printed."""
    lead_group()
    _limit_memory()
    try:
        pipe.send(work(*asked))
    except (ReelscriptError, OSError) as error:
        pipe.send(error)


def _limit_memory() -> None:
    most_bytes = share_of_memory(1)
    with suppress(ValueError, OSError):  # a lower limit of the system stays
        resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, most_bytes))


def _estimate(
    videos: Videos, config: Config, work: Store, corpus: Store, workers: int, gpus: int, quiet: bool
) -> Estimate:
    progress = Progress(None if quiet else Console(stderr=True))
    return estimate(videos, config, work, workers, gpus, progress, corpus)
