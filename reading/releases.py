"""Where the parts of a corpus lie: those of the newest release, and those of older ones.

```
DIR/dataset.json *.parquet shards/*.tar       the newest release
DIR/releases/r000/dataset.json *.parquet      each release, never changed again
DIR/releases/shards/*.tar                     shards that only older releases list
```
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reelscript.pipeline.store import Store
from reelscript.reading.tables import NoJson, read_dataset_json

SHARDS = "shards"
OLD_SHARDS = "releases/shards"
SHARD_FOLDERS = (SHARDS, OLD_SHARDS)  # in this order: a shard goes from the first to the second
IN_RELEASE = re.compile(r"releases/r(\d{3,})/[^/]+")


def release_folder(release: int) -> str:
    """Returns the name of the folder of a release: `releases/r000`."""
    return f"releases/r{release:03d}"


def release_of(info: Mapping[str, Any]) -> int:
    """Returns the number of the release that a dataset.json tells of; 0 where it tells none."""
    number = info.get("release")
    return number if type(number) is int and number >= 0 else 0


def release_files(store: Store) -> dict[int, list[str]]:
    """Returns the names of the objects in each release folder, by number, in order.

    A folder without a dataset.json holds no release: it was not written or not removed to its end.
    """
    found: dict[int, list[str]] = {}
    for name in store.names("releases"):
        match = IN_RELEASE.fullmatch(name)
        if match:
            found.setdefault(int(match[1]), []).append(name)
    return dict(sorted(found.items()))


def read_newest(store: Store) -> dict[str, Any]:
    """Returns the dataset.json of the newest release.

    Where objects are not put in one step, only half of it may stand. All else of its release stood
    before, with a copy of it, so that one is read.

    Raises:
        DataError: there is no corpus, or it is not of the format that this version reads.
    """
    try:
        return read_dataset_json(store)
    except NoJson:
        numbers = list(release_files(store))
        if not numbers:
            raise
        return read_dataset_json(store, release_folder(numbers[-1]))


def releases_in(store: Store, newest: int) -> list[int]:
    """Returns the numbers of the releases that stand in their folders, none beyond `newest`.

    A release is one when the dataset.json of the corpus is: what lies there beyond the newest is
    being published, or was broken off.
    """
    return [
        number
        for number, names in release_files(store).items()
        if number <= newest and f"{release_folder(number)}/dataset.json" in names
    ]
