"""Which of the subtitles that a site offers are fetched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

FORMATS = ("json3", "vtt", "srt")
"""Those that `transforms/caption_formats.py` reads; json3 has the time of each word."""


@dataclass(frozen=True, slots=True)
class Track:
    """One subtitle file that a site offers; `file` is a dict of yt-dlp's."""

    language: str
    kind: Literal["manual", "automatic"]
    format: str
    file: dict[str, Any]


def best_track(info: Mapping[str, Any], languages: Sequence[str]) -> Track | None:
    """Returns the subtitles that are wanted most, None where there are none of use.

    Those in the language of the video come first, where the site says which that is and it is asked
    for; then manual ones before automatic ones; then the languages as they are asked for, itself
    before its regional variants; then formats. Machine translations are never taken.

    Args:
        info: of a video, by yt-dlp.
        languages: that are asked for, the best first.
    """
    spoken = _plain(str(info.get("language") or "")).partition("-")[0]
    ranked = [
        (
            (
                not (spoken and _is_variant(track.language, spoken)),
                track.kind == "automatic",
                place,
                _plain(track.language) != _plain(languages[place]),
                FORMATS.index(track.format),
            ),
            track,
        )
        for track in _offered(info)
        for place, asked in enumerate(languages)
        if _is_variant(track.language, asked)
    ]
    return min(ranked, key=lambda found: found[0], default=(None, None))[1]


def _offered(info: Mapping[str, Any]) -> Iterator[Track]:
    """Yields the subtitles of a video that can be read and are no translations."""
    for language, files in (info.get("subtitles") or {}).items():
        yield from _readable(language, "manual", files)
    for language, files in (info.get("automatic_captions") or {}).items():
        yield from _readable(language, "automatic", files)


def _readable(
    language: str, kind: Literal["manual", "automatic"], files: Iterable[dict[str, Any]]
) -> Iterator[Track]:
    for file in files:
        if file.get("ext") in FORMATS and not _is_translation(file):
            yield Track(language, kind, file["ext"], file)


def _is_variant(language: str, asked: str) -> bool:
    """Returns whether a language is the one that is asked for, or a regional variant of it."""
    return f"{_plain(language)}-".startswith(f"{_plain(asked)}-")


def _plain(language: str) -> str:
    """Returns a language tag in one form; YouTube calls the original of many "en-orig"."""
    return language.lower().replace("_", "-").removesuffix("-orig")


def _is_translation(file: Mapping[str, Any]) -> bool:
    """Returns whether YouTube makes these subtitles by translating others."""
    return "tlang" in parse_qs(urlsplit(str(file.get("url") or "")).query)
