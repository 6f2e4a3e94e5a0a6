"""Files of this machine: read in place, known by a cheap signature."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from typing import Any

from reelscript.pipeline.errors import StageError
from reelscript.transforms.urls import printable_address, scheme_of


def file_signature(location: str) -> str | None:
    """Returns `<bytes>:<time of change in ns>` of a local file; None for a URL or no file."""
    if scheme_of(location) is not None:
        return None
    try:
        return signature_of(os.stat(location))
    except (
        OSError,
        ValueError,
    ):  # ValueError: a NUL or half a surrogate pair, which no file name holds
        return None


def signature_of(found: os.stat_result) -> str:
    """Returns the signature of a file from what the system says of it."""
    return f"{found.st_size}:{found.st_mtime_ns}"


@contextmanager
def regular_file(location: str) -> Iterator[BufferedReader]:
    """Yields a local file, open to be read.

    Raises:
        StageError: `not_found`, `not_a_file`, or `unreadable`, also while it is read.
    """
    name = printable_address(os.path.basename(location))
    try:
        if not stat.S_ISREG(
            os.stat(location).st_mode
        ):  # before opening: a pipe would block for ever
            raise StageError("not_a_file", f"{name} is no regular file")
        with open(location, "rb") as file:
            yield file
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise StageError("not_found", f"there is no file {name}") from error
    except OSError as error:
        raise StageError("unreadable", f"{name}: {error.strerror or error}") from error


def read_in_place(location: str) -> dict[str, Any]:
    """Returns the facts of a local file.

    Raises:
        StageError: `not_found`, `not_a_file`, `unreadable`, or `changed` while it was read.
    """
    name = printable_address(os.path.basename(location))
    with regular_file(location) as file:
        before = os.fstat(file.fileno())
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise StageError(
            "changed", f"{name} changed while it was read: build again when it is whole"
        )
    return {
        "source_sha256": sha256,
        "source_bytes": after.st_size,
        "media": None,
        "retrieved_at": None,
    }


def lies_below(location: str, roots: Sequence[str]) -> bool:
    """Returns whether a file really lies in one of the folders, wherever links lead."""
    try:
        real = os.path.realpath(location)
        return any(_is_below(real, os.path.realpath(os.path.expanduser(root))) for root in roots)
    except (OSError, ValueError):
        return False


def _is_below(path: str, root: str) -> bool:
    return path.startswith(root.rstrip(os.sep) + os.sep)
