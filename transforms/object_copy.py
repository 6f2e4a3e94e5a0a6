"""A file from an object store (`s3://bucket/name`), bounded in bytes and time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from reelscript.pipeline.errors import StageError
from reelscript.transforms.urls import published_url, without_credentials
from reelscript.transforms.web.download import Fetched, Limits

PIECE_BYTES = 1 << 20


def copy_object(url: str, target: Path, limits: Limits) -> Fetched:
    """Returns the digest and size of an object, once it is copied to `target`.

    Its library has retries and timeouts of its own; bytes and total time are bounded here.

    Raises:
        StageError: `not_found`, `not_a_file`, `unreadable`, `too_large`, `timed_out`,
            `connection_failed`, or `unsupported_scheme` where the library for it is not installed.
    """
    said, deadline = published_url(url), time.monotonic() + limits.total_s
    sha256, size = hashlib.sha256(), 0
    with _object_at(url) as (fs, path):
        if fs.isdir(path):
            raise StageError("not_a_file", f"{said} is a folder")
        with fs.open(path, "rb") as source, target.open("wb") as file:
            while piece := source.read(PIECE_BYTES):
                size += len(piece)
                if size > limits.max_bytes:
                    raise StageError("too_large", f"{said}: more than {limits.max_bytes} bytes")
                if time.monotonic() > deadline:
                    raise StageError(
                        "timed_out", f"{said}: not finished within {limits.total_s:g} s"
                    )
                sha256.update(piece)
                file.write(piece)
    return Fetched(sha256.hexdigest(), size)


def object_bytes(url: str) -> int | None:
    """Returns the size of an object, or None where its store does not tell.

    Raises:
        StageError: `not_found`, `unreadable`, `connection_failed` or `unsupported_scheme`.
    """
    with _object_at(url) as (fs, path):
        size: int | None = fs.size(path)
    return size


@contextmanager
def _object_at(url: str) -> Iterator[tuple[Any, str]]:
    """Yields the file system of a URL and the path in it; what is raised there becomes ours."""
    said = published_url(url)
    try:
        yield fsspec.core.url_to_fs(url)
    except StageError:
        raise
    except FileNotFoundError as error:
        raise StageError("not_found", f"there is no {said}") from error
    except PermissionError as error:
        raise StageError("unreadable", f"{said}: permission denied") from error
    except ImportError as error:
        raise StageError("unsupported_scheme", f"{said}: {error}") from error
    except Exception as error:  # whatever the library of a store raises
        found = without_credentials(f"{type(error).__name__}: {error}")
        raise StageError("connection_failed", f"{said}: {found}") from error
