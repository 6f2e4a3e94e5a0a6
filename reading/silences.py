"""Where in each passage no word begins: so that empty transcripts are known before reading.

Word times stand only in the json members. They are read once, all of them, and what is kept is
small: the stretches of a second or more in which no word begins. A segment of a second or more is
empty if and only if it lies in one of these, so that how many windows an epoch has is exact before
it begins. Times are whole milliseconds, in which they are published, so that nothing depends on how
a sum is rounded.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelscript.reading.order import Numbers

LEAST_MS = 1000
NEVER_MS = 1 << 32  # 50 days: no passage is so long
SAMPLE_BITS = 33  # one axis for all samples: the time in these bits, the row of the sample above


@dataclass(frozen=True)
class Silences:
    """Stretches of samples in which no word begins.

    Attributes:
        samples: (m,), ascending: the row of the sample that each lies in.
        start_ms: (m,), ascending within a sample: when the word before it begins; -1: at none.
        end_ms: (m,), when the word after it begins; NEVER_MS: there is none.
        unread: (samples,), whose json could not be read.
    """

    samples: Numbers
    start_ms: Numbers
    end_ms: Numbers
    unread: NDArray[np.bool_]

    def cover(self, samples: Numbers, start_ms: Numbers, end_ms: Numbers) -> NDArray[np.bool_]:
        """Returns for segments of a second or more whether no word begins strictly inside: (n,)."""
        axis = (self.samples << SAMPLE_BITS) + self.start_ms
        last = np.searchsorted(axis, (samples << SAMPLE_BITS) + start_ms, side="right") - 1
        there = last >= 0  # stretches do not overlap: none but the last one before it can hold it
        covered = np.zeros(len(samples), np.bool_)
        covered[there] = (self.samples[last[there]] == samples[there]) & (
            self.end_ms[last[there]] >= end_ms[there]
        )
        return covered

    def to_bytes(self) -> bytes:
        """Returns it as an .npz."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            samples=self.samples,
            start_ms=self.start_ms,
            end_ms=self.end_ms,
            unread=self.unread,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Silences:
        """Returns what `to_bytes` was called on. Raises ValueError where the bytes are damaged."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as found:
                return cls(*(found[name] for name in ("samples", "start_ms", "end_ms", "unread")))
        except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError("these are no silences") from error


def silences_of(words_ms: Iterable[Iterable[int] | None]) -> Silences:
    """Returns the silences of samples.

    Args:
        words_ms: of each sample, in order: when its words begin; None: it could not be read.
    """
    samples, starts, ends, unread = list[int](), list[int](), list[int](), list[bool]()
    for sample, words in enumerate(words_ms):
        unread.append(words is None)
        edges = np.array([-1, *sorted(words or ()), NEVER_MS], np.int64)
        for at in np.flatnonzero(np.diff(edges) >= LEAST_MS):
            samples.append(sample)
            starts.append(int(edges[at]))
            ends.append(int(edges[at + 1]))
    return Silences(
        np.array(samples, np.int64),
        np.array(starts, np.int64),
        np.array(ends, np.int64),
        np.array(unread, np.bool_),
    )
