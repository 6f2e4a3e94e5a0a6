"""The file in which the processes of one machine tell each other when a site may be asked next.

SQLite: a change is made whole or not at all, whoever is killed at whatever line. It is opened for
each change (0.1 ms), so that nothing of it lives in a process that forks. It is never synced to
disk, because it means nothing after the next boot: its name holds machine and boot. Processes queue
at a lock beside it, because SQLite's own way to wait is to sleep and look again.
"""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

from reelscript.pipeline.errors import StorageError
from reelscript.pipeline.processes import this_process
from reelscript.schemas.text import digest
from reelscript.transforms.web.manners_state import TABLES

T = TypeVar("T")
VERSION = 1
_OF_THE_MACHINE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)


def change(folder: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    """Returns what `work` returns of the tables, which nobody else reads or changes meanwhile.

    What `work` raises undoes what it changed. A damaged file is put aside, and a new one begun.

    Raises:
        StorageError: the file cannot be opened or written; its folder is full, or read-only.
    """
    path = folder / f"manners-{VERSION}-{_machine()}.sqlite"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix(".lock")):
            try:
                return _in_transaction(path, work)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
            _put_aside(path)
            return _in_transaction(path, work)
    except (OSError, sqlite3.DatabaseError) as error:
        raise StorageError(f"{path}: {error}") from error


@cache
def _machine() -> str:
    return digest(this_process()["machine"])[:16]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a lock, which the system takes from who is killed."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a child forked meanwhile has the file open, too


def _in_transaction(path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    opened = sqlite3.connect(path, isolation_level=None)
    with contextlib.closing(opened) as file:
        file.execute("pragma synchronous = off")
        file.execute("begin immediate")
        with file:  # commits, or undoes
            if file.execute("pragma user_version").fetchone() == (0,):
                for table in TABLES:
                    file.execute(table)
                file.execute(f"pragma user_version = {VERSION}")
            return work(file)


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Returns whether the file is at fault, not the machine or the program."""
    code = getattr(error, "sqlite_errorcode", None)  # none where the module itself objects
    return code is not None and code & 0xFF not in _OF_THE_MACHINE


def _put_aside(path: Path) -> None:
    aside = path.with_suffix(".damaged")
    for suffix in ("-journal", ""):  # first the journal: it must not be applied to a new file
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(aside.with_name(aside.name + suffix))
