"""Sources that their sites keep from us for now: counted, and said in one sentence."""

from __future__ import annotations

from collections import Counter

from reelscript.pipeline.errors import BLOCKED, SitesBlocked
from reelscript.schemas.text import one_line
from reelscript.schemas.video import Video
from reelscript.transforms.web.manners import site_of_url

MOST_SITES = 3  # in the sentence


class Blocked:
    """What was blocked in a build, by site."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._said: dict[str, str] = {}

    def takes(self, video: Video) -> bool:
        """Returns whether a video is blocked, and counts it if it is."""
        if video.outcome != "failed" or video.reason != BLOCKED:
            return False
        site = site_of_url(video.location)
        self._count[site] += 1
        self._said.setdefault(site, video.detail or "")
        return True

    def raise_if_any(self) -> None:
        """Raises SitesBlocked where sources wait."""
        if not self._count:
            return
        sites = [
            f"{site} blocks us, {count:,} of its sources wait ({one_line(self._said[site], 200)})"
            for site, count in self._count.most_common(MOST_SITES)
        ]
        more = len(self._count) - len(sites)
        others = [f"so do {more} more sites"] if more else []
        raise SitesBlocked(
            f"{'; '.join([*sites, *others])}. What was finished is saved: the same command goes on "
            "later, or with acquire.cookies_file; with --publish it makes a release of what is "
            "finished"
        )
