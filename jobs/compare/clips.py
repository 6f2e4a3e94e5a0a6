"""Which clips are kept in one corpus and not in the other, and what became of them there.

Clips are the same if they are of the same video_id and begin and end in the same milliseconds.
"""

from __future__ import annotations

from typing import Any

from reelscript.jobs.statistics.funnel import REASON, STAGE, hours
from reelscript.jobs.statistics.links import link_to
from reelscript.jobs.statistics.rows import Rows
from reelscript.schemas.text import one_line

EXAMPLES = 5

CLIPS = f"""
    SELECT video_id, ms(start_s) AS start_ms, ms(end_s) AS end_ms,
        bool_or(outcome = 'kept') AS kept, min({REASON}) FILTER (outcome = 'rejected') AS reason
    FROM clips GROUP BY ALL
"""
VIDEOS = f"""
    SELECT video_id, min({STAGE} || '.' || {REASON}) AS reason,
        bool_or(outcome = 'kept') AS kept
    FROM videos GROUP BY video_id
"""
FATES = f"""
    WITH own AS (SELECT video_id, start_ms, end_ms FROM ({CLIPS}) WHERE kept),
    cut AS (SELECT DISTINCT video_id FROM other_clips),
    fates AS (
        SELECT own.*, CASE
                WHEN there.kept THEN 'kept'
                WHEN there.video_id IS NOT NULL THEN 'rejected'
                WHEN video.video_id IS NULL THEN 'no_video'
                WHEN video.kept OR cut.video_id IS NOT NULL THEN 'other_clips'
                ELSE 'video_ended' END AS fate,
            CASE fate WHEN 'rejected' THEN there.reason WHEN 'video_ended' THEN video.reason END
                AS reason
        FROM own LEFT JOIN other_clips AS there USING (video_id, start_ms, end_ms)
        LEFT JOIN other_videos AS video ON video.video_id = own.video_id
        LEFT JOIN cut ON cut.video_id = own.video_id
    )
"""
"""What became in the other corpus of each clip that this one keeps."""

TOTALS = f"""{FATES}
    SELECT fate, reason, count(*) AS clips, CAST(sum(end_ms - start_ms) AS BIGINT) AS ms
    FROM fates GROUP BY fate, reason ORDER BY ms DESC, clips DESC, fate, reason
"""
SHOWN = f"""{FATES},
    chosen AS (
        SELECT *, md5(video_id || '/' || start_ms) AS hash FROM fates WHERE fate <> 'kept'
        QUALIFY row_number() OVER (
            PARTITION BY fate, reason ORDER BY hash, video_id, start_ms, end_ms
        ) <= {EXAMPLES}
    )
    SELECT fate, chosen.reason, hash, video_id, start_ms, end_ms, min(text) AS text,
        min(title) AS title, min(url) AS url
    FROM chosen JOIN (
        SELECT video_id, ms(start_s) AS start_ms, ms(end_s) AS end_ms, text
        FROM clips WHERE outcome = 'kept'
    ) USING (video_id, start_ms, end_ms)
    LEFT JOIN (SELECT video_id, title, url FROM videos) USING (video_id)
    GROUP BY ALL ORDER BY fate, chosen.reason, hash, video_id, start_ms, end_ms
"""


def clip_differences(a: Rows, b: Rows) -> dict[str, Any]:
    """Returns `{"both", "only_a", "only_b"}`: the clips that are kept in both, or in one alone.

    Each holds `clips` and `hours`. `only_a` and `only_b` also tell what became of them in the other
    corpus: `fates`, most hours first, each `{"fate", "reason", "clips", "hours", "examples"}`:

    ```
    rejected       the clip is there, and `reason` keeps it out
    video_ended    no clip was cut from its video: `reason` is `<stage>.<reason>`
    other_clips    its video is there, and was cut at other times
    no_video       its video is not there
    ```

    `examples` are up to five clips by hash, as
    `{"video_id", "start_s", "end_s", "text", "title", "url", "link"}`.

    Raises:
        DataError: the rows cannot be read.
    """
    both, only_a = _fates(a, b)
    _, only_b = _fates(b, a)
    return {"both": both, "only_a": only_a, "only_b": only_b}


def _fates(own: Rows, other: Rows) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what both keep, and what only the first one keeps."""
    own.con.register("other_clips", other.sql(CLIPS))
    own.con.register("other_videos", other.sql(VIDEOS))
    try:
        totals, shown = own.dicts(TOTALS), own.dicts(SHOWN)
    finally:
        own.con.unregister("other_clips")
        own.con.unregister("other_videos")
    examples: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    for row in shown:
        examples.setdefault((row["fate"], row["reason"]), []).append(_example(row))
    gone = [row for row in totals if row["fate"] != "kept"]
    fates = [
        {
            "fate": row["fate"],
            "reason": None if row["reason"] is None else one_line(row["reason"]),
            "clips": row["clips"],
            "hours": hours(row["ms"]),
            "examples": examples.get((row["fate"], row["reason"]), []),
        }
        for row in gone
    ]
    return _sum([row for row in totals if row["fate"] == "kept"]), _sum(gone) | {"fates": fates}


def _sum(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "clips": sum(row["clips"] for row in rows),
        "hours": hours(sum(row["ms"] for row in rows)),
    }


def _example(row: dict[str, Any]) -> dict[str, Any]:
    start_s = row["start_ms"] / 1000
    return {
        "video_id": row["video_id"],
        "start_s": start_s,
        "end_s": row["end_ms"] / 1000,
        "text": one_line(row["text"] or ""),
        "title": None if row["title"] is None else one_line(row["title"]),
        "url": None if row["url"] is None else one_line(row["url"]),
        "link": link_to(row["url"], start_s),
    }
