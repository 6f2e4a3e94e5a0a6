"""Makes what was decided visible: shards, tables, report, card; dataset.json last of all.

No shard of the standing corpus is overwritten with other bytes: those that are still right stay,
all others get names of a new release, and only when the new dataset.json stands are the old ones
removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reelscript.jobs.card import dataset_card
from reelscript.jobs.config import Config
from reelscript.jobs.provenance import all_reasons, all_thresholds, versions
from reelscript.jobs.report import report_html
from reelscript.jobs.stats import statistics
from reelscript.pipeline.decide import Decision
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.plan import Planned, PreviousShard, ShardPlan, plan_shards, previous_shards
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Clip
from reelscript.schemas.sample import FORMAT, Encoding
from reelscript.schemas.tables import SAMPLES, VIDEOS
from reelscript.schemas.text import digest
from reelscript.schemas.transcript import Transcript, Word
from reelscript.schemas.video import Video
from reelscript.transforms.sample import SampleParts, sample_parts
from reelscript.transforms.shard import WrittenShard, write_shard, write_table

HOUR_S = 3600.0
WRITERS = (
    2  # shards written at once: reading, hashing and writing, which Python does outside its lock
)


def publish(
    corpus: Store,
    workspace: Workspace,
    config: Config,
    decision: Decision,
    cpu_s: Mapping[str, Mapping[str, float]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes a corpus and returns its dataset.json and stats.json.

    Args:
        corpus: the corpus folder; what stands there is the previous release.
        workspace: where the artefacts lie.
        config: resolved.
        decision: what is kept; kept videos are encoded.
        cpu_s: by video, CPU seconds by stage.
    """
    before = _standing(corpus)
    release = before.get("release", -1) + 1
    standing = _sample_rows(corpus) if before else []
    previous = _previous(corpus, before, standing)
    keys = {
        p.key: video for video in decision.videos for p in decision.passages.get(video.video_id, ())
    }
    planned = list(_planned(decision, workspace))
    plans = plan_shards(planned, previous, config.shard.target_bytes, release)
    written = _write(plans, keys, decision, workspace, corpus)
    entries, rows = _all_shards(plans, written, before, standing)
    tables = {
        "videos": videos_table(decision, cpu_s),
        "clips": decision.clips,
        "samples": pa.Table.from_pylist(
            sorted(rows, key=lambda r: (r["shard"], r["mp4_offset"])), schema=SAMPLES
        ),
    }
    changed = before.get("shards") != entries
    release = release if changed or not before else before["release"]
    dataset = dataset_json(tables, entries, config, release, before)
    stats = statistics(
        **tables,
        reasons=all_reasons(config),
        thresholds=all_thresholds(config),
        costs=_costs(decision, cpu_s),
    )
    settings = config.to_dict()
    dataset["tables"] = {
        name: write_table(corpus, f"{name}.parquet", table) for name, table in tables.items()
    }
    corpus.put("stats.json", _json(stats))
    corpus.put(
        "report.html", report_html(stats, settings, dataset["versions"], dataset["name"]).encode()
    )
    corpus.put(
        "README.md", dataset_card(stats, settings, dataset["versions"], dataset["name"]).encode()
    )
    corpus.put("config.yaml", config.to_yaml().encode())
    corpus.put("dataset.json", _json(dataset))
    _remove_unlisted(corpus, {entry["name"] for entry in entries})
    return dataset, stats


