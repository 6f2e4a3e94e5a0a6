"""What became of each video, as it happens: segments of one writer each, merged to Parquet.

A segment is an object that is put once and never changed. Names sort in the order of writing, so
the last row for a video is its latest. Nothing here is needed to be right, only to be fast: a
ledger that is lost is walked again from the remembered results, without measuring anything twice.

```
ledger/sources.parquet                 what the newest build is about: a row for each source
ledger/000007-3f2a9c01-000000.jsonl    rows of build 7, put every few seconds
ledger/000007-3f2a9c01-000042.parquet  the same rows, and those of segments before them, sealed
ledger/encoded/...                     the same of encoding
```
"""

from __future__ import annotations

import io
import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reelscript.pipeline.errors import StorageError
from reelscript.pipeline.store import Store
from reelscript.schemas.video import Video
from reelscript.schemas.videos import RECORD, VideosBuilder

FLUSH_S = 2.0
FLUSH_ROWS = 1000
SEAL_ROWS, SEAL_SEGMENTS = 20_000, 500  # of one writer, then they become one Parquet segment
MERGE_RATIO = 2  # an older segment is merged if it has at most so many times the rows after it:
# then there are about log2(rows) segments, and a row is written about as often
LARGE_ROWS = 250_000  # segments above this stay as they are, so that merging needs little memory
MOST_LISTINGS = 20
LISTING = "ledger/sources.parquet"
MEASURED, ENCODED = "ledger", "ledger/encoded"
"""Where the rows of the two phases lie."""
SEGMENT = re.compile(r"\d{6}-[^/]*\.(jsonl|parquet)")
OWN = (("chain", pa.string()), ("cpu_s", pa.string()))
SCHEMA = pa.schema([*RECORD, *OWN])
NOT_PARQUET = (ValueError, LookupError, TypeError, AttributeError, OSError, pa.ArrowException)


@dataclass(frozen=True)
class Row:
    """One video after measuring.

    Attributes:
        chain: digest of all settings that it was measured with; with what the list says of the
            source it tells whether the row still stands (`pipeline.resume`).
        video: the record.
        cpu_s: CPU seconds by stage, whichever build spent them.
    """

    chain: str
    video: Video
    cpu_s: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Returns the row as one line."""
        texts = {"chain": self.chain, "cpu_s": json.dumps(self.cpu_s)}
        return json.dumps({"video": self.video.to_json(), **texts}).encode() + b"\n"

    @classmethod
    def from_json(cls, line: bytes) -> Row:
        """Returns the row that `to_json` wrote."""
        texts: dict[str, str] = json.loads(line)
        return cls(texts["chain"], Video.from_json(texts["video"]), json.loads(texts["cpu_s"]))


class Ledger:
    """The ledger in a store: read by anyone, written by one writer.

    Use as a context manager: what was added is flushed at its end, also when an error passes
    through.
    """

    def __init__(self, store: Store, folder: str = MEASURED) -> None:
        self.store = store
        self._folder = folder
        self.segments = self._listed_segments()
        last = max((int(name.rpartition("/")[2][:6]) for name in self.segments), default=0)
        self._prefix = f"{folder}/{last + 1:06d}-{uuid.uuid4().hex[:8]}"
        self._count = 0
        self._unsealed: list[str] = []
        self._unsealed_rows: list[Row] = []
        self._rows: list[Row] = []
        self._flushed = time.monotonic()

    # Reading.

    def latest(self, columns: Sequence[str] = SCHEMA.names) -> pa.Table:
        """Returns the latest row of each video, without those of segments that cannot be read.

        Args:
            columns: names of SCHEMA: the fields of `Video`, `chain` and `cpu_s` (JSON: stage to
                CPU seconds). `video_id` comes with them.
        """
        names = ["video_id", *(name for name in columns if name != "video_id")]
        schema = pa.schema([SCHEMA.field(name) for name in names])
        for _ in range(MOST_LISTINGS):
            try:
                tables = [self._read(segment, schema) for segment in self.segments]
                break
            except FileNotFoundError:  # its writer has merged it with others
                self.segments = self._listed_segments()
        else:
            raise StorageError(f"{self.store.url}/{self._folder} changes faster than it is read")
        return _last_of_each(pa.concat_tables([schema.empty_table(), *tables]))

    def _listed_segments(self) -> list[str]:
        names = self.store.names(self._folder)
        return [name for name in names if _is_segment(name, self._folder)]

    def list_sources(self, listed: pa.Table) -> None:
        """Puts what the build is about: columns of `Video` as listed, and `chain`."""
        self.store.put(LISTING, _parquet(listed))

    def listed(self) -> pa.Table | None:
        """Returns what `list_sources` put, or None where no build has begun."""
        try:
            return pq.read_table(io.BytesIO(self.store.get(LISTING)))
        except FileNotFoundError:
            return None
        except NOT_PARQUET as error:  # cut off by a lost machine: the next build puts it anew
            _raise_if_unread(error, f"{self.store.url}/{LISTING}")
            return None

    def _read(self, segment: str, schema: pa.Schema) -> pa.Table:
        """Returns the rows of a segment; none where it is damaged: they are walked again.

        Raises:
            FileNotFoundError: it is no longer there.
        """
        with self.store.open_read(segment) as file:
            try:
                if segment.endswith(".jsonl"):
                    # not splitlines(): a title or a path may hold U+2028, at which that would cut
                    lines = [line for line in file.read().split(b"\n") if line]
                    table = _table([Row.from_json(line) for line in lines])
                else:
                    table = _widened(pq.ParquetFile(file), schema.names)
                return table.select(schema.names).cast(schema)
            except NOT_PARQUET as error:
                _raise_if_unread(error, f"{self.store.url}/{segment}")
                return schema.empty_table()

    # Writing.

    def add(self, row: Row) -> None:
        """Adds a row; it is in the store at the latest FLUSH_S seconds after the next one comes."""
        self._rows.append(row)
        if len(self._rows) >= FLUSH_ROWS or time.monotonic() - self._flushed > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Puts what was added as one more segment."""
        if self._rows:
            self._unsealed.append(self._put("jsonl", b"".join(row.to_json() for row in self._rows)))
            self._unsealed_rows += self._rows
            self._rows = []
            if len(self._unsealed_rows) >= SEAL_ROWS or len(self._unsealed) >= SEAL_SEGMENTS:
                self._seal()
        self._flushed = time.monotonic()

    def compact(self) -> None:
        """Merges segments, the newest first, so that few are left and none is rewritten often.

        Only neighbours are merged, so the order of rows stays.
        """
        self.flush()
        self._seal()
        last: list[str] = []
        rows = 0
        for segment in reversed(self.segments):
            count = self._rows_in(segment)
            if count > LARGE_ROWS or (last and count > MERGE_RATIO * max(rows, FLUSH_ROWS)):
                break
            last.insert(0, segment)
            rows += count
        if len(last) > 1:
            tables = [self._read(segment, SCHEMA) for segment in last]
            self._replace(last, _last_of_each(pa.concat_tables(tables)))

    def clear(self) -> None:
        """Removes all rows; the next build walks every source through its stages again."""
        for segment in self.segments:
            self.store.delete(segment)
        self.segments = []

    def _rows_in(self, segment: str) -> int:
        if segment.endswith(".jsonl"):
            return 0
        try:
            with self.store.open_read(segment) as file:
                return int(pq.ParquetFile(file).metadata.num_rows)
        except NOT_PARQUET as error:
            _raise_if_unread(error, f"{self.store.url}/{segment}")
            return 0

    def _seal(self) -> None:
        """Puts the rows of this writer's small segments as one, and removes those."""
        if self._unsealed:
            self._replace(self._unsealed, _last_of_each(_table(self._unsealed_rows)))
            self._unsealed, self._unsealed_rows = [], []

    def _replace(self, old: Sequence[str], table: pa.Table) -> None:
        old = list(old)
        self._put("parquet", _parquet(table))
        for segment in old:  # only now: who is killed in between leaves rows twice, which is fine
            self.store.delete(segment)
        self.segments = [segment for segment in self.segments if segment not in set(old)]

    def _put(self, ending: str, data: bytes) -> str:
        name = f"{self._prefix}-{self._count:06d}.{ending}"
        self.store.put(name, data)
        self.segments.append(name)
        self._count += 1
        return name

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()


