"""What an engine needs of those who run it: whom it tells how it goes, whom it asks for room."""

from __future__ import annotations

from typing import Protocol

from reelscript.pipeline.stage import Timing
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
