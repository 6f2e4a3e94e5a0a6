"""What a build says of its corpus in numbers (`stats.json`), recounted from the rows of its tables.

Nothing here is taken from what a stage said while it ran: every number is a count or a sum over
rows, so that the report, the dataset card and an audit of a finished folder agree. Columns are
worked on whole: a million clips take seconds. Sums run in the order of the rows, so that equal
tables give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.report.contents import by_fact, hosts_of, languages, splits, words
from reelscript.jobs.report.funnel import (
    Floats,
    Group,
    as_floats,
    finite_or_zero,
    funnel_rows,
    grouped,
    hours,
    reason_rows,
)
from reelscript.jobs.report.histogram import histogram
from reelscript.schemas.clip import SCORE_NAMES
from reelscript.schemas.text import one_line, score

FORMAT = "reelscript-stats/1"
MAX_SOURCES = 500  # rows of the list of sources; the rest is counted

VIDEO_SCORES = (
    *("duration_s", "static_share", "speech_share", "voice_probability"),
    *("language_probability", "language_agreement", "text_language_probability"),
    *("words_per_s", "densest_30s_words", "unique_word_share", "mean_word_probability"),
)
"""The facts about a whole video of which a histogram is drawn."""

PASSAGE_SCORES = ("duration_s", "clips")

BEFORE_CLIPS = ("acquire", "probe", "glance", "speech", "transcribe", "language")
"""Sections of the config that know only whole videos: their thresholds are about videos."""

Thresholds: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]


def statistics(
    videos: pa.Table,
    clips: pa.Table,
    samples: pa.Table,
    *,
    reasons: Mapping[str, Sequence[str]],
    thresholds: Thresholds | None = None,
    costs: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Returns the numbers of a corpus, ready for JSON: no NaN, no dates, equal for equal tables.

    Args:
        videos: one row for every source (schemas.tables.VIDEOS).
        clips: one row for every clip (CLIPS).
        samples: one row for every sample (SAMPLES).
        reasons: each stage in pipeline order with every reason that it may give, so that zeros
            show. Reasons that stand in the rows and not here are added.
        thresholds: score -> its thresholds, each `{"setting", "value", "side", "origin"}` with
            side "max" or "min", value None where it is off. A score is named as in its table;
            `clip.`, `video.` or `passage.` before the name says whose it is where two have it.
        costs: stage -> `{"cpu_s", "wall_s", "videos", "remembered"}` of this build (all but the
            first may be missing): the only part that two equal builds do not share.
    """
    video_s = finite_or_zero(videos["duration_s"])
    clip_s = finite_or_zero(clips["end_s"]) - finite_or_zero(clips["start_s"])
    sample_s = finite_or_zero(samples["duration_s"])
    outcomes = grouped(videos, ["outcome", "stage", "reason"], video_s)
    clip_outcomes = grouped(clips, ["outcome", "reason"], clip_s)
    limits = flat_thresholds(thresholds or {})
    return {
        "format": FORMAT,
        "counts": _counts(outcomes, clip_outcomes, samples),
        "checks": _checks(videos, clips, samples),
        "hours": _hours(videos, clips, samples, video_s, clip_s),
        "funnel": funnel_rows(reasons, outcomes, clip_outcomes),
        "reasons": reason_rows(reasons, outcomes, clip_outcomes, videos["video_id"], clips["text"]),
        "languages": languages(videos, samples, video_s, sample_s),
        "licenses": by_fact(videos["license"], videos, samples, video_s, sample_s),
        "transcripts": by_fact(videos["transcript_source"], videos, samples, video_s, sample_s),
        "hosts": by_fact(hosts_of(videos["url"]), videos, samples, video_s, sample_s),
        "splits": splits(samples, sample_s),
        "words": words(clips),
        "thresholds": limits,
        "scores": _scores(videos, clips, samples, clip_s, limits),
        "sources": _sources(videos),
        "costs": {stage: dict(cost) for stage, cost in (costs or {}).items()},
    }


def flat_thresholds(thresholds: Thresholds) -> list[dict[str, Any]]:
    """Returns the thresholds as a list, each with whose score it bounds: clip, video or passage."""
    flat = []
    for name, limits in thresholds.items():
        for limit in limits:
            of, bare = _owner(name, str(limit["setting"]))
            flat.append(
                {"of": of, "score": bare, **limit, "origin": str(limit.get("origin") or "")}
            )
    return flat


def _owner(name: str, setting: str) -> tuple[str, str]:
    """Returns whose score a threshold bounds, and the bare name of that score."""
    prefix, _, bare = name.partition(".")
    if prefix in ("clip", "video", "passage") and bare:
        return prefix, bare
    section, _, key = setting.partition(".")
    of_video = section in BEFORE_CLIPS or key.startswith("video_") or name not in SCORE_NAMES
    return ("video" if of_video else "clip"), name


