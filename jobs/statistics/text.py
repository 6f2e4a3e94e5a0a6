"""What the kept clips say: how rich their vocabulary is, what is repeated, Zipf and Heaps."""

from __future__ import annotations

from typing import Any

import numpy as np

from reelscript.jobs.statistics.boilerplate import boilerplate
from reelscript.jobs.statistics.ngrams import top_ngrams
from reelscript.jobs.statistics.rows import Rows
from reelscript.jobs.statistics.tokens import MAX_TEXT_BYTES, Tokens, read_tokens
from reelscript.jobs.statistics.zipf import zipf
from reelscript.schemas.text import score

GROWTH_POINTS = 40
HEAPS_FROM_TOKENS = 100  # before, nearly every word is new
HEAPS_POINTS = 5


def text_statistics(rows: Rows, max_bytes: int = MAX_TEXT_BYTES) -> dict[str, Any]:
    """Returns the numbers of the text of the kept clips, ready for JSON, equal for equal rows.

    `clips`, `tokens` and `types` count what was read, words as in `read_tokens`; `sampled` is
    `{"clips", "of"}` where the corpus holds more than that: then the text is that of videos chosen
    by hash. `growth` tells how many different words the first so many words hold, and `heaps` what
    follows from it. `ngrams`, `boilerplate` and `zipf` are told where they are counted.

    Args:
        rows: of the corpus.
        max_bytes: of text that are read (UTF-8).

    Raises:
        DataError: the rows cannot be read.
    """
    tokens = read_tokens(rows, max_bytes)
    growth = vocabulary_growth(tokens)
    clips = len(tokens.video)
    return {
        "clips": clips,
        "tokens": len(tokens.ids),
        "types": len(tokens.words),
        "growth": growth,
        "heaps": heaps(growth),
        "ngrams": {str(length): top_ngrams(tokens, length) for length in (1, 2, 3)},
        "boilerplate": boilerplate(tokens),
        "zipf": zipf(tokens),
        "sampled": None
        if clips == tokens.kept_clips
        else {"clips": clips, "of": tokens.kept_clips},
    }


def vocabulary_growth(tokens: Tokens) -> list[dict[str, int]]:
    """Returns about 40 points `{"tokens", "types"}`, evenly spaced by the logarithm of `tokens`.

    The last one is all that was read.
    """
    if not len(tokens.ids):
        return []
    spaced = np.geomspace(1, len(tokens.ids), GROWTH_POINTS)
    points = np.unique(spaced.round().astype(np.int64))
    types = np.maximum.accumulate(tokens.ids)[points - 1] + 1  # numbered as they are first read
    return [{"tokens": n, "types": v} for n, v in zip(points.tolist(), types.tolist(), strict=True)]


def heaps(growth: list[dict[str, int]]) -> dict[str, float | None] | None:
    """Returns `{"k", "beta"}` of types = k tokens^beta, or None of fewer than five points.

    Source: Heaps 1978, Information Retrieval: Computational and Theoretical Aspects, section 7.5;
    fitted by least squares over the logarithms, from 100 words on.
    """
    points = [p for p in growth if p["tokens"] >= HEAPS_FROM_TOKENS]
    if len(points) < HEAPS_POINTS:
        return None
    x = np.log([p["tokens"] for p in points])
    y = np.log([p["types"] for p in points])
    beta = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return {"k": score(np.exp(y.mean() - beta * x.mean())), "beta": score(beta)}
