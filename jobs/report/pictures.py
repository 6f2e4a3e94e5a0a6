"""Pictures of films, for a page: the middle one, small, as JPEG."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from reelscript.pipeline.errors import DataError
from reelscript.reading.frames import frames_at
from reelscript.schemas.video import Seconds

PICTURE_PX = 320  # longer side of a picture
JPEG_QUALITY = "4"  # FFmpeg's quantiser: 2 is best, 31 worst


def picture_of(mp4: bytes, duration_s: Seconds) -> bytes | None:
    """Returns the middle picture of an mp4 as JPEG, None where it does not decode."""
    try:
        pixels = frames_at(mp4, [duration_s / 2])[0]
    except DataError:
        return None
    return jpeg(pixels)


def jpeg(pixels: NDArray[np.uint8], longer_side_px: int = PICTURE_PX) -> bytes:
    """Returns a picture, RGB (H, W, 3), as JPEG, scaled down to fit; equal for equal pixels."""
    height_px, width_px, _ = pixels.shape
    scale = min(Fraction(1), Fraction(longer_side_px, max(height_px, width_px)))
    small_px = [max(2, int(side * scale) // 2 * 2) for side in (width_px, height_px)]
    frame = VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
        width=small_px[0], height=small_px[1], format="yuvj420p", dst_color_range="JPEG"
    )
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = small_px
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
    encoder.options = {"qmin": JPEG_QUALITY, "qmax": JPEG_QUALITY, "flags": "+bitexact"}
    packets: Iterable[Any] = [*encoder.encode(frame), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)
