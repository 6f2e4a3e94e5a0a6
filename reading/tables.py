"""The files of a corpus beside its shards: dataset.json and the three tables."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reelscript.pipeline.errors import DataError
from reelscript.pipeline.store import Store
from reelscript.schemas.sample import FORMAT
from reelscript.schemas.text import one_line


def no_json(name: str) -> Any:
    """Raises ValueError: NaN and the infinities, which json.loads would take, are no JSON."""
    raise ValueError(f"{name} is not JSON")


def read_dataset_json(store: Store) -> dict[str, Any]:
    """Returns what stands in dataset.json. Raises DataError where it is missing or foreign."""
    where = one_line(store.url)
    try:
        info = json.loads(store.get("dataset.json"), parse_constant=no_json)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise DataError(f"there is no corpus in {where}: it holds no dataset.json") from None
    except (ValueError, RecursionError):
        raise DataError(f"{where}/dataset.json is not JSON: is the corpus damaged?") from None
    found = info.get("format") if isinstance(info, dict) else None
    if found != FORMAT:
        raise DataError(
            f"{where} is of the format {one_line(repr(found), 60)}, this version reads {FORMAT!r}"
        )
    return dict(info)


def read_table(store: Store, name: str, expected_sha256: str | None = None) -> pa.Table:
    """Returns the table `NAME.parquet` of a corpus: one file, or a folder of part files.

    Args:
        store: the corpus folder.
        name: "videos", "clips" or "samples".
        expected_sha256: of the one file, as dataset.json states it.

    Raises:
        DataError: it is missing, no Parquet, or not the one that dataset.json names.
    """
    at = f"{one_line(store.url)}/{name}.parquet"
    parts = [part for part in store.names(f"{name}.parquet") if part.endswith(".parquet")]
    if not parts:
        raise DataError(f"{at} is missing")
    contents = [store.get(part) for part in parts]
    if (
        expected_sha256 is not None
        and hashlib.sha256(b"".join(contents)).hexdigest() != expected_sha256
    ):
        raise DataError(f"{at} is not the one that dataset.json names: damaged, or being published")
    try:
        tables = [pq.ParquetFile(io.BytesIO(data)).read() for data in contents]
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{at} cannot be read: {one_line(str(error), 120)}") from None
