"""What `features` gives: a row a source, and the two files that it may be written to."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.store import Store
from reelscript.schemas.text import one_line
from reelscript.schemas.video import Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What became of one source.

    Attributes:
        video_id, url: as in a corpus: of a local file its path relative to what was named.
        outcome: `kept`, or `failed` for `reason`, with `detail` for people.
        duration_s: of the picture, by its packets; None where it was not found.
        frames_used: how many different frames went into the embedding.
        embedding: float32 (d,); None where it failed.
    """

    video_id: str
    url: str
    outcome: str = "kept"
    reason: str | None = None
    detail: str | None = None
    duration_s: Seconds | None = None
    frames_used: int | None = None
    embedding: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class About:
    """How all embeddings of a table were made."""

    model: str
    checkpoint_sha256: str
    preprocess: str
    frames: int
    precision: str
    normalised: bool
    reelscript_version: str

    def texts(self) -> dict[str, str]:
        """Returns the same as text: `normalised` is `true` or `false`."""
        return {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class FeaturesTable:
    """One row a source, in the order of the sources.

    Attributes:
        table: the columns of `Features`; its schema's metadata holds `about` as text.
        about: how the embeddings were made.
    """

    table: pa.Table
    about: About

    @classmethod
    def of(cls, rows: Iterable[Features], size: int, about: About) -> FeaturesTable:
        """Returns the table of some rows with embeddings of `size` numbers."""
        held = list(rows)
        texts = ("video_id", "url", "outcome", "reason", "detail")
        columns = {name: pa.array([getattr(r, name) for r in held], pa.string()) for name in texts}
        columns["duration_s"] = pa.array([r.duration_s for r in held], pa.float64())
        columns["frames_used"] = pa.array([r.frames_used for r in held], pa.int64())
        columns["embedding"] = _vectors([r.embedding for r in held], size)
        return cls(pa.table(columns).replace_schema_metadata(about.texts()), about)

    @property
    def kept(self) -> pa.Table:
        """The rows that have an embedding."""
        return self.table.filter(pc.equal(self.table["outcome"], "kept"))

    @property
    def failed(self) -> pa.Table:
        """The rows that have none."""
        return self.table.filter(pc.equal(self.table["outcome"], "failed"))

    @property
    def size(self) -> int:
        """How many numbers an embedding has; 0 where a file that was read back holds none."""
        kind = self.table.schema.field("embedding").type
        if pa.types.is_fixed_size_list(kind):
            return int(kind.list_size)
        return max(pc.list_value_length(self.kept["embedding"]).to_pylist(), default=0)

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """The embeddings of the rows in `kept`: float32 (n, d)."""
        flat = self.kept["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return cast(NDArray[np.float32], flat.reshape(-1, self.size))

    @property
    def failed_share(self) -> float:
        """The share of sources that failed, 0..1."""
        return float(self.failed.num_rows / max(1, self.table.num_rows))

    def write(self, path: str | Path) -> None:
        """Writes a `.npz` or `.parquet` file, whole or not at all.

        Raises:
            UsageError: the name ends in something else, or is a folder's or an address.
            StorageError: it cannot be stored.
        """
        data = writer_of(path)(self)
        where = Path(path)
        Store(str(where.absolute().parent)).put(where.name, data)


def writer_of(path: str | Path) -> Callable[[FeaturesTable], bytes]:
    """Returns what makes the bytes of a file of that name. Raises UsageError."""
    where, shown = Path(path), one_line(str(path), 200)
    if where.suffix not in WRITERS:
        raise UsageError(f"-o {shown}: its name has to end in {' or '.join(WRITERS)}")
    if "://" in str(path):
        raise UsageError(f"-o {shown} is an address: expected a file of this machine")
    if where.is_dir():
        raise UsageError(f"-o {shown} is a folder: expected a file")
    return WRITERS[where.suffix]


def _vectors(vectors: list[NDArray[np.float32] | None], size: int) -> pa.Array:
    """Returns vectors as a column of lists of `size` numbers; None becomes null."""
    full = np.zeros((len(vectors), size), np.float32)
    for row, vector in enumerate(vectors):
        if vector is not None:
            full[row] = vector
    missing = pa.array([vector is None for vector in vectors], pa.bool_())
    return pa.FixedSizeListArray.from_arrays(pa.array(full.reshape(-1)), size, mask=missing)


def _parquet(features: FeaturesTable) -> bytes:
    import pyarrow.parquet as pq

    table, buffer = features.table, io.BytesIO()
    at = table.column_names.index("embedding")
    # pyarrow before 26 cannot read lists of a fixed size back if one of them is null.
    plain = table["embedding"].cast(pa.list_(pa.float32()))
    pq.write_table(table.set_column(at, "embedding", plain), buffer, compression="zstd")
    return buffer.getvalue()


def _npz(features: FeaturesTable) -> bytes:
    """Returns arrays and scalars of text and numbers, none of which needs a pickle."""
    kept, failed = features.kept, features.failed
    arrays: dict[str, Any] = {
        "video_id": _texts(kept["video_id"]),
        "url": _texts(kept["url"]),
        "duration_s": np.asarray(kept["duration_s"].to_pylist(), np.float64),
        "frames_used": np.asarray(kept["frames_used"].to_pylist(), np.int64),
        "embedding": features.embeddings,
        "failed_video_id": _texts(failed["video_id"]),
        "failed_url": _texts(failed["url"]),
        "failed_reason": _texts(failed["reason"]),
        "failed_detail": _texts(failed["detail"]),
        **{name: np.asarray(value) for name, value in asdict(features.about).items()},
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # compressed: one long URL makes its whole column wide
    return buffer.getvalue()


def _texts(column: Any) -> NDArray[np.str_]:
    return np.asarray([text or "" for text in column.to_pylist()], np.str_)


WRITERS = {".npz": _npz, ".parquet": _parquet}
