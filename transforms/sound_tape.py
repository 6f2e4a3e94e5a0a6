"""The sound of passages, cut out of one pass over the blocks of an audio stream."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from reelscript.schemas.video import Seconds

Samples = NDArray[np.int16]  # (samples, channels)


class SoundTape:
    """Sound that is wound forward; holds no more than what is taken at once, and a second.

    Args:
        blocks: contiguous; the first sample of the first one is sample 0.
        rate_hz: samples a second.
        channels: of the blocks.
    """

    def __init__(self, blocks: Iterator[Samples], rate_hz: int, channels: int) -> None:
        self._blocks = blocks
        self._rate_hz = rate_hz
        self._held: Samples = np.zeros((0, channels), np.int16)
        self._end = 0  # of what is held, counted in samples from the start
        self._over = False

    @property
    def end_s(self) -> Seconds:
        """Where the stream has ended; infinite while nobody has come to its end."""
        return self._end / self._rate_hz if self._over else math.inf

    def take(self, first: int, samples: int) -> Samples:
        """Returns the samples from number `first` on, silence where the stream has ended.

        Args:
            first: at most a second before the end of what was taken last: a passage is rounded to
                whole frames, so its sound may end after the next one begins.
            samples: how many.
        """
        end, parts = first + samples, [self._held]
        needed = min(first, end - self._rate_hz)  # the next call may begin up to a second back
        while self._end < end and not self._over:
            block = next(self._blocks, None)
            if block is None:
                self._over = True
                break
            self._end += len(block)
            parts = [*parts, block] if self._end > needed else [block[:0]]
        held = np.concatenate(parts)
        begin = self._end - len(held)
        taken = np.zeros((samples, held.shape[1]), np.int16)
        found = held[max(0, first - begin) : max(0, end - begin)]
        taken[: len(found)] = found
        self._held = held[max(0, end - begin - self._rate_hz) :]
        return taken
