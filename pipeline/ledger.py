"""What became of each video, as it happens: segments of one writer each, compacted to Parquet.

A segment is an object that is put once and never changed. Names sort in the order of writing, so
the last row for a video is its latest. Nothing here is needed to be right, only to be fast: a
ledger that is lost is walked again from the remembered results, without measuring anything twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import time
import uuid
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from reelscript.pipeline.store import Store
from reelscript.schemas.video import Video

FLUSH_S = 2.0
FLUSH_ROWS = 1000
SEGMENT = re.compile(r"ledger/\d{6}-[^/]*\.(jsonl|parquet)")
SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("fingerprint", pa.string()),
        ("video", pa.string()),
        ("cpu_s", pa.string()),
    ]
)


@dataclass(frozen=True)
class Row:
    """One video after measuring.

    Attributes:
        fingerprint: digest of the source and of all settings it was measured with.
        video: the record.
        cpu_s: CPU seconds by stage, of the builds that measured it.
    """

    fingerprint: str
    video: Video
    cpu_s: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, str]:
        """Returns the row as four texts."""
        texts = {
            "fingerprint": self.fingerprint,
            "video": self.video.to_json(),
            "cpu_s": json.dumps(self.cpu_s),
        }
        return {"video_id": self.video.video_id, **texts}

    @classmethod
    def from_dict(cls, texts: dict[str, str]) -> Row:
        """Returns the row that `to_dict` wrote."""
        return cls(
            texts["fingerprint"], Video.from_json(texts["video"]), json.loads(texts["cpu_s"])
        )


class Ledger:
    """The ledger in a store: read at the start, then written by one writer.

    Use as a context manager: what was added is flushed at its end, also when an error passes
    through.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.segments = [name for name in store.names("ledger") if SEGMENT.fullmatch(name)]
        last = max((int(name.rpartition("/")[2][:6]) for name in self.segments), default=0)
        self._prefix = f"ledger/{last + 1:06d}-{uuid.uuid4().hex[:8]}"
        self._count = 0
        self._rows: list[Row] = []
        self._flushed = time.monotonic()

    def rows(self) -> dict[str, Row]:
        """Returns the latest row of each video, without those of segments that cannot be read."""
        found: dict[str, Row] = {}
        for name in self.segments:
            with contextlib.suppress(FileNotFoundError):
                found |= _rows(name, self.store.get(name))
        return found

    def add(self, row: Row) -> None:
        """Adds a row; it is in the store at the latest FLUSH_S seconds after the next one comes."""
        self._rows.append(row)
        if len(self._rows) >= FLUSH_ROWS or time.monotonic() - self._flushed > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Puts what was added as one more segment."""
        if self._rows:
            lines = "".join(
                json.dumps(row.to_dict(), ensure_ascii=False) + "\n" for row in self._rows
            )
            name = f"{self._prefix}-{self._count:06d}.jsonl"
            self.store.put(name, lines.encode())
            self.segments.append(name)
            self._count += 1
            self._rows.clear()
        self._flushed = time.monotonic()

    def compact(self) -> None:
        """Puts all rows as one Parquet segment and removes the segments that it replaces."""
        self.flush()
        if len(self.segments) < 2:
            return
        rows = [row.to_dict() for row in self.rows().values()]
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), sink, compression="zstd")
        name = f"{self._prefix}-{self._count:06d}.parquet"
        self.store.put(name, sink.getvalue())
        for old in self.segments:
            self.store.delete(old)
        self.segments = [name]
        self._count += 1

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()


def _rows(name: str, data: bytes) -> dict[str, Row]:
    """Returns the rows of a segment; none where it is damaged: they are walked again."""
    try:
        return {texts["video_id"]: Row.from_dict(texts) for texts in _texts(name, data)}
    except (ValueError, LookupError, TypeError, AttributeError, OSError, pa.ArrowException):
        return {}


def _texts(name: str, data: bytes) -> list[dict[str, str]]:
    if name.endswith(".parquet"):
        rows: list[dict[str, str]] = pq.read_table(io.BytesIO(data)).to_pylist()
        return rows
    # not splitlines(): a title or a path may hold U+2028, at which that would cut
    return [json.loads(line) for line in data.split(b"\n") if line]


IDENTITY = tuple(f.name for f in dataclasses.fields(Video))[
    : [f.name for f in dataclasses.fields(Video)].index("outcome")
]
"""The fields of a video that come from the source list."""


def with_facts_of(listed: Video, known: Video) -> Video:
    """Returns the video as the source list has it now, with its known facts and outcome."""
    return dataclasses.replace(known, **{name: getattr(listed, name) for name in IDENTITY})
