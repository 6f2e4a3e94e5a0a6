"""Where a piece of the work folder is gone or damaged, that much is made again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reelscript.pipeline.errors import DamagedArtefact
from reelscript.pipeline.ledger import ENCODED, Ledger, Row
from reelscript.pipeline.run_records import runs
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import PASSING, Workspace
from reelscript.schemas.video import Video
from reelscript.schemas.videos import Videos

PIECES = ("voice", "transcript", "aligned_words", "segments", "clips")


@contextmanager
def mended(workspace: Workspace) -> Iterator[None]:
    """Sees to it that the next build makes again what this one finds damaged.

    The ledger says of a video that nothing is left to do. Where that is not so its row is made
    void: then the video walks through its stages, and each finds its result remembered but for the
    one of which a piece is missing. What was encoded is looked up anew for all, which costs little.
    Only for the one run that may write to the ledgers.
    """
    try:
        yield
    except DamagedArtefact:
        void_rows(workspace)
        raise


def sweep_passing(store: Store, run: int) -> None:
    """Removes what dead runs left of what passes between groups of stages.

    Only for the one run that may measure in the work folder, `run`, before it begins. Where another
    one goes on, to cut a release, everything stays: it may be that one's.
    """
    if any(other.ended is None and other.number != run for other in runs(store)):
        return
    for name in store.names(PASSING):
        store.delete(name)


def void_rows(workspace: Workspace) -> None:
    """Makes void the rows of all measured videos of which a piece is gone or damaged."""
    store = workspace.store
    with Ledger(store) as ledger:
        for video in Videos(ledger.latest()):
            if video.pending and not _is_whole(video, workspace):
                ledger.add(Row("", video))  # of no settings, so it stands for nothing
    Ledger(store, ENCODED).clear()


def _is_whole(video: Video, workspace: Workspace) -> bool:
    for name in PIECES:
        sha256 = getattr(video, name)
        if sha256 is None:
            continue
        try:
            workspace.get(sha256)
        except DamagedArtefact:
            return False
    return True
