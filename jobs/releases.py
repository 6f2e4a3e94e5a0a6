"""How a release becomes visible in one step, and how what a crash left is put in order.

```
write    releases/new/*.tar                 shards that did not stand before
         releases/r001/{tables, ...}        all other files of the release, dataset.json last
commit   releases/new/*.tar -> shards/
         releases/r001/{tables, ...} -> DIR/
         DIR/dataset.json                   from here on the corpus is the new release
settle   shards/ that it does not list -> releases/shards/; what its page does not play goes
```

Nothing goes from `shards/` that no release lists: somebody else has put it there.

Our readers take what dataset.json names by sha256, from the top or from the folder of its release,
and a shard from `shards/` or `releases/shards/`: so between any two of these steps they see one
release or the other, whole. `settle` reads from the files alone how far it came, and may be called
at any time and again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from reelscript.jobs.report.media import INDEX, forget_media
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.plan import SHARD_NAME
from reelscript.pipeline.store import Store
from reelscript.reading.releases import (
    OLD_SHARDS,
    SHARDS,
    read_newest,
    release_files,
    release_folder,
    release_of,
)
from reelscript.reading.tables import NoJson, read_dataset_json
from reelscript.schemas.text import one_line

NEW_SHARDS = "releases/new"
DATASET = "dataset.json"
TABLES = ("videos", "clips", "samples")
FILES = (
    *(f"{name}.parquet" for name in TABLES),
    *("config.yaml", "stats.json", "report.html", INDEX, "README.md"),
)


def standing(corpus: Store) -> dict[str, Any]:
    """Returns the dataset.json of the newest release, or nothing where none was published.

    A release that is whole but for the files at the top, as where these were not copied or its
    commit was broken off at its end, is committed first.

    Raises:
        DataError: it is damaged, of another format, or gone while releases stand in their folders.
    """
    found = release_files(corpus)
    if corpus.exists(DATASET) or not found:
        return _top(corpus)
    newest = max(found)
    folder = release_folder(newest)
    if f"{folder}/{DATASET}" in found[newest]:
        with contextlib.suppress(NoJson):
            dataset = read_dataset_json(corpus, folder)
            if all(_has(corpus, SHARDS, entry) for entry in dataset["shards"]):
                _to_top(corpus, newest)
                return dataset
    if newest > 0:  # r000 alone: the first publish was broken off
        raise DataError(
            f"{corpus.url} holds releases but no {DATASET}, and not all shards of the newest: copy "
            f"that of {folder} to the top, or move the folder away and build again"
        )
    return {}


def check_still(
    corpus: Store, before: Mapping[str, Any], dataset: Mapping[str, Any] | None = None
) -> None:
    """Makes sure that nobody else has published since `before` was read, or is about to.

    Turns are taken in a work folder: builds with different ones do not know of each other.

    Args:
        corpus: the corpus folder.
        before: the dataset.json that stood, or nothing.
        dataset: that of the release to be committed, once it is written.

    Raises:
        DataError: another build was here.
    """
    if _top(corpus) == before and (dataset is None or _is_written(corpus, dataset)):
        return
    where = one_line(corpus.url)
    raise DataError(f"another build has published to {where} meanwhile: the same command goes on")


def commit(corpus: Store, dataset: Mapping[str, Any]) -> None:
    """Makes a release that is written the one that readers see."""
    listed = _names(dataset)
    for name in list(corpus.names(NEW_SHARDS)):
        if _file(name) in listed:
            corpus.move(name, f"{SHARDS}/{_file(name)}")
    _to_top(corpus, release_of(dataset))


def archive(corpus: Store, dataset: Mapping[str, Any]) -> None:
    """Gives a release its folder where it has none, as when only the files at the top were copied.

    Or one that is damaged, or that a build has written to which did not see this release come.
    One of which a table is damaged gets none: it cannot be read anyway.
    """
    folder = release_folder(release_of(dataset))
    if not dataset or _holds(corpus, folder, dataset):
        return
    there = [name for name in FILES if corpus.exists(name)]
    for name, sha256 in dataset.get("tables", {}).items():
        file = f"{name}.parquet"
        if file not in there or hashlib.sha256(corpus.get(file)).hexdigest() != sha256:
            return
    for name in (*there, DATASET):
        corpus.copy(name, f"{folder}/{name}")


def settle(
    corpus: Store,
    dataset: Mapping[str, Any],
    keep_releases: int | None = None,
    replaced: Mapping[str, Any] | None = None,
) -> None:
    """Brings the folder in line with its dataset.json, whatever a crash has left.

    Shards are sorted before a release folder is removed, since that tells whose they are. While
    the dataset.json of an older release cannot be read, no older release is removed, nor a shard
    that may be one of its.

    Args:
        corpus: the corpus folder.
        dataset: what stands in its dataset.json, or nothing.
        keep_releases: how many releases stay, the newest included; None: all.
        replaced: the dataset.json that stood before.

    Raises:
        DataError: a tar in `shards/` is of no release; nothing has changed then.
    """
    newest = release_of(dataset) if dataset else -1
    found = release_files(corpus)
    committed = [number for number in found if number <= newest]
    tars = [name for name in corpus.names(SHARDS) if name.endswith(".tar")]
    strays = {name.removeprefix(f"{SHARDS}/") for name in tars} - _names(dataset)
    lists = _lists(corpus, found) if strays or keep_releases is not None else {}
    unreadable = any(lists.get(number, ()) is None for number in committed)
    older = strays & _union(lists, committed)
    if unreadable:
        older |= {name for name in strays if SHARD_NAME.fullmatch(name)}
    broken_off = strays - older
    written = {_file(name) for name in corpus.names(NEW_SHARDS)}
    _check_ours(corpus, broken_off - _union(lists, found) - _names(replaced or {}) - written)
    corpus.sweep()
    if dataset:
        _restore(corpus, dataset, broken_off=len(found) > len(committed))
    _sort_shards(corpus, older, broken_off)
    prune = keep_releases is not None and not unreadable
    stay = committed[-keep_releases:] if prune and keep_releases else committed
    for number in found:
        if number not in stay:
            _remove(corpus, number, found[number])
    if prune:
        _drop_shards(corpus, _union(lists, stay))
    forget_media(corpus)


def _top(corpus: Store) -> dict[str, Any]:
    """Returns the dataset.json of a corpus, or nothing where there is none."""
    return read_newest(corpus) if corpus.exists(DATASET) else {}


def _to_top(corpus: Store, release: int) -> None:
    """Puts the files of a release to the top, dataset.json last."""
    folder = release_folder(release)
    for name in FILES:
        with contextlib.suppress(FileNotFoundError):  # not all of them may have been copied here
            corpus.copy(f"{folder}/{name}", name)
    corpus.put(DATASET, corpus.get(f"{folder}/{DATASET}"))


def _is_written(corpus: Store, dataset: Mapping[str, Any]) -> bool:
    """Returns whether all of a release stands that is to be committed."""
    if not _holds(corpus, release_folder(release_of(dataset)), dataset):
        return False
    stand = {_file(name) for name in corpus.names(SHARDS)}
    return all(
        entry["name"] in stand or _has(corpus, NEW_SHARDS, entry) for entry in dataset["shards"]
    )


def _holds(corpus: Store, folder: str, dataset: Mapping[str, Any]) -> bool:
    """Returns whether this dataset.json stands in a release folder."""
    try:
        return read_dataset_json(corpus, folder) == dataset
    except DataError:
        return False


def _has(corpus: Store, folder: str, entry: Mapping[str, Any]) -> bool:
    """Returns whether a shard lies in a folder with all its bytes."""
    return corpus.size_or_none(f"{folder}/{entry['name']}") == int(entry["bytes"])


def _names(dataset: Mapping[str, Any]) -> set[str]:
    return {entry["name"] for entry in dataset.get("shards", [])}


def _lists(corpus: Store, found: Mapping[int, Collection[str]]) -> dict[int, set[str] | None]:
    """Returns the shards that each release lists, None where its dataset.json cannot be read."""
    lists: dict[int, set[str] | None] = {}
    for number, names in found.items():
        folder = release_folder(number)
        if f"{folder}/{DATASET}" in names:
            try:
                entries = read_dataset_json(corpus, folder)["shards"]
                lists[number] = {entry["name"] for entry in entries}
            except (DataError, KeyError, TypeError):
                lists[number] = None
    return lists


def _union(lists: Mapping[int, set[str] | None], numbers: Iterable[int]) -> set[str]:
    return set().union(*(lists.get(number) or () for number in numbers))


def _check_ours(corpus: Store, foreign: Collection[str]) -> None:
    """Raises DataError where a tar in `shards/` is of no release."""
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise DataError(
            f"no release in {one_line(corpus.url)} lists {SHARDS}/{one_line(min(foreign))}{more}: "
            f"move what is not of this corpus out of {SHARDS}/, and the same command goes on"
        )


def _restore(corpus: Store, dataset: Mapping[str, Any], broken_off: bool) -> None:
    """Puts the files of a release back to the top where those of a later one may have come."""
    folder = release_folder(release_of(dataset))
    if not _holds(corpus, folder, dataset):
        return
    for name in FILES:
        source = f"{folder}/{name}"
        if (broken_off or not corpus.exists(name)) and corpus.exists(source):
            corpus.copy(source, name)
    data = corpus.get(f"{folder}/{DATASET}")
    if corpus.get(DATASET) != data:
        corpus.put(DATASET, data)


def _sort_shards(corpus: Store, older: Iterable[str], broken_off: Iterable[str]) -> None:
    """Moves shards of older releases to where they belong, and removes those of none."""
    for name in sorted(older):
        corpus.move(f"{SHARDS}/{name}", f"{OLD_SHARDS}/{name}")
    for name in sorted(broken_off):
        corpus.delete(f"{SHARDS}/{name}")
    for name in list(corpus.names(NEW_SHARDS)):
        corpus.delete(name)
    _remove_if_empty(corpus, NEW_SHARDS)


def _drop_shards(corpus: Store, needed: Collection[str]) -> None:
    """Removes the shards of older releases that are no longer kept."""
    for name in list(corpus.names(OLD_SHARDS)):
        if _file(name) not in needed and SHARD_NAME.fullmatch(_file(name)):
            corpus.delete(name)


def _remove(corpus: Store, release: int, names: list[str]) -> None:
    """Removes a release folder, what makes it a release first."""
    for name in sorted(names, key=lambda name: (_file(name) != DATASET, name)):
        corpus.delete(name)
    _remove_if_empty(corpus, release_folder(release))


def _remove_if_empty(corpus: Store, folder: str) -> None:
    """Removes a folder of a local store, which an object store would not have."""
    if corpus.local_root is not None:
        with contextlib.suppress(OSError):
            (corpus.local_root / folder).rmdir()


def _file(name: str) -> str:
    return name.rpartition("/")[2]
