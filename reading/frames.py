"""Frames of a sample's mp4, picked by time.

Every mp4 of a corpus has a keyframe at least every second, so that a frame costs a seek and at most
a second of decoding. Shapes: T frames, H height, W width, 3 colours (red, green, blue).
"""

from __future__ import annotations

import io
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from reelscript.pipeline.errors import DataError, UsageError
from reelscript.schemas.video import Seconds

ROUNDING_S = 0.0005  # a stated time was rounded to ms: a frame due within that is on display


def evenly(count: int, duration_s: Seconds) -> list[Seconds]:
    """Returns the middles of `count` equal parts of 0..`duration_s`, in seconds."""
    if count < 1:
        raise UsageError(f"count is {count}: ask for 1 frame or more")
    return [(i + 0.5) * duration_s / count for i in range(count)]


def frames_at(
    mp4: bytes, times_s: Sequence[Seconds], size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Returns the frames on display at the given times: uint8 (T, H, W, 3), in the order asked for.

    A frame is on display from its own time until that of the next; the first one before that, the
    last one after.

    Args:
        mp4: the file; it should be one of a corpus, whose keyframes are clean entry points.
        times_s: seconds from the start of the mp4, 0 or more, in any order; may repeat.
        size: (height, width) in pixels to scale to; None: as stored.

    Raises:
        UsageError: there is no time, one is negative or not a number, or a size is not positive.
        DataError: the mp4 does not decode.
    """
    if len(times_s) == 0:
        raise UsageError("times_s is empty: ask for 1 frame or more")
    if not all(math.isfinite(t) and t >= 0 for t in times_s):
        raise UsageError("times_s holds a time that is negative or not a number")
    if size is not None and min(size) < 1:
        raise UsageError(f"size is {size}: expected (height, width) in pixels, each 1 or more")
    try:
        with av.open(io.BytesIO(mp4), "r") as container:
            return _frames(container, times_s, size)
    except (av.error.FFmpegError, IndexError) as error:
        raise DataError(f"the mp4 does not decode: {type(error).__name__}") from error


def _frames(
    container: InputContainer, times_s: Sequence[Seconds], size: tuple[int, int] | None
) -> NDArray[np.uint8]:
    stamps, keys, tick_s = _index(container)
    shown = [max(0, bisect_right(stamps, (t + ROUNDING_S) / tick_s) - 1) for t in times_s]
    images: dict[int, NDArray[Any]] = {}
    scaler = VideoReformatter()
    for number, frame in zip(
        sorted(set(shown)), _decoded(container, stamps, keys, shown), strict=True
    ):
        height, width = size or (frame.height, frame.width)
        images[number] = scaler.reformat(
            frame, width, height, "rgb24", interpolation="BILINEAR"
        ).to_ndarray()
    return np.stack([images[number] for number in shown])  # (T, H, W, 3)


def _index(container: InputContainer) -> tuple[list[int], list[int], Seconds]:
    """Returns the times of all frames and of the keyframes, ascending, and seconds a tick."""
    stream = container.streams.video[0]
    stream.codec_context.thread_type = "NONE"  # readers run many of these side by side
    packets = [
        (packet.pts, packet.is_keyframe)
        for packet in container.demux(stream)
        if packet.pts is not None and not packet.is_discard
    ]
    if not packets or stream.time_base is None:
        raise DataError("the mp4 holds no frame")
    return (
        sorted(pts for pts, _ in packets),
        sorted(pts for pts, key in packets if key),
        float(stream.time_base),
    )


def _decoded(
    container: InputContainer, stamps: list[int], keys: list[int], shown: list[int]
) -> Iterator[VideoFrame]:
    """Yields the frames of these numbers, ascending, each once; seeks to keyframes between them."""
    stream = container.streams.video[0]
    last = -math.inf
    frames: Iterator[VideoFrame] = iter(())
    for number in sorted(set(shown)):
        due = stamps[number]
        key = keys[max(0, bisect_right(keys, due) - 1)] if keys else stamps[0]
        if key > last:
            container.seek(key, stream=stream)
            frames = (frame for frame in container.decode(stream) if isinstance(frame, VideoFrame))
        frame = next((f for f in frames if f.pts is not None and f.pts >= due), None)
        if frame is None or frame.pts != due:
            raise DataError(
                f"the mp4 does not decode: after a seek to tick {key}, {due} is missing"
            )
        last = due
        yield frame