def dataset_json(
    tables: Mapping[str, pa.Table],
    entries: Sequence[Mapping[str, Any]],
    config: Config,
    release: int,
    before: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns dataset.json but for the digests of the tables, which are written later."""
    videos, clips, samples = tables["videos"], tables["clips"], tables["samples"]
    outcomes = videos["outcome"].to_pylist()
    counts = {
        "sources": len(videos),
        **{o: outcomes.count(o) for o in ("kept", "rejected", "failed")},
    }
    counts |= {
        "clips": len(clips),
        "clips_kept": clips["outcome"].to_pylist().count("kept"),
        "samples": len(samples),
    }
    hours = {
        "source": round(sum(s or 0.0 for s in videos["duration_s"].to_pylist()) / HOUR_S, 6),
        "kept": round(sum(samples["duration_s"].to_pylist()) / HOUR_S, 6),
    }
    shards = [dict(entry) for entry in entries]
    releases = [r for r in before.get("releases", []) if r["release"] != release]
    return {
        "format": FORMAT,
        "name": config.name or "corpus",
        "counts": counts,
        "hours": hours,
        "shards": shards,
        "fingerprint": digest([counts, shards, config.to_dict() | {"sources": [], "work": None}]),
        "versions": versions(config),
        "release": release,
        "releases": [
            *releases,
            {"release": release, "shards": len(shards), "samples": counts["samples"]},
        ],
    }


def videos_table(decision: Decision, cpu_s: Mapping[str, Mapping[str, float]]) -> pa.Table:
    """Returns the rows of videos.parquet, in the order of the sources."""
    kept: dict[str, int] = {}
    total: dict[str, int] = {}
    for video_id, outcome in zip(
        decision.clips["video_id"].to_pylist(), decision.clips["outcome"].to_pylist(), strict=True
    ):
        total[video_id] = total.get(video_id, 0) + 1
        kept[video_id] = kept.get(video_id, 0) + (outcome == "kept")
    rows = []
    for video in decision.videos:
        row = {name: getattr(video, name, None) for name in VIDEOS.names}
        row["clips_kept"] = kept.get(video.video_id, 0)
        row["clips_rejected"] = total.get(video.video_id, 0) - kept.get(video.video_id, 0)
        row["timings"] = json.dumps(cpu_s.get(video.video_id, {}), sort_keys=True)
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=VIDEOS)


def _standing(corpus: Store) -> dict[str, Any]:
    """Returns the dataset.json that stands, or nothing."""
    try:
        found: dict[str, Any] = json.loads(corpus.get("dataset.json"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(
            f"{corpus.url}/dataset.json is no JSON: move the folder away and build again"
        ) from error
    if found.get("format") != FORMAT:
        raise DataError(
            f"{corpus.url} holds a corpus of format {found.get('format')!r}, expected {FORMAT!r}"
        )
    return found


def _sample_rows(corpus: Store) -> list[dict[str, Any]]:
    """Returns the rows of the samples.parquet that stands."""
    with corpus.open_read("samples.parquet") as file:
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


def _previous(
    corpus: Store, before: Mapping[str, Any], standing: Sequence[Mapping[str, Any]]
) -> list[PreviousShard]:
    """Returns the shards that stand and that dataset.json lists, as samples.parquet has them.

    After a crash between the two, samples.parquet may tell of shards that were never committed,
    and lack others.
    """
    listed = {entry["name"]: entry for entry in before.get("shards", [])}
    return [
        shard
        for shard in previous_shards(standing)
        if len(shard.samples) == listed.get(shard.name, {}).get("samples")
        and corpus.exists(f"shards/{shard.name}")
    ]


def _planned(decision: Decision, workspace: Workspace) -> Iterator[Planned]:
    for video in decision.videos:
        if video.video_id in decision.passages:
            for part in _parts(video, decision, workspace):
                yield part.planned()


def _parts(video: Video, decision: Decision, workspace: Workspace) -> list[SampleParts]:
    """Returns all samples of one video."""
    clips = workspace.get_records(Clip, video.clips)
    words = workspace.get_records(Word, video.aligned_words)
    transcript = workspace.get_record(Transcript, video.transcript)
    encodings = {e.key: e for e in workspace.get_records(Encoding, video.encodings)}
    passages = decision.passages[video.video_id]
    return [sample_parts(video, p, clips, words, encodings[p.key], transcript) for p in passages]


def _write(
    plans: Sequence[ShardPlan],
    owners: Mapping[str, Video],
    decision: Decision,
    workspace: Workspace,
    corpus: Store,
) -> dict[str, WrittenShard]:
    """Writes the shards that do not stand yet. Returns them by name."""

    def samples(plan: ShardPlan) -> Iterator[SampleParts]:
        held: tuple[str, dict[str, SampleParts]] = ("", {})  # the samples of one video lie together
        for key in plan.keys:
            video = owners[key]
            if held[0] != video.video_id:
                held = (
                    video.video_id,
                    {p.meta["key"]: p for p in _parts(video, decision, workspace)},
                )
            yield held[1][key]

    todo = [plan for plan in plans if not plan.kept]
    with ThreadPoolExecutor(WRITERS) as pool:
        done = pool.map(lambda plan: write_shard(plan.name, samples(plan), workspace, corpus), todo)
        return {plan.name: shard for plan, shard in zip(todo, done, strict=True)}


def _all_shards(
    plans: Sequence[ShardPlan],
    written: Mapping[str, WrittenShard],
    before: Mapping[str, Any],
    standing: Sequence[dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns the entries and the sample rows of all shards, old and new."""
    stayed = {plan.name for plan in plans if plan.kept}
    entries = [entry for entry in before.get("shards", []) if entry["name"] in stayed]
    rows = [row for row in standing if row["shard"] in stayed]
    for shard in written.values():
        entries.append(shard.entry)
        rows += shard.rows
    return sorted(entries, key=lambda entry: str(entry["name"])), rows


def _remove_unlisted(corpus: Store, listed: set[str]) -> None:
    for name in list(corpus.names("shards")):
        if name.endswith(".tar") and name.rpartition("/")[2] not in listed:
            corpus.delete(name)


def _costs(
    decision: Decision, cpu_s: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, Any]]:
    costs: dict[str, dict[str, Any]] = {}
    for video in decision.videos:
        for stage, seconds in cpu_s.get(video.video_id, {}).items():
            cost = costs.setdefault(stage, {"cpu_s": 0.0, "videos": 0})
            cost["cpu_s"] = round(cost["cpu_s"] + seconds, 4)
            cost["videos"] += 1
    return costs


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
