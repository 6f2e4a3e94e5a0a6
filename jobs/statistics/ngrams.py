"""Runs of words: the most frequent ones of a length, and a key by which to tell runs apart."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reelscript.jobs.statistics.tokens import Tokens
from reelscript.schemas.text import one_line

LISTED = 20
LEAST = 2  # what stands once is not frequent

Keys: TypeAlias = NDArray[np.uint64]
Places: TypeAlias = NDArray[np.int64]


def top_ngrams(tokens: Tokens, length: int) -> list[dict[str, Any]]:
    """Returns the runs of `length` words within a clip that stand most often, at least twice.

    Each is `{"text", "count"}`; equal counts in the order of their words.
    """
    starts = np.flatnonzero(tokens.left >= length)
    keys = ngram_keys(tokens.ids, starts, length)
    different, counts = counted(keys)
    most = np.sort(counts)[-LISTED:]
    least = max(LEAST, most[0]) if len(most) else LEAST
    chosen, counts = different[counts >= least], counts[counts >= least]
    found = []
    for at, count in zip(starts[first_places(keys, chosen)].tolist(), counts.tolist(), strict=True):
        words = tokens.words.take(tokens.ids[at : at + length]).to_pylist()
        found.append((-count, words))
    return [
        {"text": one_line(" ".join(words)), "count": -count}
        for count, words in sorted(found)[:LISTED]
    ]


def ngram_keys(ids: NDArray[np.int32], places: Places, length: int) -> Keys:
    """Returns a key of the `length` words from each place on.

    Keys are 64 bits: of 15 million different runs any two fall together with a chance of 6e-6.
    """
    of_word = scattered(np.arange(ids.max(initial=-1) + 1, dtype=np.uint64))
    keys = np.zeros(len(places), np.uint64)
    for k in range(length):
        keys *= np.uint64(0x9E3779B97F4A7C15)
        keys += of_word[ids[places + k]]
    return keys


def scattered(numbers: Keys) -> Keys:
    """Returns numbers scattered over 64 bits, different ones for different numbers (splitmix64).

    Source: Steele, Lea and Flood 2014, Fast Splittable Pseudorandom Number Generators, figure 16.
    """
    mixed = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def counted(keys: Keys) -> tuple[Keys, NDArray[np.int64]]:
    """Returns each different key, sorted, and how often it stands."""
    ordered = np.sort(keys)
    new = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(keys) else np.zeros(0, bool)
    starts = np.flatnonzero(new)
    return ordered[starts], np.diff(starts, append=len(keys))


def first_places(keys: Keys, chosen: Keys) -> Places:
    """Returns where each of the sorted `chosen` stands first in `keys`."""
    places = np.flatnonzero(is_one_of(keys, chosen))
    first = np.full(len(chosen), len(keys))
    first[np.searchsorted(chosen, keys[places[::-1]])] = places[::-1]  # the last one written stays
    return first


def is_one_of(keys: Keys, chosen: Keys) -> NDArray[np.bool_]:
    """Returns for each key whether it is one of the sorted `chosen`."""
    if not len(chosen):
        return np.zeros(len(keys), bool)
    at = np.searchsorted(chosen, keys).clip(max=len(chosen) - 1)
    found: NDArray[np.bool_] = chosen[at] == keys
    return found
