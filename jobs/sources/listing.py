"""What a build starts from: files, folders, globs, URLs and lists of them, as one record a source.

```
sources --(what lies where)--> Place --(ids, and which are the same)--> Video
```

Nothing is fetched and no media file is opened here. A source that cannot be had is still a record:
it fails in the acquire stage, so that every row of a list is accounted for.
"""

from __future__ import annotations

import gc
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from reelscript.jobs.sources.folders import files_below, files_matching, nearest_name
from reelscript.jobs.sources.ids import Listing
from reelscript.jobs.sources.lists import READERS, Row, read_list
from reelscript.jobs.sources.objects import objects_at
from reelscript.jobs.sources.places import (
    Place,
    place_of_file,
    place_of_row,
    shown,
    suffix_fault,
)
from reelscript.jobs.sources.subtitles import SubtitleFinder
from reelscript.pipeline.errors import UsageError
from reelscript.schemas.videos import Videos
from reelscript.transforms.urls import MEDIA_SUFFIXES, WEB_SCHEMES, is_fetchable, scheme_of


def list_sources(
    sources: str | Sequence[str], base: Path, subtitle_languages: Sequence[str] | None = None
) -> Videos:
    """Returns one record for every source: lists in their order, folders and globs sorted by path.

    A source that is listed again (the same URL in canonical form, the same file on disk) is a
    record of its own, `<id>_dup<n>`, rejected. One whose address is of no use is one that failed.

    Args:
        sources: one or several of: a list (.txt, .csv, .tsv, .jsonl, .parquet), a folder, a glob,
            a media file, a URL. Lists and folders may lie on an object store (s3://...).
        base: where relative paths start: the folder of the config file, or the working directory.
        subtitle_languages: languages in which subtitles are wanted, the best first; None: none are.

    Raises:
        UsageError: what is named does not exist, cannot be read, or holds no source.
    """
    named = [sources] if isinstance(sources, str) else list(sources)
    if not named:
        raise UsageError("there are no sources: name files, folders, globs, URLs or lists of them")
    wanted = None if subtitle_languages is None else SubtitleFinder(subtitle_languages)
    listing = Listing(wanted)
    collecting = gc.isenabled()
    gc.disable()  # a million records without cycles: looking for some takes a fifth of the time
    try:
        for source in named:
            before = len(listing)
            for place in _places(source, os.path.abspath(base)):
                listing.add(place)
            if len(listing) == before:
                endings = " ".join(sorted(s[1:] for s in MEDIA_SUFFIXES))
                raise UsageError(
                    f"{shown(source)} holds no sources: expected rows in a list, or files ending "
                    f"in {endings} (links that lead outside a folder are not followed)"
                )
    finally:
        if collecting:
            gc.enable()
    return listing.videos()


def _places(source: str, base: str) -> Iterator[Place]:
    """Returns what one entry of `sources` stands for."""
    address = source.strip()
    scheme = scheme_of(address)
    if scheme in WEB_SCHEMES:
        return iter((Place(Row(0, address), address),))
    if scheme is not None:
        if is_fetchable(address):
            return objects_at(address, base)
        expected = "http, https, a path, or an object store such as s3://"
        raise UsageError(f"{shown(address)}: expected {expected}, found {scheme}:")
    if source.startswith("~/"):
        source = os.path.expanduser(source)
    path = os.path.join(base, source)
    if os.path.isdir(path):
        return files_below(os.path.normpath(path))
    if os.path.isfile(path):  # before globs: titles in brackets are common in file names
        return _in_file(path, source, base)
    if glob.has_magic(source):
        return files_matching(source, base)
    raise UsageError(f"there is no {shown(source) or 'source without a name'}{nearest_name(path)}")


def _in_file(path: str, name: str, base: str) -> Iterator[Place]:
    """Yields a media file, or the rows of a list."""
    root, suffix = os.path.dirname(os.path.normpath(path)), os.path.splitext(path)[1].lower()
    if suffix in MEDIA_SUFFIXES:
        yield place_of_file(path, root)
    elif suffix in READERS:
        try:
            with open(path, "rb") as file:
                for row in read_list(file, shown(name), suffix):
                    yield place_of_row(row, root, base)
        except OSError as error:
            raise UsageError(f"{shown(name)} cannot be read: {error.strerror}") from error
    else:
        raise UsageError(f"{shown(name)}: {suffix_fault(suffix)}")
