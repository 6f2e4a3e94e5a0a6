"""`reelscript show`: one sample, or all that became of one source, as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import pyarrow.compute as pc

from reelscript.pipeline.errors import DataError
from reelscript.reading.corpus import Corpus, nearest_key
from reelscript.schemas.clip import SCORE_NAMES
from reelscript.schemas.text import one_line

LONGEST_TEXT = 20_000  # characters of a passage or a clip: more than 90 s of speech can hold
LABEL_CHARS = 12
HIDDEN = ("keyframe_hashes", "timings")  # nothing for people


def show_sample(corpus: Corpus, key: str) -> str:
    """Returns text, words, scores and provenance of one sample, as lines that are safe to print.

    Raises:
        DataError: there is no sample of this key, or its shard is missing or damaged.
    """
    sample = corpus[key]
    return "\n".join(_sample_lines(sample.row, sample.meta))


def show_video(corpus: Corpus, video_id: str) -> str:
    """Returns every passage and every rejected clip of one source, with reasons and numbers.

    Raises:
        DataError: there is no source of this id.
    """
    rows = corpus.videos.filter(pc.equal(corpus.videos["video_id"], video_id)).to_pylist()
    if not rows:
        near = nearest_key(video_id, corpus.videos["video_id"].to_pylist())
        hint = f"the nearest id is {near!r}" if near else "it has no sources"
        where = one_line(corpus.store.url)
        raise DataError(f"there is no video {one_line(video_id, 120)!r} in {where}: {hint}")
    clips = corpus.clips.filter(pc.equal(corpus.clips["video_id"], video_id)).to_pylist()
    clips.sort(key=lambda clip: clip["clip_index"])
    return "\n".join(_video_lines(rows[0], clips))


def _sample_lines(row: Mapping[str, Any], meta: Mapping[str, Any]) -> Iterator[str]:
    made, start_s = meta["transcript"], meta["start_s"]
    shape = f"{meta['width_px']}x{meta['height_px']}, {meta['fps']:g} fps, {meta['frames']} frames"
    yield one_line(meta["key"])
    yield _fact("lies in", f"shards/{row['shard']}, split {meta['split']}")
    yield _fact("video", f"{meta['video_id']}, {meta['url']}")
    yield _fact("title", meta["title"])
    yield _fact("licence", meta["license"])
    yield _fact("sha256", meta["source_sha256"])
    yield _fact("in source", f"{_span(start_s, meta['end_s'])} s")
    yield _fact("mp4", f"{meta['duration_s']:.3f} s, {shape}, {row['mp4_size']} bytes")
    if row.get("frames_size") is not None:
        yield _fact("frames.mp4", f"{row['frames_size']} bytes")
    yield _fact("language", f"{meta['language']}, probability {meta['language_probability']}")
    yield _fact(
        "words by",
        ", ".join(str(made[name]) for name in ("source", "engine", "model", "compute_type")),
    )
    yield _fact("scores", _numbers(meta["scores"]))
    yield _fact("text", row["text"])
    for clip in meta["clips"]:
        yield ""
        in_source = _span(start_s + clip["start_s"], start_s + clip["end_s"])
        yield f"  {_span(clip['start_s'], clip['end_s'])} s of the mp4, {in_source} s of the source"
        yield _fact("text", clip["text"])
        yield _fact("words", " | ".join(map(_word, clip["words"])))
        yield _fact("scores", _numbers(_in_order(clip["scores"])))


def _video_lines(video: Mapping[str, Any], clips: list[dict[str, Any]]) -> Iterator[str]:
    because = [video["stage"], video["reason"], video["detail"]]
    told = one_line(": ".join(str(part) for part in because if part))
    yield one_line(f"{video['video_id']}: {video['outcome']}") + (f" by {told}" if told else "")
    for name, value in video.items():
        if value is not None and name not in (
            "video_id",
            "outcome",
            "stage",
            "reason",
            "detail",
            *HIDDEN,
        ):
            yield f"  {one_line(name)}: {one_line(_shown(value), LONGEST_TEXT)}"
    if not clips:
        yield "  no clip was cut from it"
    for key, group in groupby(clips, key=lambda clip: clip["sample_key"]):
        held = list(group)
        yield ""
        if key is None:
            yield f"not in the corpus: {_span(held[0]['start_s'], held[-1]['end_s'])} s"
        else:
            span = _span(held[0]["start_s"], held[-1]["end_s"])
            yield one_line(f"sample {key}: {span} s, {len(held)} clips")
        for clip in held:
            yield from _clip_lines(clip)


def _clip_lines(clip: Mapping[str, Any]) -> Iterator[str]:
    why = f" for {clip['reason']}" if clip["reason"] else ""
    span = _span(clip["start_s"], clip["end_s"])
    yield "  " + one_line(f"clip {clip['clip_index']} {span} s: {clip['outcome']}{why}")
    yield _fact("text", clip["text"])
    yield _fact("scores", _numbers(_in_order(clip)))


def _word(word: Mapping[str, Any]) -> str:
    """Returns a word with its start and, where it was recognised, its probability."""
    said = f"{word['word'].strip()} {word['start_s']:.2f}"
    return said if word["probability"] is None else f"{said} {_shown(word['probability'])}"


def _fact(label: str, value: object) -> str:
    said = one_line(str("unknown" if value is None else value), LONGEST_TEXT)
    return f"    {label:{LABEL_CHARS}}{said}"


def _span(start_s: float, end_s: float) -> str:
    return f"{start_s:.3f} to {end_s:.3f}"


def _numbers(scores: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {_shown(value)}" for name, value in scores.items() if value is not None
    )


def _in_order(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {name: scores.get(name) for name in SCORE_NAMES}


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
