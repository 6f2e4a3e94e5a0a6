"""Mono sound as FLAC and back, sample for sample (RFC 9639), a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

FRAME_SAMPLES = 4096  # a quarter of a second: RFC 9639, section 9.1.1, has a code for this size
LEVEL = "5"  # of 0..12: above it files hardly get smaller


def write_flac(path: Path, samples: NDArray[np.int16], rate_hz: int) -> None:
    """Writes mono sound to a file; `samples` (n,) may be mapped, and any number, none too."""
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate_hz)
        stream.codec_context.layout = "mono"
        stream.codec_context.format = "s16"
        stream.codec_context.options = {
            "compression_level": LEVEL,
            "frame_size": str(FRAME_SAMPLES),
        }
        for first in range(0, len(samples), FRAME_SAMPLES):
            block = np.ascontiguousarray(samples[first : first + FRAME_SAMPLES])
            frame = AudioFrame.from_ndarray(block[np.newaxis], format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate_hz, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read_flac(path: Path) -> Iterator[NDArray[np.int16]]:
    """Yields the sound of a file that `write_flac` wrote, in consecutive blocks (n,).

    Raises:
        av.error.FFmpegError: it is no such file, or damaged.
    """
    with av.open(str(path), format="flac") as container:
        stream = container.streams.audio[0]
        for frame in container.decode(stream):
            yield cast(NDArray[np.int16], frame.to_ndarray()[0])
