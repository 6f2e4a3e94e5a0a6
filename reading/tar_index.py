"""What lies where in tars of captioned clips, found by their headers alone.

```
tar     | head a.mp4 | data | head a.json | data | head b.mp4 | ...
          ^ read       passed over          read   read
```

The members of a clip are those with the same name up to its first dot, as in WebDataset. What is
missing or doubled is counted, not guessed.
"""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reelscript.pipeline.errors import DataError
from reelscript.pipeline.store import Store
from reelscript.schemas.text import digest, one_line

HEADERS_BYTES = 1 << 14  # read at a time: a header, small members behind it, and the next header
WALKED_AT_ONCE = 8  # tars
CAPTIONS = ("txt", "json")  # the first that is there is taken
COLUMNS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("key", "shard", "caption")),
        *(
            pa.field(f"{member}_{what}", pa.int64())
            for member in ("mp4", "txt", "json")
            for what in ("offset", "size")
        ),
    ]
)


@dataclass(frozen=True)
class TarIndex:
    """The captioned clips of some tars.

    Attributes:
        rows: a row a clip, in the order of the tars: COLUMNS; `caption` says which member holds it.
        refused: how many clips were left out, by reason.
    """

    rows: pa.Table
    refused: dict[str, int]


def index_of(store: Store, tars: Sequence[str], cache: str | None = None) -> TarIndex:
    """Returns the captioned clips of tars. Reads headers only; with `cache`, once.

    Args:
        store: where they lie.
        tars: their names.
        cache: a folder, local or at any fsspec URL, where the index is remembered. It is made anew
            when a tar has come or gone or has another size.

    Raises:
        DataError: a tar is missing, or none.
    """
    sizes = {name: _size(store, name) for name in tars}
    name = f"captioned-1-{digest([store.url, sizes])}.parquet"
    kept = None if cache is None else Store(cache)
    if kept is not None:
        try:
            table = pq.ParquetFile(io.BytesIO(kept.get(name))).read()
            counts = (table.schema.metadata or {}).items()
            return TarIndex(table, {reason.decode(): int(count) for reason, count in counts})
        except (FileNotFoundError, pa.ArrowException, ValueError):
            pass
    refused, rows = Counter[str](missing_member=0, doubled_member=0, empty_caption=0), []
    with ThreadPoolExecutor(WALKED_AT_ONCE) as pool:
        for found in pool.map(lambda tar: _walked(store, tar, sizes[tar]), tars):
            for row in found:
                reason = _reason(row)
                if reason:
                    refused[reason] += 1
                else:
                    rows.append(row)
    table = pa.Table.from_pylist(rows, schema=COLUMNS)
    if kept is not None:
        table = table.replace_schema_metadata({k: str(count) for k, count in refused.items()})
        data = io.BytesIO()
        pq.write_table(table, data)
        kept.put(name, data.getvalue())
    return TarIndex(table, dict(refused))


def _size(store: Store, name: str) -> int:
    size = store.size_or_none(name)
    if size is None:
        raise DataError(f"{one_line(store.url)}/{one_line(name)} is missing")
    return size


def _reason(row: dict[str, Any]) -> str | None:
    """Returns why a clip is left out, or None; says in the row which member is its caption."""
    if row.pop("doubled", False):
        return "doubled_member"
    row["caption"] = next((kind for kind in CAPTIONS if f"{kind}_size" in row), None)
    if row["caption"] is None or "mp4_size" not in row:
        return "missing_member"
    return "empty_caption" if row[f"{row['caption']}_size"] == 0 else None


def _walked(store: Store, tar: str, size: int) -> list[dict[str, Any]]:
    """Returns a row for each group of members of a tar."""
    rows = list[dict[str, Any]]()
    try:
        for member in _headers(store, tar, size):
            key, _, kind = member.name.rpartition("/")[2].partition(".")
            folder = member.name.rpartition("/")[0]
            key = f"{folder}/{key}" if folder else key
            if not rows or rows[-1]["key"] != key:
                rows.append({"key": key, "shard": tar})
            if kind in ("mp4", *CAPTIONS):
                if f"{kind}_offset" in rows[-1]:
                    rows[-1]["doubled"] = True
                rows[-1][f"{kind}_offset"] = member.offset_data
                rows[-1][f"{kind}_size"] = member.size
    except tarfile.TarError as error:
        where = f"{one_line(store.url)}/{one_line(tar)}"
        raise DataError(f"{where} is no whole tar: {one_line(str(error), 120)}") from None
    return rows


def _headers(store: Store, tar: str, size: int) -> Iterator[tarfile.TarInfo]:
    """Yields the plain members of a tar."""
    file = io.BufferedReader(_Ranged(store, tar, size), HEADERS_BYTES)
    with tarfile.open(fileobj=file, mode="r:") as opened:
        for member in opened:
            opened.members.clear()  # type: ignore[attr-defined]  # else it keeps them all
            if member.isreg():
                yield member


class _Ranged(io.RawIOBase):
    """An object of a store as a file: each read is a ranged one."""

    def __init__(self, store: Store, name: str, size: int) -> None:
        self._store, self._name, self._size, self._at = store, name, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._size - self._at))
        data = self._store.get_range(self._name, self._at, wanted) if wanted else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
