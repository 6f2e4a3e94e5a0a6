"""What an mp4 is to be: its size, its rate, how many frames, and how it is coded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from reelscript.pipeline.errors import StageError
from reelscript.schemas.video import Seconds

MIN_FPS = (
    4.0  # a passage's length is rounded to whole frames: no more than 1/8 s of it may go missing
)
MAX_ASPECT = 16  # long side to short side; more is no picture, and 256 px high it would be a bomb


@dataclass(frozen=True, slots=True)
class Format:
    """What an mp4 is to be. `audio_channels` 0: no sound; then its other numbers say nothing."""

    width_px: int
    height_px: int
    fps: Fraction
    keyframe_every: int  # frames
    preset: str
    crf: float
    audio_rate_hz: int
    audio_channels: int
    audio_bits_per_s: int
    tune: str | None = None  # x264's, for what it is to be good at


def output_size(width_px: int, height_px: int, short_side_px: int) -> tuple[int, int]:
    """Returns width and height: the short side as asked, the long one in proportion and even.

    Raises:
        StageError: `aspect`: the long side is more than `MAX_ASPECT` times the short one.
    """
    short, long = sorted((width_px, height_px))
    if long > MAX_ASPECT * short:
        raise StageError(
            "aspect", f"a picture of {width_px} x {height_px} px is over {MAX_ASPECT}:1"
        )
    long_px = 2 * round(Fraction(long * short_side_px, 2 * short))
    return (long_px, short_side_px) if width_px >= height_px else (short_side_px, long_px)


def output_fps(source_fps: float, max_fps: float) -> Fraction:
    """Returns min(source, max) as the fraction that is meant: 29.97 is 30000/1001.

    Whole rates and those of NTSC (SMPTE ST 12-1: a whole rate times 1000/1001) are taken within
    1 in 10,000; others, such as the mean of a variable rate, get a denominator of at most 1001.
    Sources slower than `MIN_FPS` are brought up to it.
    """
    fps = min(max(source_fps, MIN_FPS), max_fps)
    whole, ntsc = Fraction(round(fps)), Fraction(round(fps * 1.001) * 1000, 1001)
    near = min((whole, ntsc), key=lambda f: abs(float(f) - fps))
    return near if abs(float(near) - fps) < 1e-4 * fps else exact_rate(fps)


def exact_rate(fps: float) -> Fraction:
    """Returns the fraction of a denominator of at most 1001 that is closest to a rate.

    Of a rate that `output_fps` gave, turned into a float, it is that very rate.
    """
    return Fraction(fps).limit_denominator(1001)


def frames_in(duration_s: Seconds, fps: Fraction) -> int:
    """Returns how many frames are closest to a duration; at least one."""
    return max(1, round(duration_s * fps))
