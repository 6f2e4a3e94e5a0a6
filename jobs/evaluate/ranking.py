"""At which rank each query finds what is right for it, ties shared out evenly.

Shapes: Q queries, C candidates, d embedding.

Ties: candidates of one score stand in every order with equal likelihood, and a hit is the
likelihood of it. So a network that gives every video the same embedding is exactly at chance:
counted for the query it would be perfect, counted against it worse than a guess. (The released
evaluation of TVTSv2, arXiv 2305.14173, counts ties for the query from text to video, and averages
them the other way.) Cosines that agree to 6 digits are ties: float32 tells no more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
DIGITS = 6
SCALE = 100.0  # of cosines before a softmax: CLIP's (arXiv 2103.00020, section 2.5)
BLOCK = 1024  # queries at a time, which bounds the memory


@dataclass(frozen=True)
class Ranks:
    """Where the best right candidate of each query stands.

    Attributes:
        above: (Q,), how many wrong candidates have a higher score.
        tied: (Q,), how many candidates, right or wrong, have its score; 1 or more.
        right: (Q,), how many of those are right; 1 or more.
    """

    above: Integers
    tied: Integers
    right: Integers

    def hits(self, k: int) -> Floats:
        """Returns how likely a right candidate is among the first k: (Q,).

        Of t tied ones of which r are right, in random order, the first m have none with likelihood
        C(t-m, r) / C(t, r), a product of r factors.
        """
        m = np.clip(k - self.above, 0, self.tied)
        misses = np.ones(len(m))
        for i in range(int(self.right.max(initial=0))):
            counts = i < self.right
            factor = np.clip(self.tied - m - i, 0, None) / np.where(counts, self.tied - i, 1)
            misses = np.where(counts, misses * factor, misses)
        return 1 - misses

    def expected(self) -> Floats:
        """Returns the rank, from 1, to be expected: (Q,): above + (t + 1) / (r + 1)."""
        return np.asarray(self.above + (self.tied + 1) / (self.right + 1))


def ranks_of(
    queries: NDArray[Any],
    candidates: NDArray[Any],
    right: Sequence[Collection[int]],
    dual_softmax: bool = False,
) -> Ranks:
    """Returns the ranks of queries by cosine.

    Args:
        queries: (Q, d), of any length; finite.
        candidates: (C, d), of any length; finite.
        right: the numbers of the candidates that are right for each query; 1 or more.
        dual_softmax: whether a cosine is weighed by its share among all queries: s becomes
            s * softmax(100 s over the queries of one candidate) (Cheng et al. 2021, arXiv
            2109.04290, section 3.3; TVTSv2 reports it as DSL and does not tell the scale, 100 is
            that of its classification). It looks at all queries at once, which a search cannot.
    """
    a, b = _unit(queries), _unit(candidates)
    sums = np.full(len(b), -np.inf)  # (C,), logarithms
    if dual_softmax:
        for _, scores in _cosines(a, b):
            sums = np.logaddexp(sums, np.logaddexp.reduce(SCALE * scores, axis=0))
    parts = []
    for rows, scores in _cosines(a, b):
        if dual_softmax:
            scores = scores * np.exp(SCALE * scores - sums)
        wanted = np.zeros(scores.shape, bool)
        for row, numbers in enumerate(right[rows]):
            wanted[row, list(numbers)] = True
        best = np.where(wanted, scores, -np.inf).max(axis=1, keepdims=True)
        level = scores == best
        parts.append(((scores > best).sum(1), level.sum(1), (level & wanted).sum(1)))
    return Ranks(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def at_random(right: Sequence[Collection[int]], candidates: int) -> Ranks:
    """Returns the ranks of a network that cannot tell candidates apart: chance in closed form."""
    count = len(right)
    return Ranks(
        np.zeros(count, np.int64),
        np.full(count, candidates, np.int64),
        np.array([len(numbers) for numbers in right], np.int64),
    )


def _unit(vectors: NDArray[Any]) -> Floats:
    """Returns vectors at a length of 1; one of length 0 stays so, and is equally far from all."""
    wide = np.asarray(vectors, np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True).clip(1e-12))


def _cosines(a: Floats, b: Floats) -> Iterator[tuple[slice, Floats]]:
    """Yields some of the queries, and their cosines with all candidates."""
    for start in range(0, len(a), BLOCK):
        rows = slice(start, start + BLOCK)
        yield rows, np.round(a[rows] @ b.T, DIGITS) + 0.0  # no -0.0
