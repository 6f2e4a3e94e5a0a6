"""Media files below a folder, or those that match a glob, on this machine's disks."""

from __future__ import annotations

import difflib
import fnmatch
import glob
import os
import stat
from collections.abc import Iterator

from reelscript.jobs.sources.places import Place, is_media, place_of_file, shown
from reelscript.pipeline.errors import UsageError


def files_below(root: str) -> Iterator[Place]:
    """Yields the media files below a folder in the order of their paths.

    Links to folders are not followed; links to files only where these lie below the folder too.
    """
    return (place_of_file(path, root) for path in _in_order(_walk(root)))


def files_matching(pattern: str, base: str) -> Iterator[Place]:
    """Yields the media files that match a glob, in the order of their paths.

    With `**` it reads folders as `files_below` does: a link back up would otherwise be followed
    time and again. Without, every link is one that the pattern names.

    Args:
        pattern: a glob, relative to `base` or absolute.
        base: an absolute path; brackets in it are no pattern.
    """
    parts = pattern.split(os.sep)
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = os.path.normpath(os.path.join(base, os.sep.join([*parts[:fixed], ""])))
    wanted = [part for part in parts[fixed:] if part]
    if "**" in wanted:
        walked = _walk(root) if os.path.isdir(root) else iter(())
        found = (p for p in walked if _matches(os.path.relpath(p, root).split(os.sep), wanted))
    else:
        matches = glob.iglob(os.sep.join(wanted), root_dir=root)
        found = (p for m in matches if os.path.isfile(p := os.path.join(root, m)) and is_media(p))
    return (place_of_file(path, root) for path in _in_order(found))


def _in_order(paths: Iterator[str]) -> list[str]:
    return sorted(paths, key=lambda path: path.split(os.sep))


def _walk(root: str) -> Iterator[str]:
    """Yields the media files below a folder, in no order."""
    real, waiting = os.path.realpath(root), [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif is_media(entry.name) and _is_file_inside(entry.path, real):
                        yield entry.path
        except OSError as error:
            raise UsageError(f"{shown(folder)} cannot be read: {error.strerror}") from error


def _matches(names: list[str], wanted: list[str]) -> bool:
    """Returns whether a path matches a glob, both in parts; `**` is any number of folders.

    As for a shell, a name that starts with a dot is matched only by a pattern that does.
    """
    if not wanted or not names:
        return not names and all(part == "**" for part in wanted)
    hidden = names[0].startswith(".") and not wanted[0].startswith(".")
    if wanted[0] == "**":
        return _matches(names, wanted[1:]) or (not hidden and _matches(names[1:], wanted))
    fits = not hidden and fnmatch.fnmatchcase(names[0], wanted[0])
    return fits and _matches(names[1:], wanted[1:])


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
