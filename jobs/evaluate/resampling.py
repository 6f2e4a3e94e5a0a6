"""Intervals by the bootstrap over videos: what comes of one video is not independent.

Videos are drawn with replacement, with all that came of each, and the figure is computed anew
(the cluster bootstrap: Davison and Hinkley 1997, section 3.8). Every figure of one `Resampling` is
drawn from the same videos, so that differences of two figures are paired.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROUNDS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Resampling:
    """Draws of the videos that n values came of.

    Attributes:
        groups: int64 (n,), which video each value is of: 0 to below `videos`.
        seed: of the draws.
        rounds: how many draws.
    """

    groups: NDArray[np.int64]
    seed: int
    rounds: int = ROUNDS

    @classmethod
    def of(cls, videos: Sequence[Hashable], seed: int) -> Resampling:
        """Returns the resampling of values that came of these videos."""
        numbers = {video: number for number, video in enumerate(dict.fromkeys(videos))}
        return cls(np.array([numbers[video] for video in videos], np.int64), seed)

    @property
    def videos(self) -> int:
        """How many videos there are."""
        return int(self.groups.max(initial=-1)) + 1

    def means(self, values: NDArray[Any], bounds: tuple[float, float] = (0, 1)) -> Floats:
        """Returns the mean of the values, (n,), in each draw: (rounds,).

        Where all values are the same bound, every draw is that bound, and an interval of no width
        would claim certainty. Then a mean is drawn from Jeffreys' posterior of a share that was
        found in each of V videos, Beta(V + 1/2, 1/2) (Brown, Cai and DasGupta 2001).

        Args:
            values: one for each item.
            bounds: the least and the greatest that a value can be.
        """
        low, high = bounds
        if len(values) and values.min() == values.max() and values[0] in bounds:
            share = np.random.default_rng(self.seed).beta(self.videos + 0.5, 0.5, self.rounds)
            return high - (high - low) * (share if values[0] == low else 1 - share)
        sums = np.bincount(self.groups, weights=values, minlength=self.videos)
        sizes = np.bincount(self.groups, minlength=self.videos)
        return np.array([times @ sums / (times @ sizes) for times in self._draws()])

    def medians(self, values: NDArray[Any]) -> Floats:
        """Returns the median of the values, (n,), in each draw: (rounds,)."""
        order = np.argsort(values, kind="stable")
        ascending = np.asarray(values)[order]
        made = []
        for times in self._draws():
            upto = np.cumsum(times[self.groups[order]])  # copies of the values up to each
            half = upto[-1] / 2
            lower = ascending[np.searchsorted(upto, half, "left")]
            upper = ascending[np.searchsorted(upto, half, "right")]
            made.append((lower + upper) / 2)
        return np.array(made)

    def interval(self, draws: Floats) -> tuple[float, float] | None:
        """Returns the limits between which 95 % of draws lie; None: one video tells none."""
        if self.videos < 2:
            return None
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    def _draws(self) -> Iterator[NDArray[np.int64]]:
        """Yields how often each video is drawn, (V,), for each round; always the same."""
        chance = np.random.default_rng(self.seed)
        for _ in range(self.rounds):
            drawn = chance.integers(self.videos, size=self.videos)
            yield np.bincount(drawn, minlength=self.videos)
