"""How much the work folder may hold: what is let go, and when no new source is taken.

A build that fetches ten thousand hours cannot keep them. `work.keep` says what stays of a fetched
source once its passages are encoded, `work.max_bytes` how much the work folder may hold: near it no
new source is begun until others have ended. Files that are read in place are never touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from reelscript.pipeline.errors import StorageError
from reelscript.pipeline.ledger import ENCODED, Ledger
from reelscript.pipeline.stage import Timing
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.transforms.urls import scheme_of

KEPT = "sources-kept"  # an object that is there where a build may have left sources on purpose


@dataclass(frozen=True)
class Work:
    """The work folder: where it lies, what stays in it.

    Attributes:
        folder: path or fsspec URL; None: `<out>.work`.
        keep: of a source that was fetched, once its passages are encoded: all of it (`source`), a
            small `proxy` from which all passages are encoded, or nothing (`none`: it is fetched
            again if other passages are wanted later). A source that is no larger than its proxy
            would be is its own. What builds with `source` have kept goes when a build with another
            word ends.
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
    """Tells whether there is room for one more source, and removes what need not stay.

    What the folder holds is counted: what was there when the build began, what stages have stored
    since, what lies in the scratch folders of videos in work, if scratch is a part of it, and the
    sources that pass through it from one machine to the next.

    Args:
        work: the settings.
        workspace: of the work folder.
        lets_go: whether this run may remove sources; not if another one may be using them.
    """

    def __init__(self, work: Work, workspace: Workspace, lets_go: bool = True) -> None:
        self._work = work
        self._lets_go = lets_go and work.lets_go
        self._workspace = workspace
        self._stored_bytes = 0 if work.max_bytes is None else workspace.store.total_bytes()
        root = workspace.store.local_root
        self._holds_scratch = root is not None and workspace.scratch.is_relative_to(root)
        self._in_work: set[str] = set()  # video_ids: with an engine that works in waves, thousands
        self._to_fetch: set[str] = set()  # of these: into this folder
        self._passing: set[str] = set()  # of these: fetched, and there until they have ended
        self._sizes = self._sizes_bytes = 0  # of sources that were fetched: how many, their sum
        self._said_kept = False

    # In the order of what becomes of a video.

    def open(self) -> bool:
        """Returns whether one more source fits, if it is as large as those before it.

        Asked for every video: it may take no longer the more are in work.
        """
        if self._work.max_bytes is None:
            return True
        if self._to_fetch and not self._sizes:
            return False  # nobody knows yet how large sources are
        return self._bytes() + self._usual_bytes() < self._work.max_bytes

    def counted(self, videos: Iterable[Video]) -> Iterator[Video]:
        """Yields the videos, each counted as begun when it is taken."""
        for video in videos:
            kept = not self._work.lets_go
            here = kept or self._holds_scratch or self._workspace.passing
            to_come = here and scheme_of(video.location) is not None
            if to_come and kept and not self._said_kept:
                self._workspace.store.put_if_absent(KEPT, b"")
                self._said_kept = True
            self._in_work.add(video.video_id)
            if to_come:
                self._to_fetch.add(video.video_id)
            yield video

    def started(self, video: Video) -> None:
        """Counts a source as fetched, once a stage begins that knows its size."""
        if video.video_id in self._to_fetch and video.source_bytes is not None:
            self._to_fetch.remove(video.video_id)
            self._sizes += 1
            self._sizes_bytes += video.source_bytes
            if self._workspace.passing and self._work.lets_go:
                self._passing.add(video.video_id)

    def stored(self, timing: Timing) -> None:
        """Counts what a stage has put into the work folder."""
        self._stored_bytes += timing.stored_bytes

    def ended(self, video: Video) -> None:
        """Counts a video as ended; its scratch folder is gone by now."""
        self._in_work.discard(video.video_id)
        self._to_fetch.discard(video.video_id)
        self._passing.discard(video.video_id)

    def stuck(self) -> None:
        """Raises StorageError if the folder is full while nothing is running that makes room.

        Else the one source that was taken may go on, though it may be too large.
        """
        if self._fits_one():
            return
        if self._work.keep == "none":  # which of them are proxies is known when all is written down
            self.let_go()
        self._stored_bytes = self._workspace.store.total_bytes()  # two may have counted one thing
        if self._fits_one():
            return
        hint = "" if self._work.lets_go else ", or set work.keep to proxy or none"
        raise StorageError(
            f"{self._workspace.store.url} holds {self._stored_bytes:,} bytes, and work.max_bytes "
            f"is {self._work.max_bytes:,}: no source is begun; what was finished is saved. "
            f"Raise work.max_bytes{hint}"
        )

    def _fits_one(self) -> bool:
        return self._work.max_bytes is None or self._stored_bytes < self._work.max_bytes

    def let_go(self) -> None:
        """Removes the sources that earlier builds have kept and this one need not keep.

        Only while no video is in work. Every source that was ever fetched has a remembered result.
        """
        store, before = self._workspace.store, self._workspace.stored_bytes
        if not (self._lets_go and store.exists(KEPT)):
            return
        proxies = Ledger(store, ENCODED).latest(("proxy",))["proxy"].to_pylist()
        needed = {None, *(proxies if self._work.keep == "proxy" else ())}
        for name in store.names("results/acquire"):
            with suppress(FileNotFoundError, ValueError, LookupError, TypeError):
                media = json.loads(store.get(name))["facts"]["media"]
                if media not in needed:
                    self._workspace.forget(media)
        store.delete(KEPT)
        self._stored_bytes += self._workspace.stored_bytes - before

    # Accounts.

    def _usual_bytes(self) -> int:
        return self._sizes_bytes // max(1, self._sizes)

    def _bytes(self) -> int:
        """Returns what the folder holds, with the sources of videos in work that are yet to come.

        What is half fetched lies in scratch, and is not counted twice.
        """
        usual_bytes = self._usual_bytes()
        sources = len(self._to_fetch) + len(self._passing)
        found_bytes = self._stored_bytes + usual_bytes * sources
        for folder in self._scratch_folders():
            counted_bytes = usual_bytes if folder.name in self._to_fetch else 0
            found_bytes += max(0, _bytes_in(folder) - counted_bytes)
        return found_bytes

    def _scratch_folders(self) -> list[Path]:
        """Returns those of videos in work: only what a worker has begun on has one."""
        with suppress(OSError):  # nothing was begun yet
            if self._holds_scratch:
                return [f for f in self._workspace.scratch.iterdir() if f.name in self._in_work]
        return []


def _bytes_in(folder: Path) -> int:
    """Returns the bytes of all files in a folder, which may vanish meanwhile."""
    with suppress(OSError):
        return sum(_size(path) for path in folder.rglob("*"))
    return 0


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_size
    return 0
