"""Folders of a run on a node's own disk, which vanish with the last process that holds them.

```
<temporary folder>/reelscript-<uid>-<run>/     held by each station of the run on this node
    held  door  room                           locks: who holds the folder; those of the turnstile
    station-<random>/                          held by one station: scratch of its videos
        held
```

Who holds a folder has a shared lock of the file `held` in it. The system takes a lock back from a
process that is killed. So it shows which folders nobody holds, and the next station removes them.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reelscript.pipeline.attempts import storing
from reelscript.pipeline.engines.file_locks import ALONE, AT_ONCE, SHARED, lock
from reelscript.pipeline.errors import StorageError, UsageError

HELD = "held"
RUN_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")


@contextmanager
def node_folder(run_name: str) -> Iterator[Path]:
    """Gives the folder that all stations of a run on this node share, and removes it at last.

    Args:
        run_name: of letters, digits, `_` and `-`; no two runs have the same.

    Raises:
        UsageError: it is no such name.
        StorageError: the folder cannot be made, or is another user's.
    """
    if not RUN_NAME.fullmatch(run_name):
        raise UsageError(f"a run cannot be called {run_name!r}: only by letters, digits, _ and -")
    place, ours = Path(tempfile.gettempdir()), f"reelscript-{os.getuid()}-"
    remove_unheld(place, ours)
    with held_folder(place / f"{ours}{run_name}") as folder:
        yield folder


@contextmanager
def station_folder(node: Path) -> Iterator[Path]:
    """Gives a folder in that of the run, for one station, and removes those of dead ones."""
    remove_unheld(node, "station-")
    with held_folder(node / f"station-{secrets.token_hex(6)}") as folder:
        yield folder


@contextmanager
def held_folder(folder: Path) -> Iterator[Path]:
    """Gives a folder, made if need be, and removes it when nobody else holds it."""
    with storing(f"make the folder {folder}", folder.parent):
        held = _held(folder)
    try:
        yield folder
    finally:
        os.close(held)
        _remove_if_unheld(folder)


def remove_unheld(place: Path, prefix: str) -> None:
    """Removes the folders that nobody holds: who held them was killed."""
    for folder in place.glob(f"{prefix}*"):
        _remove_if_unheld(folder)


def _held(folder: Path) -> int:
    """Returns the shared lock of a folder that is still there once we have it."""
    while True:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        with contextlib.suppress(FileNotFoundError):  # it was removed just now
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                raise StorageError(f"{folder} is in the way: it is not a folder of ours")
            held = lock(folder / HELD, SHARED)
            if _is_of(folder, held):
                return held
            os.close(held)


def _is_of(folder: Path, held: int) -> bool:
    """Returns whether a lock is that of the folder which now has this name."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat((folder / HELD).lstat(), os.fstat(held))
    return False


def _remove_if_unheld(folder: Path) -> None:
    """Removes a folder whose lock can be had.

    It is renamed first: who comes now makes a new one, and does not move into what is removed.
    """
    with contextlib.suppress(OSError):  # somebody holds it, it is just gone, or is not ours
        held = lock(folder / HELD, ALONE | AT_ONCE, create=False)
        try:
            if _is_of(folder, held):
                gone = folder.with_name(f"{folder.name}.gone-{secrets.token_hex(6)}")
                folder.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
        finally:
            os.close(held)
