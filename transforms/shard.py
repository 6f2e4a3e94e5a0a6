"""Samples into shards: plain tar files that are the same whenever they are written.

```
train-000000.tar  | head KEY.mp4 | data | head KEY.json | data | head KEY.txt | data | ... | zeros |
                    behind the txt head KEY.frames.mp4 | data, where a sample has one
samples.parquet     a row a sample: its shard; offset, size and sha256 of each member's data
```
"""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from annotated_types import Ge, Le

from reelscript.pipeline.attempts import storage_error
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.stage import tuning
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.tables import SAMPLES
from reelscript.schemas.video import Video
from reelscript.transforms.sample import SampleParts
from reelscript.transforms.tar_writer import TarWriter

SHARD_FOLDER = "shards"
GROUP_ROWS = 65_536
FROM_JSON = {"split", "video_id", "start_s", "end_s", "duration_s", "language"}
FROM_JSON |= {"width_px", "height_px", "fps", "frames"}  # columns of samples.parquet


@dataclass(frozen=True)
class Shard:
    """How large shards are, which videos are held out for validation, which releases stay.

    Attributes:
        target_bytes: about how many bytes a shard holds; see `pipeline.plan.plan_shards`. Large
            enough that an object store streams it, small enough that a changed one is soon written
            again.
        val_fraction: share of the channels (of the videos, where no channel is known) that go to
            the split `val`.
        keep_releases: how many releases can be read, the newest included; files that only others
            need are removed. None: all.
    """

    target_bytes: Annotated[int, Ge(1)] = 512_000_000
    val_fraction: Annotated[float, Ge(0), Le(1)] = 0.02
    keep_releases: Annotated[int, Ge(1)] | None = tuning(None)

    def split_of(self, video: Video) -> str:
        """Returns "train" or "val": it follows from the channel alone, else from the video_id.

        So all videos of a channel lie on one side, and no video changes sides when others come or
        go.
        """
        channel = video.channel or video.site_channel
        place = hashlib.sha256((channel or video.video_id).encode()).digest()
        return "val" if int.from_bytes(place[:8]) / 2**64 < self.val_fraction else "train"


@dataclass(frozen=True, slots=True)
class WrittenShard:
    """A shard in the store: its entry for `dataset.json` and its rows for `samples.parquet`."""

    entry: dict[str, Any]  # name, split, samples, bytes, sha256
    rows: pa.Table  # schemas.tables.SAMPLES, in the order of the tar


def write_shard(
    name: str,
    samples: Iterable[SampleParts],
    workspace: Workspace,
    store: Store,
    folder: str = SHARD_FOLDER,
) -> WrittenShard:
    """Returns the entry and rows of a shard, once it stands whole in a folder of the store.

    The same samples give the same bytes. It is made in a local temporary file, with the members of
    one sample in memory at a time.

    Args:
        name: its file name, as the plan gives it.
        samples: its samples in the order of the plan; all of one split.
        workspace: where the mp4s lie.
        store: the corpus folder.
        folder: where in it the shard is put.

    Returns:
        The entry for `dataset.json` and the rows for `samples.parquet`.

    Raises:
        DataError: there is no sample, two splits are mixed, a key is no member name, or an mp4 is
            damaged.
        StorageError: the shard cannot be written.
    """
    rows = []
    with _local_file(workspace.scratch) as part:
        with _for_writing(part) as file:
            tar = TarWriter(file)
            for sample in samples:
                rows.append(_add(tar, name, sample, workspace))
            tar.close()
        splits = sorted({row["split"] for row in rows})
        if len(splits) != 1:
            raise DataError(f"{name} would hold {len(rows)} samples of the splits {splits}")
        store.put_file(f"{folder}/{name}", part)
    entry = {
        "name": name,
        "split": splits[0],
        "samples": len(rows),
        "bytes": tar.bytes,
        "sha256": tar.sha256,
    }
    return WrittenShard(entry, pa.Table.from_pylist(rows, schema=SAMPLES))


def _add(tar: TarWriter, shard: str, sample: SampleParts, workspace: Workspace) -> dict[str, Any]:
    """Adds the members of one sample. Returns its row."""
    meta = sample.meta
    key = meta["key"]
    row: dict[str, Any] = {
        "key": key,
        "shard": shard,
        "clips": len(meta["clips"]),
        "text": sample.text,
    }
    row |= {column: value for column, value in meta.items() if column in FROM_JSON}
    json_data, txt_data = sample.members()
    members = {"mp4": workspace.get(sample.mp4), "json": json_data, "txt": txt_data}
    if sample.frames_mp4 is not None:
        members["frames.mp4"] = workspace.get(sample.frames_mp4)
    for member, data in members.items():
        column = member.removesuffix(".mp4")
        row[f"{column}_offset"] = tar.add(f"{key}.{member}", data)
        row[f"{column}_size"] = len(data)
        row[f"{column}_sha256"] = _sha256(data)
    return row


def table_bytes(name: str, table: pa.Table) -> bytes:
    """Returns a table as one Parquet file (zstd); same rows, same bytes.

    Raises:
        DataError: a column holds NaN or an infinity; what is unknown is null.
    """
    for column in table.column_names:
        floats = pa.types.is_floating(table.schema.field(column).type)
        if floats and not pc.all(pc.is_finite(table[column]), min_count=0).as_py():
            raise DataError(f"{name}: column {column} holds NaN or an infinity")
    buffer = io.BytesIO()
    with pq.ParquetWriter(
        buffer, table.schema, compression="zstd", compression_level=3, version="2.6"
    ) as writer:
        for start in range(0, len(table), GROUP_ROWS):
            writer.write_table(table.slice(start, GROUP_ROWS).combine_chunks(), GROUP_ROWS)
    return buffer.getvalue()


def write_table(store: Store, name: str, table: pa.Table) -> str:
    """Stores a table as `table_bytes` gives it, and returns its sha256."""
    data = table_bytes(name, table)
    store.put(name, data)
    return _sha256(data)


@contextmanager
def _local_file(folder: Path) -> Iterator[Path]:
    """Gives the path of a temporary file and removes it in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"shard-{uuid.uuid4().hex}.tar"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _for_writing(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file; what its disk refuses becomes a StorageError."""
    try:
        with path.open("wb") as file:
            yield file
    except FileNotFoundError:  # an artefact, not the disk
        raise
    except OSError as error:
        raise storage_error(f"write {path}", error, path.parent) from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
