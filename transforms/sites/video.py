"""What a video site gave: a video in a file, or the list of videos that a page stands for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class SiteSubtitles:
    """A subtitle file that a site has for a video.

    Attributes:
        path: where it lies.
        language: as the site writes it, such as "en" or "pt-BR".
        kind: written by a person, or by the site's speech recognition.
        format: "json3", "vtt" or "srt", as the site says.
    """

    path: Path
    language: str
    kind: Literal["manual", "automatic"]
    format: str


@dataclass(frozen=True, slots=True)
class SiteVideo:
    """A video, whole, in one file.

    Attributes:
        path: where it lies; its name says nothing of what is in it.
        sha256: of the file.
        size_bytes: of the file.
        info: what the site says of the video; see `transforms/sites/info.py`.
        subtitles: in one of the languages that were asked for, if the site has them.
    """

    path: Path
    sha256: str
    size_bytes: int
    info: dict[str, Any] = field(default_factory=dict)
    subtitles: SiteSubtitles | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One video of a list, or a list itself: its address, and its title if the site says one."""

    url: str
    title: str | None = None


@dataclass(frozen=True, slots=True)
class SitePlaylist:
    """A page that stands for several videos: a playlist, a channel, a feed, a page with players.

    Attributes:
        title: of the list, if the site says one.
        entries: http and https only, each once, in the order of the site.
        more: the site has more of them than were asked for.
    """

    title: str | None
    entries: tuple[Entry, ...]
    more: bool = False
