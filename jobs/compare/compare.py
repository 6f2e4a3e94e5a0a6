"""What differs between two corpora, or two releases of one: `reelscript audit A B`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reelscript.jobs.compare.clips import clip_differences
from reelscript.jobs.compare.drift import score_drift
from reelscript.jobs.compare.settings import differences
from reelscript.jobs.compare.shares import fact_drift
from reelscript.jobs.compare.words import word_drift
from reelscript.jobs.statistics.rows import Rows
from reelscript.schemas.text import one_line

FORMAT = "reelscript-comparison/1"


def compare(
    a: Rows,
    b: Rows,
    stats_a: Mapping[str, Any],
    stats_b: Mapping[str, Any],
    *,
    names: tuple[str, str] = ("A", "B"),
    configs: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {}),
    versions: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {}),
) -> dict[str, Any]:
    """Returns what differs from `a` to `b`, ready for JSON: no NaN, equal for equal rows.

    ```
    format, names                 reelscript-comparison/1; what the two are called
    counts, hours                 [{name, a, b, difference}] of stats.json
    scores                        [{of, name, a, b, larger_in_b, size, distance}], see score_drift
    facts                         [{name, unit, a, b, distance, categories}], see fact_drift
    words                         {divergence, a, b, words}, see word_drift
    clips                         {both, only_a, only_b}, see clip_differences
    settings, versions            [{name, a, b}], as text; null where it is not there
    ```

    Args:
        a: rows of the one corpus; distributions are those of what it keeps.
        b: rows of the other one.
        stats_a: what `statistics` returned for `a`.
        stats_b: the same of `b`.
        names: what to call them.
        configs: their resolved configs as plain data.
        versions: what they were made with: `versions` of their dataset.json.

    Raises:
        DataError: the rows cannot be read.
    """
    return {
        "format": FORMAT,
        "names": [one_line(name) for name in names],
        "counts": _numbers(stats_a["counts"], stats_b["counts"], int),
        "hours": _numbers(stats_a["hours"], stats_b["hours"], float),
        "scores": score_drift(a, b),
        "facts": fact_drift(a, b),
        "words": word_drift(a, b),
        "clips": clip_differences(a, b),
        "settings": differences(*configs),
        "versions": differences(*versions),
    }


def _numbers(a: Mapping[str, Any], b: Mapping[str, Any], kind: type) -> list[dict[str, Any]]:
    """Returns the numbers of a kind that both have, with how much more `b` has."""
    return [
        {"name": name, "a": a[name], "b": b[name], "difference": round(b[name] - a[name], 6)}
        for name in a
        if isinstance(a[name], kind) and isinstance(b.get(name), kind)
    ]
