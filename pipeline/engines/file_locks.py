"""Locks that processes of a machine share, as files; a killed process no longer holds one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reelscript.pipeline.attempts import storing

SHARED, ALONE, AT_ONCE = fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_NB


def lock(path: Path, how: int, create: bool = True) -> int:
    """Returns the file descriptor that holds a lock (flock) of a file, until it is closed.

    Two locks of one process exclude each other as those of two do. Processes that are started
    meanwhile do not have it (PEP 446).

    Args:
        path: of the file.
        how: SHARED or ALONE; with `| AT_ONCE` it is had at once or not at all.
        create: the file is made if need be.

    Raises:
        BlockingIOError: it cannot be had at once.
        OSError: the file cannot be opened.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    file = os.open(path, flags, 0o600)
    try:
        fcntl.flock(file, how)
    except BaseException:
        os.close(file)
        raise
    return file


@contextmanager
def locked(path: Path, how: int) -> Iterator[None]:
    """Holds a lock of a file, which is made if need be. Raises StorageError."""
    with storing(f"lock {path}", path.parent):
        file = lock(path, how)
    try:
        yield
    finally:
        os.close(file)
