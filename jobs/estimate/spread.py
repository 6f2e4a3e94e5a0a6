"""From a few to all: sums by ratio, and their spread by drawing the few again (bootstrap).

Sources and trials are drawn with replacement, as often as there are of them, 1000 times, by a
seeded generator (B. Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979). What 10 % of
the draws stay below, and what 90 % do, is the spread. It knows nothing of what no source in the
sample is like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reelscript.jobs.estimate.sample import Sampled
from reelscript.jobs.estimate.trial import Trial

DRAWS, SEED = 1000, 20260101
TOO_FEW = 3  # with fewer there is no spread to speak of
ENCODE = "encode"

Draws: TypeAlias = NDArray[np.float64]
"""The estimate from the few as they are, then DRAWS estimates from the few drawn again."""


@dataclass(frozen=True, slots=True)
class Spread:
    """An estimate, and the bounds that 10 % and 90 % of the draws stay below; None: unknown."""

    value: float
    low: float | None = None
    high: float | None = None


class Extrapolation:
    """What all sources take, if they are like those that were looked at.

    Args:
        sample: of the sources.
        trials: of measuring.
        encoded: of encoding: those in which something was encoded.
        sources: how many there are.
        keeps_sources: whether what is fetched stays in the work folder.

    Attributes:
        looked_at: of the sample, those that say something.
        source_s, kept_s, corpus_bytes, work_bytes: Draws; None where nothing is known of it.
    """

    def __init__(
        self,
        sample: Sequence[Sampled],
        trials: Sequence[Trial],
        encoded: Sequence[Trial],
        sources: int,
        keeps_sources: bool,
    ) -> None:
        self.trials, self.encoded, self.sources = trials, encoded, sources
        said = [s for s in sample if s.duration_s is not None or not s.video.pending]
        self.looked_at, self.all_looked_at = len(said), len(said) == sources
        random = np.random.default_rng(SEED)
        self._of_sample = _weights(len(said), random, fixed=self.all_looked_at)
        self._of_trials = _weights(len(trials), random)
        self._of_encoded = _weights(len(encoded), random)
        lengths = [(s.duration_s or 0.0) if s.video.pending else 0.0 for s in said]
        self.pass_share = sum(s.video.pending for s in said) / max(1, len(said))
        self.source_s: Draws | None = None
        self.kept_s = self.corpus_bytes = self.work_bytes = self.source_s
        if not said:
            return
        self.source_s = self._of_sample @ np.array(lengths) * (sources / len(said))
        if trials:
            self.kept_s = self.source_s * self._per_media_s([t.kept_s for t in trials])
            self.work_bytes = self.source_s * self._per_media_s([t.work_bytes for t in trials])
            if keeps_sources:
                fetched = [
                    (s.size_bytes or 0) if s.elsewhere and s.video.pending else 0 for s in said
                ]
                self.work_bytes += self._of_sample @ np.array(fetched) * (sources / len(said))
            if not self.kept_s[0]:
                self.corpus_bytes = self.kept_s
            elif encoded:
                sizes, lengths_s = [t.corpus_bytes for t in encoded], [t.encoded_s for t in encoded]
                self.corpus_bytes = self.kept_s * _ratio(self._of_encoded, sizes, lengths_s)

    def cost_s(self, stage: str) -> Draws | None:
        """Returns the seconds that a stage takes for all; a stage costs only what reaches it."""
        if self.source_s is None or not self.trials:
            return None
        if stage != ENCODE:
            costs = [t.cost_s.get(stage, 0.0) for t in self.trials]
            return self.source_s * self._per_media_s(costs)
        kept_media_s = self._per_media_s([t.media_s if t.kept_s else 0.0 for t in self.trials])
        if not kept_media_s[0]:
            return self.source_s * kept_media_s
        if not self.encoded:
            return None
        costs, media_s = [t.cost_s[ENCODE] for t in self.encoded], [t.media_s for t in self.encoded]
        return self.source_s * kept_media_s * _ratio(self._of_encoded, costs, media_s)

    def videos(self, stage: str) -> float | None:
        """Returns how many videos reach a stage."""
        if stage in ("acquire", "probe"):
            return float(self.sources)
        if not self.looked_at or not self.trials:
            return None
        reached = [bool(t.kept_s) if stage == ENCODE else stage in t.cost_s for t in self.trials]
        return self.sources * self.pass_share * sum(reached) / len(self.trials)

    def spread(self, draws: Draws | None, *parts: str) -> Spread | None:
        """Returns the estimate with its bounds, if what it comes from is enough to have some.

        Args:
            draws: None gives None.
            parts: on what it rests beside the sample: "trials", "encoded".
        """
        if draws is None:
            return None
        enough = self.all_looked_at or self.looked_at >= TOO_FEW
        for part in parts:
            enough = enough and len(getattr(self, part)) >= TOO_FEW
        value = float(draws[0])
        if not enough:
            return Spread(value)
        low, high = (float(x) for x in np.percentile(draws[1:], (10, 90)))
        return Spread(value, min(low, value), max(high, value))

    def _per_media_s(self, values: Sequence[float]) -> Draws:
        """Returns values of the trials for a second of video, a ratio of sums: long ones weigh."""
        return _ratio(self._of_trials, values, [t.media_s for t in self.trials])


def _weights(count: int, random: np.random.Generator, fixed: bool = False) -> NDArray[np.int64]:
    """Returns how often each of `count` is drawn: once each, then DRAWS times with replacement.

    Fixed: once each in all draws, because they are all there are.
    """
    once = np.ones((1, count), np.int64)
    if fixed or not count:
        return np.repeat(once, DRAWS + 1, axis=0)
    return np.vstack([once, random.multinomial(count, np.full(count, 1 / count), DRAWS)])


def _ratio(weights: NDArray[np.int64], parts: Sequence[float], wholes: Sequence[float]) -> Draws:
    """Returns the sum of parts over the sum of wholes in each draw; 0 where there is no whole."""
    part, whole = weights @ np.array(parts, np.float64), weights @ np.array(wholes, np.float64)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
