"""What a build says of its corpus in numbers (`stats.json`), recounted from the rows of its tables.

Nothing here is taken from what a stage said while it ran: every number is a count or a sum over
rows, so that the report, the dataset card and an audit of a finished folder agree. Equal rows give
equal bytes, in whatever order they lie: times are added up in whole milliseconds, and every list
has an order of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from reelscript.jobs.statistics.contents import facts, languages, splits, words
from reelscript.jobs.statistics.funnel import (
    Endings,
    Group,
    clip_groups,
    funnel_rows,
    hours,
    reason_rows,
    video_groups,
)
from reelscript.jobs.statistics.health import health
from reelscript.jobs.statistics.limits_cost import limits_cost
from reelscript.jobs.statistics.reason_examples import clip_examples, video_examples
from reelscript.jobs.statistics.rows import Rows
from reelscript.jobs.statistics.scores import VIDEO_SCORES, scores
from reelscript.jobs.statistics.text import text_statistics
from reelscript.schemas.clip import SCORE_NAMES
from reelscript.schemas.text import one_line, score

FORMAT = "reelscript-stats/2"
MAX_SOURCES = 500  # rows of the list of sources; the rest is counted

BEFORE_CLIPS = ("acquire", "probe", "glance", "speech", "transcribe", "language")
"""Sections of the config that know only whole videos: their thresholds are about videos."""

Thresholds: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]


def statistics(
    rows: Rows,
    *,
    reasons: Mapping[str, Sequence[str]],
    thresholds: Thresholds | None = None,
    costs: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Returns the numbers of a corpus, ready for JSON: no NaN, no dates, equal for equal rows.

    Args:
        rows: of the corpus.
        reasons: each stage in pipeline order with every reason that it may give, so that zeros
            show. Reasons that stand in the rows and not here are added.
        thresholds: score -> its thresholds, each `{"setting", "value", "side", "origin"}` with
            side "max" or "min", value None where it is off. A score is named as in its table;
            `clip.`, `video.` or `passage.` before the name says whose it is where two have it.
        costs: stage -> `{"cpu_s", "wall_s", "videos", "remembered"}` of this build (all but the
            first may be missing). They and `health.stages`, which tells the timings of the rows,
            are the only part that two equal builds do not share.

    Raises:
        DataError: the rows are damaged, or there is no room to work on them.
    """
    endings = Endings(reasons, video_groups(rows), clip_groups(rows))
    limits, spent = flat_thresholds(thresholds or {}), costs or {}
    text = text_statistics(rows)
    return {
        "format": FORMAT,
        "counts": _counts(endings.videos, endings.clips, rows),
        "checks": _checks(rows),
        "hours": _hours(endings.videos, endings.clips, rows),
        "funnel": funnel_rows(endings),
        "reasons": reason_rows(
            endings, video_examples(rows, VIDEO_SCORES), clip_examples(rows, endings)
        ),
        "languages": languages(rows),
        **facts(rows),
        "splits": splits(rows),
        "words": words(rows, text),
        "text": text,
        "thresholds": limits,
        "scores": scores(rows, limits),
        "limits_cost": limits_cost(rows, limits),
        "health": health(rows, list(reasons), spent),
        "sources": _sources(rows),
        "costs": {stage: dict(cost) for stage, cost in spent.items()},
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


def _counts(videos: Sequence[Group], clips: Sequence[Group], rows: Rows) -> dict[str, int]:
    def of(groups: Sequence[Group], outcome: str) -> int:
        return sum(g.count for g in groups if g.outcome == outcome)

    return {
        "sources": sum(g.count for g in videos),
        **{outcome: of(videos, outcome) for outcome in ("kept", "rejected", "failed")},
        "clips": sum(g.count for g in clips),
        "clips_kept": of(clips, "kept"),
        "clips_rejected": of(clips, "rejected"),
        "samples": rows.dicts("SELECT count(*) AS samples FROM samples")[0]["samples"],
    }


def _checks(rows: Rows) -> list[dict[str, Any]]:
    """Returns the conservation laws of a corpus, both sides counted from rows."""
    [n] = rows.dicts("""
        SELECT * FROM (
            SELECT count(*) AS videos, count(DISTINCT video_id) AS ids,
                count(*) FILTER (outcome IN ('kept', 'rejected', 'failed')) AS ended,
                count(*) FILTER (outcome = 'kept') AS kept_videos
            FROM videos
        ), (
            SELECT count(*) AS clips, count(*) FILTER (outcome IN ('kept', 'rejected')) AS settled,
                count(*) FILTER (outcome = 'kept') AS kept_clips,
                count(DISTINCT video_id) FILTER (outcome = 'kept') AS with_kept_clip
            FROM clips
        ), (SELECT CAST(coalesce(sum(clips), 0) AS BIGINT) AS in_samples FROM samples)
    """)
    laws = (
        ("every source is one row", "videos", "ids"),
        ("sources = kept + rejected + failed", "videos", "ended"),
        ("clips = kept + rejected", "clips", "settled"),
        ("kept clips = clips in samples", "kept_clips", "in_samples"),
        ("kept videos = videos with a kept clip", "kept_videos", "with_kept_clip"),
    )
    return [
        {"law": law, "left": n[left], "right": n[right], "holds": n[left] == n[right]}
        for law, left, right in laws
    ]


def _hours(videos: Sequence[Group], clips: Sequence[Group], rows: Rows) -> dict[str, Any]:
    """Returns hours by outcome, and an account of where each hour of source video went.

    `samples` counts the mp4s (whole frames), `account.samples` the same passages in the source.
    """
    of = {
        outcome: sum(g.ms for g in videos if g.outcome == outcome)
        for outcome in ("kept", "rejected", "failed")
    }
    [n] = rows.dicts("""
        SELECT CAST(coalesce(sum(ms(duration_s)), 0) AS BIGINT) AS samples,
            CAST(coalesce(sum(ms(end_s) - ms(start_s)), 0) AS BIGINT) AS passages,
            (SELECT count(*) FILTER (duration_s IS NULL) FROM videos) AS unknown,
            (SELECT CAST(coalesce(sum(ms(end_s) - ms(start_s)), 0) AS BIGINT) FROM clips
                WHERE outcome <> 'kept'
                AND video_id IN (SELECT video_id FROM videos WHERE outcome = 'kept')) AS rejected
        FROM samples
    """)
    return {
        "source": hours(sum(g.ms for g in videos)),
        "sources_without_duration": n["unknown"],
        **{outcome: hours(ms) for outcome, ms in of.items()},
        "clips": hours(sum(g.ms for g in clips)),
        "clips_kept": hours(sum(g.ms for g in clips if g.outcome == "kept")),
        "samples": hours(n["samples"]),
        "account": {
            "samples": hours(n["passages"]),
            "rejected_clips_of_kept_videos": hours(n["rejected"]),
            "outside_clips_of_kept_videos": hours(
                max(0, of["kept"] - n["passages"] - n["rejected"])
            ),
            "rejected_videos": hours(of["rejected"]),
            "failed_videos": hours(of["failed"]),
        },
    }


def _sources(rows: Rows) -> dict[str, Any]:
    """Returns the first sources by id with what became of them, and how many more there are."""
    names = ["video_id", "url", "title", "license", "outcome", "stage", "reason", "detail"]
    numbers = ["duration_s", "clips_kept", "clips_rejected"]
    found = rows.dicts(f"""
        SELECT {", ".join([*names, *numbers])} FROM videos ORDER BY ALL LIMIT {MAX_SOURCES}
    """)
    for row in found:
        row |= {k: one_line(row[k]) for k in names if row[k] is not None}
        row["duration_s"] = None if row["duration_s"] is None else score(row["duration_s"])
    [total] = rows.dicts("SELECT count(*) AS videos FROM videos")
    return {"rows": found, "more": total["videos"] - len(found)}
