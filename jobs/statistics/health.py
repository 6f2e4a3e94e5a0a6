"""How well the making of a corpus went: failures by class, doubtful windows, what stages cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reelscript.jobs.statistics.funnel import HOUR_MS, REASON, STAGE
from reelscript.jobs.statistics.rows import Rows
from reelscript.jobs.status.counts import MENDED, PASSING
from reelscript.pipeline.resume import OF_THE_MOMENT
from reelscript.schemas.text import one_line

PENDING = "pending"
US_PER_S = 1_000_000


def health(
    rows: Rows, stages: Sequence[str], costs: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns failures, windows, words, and what each stage cost, JSON-ready.

    - `failures`: of videos by class (see `failure_class`), reason and stage, the most first.
    - `windows`: those that the recogniser decoded, decoded again, and still doubts.
    - `words`: all of the transcripts, and those whose time had to be interpolated.
    - `stages`: for each that was timed the videos, CPU seconds, the seconds of video that they
      hold, `rtfx` = seconds of video by CPU second, and CPU seconds by hour of samples.

    Args:
        rows: of the corpus.
        stages: in the order of the pipeline.
        costs: stage -> `{"remembered", ...}` of the build, where it is known.
    """
    [sums] = rows.dicts(f"""
        SELECT {_sum("windows")}, {_sum("redecoded_windows")}, {_sum("doubtful_windows")},
            {_sum("words")}, {_sum("interpolated_words")}
        FROM videos
    """)
    return {
        "failures": _failures(rows),
        "windows": {
            "all": sums["windows"],
            "redecoded": sums["redecoded_windows"],
            "doubtful": sums["doubtful_windows"],
        },
        "words": {"all": sums["words"], "interpolated": sums["interpolated_words"]},
        "stages": _stages(rows, stages, costs),
    }


def failure_class(reason: str) -> str:
    """Returns what is to be done about a failure.

    `pending`: it was still to be done when the corpus was published; `passing`: trying again may
    help; `mendable`: it helps once something is otherwise, a setting, a package, a file; `lasting`:
    nothing is known to help.
    """
    if reason == PENDING:
        return "pending"
    if reason in MENDED:
        return "mendable"
    passing = PASSING.fullmatch(reason) is not None or reason in OF_THE_MOMENT
    return "passing" if passing else "lasting"


def _failures(rows: Rows) -> list[dict[str, Any]]:
    found = rows.dicts(f"""
        SELECT {REASON} AS why, {STAGE} AS ended_at, count(*) AS videos
        FROM videos WHERE outcome = 'failed' GROUP BY ALL ORDER BY videos DESC, why, ended_at
    """)
    return [
        {
            "class": failure_class(row["why"]),
            "reason": one_line(row["why"]),
            "stage": one_line(row["ended_at"]),
            "videos": row["videos"],
        }
        for row in found
    ]


def _stages(
    rows: Rows, order: Sequence[str], costs: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Returns the cost of each stage, those of the pipeline in its order and then others."""
    found = rows.dicts(f"""
        SELECT spent.key AS stage, count(*) AS videos, CAST(sum(ms(duration_s)) AS BIGINT) AS ms,
            CAST(sum(CAST(round(spent.value * {US_PER_S}) AS BIGINT)) AS BIGINT) AS cpu_us
        FROM (
            SELECT duration_s, unnest(map_entries(
                TRY_CAST(TRY_CAST(timings AS JSON) AS MAP(VARCHAR, DOUBLE)))) AS spent
            FROM videos
        ) WHERE spent.value BETWEEN 0 AND 1e9 GROUP BY ALL ORDER BY ALL
    """)
    [kept] = rows.dicts("SELECT CAST(sum(ms(duration_s)) AS BIGINT) AS ms FROM samples")
    places = {stage: place for place, stage in enumerate(order)}
    found.sort(key=lambda row: (places.get(row["stage"], len(places)), row["stage"]))
    return [
        {
            "stage": one_line(row["stage"]),
            "videos": row["videos"],
            "remembered": costs.get(row["stage"], {}).get("remembered"),
            "cpu_s": row["cpu_us"] / US_PER_S,
            "audio_s": row["ms"] / 1000,
            "rtfx": _ratio(row["ms"] * (US_PER_S // 1000), row["cpu_us"]),
            "cpu_s_per_hour_kept": _ratio(row["cpu_us"] * HOUR_MS, (kept["ms"] or 0) * US_PER_S),
        }
        for row in found
    ]


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole > 0 else None


def _sum(column: str) -> str:
    return f"CAST(coalesce(sum({column}), 0) AS BIGINT) AS {column}"
