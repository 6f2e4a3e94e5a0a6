"""What an engine is, whom it tells how it goes, and whom it asks for room."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from reelscript.pipeline.stage import Stage, Timing
from reelscript.schemas.video import Video


class Listener(Protocol):
    """Who wants to know how a run goes."""

    def started(self, video: Video, stage: str) -> None:
        """A worker begins a stage on a video."""

    def measured(self, timing: Timing) -> None:
        """A stage has ended for a video."""

    def suspected(self, video: Video, stage: str, died: str) -> None:
        """A worker died in a stage on a video, which will be tried again, alone."""


class Gate(Protocol):
    """Who says whether there is room for one more video."""

    def open(self) -> bool:
        """Returns whether a further video may be taken; asked before each, so answer fast."""

    def stuck(self) -> None:
        """Raises what is to be said: it is not open, and nothing is at work that may change it.

        If it raises nothing, one video is taken nevertheless.
        """


class Engine(Protocol):
    """What runs stages somewhere: it moves records, and does nothing else."""

    def run(
        self,
        stages: Sequence[Stage],
        videos: Iterable[Video],
        listener: Listener,
        gate: Gate | None = None,
    ) -> Iterator[Video]:
        """Yields each video once, as it finishes: after all stages or the first that ended it.

        Args:
            stages: what to run, in order; at least one.
            videos: taken one by one, as there is work for them.
            listener: is told how it goes.
            gate: while it is not open no further video is taken; those in work go on.

        Raises:
            UsageError: a stage cannot be opened where it is to run, or no worker can be started.
            StorageError: a disk of ours is full, or the store is out of reach.
        """
        ...
