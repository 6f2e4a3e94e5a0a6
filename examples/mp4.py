"""Pictures and sound as an mp4, the same bytes each time."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from reelscript.examples.voices import RATE_HZ, Sound

FRAME = 1024  # samples that AAC's encoder takes at once


def write_mp4(
    target: Any,
    pictures: Iterable[NDArray[np.uint8]],
    size: tuple[int, int],
    fps: int,
    sound: Sound | None,
    crf: int = 24,
    preset: str = "medium",
    lossless: bool = False,
) -> None:
    """Writes H.264, and AAC or FLAC where there is sound, to a path or a binary file.

    One encoder thread, because the bytes depend on how many there are; and no AVX-512, because with
    it x264 gives other bytes for the same pictures from run to run.

    Args:
        target: the path or the file.
        pictures: (height, width, 3) in RGB.
        size: width and height in pixels.
        fps: pictures a second.
        sound: mono, at RATE_HZ; None for none.
        crf: x264's quality; less is better.
        preset: x264's speed.
        lossless: whether the sound is FLAC: more bytes, in a twentieth of the time.
    """
    with av.open(target, "w", format="mp4") as container:
        options = {"crf": str(crf), "preset": preset, "threads": "1", "x264-params": "asm=SSE4"}
        video = container.add_stream("libx264", rate=fps, options=options)
        (video.width, video.height), video.pix_fmt = size, "yuv420p"
        video.codec_context.gop_size = 2 * fps
        audio = None
        if sound is not None:
            audio = container.add_stream("flac" if lossless else "aac", rate=RATE_HZ, layout="mono")
            audio.bit_rate = 48_000
        heard = 0
        for n, picture in enumerate(pictures):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            shown = round((n + 1) * RATE_HZ / fps)
            while audio is not None and sound is not None and heard < min(len(sound), shown):
                samples = sound[None, heard : heard + FRAME]
                container.mux(audio.encode(_audio_frame(samples, heard, lossless)))
                heard += FRAME
        container.mux(video.encode())
        if audio is not None:
            container.mux(audio.encode())


def _audio_frame(samples: NDArray[np.float32], at: int, lossless: bool) -> av.AudioFrame:
    """Returns samples, (1, n), as what the encoder takes."""
    if lossless:
        whole = np.round(samples * 32768).clip(-32768, 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
    else:
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, at, Fraction(1, RATE_HZ)
    return frame
