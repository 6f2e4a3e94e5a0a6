"""One shard against its index: the tar, member by member, and the json of each sample."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import IO, Any

from reelscript.jobs.verify.guarded import guarded
from reelscript.jobs.verify.media import frames_faults, media_faults
from reelscript.jobs.verify.tables import MEDIA_S, ROUNDING_S, ClipsOf, Row, Rows, finite
from reelscript.reading.tables import no_json
from reelscript.schemas.sample import FORMAT

MEMBERS = ("mp4", "json", "txt")
FRAMES = "frames.mp4"  # a fourth member that a sample may have
NUMBER, WHOLE, TEXT, TEXT_OR_NULL, NUMBER_OR_NULL = "number", "int", "str", "str?", "number?"
FIELDS = {
    **dict.fromkeys(("format", "key", "video_id", "url", "source_sha256", "split"), TEXT),
    **dict.fromkeys(("title", "license", "language"), TEXT_OR_NULL),
    **dict.fromkeys(("start_s", "end_s", "duration_s", "fps"), NUMBER),
    **dict.fromkeys(("width_px", "height_px", "frames"), WHOLE),
    "language_probability": NUMBER_OR_NULL,
    "clips": "list",
    "scores": "dict",
    "transcript": "dict",
}
TRANSCRIPT_KEYS = ("source", "engine", "model", "compute_type")
LONGEST_END_BYTES = 1 << 20
SUM_S = 0.02  # between a time in the source and the sum of a passage's start and a time in its mp4


@dataclass(frozen=True, slots=True)
class Index:
    """What the tables say: samples of the shard by key, videos by id, clips of each sample."""

    samples: Rows
    videos: Rows
    clips_of: ClipsOf


def shard_faults(
    name: str, file: IO[bytes], size_bytes: int, index: Index, media: bool
) -> Iterator[str]:
    """Yields what is wrong in a tar: its members, their contents, and what stands after them.

    Args:
        name: of the shard.
        file: the tar, seekable.
        size_bytes: of the tar.
        index: what the tables say.
        media: also decode each mp4.
    """
    file.seek(0)
    seen: set[str] = set()
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for key, group in groupby(tar, key=lambda member: member.name.partition(".")[0]):
            members = list(group)
            if key in seen:
                yield f"{name}: the members of {key!r} do not lie together"
            seen.add(key)
            for member in members:
                yield from _member_faults(name, member)
            kinds = tuple(member.name.partition(".")[2] for member in members)
            if kinds not in (MEMBERS, (*MEMBERS, FRAMES)):
                yield f"{name}: {key!r} has the members {', '.join(kinds)}; expected mp4, json, txt"
            elif key not in index.samples:
                yield f"{name} holds {key!r}, which samples.parquet does not know there"
            else:
                held = dict(zip(kinds, members, strict=True))
                yield from guarded(f"sample {key}", _sample_faults(file, held, index, key, media))
        end = tar.offset
    for key in sorted(set(index.samples) - seen):
        yield f"{name} lacks the sample {key!r}"
    file.seek(end)
    rest = file.read(LONGEST_END_BYTES)
    if end + len(rest) < size_bytes or len(rest) < 2 * tarfile.BLOCKSIZE or rest.strip(b"\0"):
        yield f"{name} does not end as a tar does, after its last readable member"


def _member_faults(shard: str, member: tarfile.TarInfo) -> Iterator[str]:
    if member.type != tarfile.REGTYPE or "/" in member.name or "\\" in member.name:
        yield f"{shard}: the member {member.name!r} is no plain file"
    if (member.mtime, member.uid, member.gid) != (0, 0, 0):
        yield f"{shard}: mtime, uid or gid of {member.name!r} is not 0"


def _sample_faults(
    file: IO[bytes], members: Mapping[str, tarfile.TarInfo], index: Index, key: str, media: bool
) -> Iterator[str]:
    row = index.samples[key]
    said_frames = row.get("frames_offset") is not None
    if said_frames != (FRAMES in members):
        lacking = "the tar has none" if said_frames else "of which the index says nothing"
        yield f"{key}.{FRAMES}: {lacking}"
    data = {}
    for kind, member in members.items():
        file.seek(member.offset_data)
        data[kind] = file.read(member.size)
        if kind != FRAMES or said_frames:
            yield from _index_faults(row, kind, member.offset_data, data[kind])
    meta = json.loads(data["json"].decode(), parse_constant=no_json, object_pairs_hook=_once)
    shape = list(_field_faults(key, meta))
    yield from shape
    if shape:
        return
    yield from _row_faults(meta, row, index.videos[row["video_id"]])
    yield from guarded(f"clips of {key}", _clips_faults(meta, index.clips_of.get(key, [])))
    if not same(data["txt"].decode(), row["text"]):
        yield f"{key}.txt is not the text in samples.parquet"
    if not same(data["txt"].decode(), "".join(clip["text"] for clip in meta["clips"])):
        yield f"{key}.txt is not the text of its clips"
    if media:
        yield from guarded(f"{key}.mp4", media_faults(data["mp4"], meta))
        if FRAMES in data:
            yield from guarded(f"{key}.{FRAMES}", frames_faults(data[FRAMES], meta))


def _index_faults(row: Row, kind: str, offset: int, data: bytes) -> Iterator[str]:
    """Whether a member lies where samples.parquet says, and is what it says."""
    at, columns = f"{row['key']}.{kind}", kind.partition(".")[0]
    for what, found in (("offset", offset), ("size", len(data))):
        said = row[f"{columns}_{what}"]
        if said != found:
            yield f"{at}: the index says {what} {said}, the tar {found}"
    expected = row.get(f"{columns}_sha256")
    if expected is not None and hashlib.sha256(data).hexdigest() != expected:
        yield f"{at} has not the sha256 of the index"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return dict(pairs)


def _field_faults(key: str, meta: Any) -> Iterator[str]:
    """Whether the json has the fields of the format, each of its type."""
    for name, kind in FIELDS.items():
        if name not in meta:
            yield f"{key}.json lacks {name}"
        elif not _is_of(meta[name], kind):
            yield f"{key}.json: {name} is {meta[name]!r:.60}, expected {kind}"
    for name in ("start_s", "end_s", "duration_s"):
        if finite(meta.get(name)) and not _is_time(meta[name]):
            yield f"{key}.json: {name} is {meta[name]}, no time in ms"
    if finite(meta.get("fps")) and meta["fps"] <= 0:
        yield f"{key}.json: fps is {meta['fps']}"


def _is_of(value: object, kind: str) -> bool:
    if kind.endswith("?") and value is None:
        return True
    if kind.rstrip("?") == NUMBER:
        return finite(value)
    return type(value) is {"int": int, "str": str, "list": list, "dict": dict}[kind.rstrip("?")]


def _is_time(value: Any) -> bool:
    """Returns whether a value is a time: seconds, not negative, rounded to ms."""
    return finite(value) and value >= 0 and value == round(value, 3)


def _row_faults(meta: Mapping[str, Any], row: Row, video: Row) -> Iterator[str]:
    """Whether the json says what samples.parquet and videos.parquet say."""
    key = row["key"]
    if meta["format"] != FORMAT:
        yield f"{key}.json is of the format {meta['format']!r}"
    for name in ("key", "video_id", "split", "language"):
        if meta[name] != row[name]:
            yield f"{key}: {name} is {meta[name]!r} in json, {row[name]!r} in samples.parquet"
    for name in ("start_s", "end_s", "duration_s"):
        if abs(meta[name] - row[name]) > ROUNDING_S:
            yield f"{key}: {name} is {meta[name]} in json, {row[name]} in samples.parquet"
    stretch_s = meta["end_s"] - meta["start_s"]
    if abs(stretch_s - meta["duration_s"]) > MEDIA_S + 1 / meta["fps"]:
        yield f"{key}: {stretch_s:.3f} s of the source in an mp4 of {meta['duration_s']} s"
    for name in ("url", "license", "source_sha256"):
        if meta[name] != video[name]:
            yield f"{key}: {name} is {meta[name]!r} in json, {video[name]!r} in videos.parquet"
    missing = [
        name for name in TRANSCRIPT_KEYS if not isinstance(meta["transcript"].get(name), str)
    ]
    if missing or meta["transcript"]["source"] not in ("asr", "captions"):
        yield f"{key}.json: transcript is {meta['transcript']!r}"


def _clips_faults(meta: Mapping[str, Any], rows: list[Row]) -> Iterator[str]:
    key, clips, last_s = meta["key"], meta["clips"], 0.0
    if len(clips) != len(rows):
        yield f"{key}.json has {len(clips)} clips, clips.parquet {len(rows)}"
    for number, clip in enumerate(clips):
        at = f"{key} clip {number}"
        if not (_is_time(clip["start_s"]) and _is_time(clip["end_s"])):
            yield f"{at}: {clip['start_s']!r}, {clip['end_s']!r} are no times in ms"
        if not last_s <= clip["start_s"] < clip["end_s"]:
            yield f"{at} is empty, or starts before the last one ends: {clip['start_s']} s"
        last_s = clip["end_s"]
        if any(v is not None and not finite(v) for v in clip["scores"].values()):
            yield f"{at}: a score is no number"
        yield from _word_faults(at, clip)
    for number, (clip, row) in enumerate(zip(clips, rows, strict=False)):
        for name in ("start_s", "end_s"):
            if abs(meta["start_s"] + clip[name] - row[name]) > SUM_S:
                yield f"{key} clip {number}: {name} is not that of clips.parquet ({row[name]} s)"
        if not same(clip["text"], row["text"]):
            yield f"{key} clip {number}: its text is not that of clips.parquet"
    if last_s > meta["duration_s"] + MEDIA_S:
        yield f"{key}: the last clip ends at {last_s} s, the mp4 at {meta['duration_s']} s"


def _word_faults(at: str, clip: Mapping[str, Any]) -> Iterator[str]:
    last_s = clip["start_s"]
    for number, word in enumerate(clip["words"]):
        if not (_is_time(word["start_s"]) and _is_time(word["end_s"])):
            yield f"{at}, word {number}: {word['start_s']!r}, {word['end_s']!r} are no times in ms"
        if not last_s - ROUNDING_S <= word["start_s"] <= word["end_s"] + ROUNDING_S:
            yield f"{at}, word {number} is out of order, or starts before its clip"
        if word["end_s"] > clip["end_s"] + ROUNDING_S:
            yield f"{at}, word {number} ends after its clip"
        probability = word["probability"]
        if probability is not None and not (finite(probability) and 0 <= probability <= 1):
            yield f"{at}, word {number} has the probability {probability!r}"
        last_s = word["start_s"]
    if not clip["words"] or not same(clip["text"], "".join(w["word"] for w in clip["words"])):
        yield f"{at}: its text is not its words joined"


def same(one: str, other: str) -> bool:
    """Returns whether two texts are equal, white space apart, which some languages do without."""
    return "".join(one.split()) == "".join(other.split())
