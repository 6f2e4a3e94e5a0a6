"""Which subtitles are chosen of those that a site offers."""

from __future__ import annotations

from typing import Any

import pytest

from reelscript.transforms.sites.subtitles import best_track

ORIGINAL = "https://www.youtube.com/api/timedtext?v=x&lang=es&kind=asr"


def files(*formats: str, url: str = "https://site.example/cues") -> list[dict[str, Any]]:
    """Returns one subtitle file in several formats, as yt-dlp lists it."""
    return [{"ext": ext, "url": f"{url}&fmt={ext}" if "?" in url else url} for ext in formats]


@pytest.mark.parametrize(
    ("info", "languages", "expected"),
    [
        ({}, ("en",), None),
        ({"subtitles": {"en": files("vtt")}}, (), None),
        ({"subtitles": {"fr": files("vtt")}}, ("en", "de"), None),
        ({"subtitles": {"english": files("vtt")}}, ("en",), None),
        ({"subtitles": {"en": files("ttml", "srv1")}}, ("en",), None),
        ({"subtitles": {"en": files("srt", "vtt", "json3")}}, ("en",), ("en", "manual", "json3")),
        ({"subtitles": {"en": files("srt", "vtt")}}, ("en",), ("en", "manual", "vtt")),
        # manual before automatic, whatever the format
        (
            {"subtitles": {"en": files("srt")}, "automatic_captions": {"en": files("json3")}},
            ("en",),
            ("en", "manual", "srt"),
        ),
        ({"automatic_captions": {"en": files("json3")}}, ("en",), ("en", "automatic", "json3")),
        # regional variants count, the language itself first
        ({"subtitles": {"en-GB": files("vtt")}}, ("en",), ("en-GB", "manual", "vtt")),
        ({"subtitles": {"pt_BR": files("vtt")}}, ("pt-br",), ("pt_BR", "manual", "vtt")),
        ({"subtitles": {"pt": files("vtt")}}, ("pt-BR",), None),
        (
            {"subtitles": {"en-GB": files("vtt"), "en": files("vtt")}},
            ("en",),
            ("en", "manual", "vtt"),
        ),
        # the languages in the order in which they are asked for
        (
            {"subtitles": {"en": files("vtt"), "de": files("vtt")}},
            ("de", "en"),
            ("de", "manual", "vtt"),
        ),
        # the language that is spoken comes first, even where its captions are automatic
        (
            {
                "language": "es-419",
                "subtitles": {"en": files("vtt")},
                "automatic_captions": {"es": files("vtt")},
            },
            ("en", "es"),
            ("es", "automatic", "vtt"),
        ),
        ({"language": "fr", "subtitles": {"en": files("vtt")}}, ("en",), ("en", "manual", "vtt")),
        # YouTube offers a machine translation into each language
        ({"automatic_captions": {"en": files("vtt", url=f"{ORIGINAL}&tlang=en")}}, ("en",), None),
        (
            {"automatic_captions": {"es-orig": files("vtt", url=ORIGINAL)}},
            ("es",),
            ("es-orig", "automatic", "vtt"),
        ),
    ],
)
def test_sites_subtitles_are_those_that_say_what_is_said(
    info: dict[str, Any], languages: tuple[str, ...], expected: tuple[str, str, str] | None
) -> None:
    track = best_track(info, languages)
    assert (track and (track.language, track.kind, track.format)) == expected
