"""How far the words of two corpora lie apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa

from reelscript.jobs.statistics.rows import Rows
from reelscript.jobs.statistics.tokens import Tokens, read_tokens
from reelscript.schemas.text import one_line, score

LISTED = 20


def word_drift(a: Rows, b: Rows) -> dict[str, Any]:
    """Returns how the words of the kept clips differ from `a` to `b`.

    `{"divergence", "a", "b", "words"}`: the divergence of Jensen and Shannon of single words, 0
    (equal) to 1 (no word in common), null where a side has no words; how many words were read of
    each; and the words that add most to it, `{"text", "a", "b", "part"}`, with their shares of all
    words. It is half the sum over words of p log2(p / m) + q log2(q / m), where m = (p + q) / 2
    (Lin 1991, Divergence measures based on the Shannon entropy, equation 4.1). Rare words that
    only one side happens to hold add to it, so that of small corpora it is never 0.
    """
    one, other = _counts(read_tokens(a)), _counts(read_tokens(b))
    words, counts = _beside(one, other)
    totals = counts.sum(1)
    if not totals.all():
        return {"divergence": None, "a": int(totals[0]), "b": int(totals[1]), "words": []}
    p, q = shares = counts / totals[:, None]
    logs = np.log2(shares / ((p + q) / 2), out=np.zeros_like(shares), where=shares > 0)
    parts = (shares * logs).sum(0) / 2
    cut = np.sort(parts)[-LISTED:][0]
    most = [(-parts[at], words[at].as_py(), at) for at in np.flatnonzero(parts >= cut).tolist()]
    return {
        "divergence": score(math.fsum(parts.tolist())),
        "a": int(totals[0]),
        "b": int(totals[1]),
        "words": [
            {"text": one_line(text), "a": score(p[at]), "b": score(q[at]), "part": score(-part)}
            for part, text, at in sorted(most)[:LISTED]
            if part < 0
        ],
    }


def _counts(tokens: Tokens) -> tuple[pa.Array, Any]:
    return tokens.words, np.bincount(tokens.ids, minlength=len(tokens.words))


def _beside(one: tuple[pa.Array, Any], other: tuple[pa.Array, Any]) -> tuple[pa.Array, Any]:
    """Returns the words of both, and how often each stands in the one and in the other."""
    words = pa.concat_arrays([one[0], other[0]]).dictionary_encode()
    at = words.indices.to_numpy()
    counts = np.zeros((2, len(words.dictionary)))
    counts[0, at[: len(one[0])]] = one[1]
    counts[1, at[len(one[0]) :]] = other[1]
    return words.dictionary, counts
