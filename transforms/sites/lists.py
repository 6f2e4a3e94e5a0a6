"""A list of yt-dlp's: its entries by address and title, none of them opened.

Imported by the child process alone: it needs yt-dlp.
"""

from __future__ import annotations

from typing import Any

from yt_dlp.utils import unsmuggle_url  # noqa: TID253 - see above

from reelscript.pipeline.errors import StageError
from reelscript.schemas.text import one_line
from reelscript.transforms.urls import WEB_SCHEMES, scheme_of

MAX_URL_CHARS = 8192
MAX_TITLE_CHARS = 300


def listed(found: dict[str, Any], most: int) -> dict[str, Any]:
    """Returns a list of yt-dlp's as JSON: title, entries as [address, title], whether it is cut.

    Raises:
        StageError: `no_video_found`.
    """
    page = found.get("webpage_url")
    entries = [e for e in found.get("entries") or () if e]
    titles: dict[str, str | None] = {}
    for entry in entries[:most]:
        if address := _address(entry, page):
            titles.setdefault(address, _title(entry))
    if most and not titles:
        raise StageError("no_video_found", "a list without a video that has an address")
    return {
        "title": _title(found),
        "entries": list(titles.items()),
        "more": len(entries) > most,
    }


def _address(entry: dict[str, Any], page: str | None) -> str | None:
    """Returns where an entry of a list is: its page; or its media, if it has none of its own."""
    own = entry.get("webpage_url")
    places = [own if own != page else None, entry.get("url")]
    places += [f.get("url") for f in reversed(entry.get("formats") or ())]
    for place in places:
        address = unsmuggle_url(place)[0] if isinstance(place, str) else ""
        if scheme_of(address) in WEB_SCHEMES and len(address) <= MAX_URL_CHARS:
            return address
    return None


def _title(found: dict[str, Any]) -> str | None:
    title = found.get("title")
    return one_line(str(title)[: 4 * MAX_TITLE_CHARS], MAX_TITLE_CHARS) if title else None
