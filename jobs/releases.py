"""How a release becomes visible in one step, and how what a crash left is put in order.

```
write    releases/new/*.tar                 shards that did not stand before
         releases/r001/{tables, ...}        all other files of the release, dataset.json last
commit   releases/new/*.tar -> shards/
         releases/r001/{tables, ...} -> DIR/
         DIR/dataset.json                   from here on the corpus is the new release
settle   shards/ that it does not list -> releases/shards/
```

Our readers take what dataset.json names by sha256, from the top or from the folder of its release,
and a shard from `shards/` or `releases/shards/`: so between any two of these steps they see one
release or the other, whole. `settle` reads from the files alone how far it came, and may be called
at any time and again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from typing import Any

from reelscript.pipeline.errors import DataError
from reelscript.pipeline.store import Store
from reelscript.reading.releases import (
    OLD_SHARDS,
    SHARDS,
    read_newest,
    release_files,
    release_folder,
    release_of,
    releases_in,
)
from reelscript.reading.tables import read_dataset_json

NEW_SHARDS = "releases/new"
DATASET = "dataset.json"
TABLES = ("videos", "clips", "samples")
FILES = (
    *(f"{name}.parquet" for name in TABLES),
    *("config.yaml", "stats.json", "report.html", "README.md"),
)


def standing(corpus: Store) -> dict[str, Any]:
    """Returns the dataset.json of the newest release, or nothing where none was published.

    Raises:
        DataError: it is damaged, of another format, or gone while releases stand in their folders.
    """
    if corpus.exists(DATASET):
        return read_newest(corpus)
    numbers = list(release_files(corpus))
    if numbers and numbers[-1] > 0:  # r000 alone: the first publish was broken off
        raise DataError(
            f"{corpus.url} holds releases but no {DATASET}: copy that of "
            f"{release_folder(numbers[-1])} to the top, or move the folder away and build again"
        )
    return {}


def commit(corpus: Store, release: int) -> None:
    """Makes a release that is written the one that readers see."""
    folder = release_folder(release)
    for name in list(corpus.names(NEW_SHARDS)):
        corpus.move(name, f"{SHARDS}/{_file(name)}")
    for name in FILES:
        corpus.copy(f"{folder}/{name}", name)
    corpus.put(DATASET, corpus.get(f"{folder}/{DATASET}"))


def archive(corpus: Store, dataset: Mapping[str, Any]) -> None:
    """Gives a release its folder where it has none, as when only the files at the top were copied.

    One of which a table is damaged gets none: it cannot be read anyway.
    """
    folder = release_folder(release_of(dataset))
    if not dataset or corpus.exists(f"{folder}/{DATASET}"):
        return
    there = [name for name in FILES if corpus.exists(name)]
    for name, sha256 in dataset.get("tables", {}).items():
        file = f"{name}.parquet"
        if file not in there or hashlib.sha256(corpus.get(file)).hexdigest() != sha256:
            return
    for name in (*there, DATASET):
        corpus.copy(name, f"{folder}/{name}")


def settle(corpus: Store, dataset: Mapping[str, Any], keep_releases: int | None = None) -> None:
    """Brings the folder in line with its dataset.json, whatever a crash has left.

    Args:
        corpus: the corpus folder.
        dataset: what stands in its dataset.json, or nothing.
        keep_releases: how many releases stay, the newest included; None: all.
    """
    corpus.sweep()
    newest = release_of(dataset) if dataset else -1
    found = release_files(corpus)
    if dataset:
        _restore(corpus, newest, broken_off=any(number > newest for number in found))
    committed = [number for number in found if number <= newest]
    stay = committed if keep_releases is None else committed[-keep_releases:]
    for number in found:
        if number not in stay:
            _remove(corpus, number, found[number])
    _sort_shards(corpus, dataset, newest, keep_releases is not None)


def _restore(corpus: Store, release: int, broken_off: bool) -> None:
    """Puts the files of a release back to the top where those of a later one may have come."""
    folder = release_folder(release)
    if not corpus.exists(f"{folder}/{DATASET}"):
        return
    for name in FILES:
        source = f"{folder}/{name}"
        if (broken_off or not corpus.exists(name)) and corpus.exists(source):
            corpus.copy(source, name)
    data = corpus.get(f"{folder}/{DATASET}")
    if corpus.get(DATASET) != data:
        corpus.put(DATASET, data)


def _remove(corpus: Store, release: int, names: list[str]) -> None:
    """Removes a release folder, what makes it a release first."""
    for name in sorted(names, key=lambda name: (_file(name) != DATASET, name)):
        corpus.delete(name)
    _remove_if_empty(corpus, release_folder(release))


def _sort_shards(corpus: Store, dataset: Mapping[str, Any], newest: int, prune: bool) -> None:
    """Moves shards to where they belong, and removes those that no release lists."""
    listed = {entry["name"] for entry in dataset.get("shards", [])}
    tars = [name for name in corpus.names(SHARDS) if name.endswith(".tar")]
    strays = [name for name in tars if _file(name) not in listed]
    older: set[str] = set()
    if strays or prune:
        for number in releases_in(corpus, newest):
            shards = read_dataset_json(corpus, release_folder(number))["shards"]
            older |= {entry["name"] for entry in shards}
    for name in strays:
        if _file(name) in older:
            corpus.move(name, f"{OLD_SHARDS}/{_file(name)}")
        else:
            corpus.delete(name)
    unused = list(corpus.names(NEW_SHARDS))
    unused += [name for name in corpus.names(OLD_SHARDS) if prune and _file(name) not in older]
    for name in unused:
        corpus.delete(name)
    _remove_if_empty(corpus, NEW_SHARDS)


def _remove_if_empty(corpus: Store, folder: str) -> None:
    """Removes a folder of a local store, which an object store would not have."""
    if corpus.local_root is not None:
        with contextlib.suppress(OSError):
            (corpus.local_root / folder).rmdir()


def _file(name: str) -> str:
    return name.rpartition("/")[2]
