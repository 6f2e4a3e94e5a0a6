"""What stores do about errors: try again what may pass, and say the rest in one sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from reelscript.pipeline.errors import StorageError
from reelscript.schemas.text import one_line

T = TypeVar("T")
ATTEMPTS = 5
WAIT_S = 0.1  # the longest wait before the second attempt; it doubles, and is random
MOST_WAIT_S = 2.0
PASSING = frozenset(
    {
        *(errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.EBUSY),
        *(errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNABORTED, errno.ECONNREFUSED, errno.EPIPE),
        getattr(errno, "EREMOTEIO", errno.EIO),
    }
)
"""Of network mounts and buckets; EBUSY is how s3fs says "slow down", EREMOTEIO an internal error of
the server."""
FULL = (errno.ENOSPC, errno.EDQUOT)


def may_pass(error: BaseException) -> bool:
    """Returns whether the same again may go well."""
    return isinstance(error, TimeoutError | ConnectionError) or (
        isinstance(error, OSError) and error.errno in PASSING
    )


def is_taken(error: OSError) -> bool:
    """Returns whether an object could not be created because there is one of that name.

    s3fs says so of servers that name the condition that did not hold, and not all do.
    """
    if isinstance(error, FileExistsError):
        return True
    answer = getattr(error.__cause__, "response", None)
    said = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
    return said in ("PreconditionFailed", "412")


def patiently(attempt: Callable[[], T]) -> T:
    """Returns what an attempt returns, made again up to ATTEMPTS times where an error may pass.

    Raises:
        Exception: what the last attempt raised.
    """
    try:
        return attempt()
    except OSError as error:
        if not may_pass(error):
            raise
    import tenacity  # only here: it takes longer to import than most commands take

    again = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS - 1),
        wait=tenacity.wait_random_exponential(multiplier=WAIT_S, max=MOST_WAIT_S),
        retry=tenacity.retry_if_exception(may_pass),
        reraise=True,
    )
    return again(attempt)


def storage_error(doing: str, error: Exception, folder: Path | None = None) -> StorageError:
    """Returns the one sentence about bytes that could not be stored or read back.

    Args:
        doing: what was being done, where: "write a.json to /data/out".
        error: what the system said.
        folder: on this machine's disk, to say how much is free where the disk is full.
    """
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if getattr(error, "errno", None) in FULL:
        free = ""
        if folder is not None:
            with contextlib.suppress(OSError):
                free = f"; without it {shutil.disk_usage(_nearest(folder)).free:,} bytes are free"
        said = f"the disk is full ({said}{free})"
    return StorageError(f"cannot {one_line(doing)}: {one_line(str(said), 200)}")


@contextmanager
def storing(doing: str, folder: Path) -> Iterator[None]:
    """Turns what the system refuses to files of our own in `folder` into a StorageError."""
    try:
        yield
    except OSError as error:
        raise storage_error(doing, error, folder) from error


def _nearest(folder: Path) -> Path:
    """Returns the folder, or the nearest above it that exists."""
    return folder if os.path.lexists(folder) or folder == folder.parent else _nearest(folder.parent)
