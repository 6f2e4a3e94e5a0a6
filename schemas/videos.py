"""Many records in little memory: a table with the columns of `Video`, read one record at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, fields
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.schemas.tables import arrow_fields
from reelscript.schemas.video import FIELD_NAMES, Video

RECORD = pa.schema([field.with_nullable(True) for field in arrow_fields(Video)])
"""A column for each field of `Video`, in their order."""
LISTED = FIELD_NAMES[: FIELD_NAMES.index("detail") + 1]
"""What is known of a source before anything is measured: who it is, and what became of it."""
IDENTITY = FIELD_NAMES[: FIELD_NAMES.index("outcome")]
"""What comes from the source list."""
CHUNK_ROWS = 4096
DEFAULTS = {f.name: f.default for f in fields(Video) if f.default not in (MISSING, None)}


class Videos:
    """A sequence of `Video` that holds a table: about 0.2 kB a listed source, 1 kB a measured one.

    ```
    found = Videos.of(videos)
    for video in found: ...
    ```

    Attributes:
        table: some or all columns of RECORD; a field without a column is None, or its default, in
            every record.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, videos: Iterable[Video]) -> Videos:
        """Returns the records of any iterable, which is read once."""
        builder = VideosBuilder()
        for video in videos:
            builder.add(video)
        return builder.videos()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Video]:
        for batch in self.table.to_batches(max_chunksize=CHUNK_ROWS):
            known = {
                name: _read(column)
                for name, column in zip(batch.schema.names, batch.columns, strict=True)
                if name in FIELD_NAMES and column.null_count < len(column)
            }
            names = list(known)
            for row in zip(*known.values(), strict=True):
                yield Video(**dict(zip(names, row, strict=True)))

    def __getitem__(self, index: int) -> Video:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{index} of {len(self)} records")
        return next(iter(Videos(self.table.slice(index % len(self), 1))))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Videos | list | tuple):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def column(self, name: str) -> Any:
        """Returns one column, of nulls or defaults where the table has none of that name."""
        if name in self.table.column_names:
            return self.table[name]
        field = RECORD.field(name)
        value = pa.scalar(DEFAULTS.get(name), field.type)
        return pa.chunked_array([pa.repeat(value, len(self))])

    def where(self, mask: Any) -> Videos:
        """Returns the records for which a boolean column is true."""
        return Videos(self.table.filter(mask))


class VideosBuilder:
    """Takes records one by one and packs them as they come."""

    def __init__(self, names: Sequence[str] = FIELD_NAMES) -> None:
        self._names = list(names)
        self._schema = pa.schema([RECORD.field(name) for name in names])
        self._rows: list[tuple[Any, ...]] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, video: Video) -> None:
        """Adds one record."""
        self.add_row(tuple(getattr(video, name) for name in self._names))

    def add_row(self, values: tuple[Any, ...]) -> None:
        """Adds the values of one record, in the order of the names."""
        self._rows.append(values)
        if len(self._rows) >= CHUNK_ROWS:
            self._pack()

    def _pack(self) -> None:
        columns = zip(*self._rows, strict=True) if self._rows else ([] for _ in self._names)
        arrays = [_packed(c, f.type) for c, f in zip(columns, self._schema, strict=True)]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._rows = []

    def videos(self) -> Videos:
        """Returns what was added."""
        if self._rows:
            self._pack()
        return Videos(pa.Table.from_batches(self._batches, schema=self._schema))


MARK = "\0hex:"


def _packed(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Returns a column; text that is no UTF-8 (a file name) stands in it as marked hex."""
    if not pa.types.is_string(kind):
        return pa.array(values, kind)
    try:
        array = pa.array(values, kind)
        if not pc.any(pc.starts_with(array, "\0")).as_py():
            return array
    except UnicodeEncodeError:
        pass
    return pa.array([None if v is None else _marked(v) for v in values], kind)


def _marked(text: str) -> str:
    """Returns text in the one form that it has in a column, whatever stands beside it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return MARK + text.encode("utf-8", "surrogatepass").hex()
    return MARK + text.encode().hex() if text.startswith("\0") else text


def _read(array: pa.Array) -> list[Any]:
    """Returns the values of a column as they were before `_packed`."""
    values: list[Any] = array.to_pylist()
    if pa.types.is_string(array.type) and pc.any(pc.starts_with(array, MARK)).as_py():
        return [_unmarked(v) if v and v.startswith(MARK) else v for v in values]
    return values


def _unmarked(text: str) -> str:
    return bytes.fromhex(text[len(MARK) :]).decode("utf-8", "surrogatepass")
