"""The parts of a video in the folder of a job: one a format, found again by the next attempt.

What yt-dlp keeps beside a part has the same name, and more behind a dot.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from reelscript.transforms.sites.formats import Format

NAMED = "media-"
SAME = ("format_id", "protocol", "filesize")
"""By these a format is the same at two visits; its address is made for one."""
PROGRESS_BYTES = 1 << 20


def part_of(folder: Path, wanted: Format) -> Path:
    """Returns where a format goes."""
    same = repr([wanted.get(key) for key in SAME])
    return folder / f"{NAMED}{hashlib.sha256(same.encode()).hexdigest()[:16]}"


def sizes(folder: Path) -> dict[str, int]:
    """Returns the bytes of each part, with what is kept beside it, by its name."""
    found: Counter[str] = Counter()
    for name, file in _files(folder):
        found[name] += file.lstat().st_size
    return dict(found)


def keep_only(folder: Path, parts: Collection[Path]) -> None:
    """Removes all other parts: of formats that the site no longer offers, or that lost."""
    kept = {part.name for part in parts}
    for name, file in _files(folder):
        if name not in kept:
            file.unlink()


def grew(before: Mapping[str, int], after: Mapping[str, int]) -> bool:
    """Returns whether an attempt went on with the parts that it found, by `PROGRESS_BYTES`.

    Args:
        before: `sizes` before the attempt.
        after: and after it.
    """
    went_on = all(after.get(name, 0) >= size for name, size in before.items())
    return went_on and sum(after.values()) - sum(before.values()) >= PROGRESS_BYTES


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yields each file with the name of its part."""
    for file in list(folder.glob(f"{NAMED}*")):
        yield file.name.partition(".")[0], file
