"""Which of the formats that a site offers are fetched.

A format is a dict of yt-dlp's (its `extractor/common.py` tells the keys): picture and sound in one,
picture alone or sound alone. A codec is "none" where there is none of it, and None or missing where
the site does not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, TypeAlias

from reelscript.pipeline.errors import StageError

Format: TypeAlias = dict[str, Any]
PROTOCOLS = frozenset({"http", "https", "m3u8", "m3u8_native", "http_dash_segments"})
"""Those that yt-dlp fetches by itself, request by request; for others it starts programs."""
ABOUT_AS_LARGE = 0.75  # a picture of 360 is about as large as one of 480: then its codec decides


def chosen(
    formats: Sequence[Format], max_height_px: int | None, sound_only: bool
) -> tuple[Format, ...]:
    """Returns one format with picture and sound, or one of each, or with `sound_only` a sound.

    Of the pictures up to `max_height_px` by their shorter side (a video may be upright) that are
    about as large as the largest of them, one in H.264, which decodes fast and has motion vectors;
    where all are larger, the smallest. A video without sound is given alone.

    Args:
        formats: as yt-dlp sorts them, the best last.
        max_height_px: None: the largest.
        sound_only: the smallest format that is sound alone.

    Raises:
        StageError: `no_sound_alone`, `no_picture`, `no_format`.
    """
    usable = [f for f in formats if f.get("protocol") in PROTOCOLS]
    original = _in_one_language(usable)
    sounds = [f for f in original if not _has_picture(f) and _has_sound(f)]
    if sound_only:
        if not sounds:
            raise StageError("no_sound_alone", "the site offers no format that is sound alone")
        return (min(sounds, key=_bits),)
    pictures = [f for f in original if _has_picture(f)] or [f for f in usable if _has_picture(f)]
    if not sounds:
        pictures = [f for f in pictures if _has_sound(f)] or pictures
    if not pictures:
        said = "sound without a picture" if sounds else "no format that can be fetched"
        raise StageError("no_picture" if sounds else "no_format", f"the site offers {said}")
    best = _best_picture(pictures, max_height_px)
    return (best,) if _has_sound(best) or not sounds else (best, _best_sound(sounds))


def _in_one_language(formats: list[Format]) -> list[Format]:
    """Returns the formats without those whose sound is a dub, or describes the picture.

    yt-dlp's `language_preference` is greatest for the original.
    """
    ranks = [int(f.get("language_preference") or -1) for f in formats]
    original = max((r for f, r in zip(formats, ranks, strict=True) if _has_sound(f)), default=-1)
    return [f for f, r in zip(formats, ranks, strict=True) if r == original or not _has_sound(f)]


def _best_picture(formats: list[Format], max_px: int | None) -> Format:
    sides = [_side(f) for f in formats]
    most = inf if max_px is None else max_px
    fitting = [s for s in sides if s <= most]
    wanted = max(fitting) if fitting else min(sides)
    near = [
        (f, place)
        for place, (f, side) in enumerate(zip(formats, sides, strict=True))
        if ABOUT_AS_LARGE * wanted <= side <= (most if fitting else wanted)
    ]
    return max(near, key=lambda found: _picture_rank(*found))[0]


def _picture_rank(f: Format, place: int) -> tuple[bool, bool, int, bool, int]:
    """Returns what is compared, the larger the better. `place`: in yt-dlp's order."""
    whole = _has_sound(f)
    return (_is_h264(f), not whole or _is_aac(f), _side(f), whole, place)


def _best_sound(sounds: list[Format]) -> Format:
    return max(enumerate(sounds), key=lambda at: (_is_aac(at[1]), at[0]))[1]


def _has_picture(f: Format) -> bool:
    return bool(f.get("vcodec") != "none")


def _has_sound(f: Format) -> bool:
    return bool(f.get("acodec") != "none")


def _side(f: Format) -> int:
    """Returns the shorter side of the picture in pixels, 0 where the site does not say."""
    return min((int(f[name]) for name in ("width", "height") if f.get(name)), default=0)


def _is_h264(f: Format) -> bool:
    return str(f.get("vcodec")).lower().startswith(("avc", "h264"))


def _is_aac(f: Format) -> bool:
    return str(f.get("acodec")).lower().startswith(("mp4a", "aac"))


def _bits(f: Format) -> tuple[float, float]:
    """Returns bit rate and bytes, infinite where the site does not say."""
    return float(f.get("abr") or f.get("tbr") or inf), float(f.get("filesize") or inf)
