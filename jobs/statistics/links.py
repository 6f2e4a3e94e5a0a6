"""Links of a report into the sources, at the second that is spoken of."""

from __future__ import annotations

import math
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from reelscript.schemas.video import Seconds

YOUTUBE_HOSTS = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com"})


def link_to(url: str | None, start_s: Seconds | None = None) -> str | None:
    """Returns a link to a source at a time, or None where it is no page of the web.

    Sources: `t` of YouTube's watch pages, in whole seconds; of anything else the temporal dimension
    of Media Fragments URI 1.0 (W3C), section 4.2.1, which players of plain files understand.

    Args:
        url: of the source; from outside, and perhaps hostile.
        start_s: on the video's timeline; None or 0: the beginning.
    """
    if not url or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:  # a bracket that is not closed
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    if start_s is None or not 0 < start_s < math.inf:
        return url
    if host == "youtu.be" or (host in YOUTUBE_HOSTS and parts.path == "/watch"):
        others = [p for p in parse_qsl(parts.query, keep_blank_values=True) if p[0] != "t"]
        query = urlencode([*others, ("t", f"{int(start_s)}s")], quote_via=quote)
        return parts._replace(query=query, fragment="").geturl()
    seconds = f"{start_s:.3f}".rstrip("0").rstrip(".")
    return parts._replace(fragment=f"t={seconds}").geturl()
