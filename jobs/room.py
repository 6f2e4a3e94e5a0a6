"""How much the work folder may hold: what is let go, and when no new source is taken.

A build that fetches ten thousand hours cannot keep them. `work.keep` says what stays of a fetched
source once its passages are encoded, `work.max_bytes` how much the work folder may hold: near it no
new source is begun until others have ended. Files that are read in place are never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from reelscript.pipeline.errors import StorageError
from reelscript.pipeline.stage import Timing
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video


@dataclass(frozen=True)
class Work:
    """The work folder: where it lies, what stays in it.

    Attributes:
        folder: path or fsspec URL; None: `<out>.work`.
        keep: of a source that was fetched, once its passages are encoded: all of it (`source`), a
            small `proxy` from which all passages are encoded, or nothing (`none`: it is fetched
            again if other passages are wanted later).
        max_bytes: how much the folder may hold; None: as much as there is room for. It may be
            exceeded by what is being fetched at the time, a source a worker.
    """

    folder: str | None = None
    keep: Literal["source", "proxy", "none"] = "source"
    max_bytes: Annotated[int, Ge(1)] | None = None

    @property
    def lets_go(self) -> bool:
        """Whether fetched sources are removed, so that passages are encoded at once."""
        return self.keep != "source"


class Room:
    """Tells whether there is room for one more source, and removes what need not stay."""

    def __init__(self, work: Work, workspace: Workspace) -> None:
        self._work = work
        self._workspace = workspace
        self._held_bytes = 0 if work.max_bytes is None else workspace.store.total_bytes()
        self._running = 0
        self._fetched = 0
        self._fetched_bytes = 0

    def counted(self, videos: Iterable[Video]) -> Iterator[Video]:
        """Yields the videos, each counted as begun when it is taken."""
        for video in videos:
            self._running += 1
            yield video

    def stored(self, timing: Timing) -> None:
        """Counts what a stage has put into the work folder."""
        self._held_bytes += timing.stored_bytes

    def ended(self, video: Video) -> None:
        """Counts a video as ended and lets its source go if that is wanted."""
        self._running -= 1
        if video.media is not None:
            self._fetched += 1
            self._fetched_bytes += video.source_bytes or 0
            if self._work.lets_go and self._workspace.has(video.media):
                self._workspace.forget(video.media)
                self._held_bytes -= video.source_bytes or 0

    def open(self) -> bool:
        """Returns whether one more source fits, if it is as large as those before it."""
        if self._work.max_bytes is None:
            return True
        usual_bytes = self._fetched_bytes // max(1, self._fetched)
        return self._held_bytes + self._running * usual_bytes < self._work.max_bytes

    def stuck(self) -> None:
        """Raises StorageError: nothing is running that could make room."""
        hint = "" if self._work.lets_go else ", or set work.keep to proxy or none"
        raise StorageError(
            f"{self._workspace.store.url} holds {self._held_bytes} bytes, and work.max_bytes is "
            f"{self._work.max_bytes}: no source is begun; what was finished is saved. "
            f"Raise work.max_bytes{hint}"
        )