def _counts(videos: list[Group], clips: list[Group], samples: pa.Table) -> dict[str, int]:
    def of(groups: list[Group], outcome: str) -> int:
        return sum(g.count for g in groups if g.key[0] == outcome)

    return {
        "sources": sum(g.count for g in videos),
        **{outcome: of(videos, outcome) for outcome in ("kept", "rejected", "failed")},
        "clips": sum(g.count for g in clips),
        "clips_kept": of(clips, "kept"),
        "clips_rejected": of(clips, "rejected"),
        "samples": len(samples),
    }


def _checks(videos: pa.Table, clips: pa.Table, samples: pa.Table) -> list[dict[str, Any]]:
    """Returns the conservation laws of a corpus, both sides counted from rows."""
    ended = (
        pc.sum(pc.is_in(videos["outcome"], pa.array(["kept", "rejected", "failed"]))).as_py() or 0
    )
    settled = pc.sum(pc.is_in(clips["outcome"], pa.array(["kept", "rejected"]))).as_py() or 0
    kept_clips = clips.filter(pc.equal(clips["outcome"], "kept"))
    kept_videos = pc.sum(pc.equal(videos["outcome"], "kept")).as_py() or 0
    laws = (
        ("every source is one row", len(videos), pc.count_distinct(videos["video_id"]).as_py()),
        ("sources = kept + rejected + failed", len(videos), ended),
        ("clips = kept + rejected", len(clips), settled),
        ("kept clips = clips in samples", len(kept_clips), pc.sum(samples["clips"]).as_py() or 0),
        (
            "kept videos = videos with a kept clip",
            kept_videos,
            len(pc.unique(kept_clips["video_id"])),
        ),
    )
    return [{"law": law, "left": a, "right": b, "holds": a == b} for law, a, b in laws]


def _hours(
    videos: pa.Table, clips: pa.Table, samples: pa.Table, video_s: Floats, clip_s: Floats
) -> dict[str, Any]:
    """Returns hours by outcome, and an account of where each hour of source video went.

    `samples` counts the mp4s (whole frames), `account.samples` the same passages in the source.
    """
    by_outcome = {g.key[0]: g.seconds for g in grouped(videos, ["outcome"], video_s)}
    kept_ids = videos["video_id"].filter(pc.equal(videos["outcome"], "kept")).combine_chunks()
    in_kept = pc.is_in(clips["video_id"], kept_ids).to_numpy()
    kept_clip = pc.equal(clips["outcome"], "kept").to_numpy()
    rejected_clips_s = float(clip_s[in_kept & ~kept_clip].sum())
    passages_s = finite_or_zero(samples["end_s"]) - finite_or_zero(samples["start_s"])
    samples_s, kept_s = float(passages_s.sum()), by_outcome.get("kept", 0.0)
    return {
        "source": hours(float(video_s.sum())),
        "sources_without_duration": videos["duration_s"].null_count,
        **{name: hours(by_outcome.get(name, 0.0)) for name in ("kept", "rejected", "failed")},
        "clips": hours(float(clip_s.sum())),
        "clips_kept": hours(float(clip_s[kept_clip].sum())),
        "samples": hours(float(finite_or_zero(samples["duration_s"]).sum())),
        "account": {
            "samples": hours(samples_s),
            "rejected_clips_of_kept_videos": hours(rejected_clips_s),
            "outside_clips_of_kept_videos": hours(max(0.0, kept_s - samples_s - rejected_clips_s)),
            "rejected_videos": hours(by_outcome.get("rejected", 0.0)),
            "failed_videos": hours(by_outcome.get("failed", 0.0)),
        },
    }


def _scores(
    videos: pa.Table,
    clips: pa.Table,
    samples: pa.Table,
    clip_s: Floats,
    limits: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Returns a histogram of each score, those kept beside those rejected, over shared edges."""
    measured = clips.append_column("duration_s", pa.array(np.round(clip_s, 3)))
    tables = (
        ("clip", measured, (*SCORE_NAMES, "duration_s")),
        ("passage", samples, PASSAGE_SCORES),
        ("video", videos, VIDEO_SCORES),
    )
    out = []
    for of, table, names in tables:
        kept = np.ones(len(table), dtype=np.bool_)
        if of != "passage":
            kept = pc.equal(table["outcome"], "kept").to_numpy()
        for name in names:
            own = [limit for limit in limits if (limit["of"], limit["score"]) == (of, name)]
            at = [float(limit["value"]) for limit in own if limit["value"] is not None]
            whole = pa.types.is_integer(table.schema.field(name).type)
            bins = histogram(as_floats(table[name]), kept, at, whole)
            out.append({"of": of, "name": name, "thresholds": own, **bins})
    return out


def _sources(videos: pa.Table) -> dict[str, Any]:
    """Returns the first sources with what became of them, and how many more there are."""
    names = ["video_id", "url", "title", "license", "outcome", "stage", "reason", "detail"]
    numbers = ["duration_s", "clips_kept", "clips_rejected"]
    rows = videos.slice(0, MAX_SOURCES).select([*names, *numbers]).to_pylist()
    for row in rows:
        row |= {k: one_line(row[k]) for k in names if row[k] is not None}
        row["duration_s"] = None if row["duration_s"] is None else score(row["duration_s"])
    return {"rows": rows, "more": max(0, len(videos) - MAX_SOURCES)}
