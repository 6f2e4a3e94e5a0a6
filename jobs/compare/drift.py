"""How far the distributions of scores lie apart, as effect sizes: no unit, and no sample size."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from reelscript.jobs.statistics.rows import Rows
from reelscript.jobs.statistics.scores import SCORES, TABLES
from reelscript.schemas.text import score

SIZES = ((0.56, "negligible"), (0.64, "small"), (0.71, "medium"))
LARGEST = "large"

Floats: TypeAlias = NDArray[np.float64]


def score_drift(a: Rows, b: Rows) -> list[dict[str, Any]]:
    """Returns for each score of what is kept how it differs from `a` to `b`, largest drift first.

    Each is `{"of", "name", "a", "b", "larger_in_b", "size", "distance"}`: `a` and `b` hold `n` and
    `median`; `larger_in_b` and `size` as `probability_larger` and `effect_size` give them;
    `distance` is that of Kolmogorov and Smirnov. Null where one side has no value.
    """
    found = []
    for of, name, value, kept in SCORES:
        one, other = (kept_values(rows, TABLES[of][0], value, kept) for rows in (a, b))
        larger = probability_larger(one, other)
        found.append(
            {
                "of": of,
                "name": name,
                "a": _side(one),
                "b": _side(other),
                "larger_in_b": larger,
                "size": None if larger is None else effect_size(larger),
                "distance": cdf_distance(one, other),
            }
        )
    return sorted(found, key=_least_drift)


def probability_larger(a: Floats, b: Floats) -> float | None:
    """Returns how likely a value of `b` is larger than one of `a`, ties counted half: 0..1.

    Source: the A of Vargha and Delaney 2000, A Critique and Improvement of the CL Common Language
    Effect Size Statistics of McGraw and Wong; exact, from ranks.

    Args:
        a: sorted values.
        b: sorted values.
    """
    if not len(a) or not len(b):
        return None
    below, up_to = np.searchsorted(a, b, "left"), np.searchsorted(a, b, "right")
    return score((int(below.sum()) + int(up_to.sum())) / (2 * len(a) * len(b)))


def effect_size(larger: float) -> str:
    """Returns a word for a probability of being larger: negligible, small, medium or large.

    Source: Vargha and Delaney 2000: small from 0.56 on, medium from 0.64, large from 0.71, and
    likewise below one half.
    """
    away = round(max(larger, 1 - larger), 6)
    return next((word for limit, word in SIZES if away < limit), LARGEST)


def cdf_distance(a: Floats, b: Floats) -> float | None:
    """Returns the largest distance between two empirical distribution functions: 0..1.

    Source: the statistic D of Kolmogorov and Smirnov for two samples.

    Args:
        a: sorted values.
        b: sorted values.
    """
    if not len(a) or not len(b):
        return None
    at = np.concatenate([a, b])
    apart = np.searchsorted(a, at, "right") * len(b) - np.searchsorted(b, at, "right") * len(a)
    return score(int(np.abs(apart).max()) / (len(a) * len(b)))


def kept_values(rows: Rows, table: str, value: str, kept: str) -> Floats:
    """Returns the measured values of a score of what is kept, sorted.

    Args:
        rows: of a corpus.
        table: the view that it stands in.
        value: the score as SQL.
        kept: as SQL, whether a row is kept.
    """
    found = rows.sql(f"SELECT CAST({value} AS DOUBLE) AS value FROM {table} WHERE {kept}")
    values: Floats = pc.fill_null(found["value"], float("nan")).to_numpy()
    return np.sort(values[np.isfinite(values)])


def _side(values: Floats) -> dict[str, Any]:
    return {"n": len(values), "median": score(float(np.median(values))) if len(values) else None}


def _least_drift(found: dict[str, Any]) -> tuple[Any, ...]:
    if found["larger_in_b"] is None:
        return (1, 0, 0, found["of"], found["name"])
    away = round(abs(found["larger_in_b"] - 0.5), 6)
    return (0, -away, -found["distance"], found["of"], found["name"])
