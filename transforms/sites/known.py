"""Which addresses are those of a video site that yt-dlp knows."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def _extractors() -> tuple[Any, ...]:
    from yt_dlp.extractor import list_extractor_classes

    return tuple(e for e in list_extractor_classes() if e.IE_NAME != "generic")


def is_known_site(url: str) -> bool:
    """Returns whether yt-dlp has an extractor for an address, other than for any page.

    The first call takes half a second, further ones milliseconds.
    """
    try:
        return any(extractor.suitable(url) for extractor in _extractors())
    except ValueError:  # no URL
        return False
