"""Zipf's exponent of a corpus: how fast the frequency of words falls with their rank.

Ranks come from one half of the clips and frequencies from the other: from the same words, noise
alone would make the first rank more frequent than the second (Piantadosi 2014, Zipf's word
frequency law in natural language: a critical review, which estimates the two on separate halves).
A word that is ranked too high by chance still bends the fit a little. The bootstrap tells by how
much, since its samples bend once more by about the same amount, and that is taken off.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reelscript.jobs.statistics.ngrams import scattered
from reelscript.jobs.statistics.tokens import Tokens
from reelscript.schemas.text import score

MAX_RANKS = 5000
LEAST = 10  # times a word stands in the first half: the ranks of rarer ones are chance
GROUPS = 100  # of videos, which are drawn again together
LEAST_GROUPS = 10  # of fewer no interval can be told
LEAST_RANKS = 20  # a law over fewer says nothing
DRAWS = 200
SEED = 1949  # the year of Zipf's book; any other would do
CONFIDENCE = 0.95
STEEPEST = 20.0  # bounds of the search for the exponent
STEPS = 45  # halvings: the exponent to 1e-12
PLACES = float(1 << 20)  # more than there are candidates

Floats: TypeAlias = NDArray[np.float64]


def zipf(tokens: Tokens) -> dict[str, Any] | None:
    """Returns the exponent a of p(rank) ~ rank^-a with its interval, or None of too few words.

    `{"exponent", "low", "high", "confidence", "ranks", "tokens"}`: the maximum of the likelihood
    over `ranks` ranks and `tokens` words of the second half, less its bias; `low` and `high` are
    the basic bootstrap interval (Davison and Hinkley 1997, section 5.2) over groups of videos, null
    of fewer than 10 groups.
    """
    ranking, frequency = _counts(tokens)
    groups = len(ranking)
    if not groups or not ranking.size:
        return None
    [exponent], [ranks], [used] = _fit(ranking.sum(0)[None], frequency.sum(0)[None])
    if ranks < LEAST_RANKS or not used:
        return None
    low = high = None
    if groups >= LEAST_GROUPS:
        draws = _draws(groups)
        drawn = _fit(draws @ ranking, draws @ frequency)[0]
        tail = (1 - CONFIDENCE) / 2
        high, low = (2 * exponent - np.quantile(drawn, [tail, 1 - tail])).tolist()
        exponent = 2 * exponent - drawn.mean()
    return {
        "exponent": score(exponent),
        "low": None if low is None else score(low),
        "high": None if high is None else score(high),
        "confidence": CONFIDENCE,
        "ranks": int(ranks),
        "tokens": int(used),
    }


def _counts(tokens: Tokens) -> tuple[Floats, Floats]:
    """Returns how often words stand in the first and in the second half, (group, word) each.

    The words are those that stand most often in the first half, twice as many as are ranked, so
    that those that are drawn more often can rise.
    """
    odd = tokens.odd[tokens.clip]
    group = tokens.video[tokens.clip] % GROUPS  # videos are numbered by hash
    groups = min(GROUPS, int(tokens.video.max(initial=-1)) + 1)
    total = np.bincount(tokens.ids[~odd], minlength=len(tokens.words))
    # Equally frequent words must not be ranked by when they are read: that depends on both halves.
    chance = scattered(np.arange(len(total), dtype=np.uint64))
    candidates = np.lexsort((chance, -total))[: 2 * MAX_RANKS]
    candidates = candidates[total[candidates] > 0]
    candidates = candidates[np.argsort(chance[candidates])]
    place = np.full(len(total), -1)
    place[candidates] = np.arange(len(candidates))
    halves = []
    for half in (~odd, odd):
        at, of = place[tokens.ids[half]], group[half]
        cells = of[at >= 0] * len(candidates) + at[at >= 0]
        found = np.bincount(cells, minlength=groups * len(candidates))
        halves.append(found.reshape(groups, len(candidates)).astype(np.float64))
    return halves[0], halves[1]


def _draws(groups: int) -> Floats:
    """Returns how often each group is drawn, (draw, group): as many a draw as there are."""
    raw = np.random.PCG64(SEED).random_raw(DRAWS * groups).reshape(DRAWS, groups) % groups
    drawn = [np.bincount(row, minlength=groups) for row in raw.astype(np.int64)]
    return np.stack(drawn).astype(np.float64)


def _fit(ranking: Floats, frequency: Floats) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Returns exponents, numbers of ranks and of words, one of each for each row.

    Args:
        ranking: how often each word stands in the first half; the words lie in an order of chance.
        frequency: the same of the second half.
    """
    order = np.argsort(np.arange(ranking.shape[1]) - ranking * PLACES, axis=1)[:, :MAX_RANKS]
    ranked = np.take_along_axis(ranking, order, 1) >= LEAST
    counts = np.take_along_axis(frequency, order, 1) * ranked
    logs = np.log(np.arange(1, order.shape[1] + 1))
    used = counts.sum(1)
    # The likelihood is highest where the mean log rank is the one expected under p ~ rank^-a,
    # which falls as a grows.
    mean = np.divide(counts @ logs, used, out=np.zeros_like(used), where=used > 0)
    low, high = np.full(len(mean), -STEEPEST), np.full(len(mean), STEEPEST)
    for _ in range(STEPS):
        middle = (low + high) / 2
        weights = np.exp(-np.outer(middle, logs)) * ranked
        whole = weights.sum(1)
        expected = np.divide(weights @ logs, whole, out=np.zeros_like(whole), where=whole > 0)
        low = np.where(expected > mean, middle, low)
        high = np.where(expected > mean, high, middle)
    return (low + high) / 2, ranked.sum(1), used
