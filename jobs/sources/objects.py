"""Sources on an object store: a folder, a glob, a list or one object at an fsspec URL."""

from __future__ import annotations

import glob
import io
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import fsspec

from reelscript.jobs.sources.lists import READERS, Row, read_list
from reelscript.jobs.sources.places import (
    Place,
    is_media,
    place_of_row,
    shown,
    suffix_fault,
)
from reelscript.pipeline.errors import UsageError
from reelscript.schemas.text import one_line
from reelscript.transforms.urls import MEDIA_SUFFIXES, scheme_of


def objects_at(source: str, base: str) -> Iterator[Place]:
    """Yields what lies at a URL such as `s3://bucket/videos/`, in the order of the names.

    Raises:
        UsageError: there is no such thing, its store cannot be reached, or its library is not here.
    """
    try:
        fs, path = fsspec.core.url_to_fs(source)
        if glob.has_magic(path) and not fs.exists(path):
            names = fs.glob(path)
        elif fs.isdir(path):
            names = fs.find(path)
        elif not fs.exists(path):
            raise UsageError(f"there is no {shown(source)}")
        else:
            suffix = PurePosixPath(path).suffix.lower()
            if suffix in READERS:
                yield from _rows(fs, path, source, suffix, base)
                return
            if suffix not in MEDIA_SUFFIXES:
                raise UsageError(f"{shown(source)}: {suffix_fault(suffix)}")
            names = [path]
    except UsageError:
        raise
    except Exception as error:  # whatever the library of a store raises
        said = one_line(f"{type(error).__name__}: {error}", 200)
        raise UsageError(f"{shown(source)} cannot be read: {said}") from error
    for name in sorted(names):
        if is_media(name):
            url = _url(fs, name, source)
            yield Place(Row(0, url), url)


def _url(fs: Any, name: str, source: str) -> str:
    """Returns the URL of an object, in the form in which its store was named."""
    if scheme_of(source) == "memory":  # fsspec writes memory:///name, people memory://name
        return f"memory://{name.lstrip('/')}"
    return str(fs.unstrip_protocol(name))


def _rows(fs: Any, path: str, source: str, suffix: str, base: str) -> Iterator[Place]:
    """Yields the rows of a list; relative paths start from the folder of the list."""
    folder = source.rpartition("/")[0]
    with io.BufferedReader(fs.open(path, "rb")) as file:  # buckets' files read no bounded line
        for row in read_list(file, shown(source), suffix):
            row = row._replace(address=_from(folder, row.address))
            if row.subtitles_at is not None:
                row = row._replace(subtitles_at=_from(folder, row.subtitles_at))
            yield place_of_row(row, base, base)


def _from(folder: str, written: str) -> str:
    """Returns an address of a list; a relative path starts from the folder of the list."""
    whole = scheme_of(written.strip()) is not None or written.startswith("/")
    return written if whole else f"{folder}/{written}"
