"""How right an order is.

Shapes: N windows, K transcripts of each, in the order in which they were spoken. `places` is
int (N, K): the place, from 0, at which the head sees each of them; k is right for transcript k. The
head guesses each place on its own, so that several transcripts may have the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Measure:
    """One way to say how right an order is; more is better.

    Attributes:
        of: from places to one number a window, (N,).
        chance: from K to what a guess that sees nothing has.
        bounds: the least and the greatest number.
    """

    of: Callable[[Places], Floats]
    chance: Callable[[int], float]
    bounds: tuple[float, float]


def per_transcript(places: Places) -> Floats:
    """Returns the share of a window's transcripts that are at their place: (N,), 0..1."""
    return np.asarray((places == _right(places)).mean(axis=1), np.float64)


def all_right(places: Places) -> Floats:
    """Returns 1 for a window of which every transcript is at its place, else 0: (N,)."""
    return np.asarray((places == _right(places)).all(axis=1), np.float64)


def kendall_tau(places: Places) -> Floats:
    """Returns Kendall's tau-a of each window: (N,), -1 (reversed) to 1 (right).

    Pairs in the right order less pairs in the wrong one, by all pairs; a pair at one place counts
    as neither (Kendall 1938, Biometrika 30).
    """
    pairs = list(combinations(range(places.shape[1]), 2))
    signs: NDArray[Any] = np.stack([np.sign(places[:, j] - places[:, i]) for i, j in pairs])
    return np.asarray(signs.mean(axis=0), np.float64)


def _right(places: Places) -> Places:
    return np.arange(places.shape[1])


MEASURES = {
    "per_transcript": Measure(per_transcript, lambda k: 1 / k, (0, 1)),
    # The best that can be reached without looking: one of the K! orders. Independent guesses, of
    # which most are no order, have less: K**-K.
    "all_right": Measure(all_right, lambda k: 1 / math.factorial(k), (0, 1)),
    "kendall_tau": Measure(kendall_tau, lambda _: 0.0, (-1, 1)),
}
