"""Up to three examples of every reason, the same ones whoever asks: chosen by hash."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reelscript.jobs.statistics.funnel import EXAMPLES, REASON, STAGE, Endings
from reelscript.jobs.statistics.links import link_to
from reelscript.jobs.statistics.rows import Rows
from reelscript.schemas.clip import SCORE_NAMES
from reelscript.schemas.text import ms, one_line, score

TOLD = """
    SELECT video_id, min(title) AS title, min(url) AS url FROM videos
    WHERE video_id IN (SELECT video_id FROM chosen) GROUP BY video_id
"""  # a video that stands there twice is told of once


def clip_examples(rows: Rows, endings: Endings) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Returns examples of rejected clips by stage and reason: the least md5 of `video_id/index`."""
    scores = ", ".join(f"clips.{name}" for name in SCORE_NAMES)
    found = rows.dicts(f"""
        WITH chosen AS (
            SELECT video_id, clip_index, {REASON} AS why FROM clips WHERE outcome = 'rejected'
            QUALIFY row_number() OVER (
                PARTITION BY {REASON}
                ORDER BY md5(video_id || '/' || clip_index), video_id, clip_index
            ) <= {EXAMPLES}
        ), told AS ({TOLD})
        SELECT why, md5(clips.video_id || '/' || clips.clip_index) AS hash, clips.video_id,
            clips.clip_index, clips.start_s, clips.end_s, clips.text, told.title, told.url, {scores}
        FROM clips LEFT JOIN told USING (video_id)
        JOIN (SELECT DISTINCT * FROM chosen) AS chosen
            ON clips.video_id = chosen.video_id AND clips.clip_index = chosen.clip_index
            AND {REASON.replace("reason", "clips.reason")} = why
        WHERE clips.outcome = 'rejected' ORDER BY ALL
    """)
    examples: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in found:
        key = (endings.stage_of_clip(row["why"]), row["why"])
        example = {
            "kind": "clip",
            "video_id": row["video_id"],
            "clip_index": row["clip_index"],
            "start_s": _time(row["start_s"]),
            "end_s": _time(row["end_s"]),
            "text": one_line(row["text"] or ""),
            "title": _line(row["title"]),
            "url": _line(row["url"]),
            "link": link_to(row["url"], row["start_s"]),
            "scores": _scores(row, SCORE_NAMES),
        }
        examples.setdefault(key, []).append(example)
    return examples


def video_examples(
    rows: Rows, scores: Sequence[str]
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Returns examples of videos that ended early by stage and reason: the least md5 of their id.

    Args:
        rows: of the corpus.
        scores: facts about a video that are told of each.
    """
    found = rows.dicts(f"""
        SELECT {STAGE} AS ended_at, {REASON} AS why, md5(video_id) AS hash,
            video_id, title, url, detail, {", ".join(dict.fromkeys(["duration_s", *scores]))}
        FROM videos WHERE outcome IN ('rejected', 'failed')
        QUALIFY row_number() OVER (
            PARTITION BY ended_at, why ORDER BY hash, video_id, title, url, detail
        ) <= {EXAMPLES}
        ORDER BY ALL
    """)
    examples: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in found:
        example = {
            "kind": "video",
            "video_id": row["video_id"],
            "title": _line(row["title"]),
            "url": _line(row["url"]),
            "link": link_to(row["url"]),
            "detail": _line(row["detail"]),
            "duration_s": _number(row["duration_s"]),
            "scores": _scores(row, scores),
        }
        examples.setdefault((row["ended_at"], row["why"]), []).append(example)
    return examples


def _time(seconds: float | None) -> float | None:
    """Returns a time, None where a damaged table has none."""
    return None if seconds is None or not math.isfinite(seconds) else ms(seconds)


def _line(text: str | None) -> str | None:
    return None if text is None else one_line(text)


def _number(value: float | None) -> float | None:
    return value if value is None or isinstance(value, int) else score(value)


def _scores(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, float | None]:
    return {name: _number(row[name]) for name in names}