def _raise_if_unread(error: BaseException, name: str) -> None:
    """Raises StorageError where the system could not read, which says nothing of what is there."""
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, OSError) and error.errno is not None:
        raise StorageError(f"cannot read {name}: {error.strerror}") from error


def _is_segment(name: str, folder: str) -> bool:
    return SEGMENT.fullmatch(name.removeprefix(f"{folder}/")) is not None


def _table(rows: Iterable[Row]) -> pa.Table:
    rows = list(rows)
    builder = VideosBuilder()
    for row in rows:
        builder.add(row.video)
    table = builder.videos().table
    own: dict[str, Callable[[Row], Any]] = {
        "chain": lambda row: row.chain,
        "cpu_s": lambda row: json.dumps(row.cpu_s),
    }
    for name, kind in OWN:
        table = table.append_column(name, pa.array([own[name](row) for row in rows], kind))
    return table


def _widened(file: pq.ParquetFile, names: Sequence[str]) -> pa.Table:
    """Returns columns of a segment, also one that a version with fewer or more fields wrote."""
    there = [name for name in names if name in file.schema_arrow.names]
    table = file.read(columns=there)
    for name in names:
        if name not in there:
            table = table.append_column(name, pa.nulls(len(table), SCHEMA.field(name).type))
    if table["video_id"].null_count:
        raise ValueError("a row without video_id")
    return table


def _last_of_each(table: pa.Table) -> pa.Table:
    """Returns the last row for each video_id, in the order of those rows."""
    rows = pa.table({"video_id": table["video_id"], "row": np.arange(len(table))})
    last = rows.group_by("video_id").aggregate([("row", "max")])["row_max"].sort()
    if len(last) == len(table):
        return table
    stays = np.zeros(len(table), np.bool_)
    stays[last.to_numpy()] = True
    return table.filter(pa.array(stays))  # take() would join all text of a column: 2 GiB at most


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
