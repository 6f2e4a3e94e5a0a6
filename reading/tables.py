"""The files of a corpus beside its shards: dataset.json and the three tables."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reelscript.pipeline.errors import DataError
from reelscript.pipeline.store import Store
from reelscript.schemas.sample import FORMAT
from reelscript.schemas.text import one_line


class NoJson(DataError):
    """A dataset.json that is there is no JSON."""


def no_json(name: str) -> Any:
    """Raises ValueError: NaN and the infinities, which json.loads would take, are no JSON."""
    raise ValueError(f"{name} is not JSON")


def read_dataset_json(store: Store, folder: str = "") -> dict[str, Any]:
    """Returns what stands in dataset.json. Raises DataError where it is missing or foreign.

    Args:
        store: the corpus folder.
        folder: of an older release in it; by default the newest is read.
    """
    where = one_line("/".join([store.url, folder]) if folder else store.url)
    try:
        info = json.loads(store.get(_in(folder, "dataset.json")), parse_constant=no_json)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise DataError(f"there is no corpus in {where}: it holds no dataset.json") from None
    except (ValueError, RecursionError):
        raise NoJson(f"{where}/dataset.json is not JSON: is the corpus damaged?") from None
    found = info.get("format") if isinstance(info, dict) else None
    if found != FORMAT:
        raise DataError(
            f"{where} is of the format {one_line(repr(found), 60)}, this version reads {FORMAT!r}"
        )
    return dict(info)


def read_table(
    store: Store,
    name: str,
    expected_sha256: str | None = None,
    folders: Sequence[str] = ("",),
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Returns the table `NAME.parquet` of a corpus: one file, or a folder of part files.

    Args:
        store: the corpus folder.
        name: "videos", "clips" or "samples".
        expected_sha256: of the one file, as dataset.json states it.
        folders: where in the corpus it may lie: the first that holds the expected one is read.
            While a release is published, or after that was broken off, the first may hold another.
        columns: those that are wanted; None: all.

    Raises:
        DataError: it is missing, no Parquet, or not the one that dataset.json names.
    """
    at = f"{one_line(store.url)}/{_in(folders[0], name)}.parquet"
    wrong = False
    for folder in folders:
        contents = _contents(store, f"{_in(folder, name)}.parquet")
        digest = hashlib.sha256(b"".join(contents)).hexdigest() if contents else None
        if digest is not None and expected_sha256 in (None, digest):
            return _parsed(contents, at, columns)
        wrong = wrong or digest is not None
    if wrong:
        raise DataError(f"{at} is not the one that dataset.json names: damaged, or being published")
    raise DataError(f"{at} is missing")


def _contents(store: Store, name: str) -> list[bytes]:
    """Returns the file of a table, or its part files; none where it is missing."""
    try:
        return [store.get(part) for part in store.names(name) if part.endswith(".parquet")]
    except FileNotFoundError:  # removed between the two
        return []


def _parsed(contents: list[bytes], at: str, columns: Sequence[str] | None) -> pa.Table:
    wanted = None if columns is None else list(columns)
    try:
        tables = [pq.ParquetFile(io.BytesIO(data)).read(columns=wanted) for data in contents]
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{at} cannot be read: {one_line(str(error), 120)}") from None


def _in(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
