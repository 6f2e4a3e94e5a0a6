"""How often a site may be asked, and which addresses are one site."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from urllib.parse import urlsplit

from reelscript.pipeline.errors import nearest

BLOCKED_AFTER = 3  # ours: each of them has been tried again in vain
YOUTUBE = "youtube"
_OF_YOUTUBE = (
    "youtube.com",
    "youtu.be",
    "youtube-nocookie.com",
    "googlevideo.com",
    "ytimg.com",
)


@dataclass(frozen=True, slots=True)
class Rates:
    """How often one site is asked. None: not said here, so by the preset, else without bound.

    Attributes:
        requests_per_min: evenly spaced.
        bytes_per_min: of bodies, as they come over the wire.
        videos_per_hour: begun, evenly spaced.
        concurrent: videos in work at once.
        sleep_s: shortest and longest pause, drawn at random, between the start or the end of a
            video and the start of the next.
        blocked_after: so many blocked answers in a row, and a site is not asked again in this run.

    Raises:
        ValueError: a rate is not above 0, or a pause no range.
    """

    requests_per_min: float | None = None
    bytes_per_min: float | None = None
    videos_per_hour: float | None = None
    concurrent: int | None = None
    sleep_s: tuple[float, float] | None = None
    blocked_after: int | None = None

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self) if f.name != "sleep_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be a number above 0, not {value}")
        if self.sleep_s and not 0 <= self.sleep_s[0] <= self.sleep_s[1] < math.inf:
            raise ValueError(f"sleep_s must be a shortest and a longest pause, not {self.sleep_s}")

    def over(self, other: Rates) -> Rates:
        """Returns these rates, with those of `other` where these say nothing."""
        mine = {f.name: getattr(self, f.name) for f in fields(self)}
        return Rates(**{n: getattr(other, n) if v is None else v for n, v in mine.items()})


PRESETS = {
    "youtube-guest": Rates(videos_per_hour=300, concurrent=1, sleep_s=(5.0, 10.0)),
    "youtube-token": Rates(videos_per_hour=1000, concurrent=2),
}
"""What YouTube lets through, as yt-dlp's maintainers found (its wiki, *Extractors*, "This content
isn't available, try again later"; issue 11426 of yt-dlp; pull request 52 of yt-dlp-wiki): about
300 videos an hour for a guest or an account, with 5 to 10 s between two; about 1000 for the web
client with a PO token. How many at once is ours."""


def site_of(host: str) -> str:
    """Returns the site that `host`, `host:port` or `[address]:port` belongs to.

    Rates count by it: `youtube` for all of YouTube, its media servers too; else the host in lower
    case, with its port unless that is 80 or 443. Never raises.
    """
    try:
        parts = urlsplit(f"//{host}")
        name, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:  # a bracket that is not closed, a port that is no number
        return host.lower()
    if any(name == known or name.endswith(f".{known}") for known in _OF_YOUTUBE):
        return YOUTUBE
    shown = f"[{name}]" if ":" in name else name
    return shown if port in (None, 80, 443) else f"{shown}:{port}"


def site_of_url(url: str) -> str:
    """Returns the site that a URL leads to, as `site_of`. Never raises."""
    try:
        return site_of(urlsplit(url).netloc.rpartition("@")[2])
    except ValueError:
        return url.lower()


def rates_at(site: str, rates: Rates, preset: str) -> Rates:
    """Returns the rates that hold at a site: what the user says, else the preset's.

    Raises:
        ValueError: there is no such preset.
    """
    known = ("auto", "none", *PRESETS)
    if preset not in known:
        raise ValueError(f"there is no preset {preset!r}: {nearest(preset, known)}")
    if site != YOUTUBE or preset == "none":
        return rates
    return rates.over(PRESETS["youtube-guest" if preset == "auto" else preset])
