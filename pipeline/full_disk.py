"""Whether an error of a stage says that a disk of ours is full, which is no fault of its video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reelscript.pipeline.attempts import FULL, storage_error
from reelscript.pipeline.errors import StorageError
from reelscript.pipeline.workspace import Workspace


def raise_if_disk_full(error: BaseException, workspace: Workspace) -> None:
    """Raises StorageError where an error comes from a full disk, whatever it was wrapped in."""
    for cause in _causes(error):
        if isinstance(cause, StorageError):
            raise cause
        full = isinstance(cause, OSError) and cause.errno in FULL
        if isinstance(cause, OSError) and full and not _is_of_a_codec(cause, workspace.scratch):
            name = cause.filename or f"to {workspace.scratch} or the like"
            raise storage_error(f"write {name}", cause, workspace.scratch) from error


def _is_of_a_codec(error: OSError, scratch: Path) -> bool:
    """Returns whether FFmpeg gave the error where it wrote no file of ours.

    Its codecs say ENOSPC where a packet outgrows a buffer (`libavcodec/cbs.c`), so that a made-up
    file could end every build. A muxer names the file that it writes.
    """
    if not type(error).__module__.startswith("av."):
        return False
    return not error.filename or not Path(str(error.filename)).is_relative_to(scratch)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
