"""Histograms of a score, of what is kept beside what is rejected, over round edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelscript.schemas.text import score

MAX_BINS = 40
TAIL = 0.005  # of the values may lie outside on either side: one freak must not flatten the rest
LARGEST = 1e300
FAR = 2.0  # spans: a threshold further out than this, and than 0, is named and not drawn
STEPS = (1.0, 2.0, 5.0, 10.0)
QUANTILES = {"p5": 0.05, "median": 0.5, "p95": 0.95}


def histogram(
    values: NDArray[np.float64],
    kept: NDArray[np.bool_],
    thresholds: Sequence[float] = (),
    whole: bool = False,
) -> dict[str, Any]:
    """Returns `{"whole", "edges": [...], "kept": {...}, "rejected": {...}}`, JSON-ready.

    Each of the two holds `n`, `unmeasured`, `min`, `p5`, `median`, `p95`, `max` and `counts` (a bin
    holds its left edge, the last one both), with `below` and `above` for what lies outside the
    edges. Quantiles are interpolated linearly (type 7 of Hyndman and Fan 1996).

    Args:
        values: NaN or infinite where nothing was measured.
        kept: which of them are of what is kept.
        thresholds: places that the edges should take in, unless they lie far out.
        whole: the values are whole numbers, which a step under 1 would comb.
    """
    measured = np.isfinite(values)
    edges = bin_edges(values[measured], thresholds, whole)
    sides = {"kept": kept, "rejected": ~kept}
    return {"whole": whole, "edges": edges} | {
        n: _side(values[s], measured[s], edges) for n, s in sides.items()
    }


def _side(
    values: NDArray[np.float64], measured: NDArray[np.bool_], edges: list[float]
) -> dict[str, Any]:
    found = values[measured]
    counts = np.histogram(found, bins=edges)[0].tolist() if edges else []
    low, high = (edges[0], edges[-1]) if edges else (0.0, 0.0)
    some = len(found) > 0
    marks = quantiles(found, list(QUANTILES.values())) if some else [None] * 3
    named = dict(zip(QUANTILES, marks, strict=True))
    named |= {
        "min": float(found.min()) if some else None,
        "max": float(found.max()) if some else None,
    }
    return {
        "n": len(found),
        "unmeasured": int((~measured).sum()),
        **{name: None if mark is None else score(mark) for name, mark in named.items()},
        "counts": counts,
        "below": int((found < low).sum()),
        "above": int((found > high).sum()),
    }


def quantiles(values: NDArray[np.float64], at: Sequence[float]) -> list[float]:
    """Returns quantiles of some values, none beyond LARGEST: a span of larger ones is infinite."""
    found: list[float] = np.quantile(np.clip(values, -LARGEST, LARGEST), at).tolist()
    return found


def bin_edges(values: NDArray[np.float64], thresholds: Sequence[float], whole: bool) -> list[float]:
    """Returns up to 41 evenly spaced round edges that hold nearly all of `values`, if any."""
    if not len(values):
        return []
    low, high = quantiles(values, [TAIL, 1 - TAIL])
    reach = max(FAR * (high - low), abs(low), abs(high)) or FAR
    for at in thresholds:
        if math.isfinite(at) and low - reach <= at <= high + reach:
            low, high = min(low, at), max(high, at)
    step = _step(low, high, whole)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if whole:  # a bin holds its left edge: the largest whole number needs a bin of its own
        last = math.floor(high / step + 1e-9) + 1
    if first >= last:  # one value, at an edge: a share of 1 lies below 1, a share of 0 above 0
        first, last = (last - 1, last) if high > 0 else (first, first + 1)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def _step(low: float, high: float, whole: bool) -> float:
    """Returns a round step that spans `low` to `high` in at most 38 bins; aligned, they are 40."""
    finest = max(abs(low), abs(high)) * 1e-6  # finer ones fall together when they are written out
    span = (high - low) / (MAX_BINS - 2) or max(abs(high) / 10, 0.1)
    return round_step(max(span, finest, 1.0 if whole else 1e-9))


def round_step(least: float) -> float:
    """Returns the smallest of 1, 2 or 5 times a power of ten that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(s * power for s in STEPS if s * power >= least * (1 - 1e-9))
