"""Corpora for readers, written with tarfile and json alone: many small samples in uneven shards."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reelscript.schemas.tables import CLIPS, SAMPLES

from .corpus_made import FPS, HEIGHT_PX, WIDTH_PX, make_mp4


@dataclass(frozen=True)
class Made:
    """A sample: how long, its clips (start, end, text), in which shard, in which split."""

    key: str
    duration_s: float
    clips: tuple[tuple[float, float, str], ...]
    shard: str
    frames: bool = False  # has a frames member
    split: str = "train"

    def json(self) -> dict[str, Any]:
        """Returns its json: words begin every half second of a clip."""
        return {"key": self.key, "clips": [self.clip(n) for n in range(len(self.clips))]}

    def clip(self, number: int) -> dict[str, Any]:
        start_s, end_s, text = self.clips[number]
        said = text.split()
        times = [start_s + (end_s - start_s) * n / max(1, len(said)) for n in range(len(said))]
        words = [
            {"word": f" {w}", "start_s": round(t, 3), "end_s": round(t + 0.1, 3)}
            for w, t in zip(said, times, strict=True)
        ]
        return {"start_s": start_s, "end_s": end_s, "text": text, "words": words}


def second_clips(count: int, each_s: float = 1.0) -> tuple[tuple[float, float, str], ...]:
    """Returns clips one after the other, of two words each."""
    return tuple((n * each_s, (n + 1) * each_s, f"clip {n}") for n in range(count))


@cache
def mp4_of(frames: int, keyframe_every: int = FPS) -> bytes:
    """Returns an mp4 whose frame n is a grey of luma 16 + 6 (n % 36)."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "made.mp4"
        make_mp4(path, frames, keyframe_every, sound=False)
        return path.read_bytes()


def write_corpus(folder: Path, samples: Sequence[Made]) -> Path:
    """Writes a corpus that holds these samples, in this order."""
    (folder / "shards").mkdir(parents=True)
    rows, clips, entries = [], [], []
    for shard in dict.fromkeys(made.shard for made in samples):
        held = [made for made in samples if made.shard == shard]
        with tarfile.open(folder / "shards" / shard, "w", format=tarfile.USTAR_FORMAT) as tar:
            rows += [add_sample(tar, made) for made in held]
        data = (folder / "shards" / shard).read_bytes()
        entries.append(
            {"name": shard, "split": held[0].split, "samples": len(held)}
            | {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        )
    for made in samples:
        for n, (start_s, end_s, text) in enumerate(made.clips):
            clips.append(
                {"video_id": made.key, "clip_index": n, "start_s": start_s, "end_s": end_s}
                | {"text": text, "outcome": "kept", "sample_key": made.key, "within_bounds": True}
            )
    tables = {"samples": samples_table(rows), "clips": table_of(clips, CLIPS)}
    sha256 = {}
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
        sha256[name] = hashlib.sha256((folder / f"{name}.parquet").read_bytes()).hexdigest()
    info = {"format": "reelscript/1", "name": "made", "shards": entries, "tables": sha256}
    (folder / "dataset.json").write_text(json.dumps(info))
    return folder


def samples_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Returns samples.parquet; as older versions wrote it where no sample has a frames member."""
    table = table_of(rows, SAMPLES)
    if any("frames_offset" in row for row in rows):
        return table
    return table.drop_columns([f"frames_{name}" for name in ("offset", "size", "sha256")])


def table_of(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Returns rows as a table; what they do not say is null."""
    return pa.Table.from_pylist(rows, pa.schema([field.with_nullable(True) for field in schema]))


def add_sample(tar: tarfile.TarFile, made: Made) -> dict[str, Any]:
    """Adds the members of a sample, and returns its row."""
    text = " ".join(text for _, _, text in made.clips)
    frames = round(made.duration_s * FPS)
    members = {
        "mp4": mp4_of(frames),
        "json": json.dumps(made.json()).encode(),
        "txt": text.encode(),
    }
    if made.frames:
        members["frames.mp4"] = mp4_of(frames, 1)
    row: dict[str, Any] = {
        "key": made.key,
        "shard": made.shard,
        "split": made.split,
        "video_id": made.key,
        "start_s": 0.0,
        "end_s": made.duration_s,
        "duration_s": made.duration_s,
        "clips": len(made.clips),
        "text": text,
        "width_px": WIDTH_PX,
        "height_px": HEIGHT_PX,
        "fps": float(FPS),
        "frames": frames,
    }
    for kind, data in members.items():
        name = kind.partition(".")[0]
        row[f"{name}_offset"] = add_member(tar, f"{made.key}.{kind}", data)
        row[f"{name}_size"] = len(data)
        row[f"{name}_sha256"] = hashlib.sha256(data).hexdigest()
    return row


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Adds a member and returns the offset of its data."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    at = tar.offset
    tar.addfile(info, io.BytesIO(data))
    return at + len(info.tobuf(tar.format))


def uneven(folder: Path, per_shard: Sequence[int] = (7, 1, 4, 2, 9), clips: int = 4) -> Path:
    """Makes a corpus of uneven shards; each sample gives one window of four clips."""
    samples = [
        Made(f"x_{s}_{n}", float(clips), second_clips(clips), f"train-{s:06d}.tar")
        for s, held in enumerate(per_shard)
        for n in range(held)
    ]
    return write_corpus(folder, samples)
