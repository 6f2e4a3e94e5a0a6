"""Where one source lies, and by what it is told from others."""

from __future__ import annotations

import difflib
import os
from collections.abc import Hashable
from typing import NamedTuple

from reelscript.jobs.sources.lists import READERS, Row
from reelscript.schemas.text import one_line
from reelscript.transforms.local_file import signature_of
from reelscript.transforms.urls import MEDIA_SUFFIXES, published_url, scheme_of


class Place(NamedTuple):
    """One source before it has an id. Of a URL only `row` and `location` say anything."""

    row: Row
    location: str  # a URL, or an absolute path
    root: str = ""  # the folder that `relative` starts from
    relative: str = ""  # never absolute, never with `..`
    identity: Hashable = None  # of a file: the same for every name of it
    signature: str | None = None  # of a file: changes when its bytes do
    folders: tuple[str, ...] = ()  # that a relative path to its subtitles may start from


def place_of_file(path: str, root: str) -> Place:
    """Returns the place of a file below `root`; both are absolute."""
    normal = os.path.normpath(path)
    relative = os.path.relpath(normal, root)
    identity, signature = _told_by(path)
    return Place(Row(0, path), path, root, relative, identity or normal, signature)


def place_of_row(row: Row, root: str, base: str) -> Place:
    """Returns the place that a row of a list points to.

    Args:
        row: a URL or a path. A relative path starts from `base`, or, where nothing is there, from
            `root`.
        root: absolute path of the folder of the list.
        base: absolute path of the folder of the config, or the working directory.
    """
    place = _place_of_row(row, root, base)
    return place if row.subtitles_at is None else place._replace(folders=(base, root))


def _place_of_row(row: Row, root: str, base: str) -> Place:
    stripped = row.address.strip()
    if stripped.startswith("https://") or scheme_of(stripped) is not None:
        return Place(row, stripped)
    if "\0" in row.address:  # no path; the listing says so
        return Place(row, row.address, base, "unnamed", row.address)
    location = os.path.join(base, row.address)
    identity, signature = _told_by(location)
    if identity is None and root != base:
        beside = os.path.join(root, row.address)
        identity, signature = _told_by(beside)
        if identity is not None:
            location = beside
    normal, above = os.path.normpath(location), root.rstrip(os.sep) + os.sep
    if normal.startswith(above):
        return Place(row, location, root, normal[len(above) :], identity or normal, signature)
    written = os.path.normpath(row.address)
    if not os.path.isabs(written) and written.split(os.sep)[0] not in (".", ".."):
        return Place(row, location, base, written, identity or normal, signature)
    folder, name = os.path.split(normal)
    return Place(row, location, folder, name or "unnamed", identity or normal, signature)


def _told_by(path: str) -> tuple[tuple[int, int] | None, str | None]:
    """Returns device and inode of a file, whatever it is called, and its signature; else None."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL or half a surrogate pair
        return None, None
    return (found.st_dev, found.st_ino), signature_of(found)


def is_media(name: str) -> bool:
    """Returns whether a file name ends as those of videos do."""
    return os.path.splitext(name)[1].lower() in MEDIA_SUFFIXES


def suffix_fault(suffix: str) -> str:
    """Returns the clause that says what files with an unknown ending should have been."""
    valid = [*READERS, *sorted(MEDIA_SUFFIXES)]
    close = difflib.get_close_matches(suffix, valid, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"expected one of {' '.join(valid)}"
    return f"files ending in {one_line(suffix) or 'nothing'!r} are neither lists nor media; {hint}"


def shown(text: str) -> str:
    """Returns a path or URL as it may stand in a message: one line, no password."""
    return one_line(published_url(text), 200)
