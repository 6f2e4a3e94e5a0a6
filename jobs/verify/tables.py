"""The three tables against the format: every source, clip and sample once, and in its place."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

Row: TypeAlias = dict[str, Any]
Rows: TypeAlias = Mapping[str, Row]
ClipsOf: TypeAlias = Mapping[str, list[Row]]

TEXT, NUMBER, COUNT = "text", "number", "whole number"
# Column -> what it holds; a question mark: it may be null.
COLUMNS = {
    "videos": {
        **dict.fromkeys(("video_id", "outcome"), TEXT),
        **dict.fromkeys(("stage", "reason", "detail", "language", "license"), f"{TEXT}?"),
        "url": f"{TEXT}?",
        "source_sha256": f"{TEXT}?",
        "duration_s": f"{NUMBER}?",
        "clips_kept": f"{COUNT}?",
        "clips_rejected": f"{COUNT}?",
    },
    "clips": {
        **dict.fromkeys(("video_id", "text", "outcome"), TEXT),
        **dict.fromkeys(("reason", "sample_key"), f"{TEXT}?"),
        **dict.fromkeys(("start_s", "end_s"), NUMBER),
        "clip_index": COUNT,
    },
    "samples": {
        **dict.fromkeys(("key", "shard", "split", "video_id", "text", "mp4_sha256"), TEXT),
        **dict.fromkeys(("start_s", "end_s", "duration_s"), NUMBER),
        **dict.fromkeys(
            (f"{m}_{w}" for m in ("mp4", "json", "txt") for w in ("offset", "size")), COUNT
        ),
        "clips": COUNT,
        "language": f"{TEXT}?",
    },
}
FRAMES_COLUMNS = {
    "frames_offset": f"{COUNT}?",
    "frames_size": f"{COUNT}?",
    "frames_sha256": f"{TEXT}?",
}
"""Of samples.parquet; null where a sample has no frames.mp4, and older corpora lack them."""
VIDEO_ID = re.compile(r"[A-Za-z0-9_-]+")
KEY = re.compile(r"([A-Za-z0-9_-]+)-([0-9]{9,})")
SHA256 = re.compile(r"[0-9a-f]{64}")
ABSOLUTE = re.compile(r"/|\\|[A-Za-z]:[\\/]|file:", re.IGNORECASE)
ROUNDING_S = 0.0015  # between two times that were each rounded to ms
MEDIA_S = 0.25  # between a stated and a decoded duration: the last frame, audio padding


def column_faults(name: str, table: pa.Table) -> Iterator[str]:
    """Yields columns that are missing, of another type, or null where they must not be; and NaN."""
    later = FRAMES_COLUMNS if name == "samples" else {}
    for column, kind in (COLUMNS[name] | later).items():
        if column not in table.column_names:
            if column in later:
                continue
            yield f"{name}.parquet lacks the column {column}"
            continue
        found = table.schema.field(column).type
        if not _is_of(found, kind.rstrip("?")) and not pa.types.is_null(found):
            yield f"{name}.parquet: {column} holds {found}, expected a {kind.rstrip('?')}"
        if not kind.endswith("?") and table[column].null_count:
            yield f"{name}.parquet: {column} is null in {table[column].null_count} rows"
    for field in table.schema:
        floats = pa.types.is_floating(field.type)
        if floats and not pc.all(pc.is_finite(table[field.name]), min_count=0).as_py():
            yield f"{name}.parquet: {field.name} holds NaN or an infinity, where null is meant"


def _is_of(found: pa.DataType, kind: str) -> bool:
    if kind == TEXT:
        return bool(pa.types.is_string(found) or pa.types.is_large_string(found))
    whole = bool(pa.types.is_integer(found))
    return whole or (kind == NUMBER and bool(pa.types.is_floating(found)))


def clips_by(column: str, clips: Iterable[Row]) -> dict[str, list[Row]]:
    """Returns the clips of each video, or the kept ones of each sample, by clip_index."""
    found = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: (clip["video_id"], clip["clip_index"])):
        if column == "video_id" or clip["outcome"] == "kept":
            found[clip[column]].append(clip)
    return found


def video_faults(videos: list[Row], clips_of: ClipsOf) -> Iterator[str]:
    """Yields what is wrong with the row of a source, alone and beside its clips."""
    seen = set()
    for video in videos:
        at = f"video {video['video_id']!r}"
        if video["video_id"] in seen:
            yield f"{at} stands twice in videos.parquet"
        seen.add(video["video_id"])
        if not VIDEO_ID.fullmatch(video["video_id"]):
            yield f"{at} has characters that a video_id cannot have"
        if not video["url"] or ABSOLUTE.match(video["url"]):
            yield f"{at} has the url {video['url']!r}, neither a URL nor a relative path"
        if (video["duration_s"] or 0) < 0:
            yield f"{at} lasts {video['duration_s']} s"
        if video["outcome"] not in ("kept", "rejected", "failed"):
            yield f"{at} has the outcome {video['outcome']!r}"
        elif video["outcome"] != "kept" and not (video["stage"] and video["reason"]):
            yield f"{at} is {video['outcome']}, but no stage and reason are given"
        sha256 = video["source_sha256"]
        if (sha256 or video["outcome"] == "kept") and not SHA256.fullmatch(str(sha256)):
            yield f"{at} has the source_sha256 {sha256!r}"
        yield from _outcome_faults(at, video, clips_of.get(video["video_id"], []))


def _outcome_faults(at: str, video: Row, clips: list[Row]) -> Iterator[str]:
    kept = sum(clip["outcome"] == "kept" for clip in clips)
    if (video["outcome"] == "kept") != (kept > 0):
        yield f"{at} is {video['outcome']}, but {kept} of its clips are kept"
    for name, count in (("clips_kept", kept), ("clips_rejected", len(clips) - kept)):
        if (video[name] or 0) != count:
            yield f"{at} has {name} = {video[name]}, clips.parquet holds {count}"


def clip_faults(clips_of: ClipsOf, videos: Rows) -> Iterator[str]:
    """Yields what is wrong with clips: outcome, numbering, order, overlap."""
    for video_id, clips in clips_of.items():
        if video_id not in videos:
            yield f"clips.parquet has clips of {video_id!r}, which videos.parquet does not know"
        if [clip["clip_index"] for clip in clips] != list(range(len(clips))):
            yield f"video {video_id!r}: clip_index does not count 0, 1, 2, ..."
        for clip in clips:
            yield from _clip_faults(f"clip {clip['clip_index']} of {video_id!r}", clip)
        for before, after in pairwise(clips):
            if after["start_s"] < before["start_s"]:
                yield f"video {video_id!r}: clip {after['clip_index']} is out of time order"
        kept = [clip for clip in clips if clip["outcome"] == "kept"]
        for before, after in pairwise(kept):
            if after["start_s"] < before["end_s"] - ROUNDING_S:
                yield (
                    f"video {video_id!r}: the kept clips {before['clip_index']} and "
                    f"{after['clip_index']} overlap"
                )


def _clip_faults(at: str, clip: Row) -> Iterator[str]:
    if not 0 <= clip["start_s"] < clip["end_s"]:
        yield f"{at} lasts from {clip['start_s']} to {clip['end_s']} s"
    if clip["outcome"] == "kept":
        if not clip["sample_key"]:
            yield f"{at} is kept, but in no sample"
    elif clip["outcome"] != "rejected":
        yield f"{at} has the outcome {clip['outcome']!r}"
    elif not clip["reason"] or clip["sample_key"] is not None:
        yield f"{at} is rejected for {clip['reason']!r}, in the sample {clip['sample_key']!r}"


def sample_faults(samples: list[Row], videos: Rows, clips_of: ClipsOf) -> Iterator[str]:
    """Yields what is wrong with rows of samples, alone and beside their video and clips."""
    seen = set()
    for sample in samples:
        at = f"sample {sample['key']!r}"
        if sample["key"] in seen:
            yield f"{at} stands twice in samples.parquet"
        seen.add(sample["key"])
        shape = KEY.fullmatch(sample["key"])
        start_ms = sample["start_s"] * 1000
        if not shape or shape[1] != sample["video_id"] or abs(int(shape[2]) - start_ms) > 1:
            yield f"{at} is not the key of {sample['video_id']!r} at {sample['start_s']} s"
        if videos.get(sample["video_id"], {}).get("outcome") != "kept":
            yield f"{at} is of {sample['video_id']!r}, which is no kept video"
        if not (sample["duration_s"] > 0 and sample["end_s"] > sample["start_s"] >= 0):
            yield f"{at} lasts from {sample['start_s']} to {sample['end_s']} s"
        if len({sample.get(column) is None for column in FRAMES_COLUMNS}) > 1:
            yield f"{at} has some of {', '.join(FRAMES_COLUMNS)}, but not all"
        yield from _passage_faults(at, sample, clips_of.get(sample["key"], []))
    for key in sorted(set(clips_of) - seen, key=str):
        yield f"kept clips name the sample {key!r}, which samples.parquet does not know"


def _passage_faults(at: str, sample: Row, clips: list[Row]) -> Iterator[str]:
    """Whether the clips that name a sample make one passage and lie in it."""
    if len(clips) != sample["clips"] or not clips:
        yield f"{at} has {sample['clips']} clips, {len(clips)} rows of clips.parquet name it"
    if any(clip["video_id"] != sample["video_id"] for clip in clips):
        yield f"{at} holds clips of other videos"
    elif any(b["clip_index"] != a["clip_index"] + 1 for a, b in pairwise(clips)):
        yield f"{at} holds clips that are not consecutive"
    start_s, end_s = sample["start_s"] - ROUNDING_S, sample["end_s"] + ROUNDING_S
    if any(clip["start_s"] < start_s or clip["end_s"] > end_s for clip in clips):
        yield f"{at} holds clips that reach beyond {sample['start_s']}..{sample['end_s']} s"


def split_faults(samples: list[Row], videos: Rows) -> Iterator[str]:
    """Yields unknown splits, and videos and channels that lie in more than one."""
    splits: dict[tuple[str, str], set[str]] = defaultdict(set)
    for sample in samples:
        if sample["split"] not in ("train", "val"):
            yield f"sample {sample['key']!r} is in the split {sample['split']!r}"
        splits["video", sample["video_id"]].add(sample["split"])
        channel = videos.get(sample["video_id"], {}).get("channel")
        if channel:
            splits["channel", channel].add(sample["split"])
    for (kind, name), found in splits.items():
        if len(found) > 1:
            yield f"the {kind} {name!r} lies in more than one split: {', '.join(sorted(found))}"


def finite(value: object) -> bool:
    """Returns whether a value is a number, and neither NaN nor infinite nor a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
