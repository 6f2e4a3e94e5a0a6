"""How far the shares of languages, licences, channels, reasons and the like lie apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reelscript.jobs.statistics.contents import FACTS
from reelscript.jobs.statistics.funnel import HOUR_MS, REASON, STAGE
from reelscript.jobs.statistics.rows import Rows
from reelscript.schemas.text import one_line, score

MOVED = 5  # categories that are listed

BY_VIDEO = """
    SELECT fact AS name, CAST(sum(ms(duration_s)) AS BIGINT) AS amount
    FROM samples LEFT JOIN (SELECT video_id, min({fact}) AS fact FROM videos GROUP BY video_id)
        USING (video_id)
    GROUP BY fact
"""
QUERIES = {
    "languages": (
        "hours",
        "SELECT language AS name, CAST(sum(ms(duration_s)) AS BIGINT) AS amount FROM samples"
        " GROUP BY language",
    ),
    **{name: ("hours", BY_VIDEO.format(fact=fact)) for name, fact in FACTS.items()},
    "reasons_of_videos": (
        "videos",
        f"SELECT {STAGE} || '.' || {REASON} AS name, count(*) AS amount FROM videos"
        " WHERE outcome IN ('rejected', 'failed') GROUP BY name",
    ),
    "reasons_of_clips": (
        "clips",
        f"SELECT {REASON} AS name, count(*) AS amount FROM clips"
        " WHERE outcome = 'rejected' GROUP BY name",
    ),
}
"""Name -> what is counted (hours: of samples), and a query for it by category."""


def fact_drift(a: Rows, b: Rows) -> list[dict[str, Any]]:
    """Returns for each fact how its shares differ from `a` to `b`, largest drift first.

    Each is `{"name", "unit", "a", "b", "distance", "categories"}`: `a` and `b` are the totals in
    `unit`; `distance` as `variation_distance` gives it; `categories` are those that moved most,
    `{"name", "a", "b", "difference"}` in shares of 0..1, the name null for what is not known.
    """
    found = []
    for name, (unit, query) in QUERIES.items():
        one, other = (_amounts(rows, query) for rows in (a, b))
        scale = HOUR_MS if unit == "hours" else 1
        found.append(
            {
                "name": name,
                "unit": unit,
                **{
                    side: round(sum(amounts.values()) / scale, 6)
                    for side, amounts in (("a", one), ("b", other))
                },
                "distance": variation_distance(one, other),
                "categories": most_moved(one, other),
            }
        )
    return sorted(found, key=lambda f: (f["distance"] is None, -(f["distance"] or 0), f["name"]))


def variation_distance(a: Mapping[Any, int], b: Mapping[Any, int]) -> float | None:
    """Returns the total variation distance of two distributions, 0..1, or None if one is empty.

    It is the share of the one that must change to make it the other: half the sum of the
    differences of all shares (Levin, Peres and Wilmer 2009, Markov Chains and Mixing Times,
    proposition 4.2).

    Args:
        a: category -> whole amount.
        b: the same of the other.
    """
    all_a, all_b = sum(a.values()), sum(b.values())
    if not all_a or not all_b:
        return None
    apart = sum(abs(a.get(c, 0) * all_b - b.get(c, 0) * all_a) for c in {*a, *b})
    return score(apart / (2 * all_a * all_b))


def most_moved(a: Mapping[str | None, int], b: Mapping[str | None, int]) -> list[dict[str, Any]]:
    """Returns up to five categories whose shares differ, the largest difference first.

    Args:
        a: category -> whole amount.
        b: the same of the other.
    """
    all_a, all_b = sum(a.values()) or 1, sum(b.values()) or 1
    moved = [
        (-abs(a.get(c, 0) * all_b - b.get(c, 0) * all_a), c is not None, c or "", c)
        for c in {*a, *b}
    ]
    return [
        {
            "name": None if c is None else one_line(c),
            "a": score(a.get(c, 0) / all_a),
            "b": score(b.get(c, 0) / all_b),
            "difference": score(b.get(c, 0) / all_b - a.get(c, 0) / all_a),
        }
        for apart, _, _, c in sorted(moved)[:MOVED]
        if apart
    ]


def _amounts(rows: Rows, query: str) -> dict[str | None, int]:
    return {row["name"]: row["amount"] for row in rows.dicts(query) if row["amount"]}
