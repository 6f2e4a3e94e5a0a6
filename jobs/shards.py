"""The samples of a corpus: which shard each goes into, and the shards that do not stand yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.releases import NEW_SHARDS
from reelscript.pipeline.decide import Decision
from reelscript.pipeline.plan import Planned, PreviousShard, ShardPlan, previous_shards
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.reading.releases import SHARDS
from reelscript.schemas.clip import Clip
from reelscript.schemas.sample import Encoding
from reelscript.schemas.tables import SAMPLES
from reelscript.schemas.transcript import Transcript, Word
from reelscript.schemas.video import Video
from reelscript.schemas.videos import Videos
from reelscript.transforms.sample import SampleParts, sample_parts
from reelscript.transforms.shard import WrittenShard, write_shard

WRITERS = 2  # shards at once: reading, hashing and writing, which Python does outside its lock
COMPARED = ["key", "shard", "split", "mp4_offset"]
COMPARED += [f"{member}_sha256" for member in ("mp4", "json", "txt", "frames")]


class Chosen:
    """The samples that kept videos become, made from their artefacts when they are asked for.

    Args:
        decision: what is kept; kept videos are encoded.
        workspace: where the artefacts lie.
    """

    def __init__(self, decision: Decision, workspace: Workspace) -> None:
        self._workspace = workspace
        self._passages = decision.passages
        ids = pa.array(list(decision.passages), pa.string())
        kept = decision.videos.where(pc.is_in(decision.videos.column("video_id"), value_set=ids))
        self._videos = kept.table.combine_chunks()
        self._row = {id_: row for row, id_ in enumerate(kept.column("video_id").to_pylist())}

    def planned(self) -> Iterator[Planned]:
        """Yields what the shard plan has to know of each sample."""
        for video in Videos(self._videos):
            for part in self._parts(video):
                yield part.planned()

    def samples(self, keys: Sequence[str]) -> Iterator[SampleParts]:
        """Yields the samples of these keys, of which those of one video lie together."""
        groups = [(video_id, list(own)) for video_id, own in groupby(keys, key=_video_of)]
        rows = [self._row[video_id] for video_id, _ in groups]
        videos = Videos(self._videos.take(pa.array(rows, pa.int64())))
        for video, (_, own) in zip(videos, groups, strict=True):
            parts = {part.meta["key"]: part for part in self._parts(video)}
            yield from (parts[key] for key in own)

    def _parts(self, video: Video) -> list[SampleParts]:
        """Returns all samples of one video."""
        clips = self._workspace.get_records(Clip, video.clips)
        words = self._workspace.get_records(Word, video.aligned_words)
        transcript = self._workspace.get_record(Transcript, video.transcript)
        encodings = {e.key: e for e in self._workspace.get_records(Encoding, video.encodings)}
        return [
            sample_parts(video, passage, clips, words, encodings[passage.key], transcript)
            for passage in self._passages[video.video_id]
        ]


def by_shard(samples: pa.Table) -> dict[str, pa.Table]:
    """Returns the rows of each shard of a samples.parquet, in which they lie together, in order."""
    found: dict[str, pa.Table] = {}
    at = 0
    names = (name for chunk in samples["shard"].chunks for name in chunk.to_pylist())
    for name, own in groupby(names):
        rows = sum(1 for _ in own)
        found[name] = samples.slice(at, rows)
        at += rows
    return found


def standing_shards(
    corpus: Store, before: Mapping[str, Any], standing: Mapping[str, pa.Table]
) -> list[PreviousShard]:
    """Returns the shards that the standing dataset.json lists and that are there.

    Args:
        corpus: the corpus folder.
        before: the standing dataset.json, or nothing.
        standing: the rows of each shard.
    """
    there = set(corpus.names(SHARDS))
    found: list[PreviousShard] = []
    for entry in before.get("shards", []):
        rows = standing.get(entry["name"], ())
        if len(rows) == entry["samples"] and f"{SHARDS}/{entry['name']}" in there:
            compared = [name for name in COMPARED if name in rows.column_names]
            found += previous_shards(rows.select(compared).to_pylist())
    return found


def write_shards(
    plans: Sequence[ShardPlan], chosen: Chosen, workspace: Workspace, corpus: Store
) -> list[WrittenShard]:
    """Writes the shards that do not stand yet, to where no reader looks, and returns them."""

    def write(plan: ShardPlan) -> WrittenShard:
        return write_shard(plan.name, chosen.samples(plan.keys), workspace, corpus, NEW_SHARDS)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(write, [plan for plan in plans if not plan.kept]))


def all_shards(
    plans: Sequence[ShardPlan],
    written: Sequence[WrittenShard],
    before: Mapping[str, Any],
    standing: Mapping[str, pa.Table],
) -> tuple[list[dict[str, Any]], pa.Table]:
    """Returns the entries of all shards, old and new, and samples.parquet, both by shard name."""
    stayed = {plan.name for plan in plans if plan.kept}
    entries = {e["name"]: e for e in before.get("shards", []) if e["name"] in stayed}
    rows = {name: standing[name] for name in stayed}
    for shard in written:
        entries[shard.entry["name"]] = shard.entry
        rows[shard.entry["name"]] = shard.rows
    tables = [rows[name] for name in sorted(rows)]
    samples = pa.concat_tables([SAMPLES.empty_table(), *tables], promote_options="default")
    return [entries[name] for name in sorted(entries)], samples


def _video_of(key: str) -> str:
    """Returns the video_id in a sample's key, as `schemas.clip.sample_key` writes it."""
    return key.rpartition("-")[0]
