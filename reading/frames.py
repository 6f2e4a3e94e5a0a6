"""Frames of a sample's mp4, picked by time.

Every mp4 of a corpus has a keyframe at least every second, so that a frame costs a seek and at most
a second of decoding; of that second, frames that no other is predicted from are left out, which
changes nothing. Shapes: T frames, H height, W width, 3 colours (red, green, blue).
"""

from __future__ import annotations

import io
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
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
    scaler = VideoReformatter()

    def scaled(frame: VideoFrame) -> NDArray[np.uint8]:
        height, width = size or (frame.height, frame.width)
        return rgb(
            scaler.reformat(frame, width, height, "rgb24", interpolation="BILINEAR", threads=1)
        )

    return pictures(mp4, lambda stamps_s: on_display(stamps_s, times_s), scaled)


def rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    """Returns a frame of the format rgb24 as an array: (H, W, 3)."""
    image: NDArray[Any] = frame.to_ndarray()
    return image


def on_display(stamps_s: Sequence[Seconds], times_s: Sequence[Seconds]) -> list[int]:
    """Returns the numbers of the frames on display at some times.

    Args:
        stamps_s: when each frame begins to be shown, ascending.
        times_s: the times asked for.
    """
    return [max(0, bisect_right(stamps_s, t + ROUNDING_S) - 1) for t in times_s]


def closest(stamps_s: Sequence[Seconds], times_s: Sequence[Seconds]) -> list[int]:
    """Returns the numbers of the frames whose own times are closest; of two the earlier one.

    Args:
        stamps_s: when each frame begins to be shown, ascending.
        times_s: the times asked for.
    """
    middles_s = [(one + two) / 2 for one, two in pairwise(stamps_s)]
    return [bisect_left(middles_s, t) for t in times_s]


def pictures(
    mp4: bytes,
    choose: Callable[[Sequence[Seconds]], Sequence[int]],
    made: Callable[[VideoFrame], NDArray[np.uint8]],
    entries: bool = True,
) -> NDArray[np.uint8]:
    """Returns chosen frames: uint8 (T, ...), in the order in which they were chosen.

    Args:
        mp4: the file.
        choose: gets the times of all frames, ascending, and returns the numbers of those wanted;
            they may repeat.
        made: makes an array of one frame; all have one shape.
        entries: keyframes are clean entry points, as in the mp4s of a corpus. Else the file is
            decoded from its beginning.

    Raises:
        DataError: the mp4 does not decode.
    """
    try:
        with av.open(io.BytesIO(mp4), "r") as container:
            stamps, keys, tick_s = _index(container)
            shown = choose([stamp * tick_s for stamp in stamps])
            due = [stamps[number] for number in sorted(set(shown))]
            found = _decoded(container, keys if entries else stamps[:1], due)
            images = {stamp: made(frame) for stamp, frame in zip(due, found, strict=True)}
            return np.stack([images[stamps[number]] for number in shown])  # (T, H, W, 3)
    except (av.error.FFmpegError, IndexError) as error:
        raise DataError(f"the mp4 does not decode: {type(error).__name__}") from error


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
    container: InputContainer, keys: Sequence[int], due: Sequence[int]
) -> Iterator[VideoFrame]:
    """Yields the frames of these times, ascending, each once; seeks to keyframes between them."""
    stream = container.streams.video[0]
    wanted, last = frozenset(due), -math.inf
    frames: Iterator[VideoFrame] = iter(())
    for stamp in due:
        key = keys[max(0, bisect_right(keys, stamp) - 1)] if keys else stamp
        if key > last:
            container.seek(key, stream=stream)
            frames = _from_here(container, stream, wanted)
        frame = next((f for f in frames if f.pts is not None and f.pts >= stamp), None)
        if frame is None or frame.pts != stamp:
            raise DataError(
                f"the mp4 does not decode: after a seek to tick {key}, {stamp} is missing"
            )
        last = stamp
        yield frame


def _from_here(
    container: InputContainer, stream: VideoStream, wanted: frozenset[int]
) -> Iterator[VideoFrame]:
    """Yields frames from where the container is: those wanted, and what they are predicted from."""
    for packet in container.demux(stream):
        stream.codec_context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        yield from packet.decode()
