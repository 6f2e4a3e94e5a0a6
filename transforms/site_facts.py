"""What a row tells of what a site says about a video; all of it lies in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from reelscript.schemas.text import canonical_json, one_line

MOST_TITLE_CHARS, MOST_CHARS = 80, 60
MOST_BYTES = 300  # of all other facts together, so that a record stays small
KEPT = ("upload_date", "extractor", "id", "categories", "tags")
"""The last ones are cut first."""


class SiteFacts(NamedTuple):
    """Title, channel and licence as a site has them, and further facts as JSON text."""

    title: str | None = None
    channel: str | None = None
    license: str | None = None
    others: str | None = None


def site_facts(info: Mapping[str, Any]) -> SiteFacts:
    """Returns the facts in what a site says (`SiteVideo.info`); none where it says nothing."""
    if not info:
        return SiteFacts()
    channel = info.get("channel_id") or info.get("channel") or info.get("uploader")
    title = _text(info.get("title"), MOST_TITLE_CHARS)
    return SiteFacts(title, _text(channel), _text(info.get("license")), _others(info))


def _others(info: Mapping[str, Any]) -> str:
    found = {name: _harmless(info[name]) for name in KEPT if info.get(name)}
    while len(text := canonical_json(found)) > MOST_BYTES:
        last = list(found)[-1]
        if isinstance(found[last], list) and len(found[last]) > 1:
            found[last] = found[last][: len(found[last]) // 2]
        else:
            del found[last]
    return text.decode()


def _harmless(value: Any) -> Any:
    return [_text(item) for item in value] if isinstance(value, list) else _text(value)


def _text(value: Any, most_chars: int = MOST_CHARS) -> str | None:
    return (one_line(str(value), most_chars) or None) if value else None
