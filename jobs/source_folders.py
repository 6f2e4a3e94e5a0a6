"""Media files below a folder, or those that match a glob, on this machine's disks."""

from __future__ import annotations

import difflib
import glob
import os
import stat
from collections.abc import Iterator
from pathlib import PurePosixPath

from reelscript.jobs.source_places import Place, is_media, place_of_file, shown
from reelscript.pipeline.errors import UsageError


def files_below(root: str) -> Iterator[Place]:
    """Yields the media files below a folder in the order of their paths.

    Links to folders are not followed; links to files only where these lie below the folder too.
    """
    real = os.path.realpath(root)
    waiting, found = [root], []
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif is_media(entry.name) and _is_file_inside(entry.path, real):
                        found.append(entry.path)
        except OSError as error:
            raise UsageError(f"{shown(folder)} cannot be read: {error.strerror}") from error
    for path in sorted(found, key=lambda p: PurePosixPath(p).parts):
        yield place_of_file(path, root)


def files_matching(pattern: str, base: str) -> Iterator[Place]:
    """Yields the media files that match a glob, in the order of their paths.

    With `**` it reads folders as `files_below` does. Without, every link is one that the user wrote
    down.

    Args:
        pattern: a glob, relative to `base` or absolute.
        base: an absolute path; brackets in it are no pattern.
    """
    parts = pattern.split(os.sep)
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = os.path.normpath(os.path.join(base, os.sep.join(parts[:fixed]) + os.sep))
    if not pattern.startswith(os.sep) and not fixed:
        root = os.path.normpath(base)
    real, rest = os.path.realpath(root), os.sep.join(parts[fixed:])
    matches = {os.path.join(root, m) for m in glob.iglob(rest, root_dir=root, recursive=True)}
    for path in sorted(matches, key=lambda p: PurePosixPath(p).parts):
        if not is_media(path) or not os.path.isfile(path):
            continue
        if "**" in rest:
            folder = os.path.dirname(path)
            unlinked = os.path.normpath(os.path.join(real, os.path.relpath(folder, root)))
            if os.path.realpath(folder) != unlinked or not _is_file_inside(path, real):
                continue
        yield place_of_file(path, root)


def _is_file_inside(path: str, real_root: str) -> bool:
    """Returns whether a path is a regular file, and if it is a link, one to below its root."""
    try:
        mode = os.lstat(path).st_mode
        if not stat.S_ISLNK(mode):
            return stat.S_ISREG(mode)
        real = os.path.realpath(path)
        return os.path.isfile(real) and os.path.commonpath([real, real_root]) == real_root
    except (OSError, ValueError):
        return False


def nearest_name(path: str) -> str:
    """Returns a clause that names the entry of the same folder nearest to a missing one."""
    try:
        names = os.listdir(os.path.dirname(path))[:10_000]
    except (OSError, ValueError):
        return ": its folder is not there either"
    close = difflib.get_close_matches(os.path.basename(path), names, n=1, cutoff=0.6)
    return f"; did you mean {shown(close[0])!r}?" if close else ""
