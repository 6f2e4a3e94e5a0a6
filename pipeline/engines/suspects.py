"""Whose fault it is that a worker died.

Only what a living supervisor saw counts: a signal, an exit status, or that it stopped the worker
itself. A death by itself may be anybody's doing (the system kills whom it likes when memory runs
out), so it makes the video in hand a suspect, which is tried alone: no other worker is there then.
What kills its worker alone twice is convicted. That a worker was stopped for what it used is known
to be the video's doing, so the second time is enough.

A worker that had several videos in hand may have died of each that a stage had begun on: all of
them are suspects. If it was stopped in a step for several at once, that counts against none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from reelscript.schemas.video import Video

RETRYABLE = "timed_out"


@dataclass(frozen=True, slots=True)
class Death:
    """How a worker died that had a video in hand.

    Attributes:
        seen: the signal, the exit status, or what was measured and its limit.
        stopped_for: the reason for which the supervisor stopped it; None: it died by itself.
        alone: no other worker was there.
    """

    seen: str
    stopped_for: str | None
    alone: bool


@dataclass(slots=True)
class Task:
    """A video before one group of stages, and the deaths that it was there for.

    Attributes:
        group: the number of the group.
        video: the record before the group.
        deaths: of workers that had it in hand.
        batch: which one of its worker's batches it came with.
        seen: the record as the current stage got it. stage: its name. None until its worker has
            said that one begins.
    """

    group: int
    video: Video
    deaths: list[Death] = field(default_factory=list)
    batch: int = 0
    seen: Video | None = None
    stage: str | None = None


def conviction(deaths: Sequence[Death]) -> tuple[str, str] | None:
    """Returns reason and detail of the failure that these deaths prove; None where they do not."""
    stopped = [death for death in deaths if death.stopped_for is not None]
    if len(stopped) >= 2:
        reason = stopped[-1].stopped_for
        assert reason is not None
        again = f"; --retry-failed {reason} tries it again" if reason == RETRYABLE else ""
        return reason, f"its worker was stopped twice, the last time for {stopped[-1].seen}{again}"
    alone = [death for death in deaths if death.alone and death.stopped_for is None]
    if len(alone) >= 2:
        return "crashed", f"it killed its worker twice when it ran alone: {_listed(alone)}"
    return None


def _listed(deaths: Sequence[Death]) -> str:
    """Returns what was seen, each thing once."""
    return "; ".join(dict.fromkeys(death.seen for death in deaths))
