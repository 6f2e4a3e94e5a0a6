"""Whether what is estimated fits where it is to lie."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from reelscript.jobs.estimate.spread import Spread
from reelscript.pipeline.store import Store


def shortages(places: Sequence[tuple[Store, Spread]]) -> Iterator[str]:
    """Yields a sentence for each local disk that is too small for the upper estimates on it."""
    needed: defaultdict[int, float] = defaultdict(float)
    folders: dict[int, Path] = {}
    for store, size in places:
        if store.local_root is not None:
            folder = existing(store.local_root)
            disk = folder.stat().st_dev
            folders.setdefault(disk, folder)
            needed[disk] += size.value if size.high is None else size.high
    for disk, folder in folders.items():
        free = shutil.disk_usage(folder).free
        if needed[disk] > free:
            yield (
                f"{folder} has {said_bytes(free)} free, and up to {said_bytes(needed[disk])} "
                "would be needed there"
            )


def existing(folder: Path) -> Path:
    """Returns the folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def said_bytes(count: float) -> str:
    """Returns a number of bytes with two digits or three and its unit: 1.2 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            break
        count /= 1000
    digits = 1 if count < 9.95 and unit != "B" else 0
    return f"{count:.{digits}f} {unit}"
