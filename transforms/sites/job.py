"""What the parent tells the child process that fetches from a site."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reelscript.transforms.sites.options import SiteOptions
from reelscript.transforms.web.terms import Web


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at one address.

    Attributes:
        url: of a video, a page, a list.
        folder: in which all files go; what an earlier attempt left there is used further.
        web: limits and manners.
        options: what is wanted.
        sound_only: the sound alone.
        left_s: for this attempt, all waits included.
    """

    url: str
    folder: Path
    web: Web
    options: SiteOptions
    sound_only: bool
    left_s: float
