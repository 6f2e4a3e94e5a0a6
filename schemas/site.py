"""What a video site says of a source, and has beside it: data only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Subtitles:
    """A subtitle file in the store.

    Attributes:
        sha256: its digest there.
        language: as the site writes it, such as "en" or "pt-BR".
        kind: "manual" or "automatic".
    """

    sha256: str
    language: str
    kind: str


@dataclass(frozen=True, slots=True)
class Site:
    """What a site says of a video.

    Attributes:
        info: what it says, as JSON text.
        subtitles: None where it has none in the languages asked for.
    """

    info: str = "{}"
    subtitles: Subtitles | None = None
