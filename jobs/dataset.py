"""What a release says: its tables and its dataset.json, and whether they are news."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.config import Config
from reelscript.jobs.provenance import versions
from reelscript.pipeline.decide import Decision
from reelscript.reading.releases import release_of
from reelscript.schemas.sample import FORMAT
from reelscript.schemas.tables import VIDEOS
from reelscript.schemas.text import digest
from reelscript.schemas.video import FIELD_NAMES

HOUR_S = 3600.0
OF_THE_RUN = re.compile(
    r"retrieved_at|timings|.*_wall_s"
)  # columns that may differ in equal builds

Costs = Mapping[str, Mapping[str, float]]
"""By video_id: CPU seconds by stage."""


def videos_table(decision: Decision, cpu_s: Costs) -> pa.Table:
    """Returns videos.parquet, in the order of the sources."""
    videos, clips = decision.videos, decision.clips
    ids = videos.column("video_id")
    kept = pc.equal(clips["outcome"], "kept")
    made = {
        "clips_kept": _counts_of(ids, clips["video_id"].filter(kept)),
        "clips_rejected": _counts_of(ids, clips["video_id"].filter(pc.invert(kept))),
        "timings": pa.array(
            (json.dumps(cpu_s.get(id_, {}), sort_keys=True) for id_ in ids.to_pylist()), pa.string()
        ),
    }
    columns = {name: videos.column(name) for name in VIDEOS.names if name in FIELD_NAMES} | made
    return pa.table([columns[name] for name in VIDEOS.names], schema=VIDEOS)


def _counts_of(ids: pa.ChunkedArray, among: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns how often each id stands among others."""
    counts = pc.value_counts(among)
    places = pc.index_in(ids, value_set=counts.field("values"))
    return pc.fill_null(counts.field("counts").take(places), 0)


def dataset_json(
    tables: Mapping[str, pa.Table],
    sha256: Mapping[str, str],
    entries: Sequence[Mapping[str, Any]],
    config: Config,
    before: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the dataset.json of the release that follows.

    Args:
        tables: "videos", "clips" and "samples".
        sha256: of each as a file.
        entries: of the shards.
        config: resolved.
        before: the dataset.json that stands, or nothing.
    """
    videos, clips, samples = tables["videos"], tables["clips"], tables["samples"]
    release = release_of(before) + 1 if before else 0
    counts = {"sources": len(videos)}
    counts |= {o: _count(videos["outcome"], o) for o in ("kept", "rejected", "failed")}
    counts |= {"clips": len(clips), "clips_kept": _count(clips["outcome"], "kept")}
    counts |= {"samples": len(samples)}
    hours = {
        "source": round(sum(s or 0.0 for s in videos["duration_s"].to_pylist()) / HOUR_S, 6),
        "kept": round(sum(samples["duration_s"].to_pylist()) / HOUR_S, 6),
    }
    shards = [dict(entry) for entry in entries]
    this = {"release": release, "shards": len(shards), "samples": counts["samples"]}
    return {
        "format": FORMAT,
        "name": config.name or "corpus",
        "counts": counts,
        "hours": hours,
        "shards": shards,
        "fingerprint": digest([counts, shards, _settings(config)]),
        "versions": versions(config),
        "release": release,
        "releases": [*before.get("releases", []), this],
        "tables": dict(sha256),
    }


def same_rows(one: pa.Table, other: pa.Table) -> bool:
    """Returns whether two tables differ at most in what tells of the run and not of the corpus."""
    columns = [name for name in one.column_names if not OF_THE_RUN.fullmatch(name)]
    if columns != [name for name in other.column_names if not OF_THE_RUN.fullmatch(name)]:
        return False
    return all(one[name].equals(other[name]) for name in columns)


def _settings(config: Config) -> dict[str, Any]:
    """Returns the settings that change what is in a corpus: not whence, where and how fast."""
    plain = config.to_dict() | {"sources": [], "work": None}
    for section in dataclasses.fields(config):
        value = getattr(config, section.name)
        if plain[section.name] and dataclasses.is_dataclass(value):
            tuned = {
                f.name for f in dataclasses.fields(value) if f.metadata.get("role") == "tuning"
            }
            plain[section.name] = {k: v for k, v in plain[section.name].items() if k not in tuned}
    return plain


def _count(column: pa.ChunkedArray, value: str) -> int:
    return int(pc.sum(pc.equal(column, value)).as_py() or 0)
