"""Which threshold costs the most: what each keeps out that no other would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reelscript.jobs.statistics.funnel import hours
from reelscript.jobs.statistics.rows import Rows
from reelscript.pipeline.rules import DUPLICATE_CONTENT
from reelscript.schemas.clip import SCORE_NAMES
from reelscript.schemas.tables import VIDEOS

SECTION = "quality."


def limits_cost(rows: Rows, limits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns for each threshold of quality the clips, and their hours, that it alone keeps out.

    Such a clip breaks this rule and no other: it is as long as a clip may be, meets all other
    thresholds, and so does its video. Not all of them would be in the corpus without it: passages
    are made of those clips that are left. Most hours first.

    Args:
        rows: of the corpus.
        limits: thresholds as `flat_thresholds` gives them; those that are off and those of other
            sections are left out.
    """
    own = [limit for limit in limits if _is_ours(limit)]
    if not own:
        return []
    breaks = ", ".join(_breaks(limit, f"rule_{n}") for n, limit in enumerate(own))
    broken = " + ".join(f"CAST(rule_{n} AS INT)" for n in range(len(own)))
    counts = ", ".join(
        f"count(*) FILTER (rule_{n}) AS clips_{n}, "
        f"CAST(coalesce(sum(ms) FILTER (rule_{n}), 0) AS BIGINT) AS ms_{n}"
        for n in range(len(own))
    )
    of_videos = sorted({limit["score"] for limit in own if limit["of"] == "video"})
    facts = "".join(f", min({name}) AS video_{name}" for name in of_videos)
    [found] = rows.dicts(
        f"""
        WITH facts AS (SELECT video_id{facts} FROM videos GROUP BY video_id),
        judged AS (
            SELECT ms(end_s) - ms(start_s) AS ms, {breaks}
            FROM clips LEFT JOIN facts USING (video_id)
            WHERE within_bounds IS DISTINCT FROM false
                AND reason IS DISTINCT FROM '{DUPLICATE_CONTENT}'
        )
        SELECT {counts} FROM judged WHERE {broken} = 1
        """,
        [float(limit["value"]) for limit in own],
    )
    costs = [(limit, found[f"clips_{n}"], found[f"ms_{n}"]) for n, limit in enumerate(own)]
    costs.sort(key=lambda cost: (-cost[2], -cost[1], cost[0]["setting"], cost[0]["value"]))
    return [
        {
            "setting": limit["setting"],
            "value": limit["value"],
            "clips_only": clips,
            "hours_only": hours(ms),
        }
        for limit, clips, ms in costs
    ]


def _is_ours(limit: Mapping[str, Any]) -> bool:
    known = SCORE_NAMES if limit["of"] == "clip" else VIDEOS.names
    ours = str(limit["setting"]).startswith(SECTION) and limit["value"] is not None
    return ours and limit["of"] in ("clip", "video") and limit["score"] in known


def _breaks(limit: Mapping[str, Any], name: str) -> str:
    """Returns SQL for whether a clip breaks a rule; what was not measured breaks none."""
    score = f"{'video_' if limit['of'] == 'video' else ''}{limit['score']}"
    sign = "<" if limit["side"] == "min" else ">"
    return f"coalesce({score} {sign} ? AND NOT isnan({score}), false) AS {name}"
