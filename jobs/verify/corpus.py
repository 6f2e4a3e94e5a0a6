"""`reelscript verify`: a corpus folder against the published format, every fault in words.

```
corpus:  dataset.json -> tables: columns, nulls, NaN -> sources, clips, samples, each once
         -> shards -> older releases
shard:   bytes, sha256 -> members against the index -> json against the tables -> mp4 as it decodes
```
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from reelscript.jobs.releases import TABLES
from reelscript.jobs.verify.guarded import guarded
from reelscript.jobs.verify.releases import release_faults
from reelscript.jobs.verify.shard import Index, shard_faults
from reelscript.jobs.verify.tables import (
    Row,
    clip_faults,
    clips_by,
    column_faults,
    sample_faults,
    split_faults,
    video_faults,
)
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.plan import SHARD_NAME
from reelscript.pipeline.store import Store
from reelscript.reading.tables import no_json, read_dataset_json, read_table
from reelscript.schemas.text import one_line

BESIDES = ("README.md", "report.html", "stats.json", "config.yaml")
DATASET_KEYS = (
    "format",
    "name",
    "counts",
    "hours",
    "shards",
    "fingerprint",
    "versions",
    "releases",
)
ENTRY_TYPES = {"name": str, "split": str, "samples": int, "bytes": int, "sha256": str}
LOADED = re.compile(
    rb"<(?:script|img|link|iframe|video|audio|source)\b[^>]*"
    rb"\b(?:src|href)\s*=\s*[\"']?\s*(?:https?:)?//",
    re.I,
)
PIECE_BYTES = 1 << 20
LONGEST_FAULT = 300
HOUR_S = 3600.0


def verify(folder: str | Path, media: bool = True) -> list[str]:
    """Returns the faults of a corpus, each one printable sentence; an empty list if there is none.

    Args:
        folder: the corpus, local or at an fsspec URL.
        media: also decode every mp4.
    """
    found = guarded("the corpus", _faults(Store(str(folder)), media))
    return [one_line(fault, LONGEST_FAULT) for fault in found]


def _faults(store: Store, media: bool) -> Iterator[str]:
    try:
        info = read_dataset_json(store)
    except DataError as error:
        yield str(error)
        return
    yield from _file_faults(store)
    shape = list(guarded("dataset.json", _dataset_faults(info)))
    yield from shape
    tables: dict[str, list[Row]] = {}
    for name in TABLES:
        yield from _read(store, info, name, tables)
    if shape or len(tables) < len(TABLES):
        yield "the rest was not checked, because it rests on what is wrong above"
        return
    videos, clips, samples = (tables[name] for name in TABLES)
    yield from guarded("dataset.json", _count_faults(info, videos, clips, samples))
    of_video, of_sample = clips_by("video_id", clips), clips_by("sample_key", clips)
    by_id = {video["video_id"]: video for video in videos}
    in_shard: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in samples:
        in_shard[row["shard"]][row["key"]] = row
    yield from guarded("videos.parquet", video_faults(videos, of_video))
    yield from guarded("clips.parquet", clip_faults(of_video, by_id))
    yield from guarded("samples.parquet", sample_faults(samples, by_id, of_sample))
    yield from guarded("splits", split_faults(samples, by_id))
    yield from guarded("shards", _listing_faults(store, info, samples))
    for entry in info["shards"]:
        index = Index(in_shard[entry["name"]], by_id, of_sample)
        faults = _shard_faults(store, entry, index, media)
        yield from guarded(f"shard {entry['name']}", faults)
    yield from guarded("releases", release_faults(store, info))


def _read(
    store: Store, info: Mapping[str, Any], name: str, tables: dict[str, list[Row]]
) -> Iterator[str]:
    """Puts the rows of a table into `tables`, unless columns that the checks rest on are wrong."""
    named = info.get("tables")
    expected = named.get(name) if isinstance(named, dict) else None
    try:
        table = read_table(store, name, expected)
    except DataError as error:
        yield str(error)
        if expected is None:
            return
        try:
            table = read_table(store, name)
        except DataError:
            return
    faults = list(guarded(f"{name}.parquet", column_faults(name, table)))
    yield from faults
    if not faults:
        tables[name] = table.to_pylist()


def _file_faults(store: Store) -> Iterator[str]:
    """What stands beside the tables."""
    for name in BESIDES:
        if store.exists(name):
            yield from guarded(name, _beside_faults(name, store.get(name)))
        else:
            yield f"{name} is missing"


def _beside_faults(name: str, data: bytes) -> Iterator[str]:
    if name == "README.md" and not data.startswith(b"---"):
        yield "README.md has no front matter"
    if name == "report.html" and LOADED.search(data):
        yield "report.html loads something from the network"
    if name == "stats.json" and not isinstance(json.loads(data, parse_constant=no_json), dict):
        yield "stats.json is no JSON object"
    if name == "config.yaml" and not isinstance(yaml.safe_load(data), dict):
        yield "config.yaml is no mapping"


def _dataset_faults(info: Mapping[str, Any]) -> Iterator[str]:
    """Whether dataset.json has the shape that all other checks rest on."""
    missing = [key for key in DATASET_KEYS if key not in info]
    if missing:
        yield f"dataset.json lacks {', '.join(missing)}"
        return
    for entry in info["shards"]:
        wrong = [key for key, kind in ENTRY_TYPES.items() if type(entry.get(key)) is not kind]
        if wrong:
            yield f"dataset.json: shard {entry.get('name')!r} has no or a wrong {', '.join(wrong)}"
    for name in ("source", "kept"):
        hours = info["hours"].get(name)
        if not isinstance(hours, int | float) or hours < 0:
            yield f"dataset.json has hours.{name} = {hours!r}, no number"


def _count_faults(
    info: Mapping[str, Any], videos: list[Row], clips: list[Row], samples: list[Row]
) -> Iterator[str]:
    """Whether dataset.json counts what the tables hold, and nothing is lost between them."""
    outcomes = Counter(video["outcome"] for video in videos)
    kept = sum(clip["outcome"] == "kept" for clip in clips)
    rows = {name: outcomes[name] for name in ("kept", "rejected", "failed")}
    rows |= {"sources": len(videos), "clips": len(clips), "clips_kept": kept}
    rows |= {"samples": len(samples)}
    for name, count in rows.items():
        if info["counts"].get(name) != count:
            yield f"dataset.json counts {info['counts'].get(name)} {name}, the tables hold {count}"
    in_samples = sum(sample["clips"] for sample in samples)
    if kept != in_samples:
        yield f"{kept} clips are kept, but the samples hold {in_samples}"
    hours = sum(sample["duration_s"] for sample in samples) / HOUR_S
    if abs(info["hours"]["kept"] - hours) > 0.001 + 0.01 * hours:
        yield f"dataset.json says {info['hours']['kept']} hours kept, the samples last {hours:.4f}"


def _listing_faults(store: Store, info: Mapping[str, Any], samples: list[Row]) -> Iterator[str]:
    """Whether shards in the folder, in dataset.json and in samples.parquet are the same."""
    listed = Counter(entry["name"] for entry in info["shards"])
    stored = (name.removeprefix("shards/") for name in store.names("shards"))
    there = {name for name in stored if name.endswith(".tar")}
    yield from (f"{name} stands twice in dataset.json" for name, n in listed.items() if n > 1)
    yield from (f"shards/{name} is not in dataset.json" for name in sorted(there - set(listed)))
    yield from (f"shards/{name} is missing" for name in sorted(set(listed) - there))
    for name in sorted({sample["shard"] for sample in samples} - set(listed)):
        yield f"samples.parquet names the shard {name}, which dataset.json does not know"


def _shard_faults(
    store: Store, entry: Mapping[str, Any], index: Index, media: bool
) -> Iterator[str]:
    """Whether a shard is what its entry says; then its members."""
    name = entry["name"]
    shape = SHARD_NAME.fullmatch(name)
    if shape is None:
        yield f"{name!r} is no name for a shard"
        return
    splits = {entry["split"], *(row["split"] for row in index.samples.values())}
    if splits != {shape[1]}:
        yield f"{name} holds samples of {', '.join(sorted(map(str, splits)))}"
    if not entry["samples"] == len(index.samples) > 0:
        said, found = entry["samples"], len(index.samples)
        yield f"{name}: dataset.json says {said} samples, samples.parquet {found}"
    if not store.exists(f"shards/{name}"):
        return  # said before
    with store.open_read(f"shards/{name}") as file:
        digest, size = hashlib.sha256(), 0
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
        if size != entry["bytes"]:
            yield f"{name} has {size} bytes, dataset.json says {entry['bytes']}"
        if digest.hexdigest() != entry["sha256"]:
            yield f"{name} has not the sha256 of dataset.json"
        yield from shard_faults(name, file, size, index, media)
