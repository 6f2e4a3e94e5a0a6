"""The releases beside the newest: whether each can still be read, as far as that is cheap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reelscript.jobs.releases import TABLES
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.store import Store
from reelscript.reading.releases import SHARD_FOLDERS, release_files, release_folder, release_of
from reelscript.reading.tables import read_dataset_json, read_table


def release_faults(store: Store, info: Mapping[str, Any]) -> Iterator[str]:
    """Yields what is missing in the folder of each release or has another sha256 or size.

    Folders beyond the newest release are left out: it is being published, or that was broken off,
    and no reader looks there. Releases without a folder are none: they were not kept or not copied.

    Args:
        store: the corpus folder.
        info: what stands in its dataset.json.
    """
    newest = release_of(info)
    for number in release_files(store):
        if number > newest:
            continue
        folder = release_folder(number)
        try:
            own = read_dataset_json(store, folder)
        except DataError as error:
            yield str(error)
            continue
        if release_of(own) != number or (number == newest and own != info):
            yield f"{folder}/dataset.json is not that of release {number}"
        else:
            yield from _faults_of(store, folder, own)


def _faults_of(store: Store, folder: str, info: Mapping[str, Any]) -> Iterator[str]:
    for name in TABLES:
        try:
            read_table(store, name, info["tables"][name], (folder,))
        except DataError as error:
            yield str(error)
    for entry in info["shards"]:
        sizes = [store.size_or_none(f"{place}/{entry['name']}") for place in SHARD_FOLDERS]
        if entry["bytes"] not in sizes:
            size = f"{entry['bytes']} bytes"
            yield f"{folder}: its shard {entry['name']} is missing or has not {size}"
