"""What a site says of a video, as far as it is provenance: bounded, printable, without secrets."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from reelscript.schemas.text import one_line
from reelscript.transforms.urls import published_url

TEXTS = {
    "id": 200,
    "extractor": 100,
    "title": 300,
    "channel": 200,
    "channel_id": 200,
    "uploader": 200,
    "uploader_id": 200,
    "upload_date": 20,
    "license": 300,
    "language": 40,
    "live_status": 20,
}
"""Keys whose value is a text, and how many characters of it are kept."""
NUMBERS = ("duration", "view_count", "age_limit")
LISTS = ("categories", "tags")
MAX_ITEMS, MAX_ITEM_CHARS = 40, 60
MAX_DESCRIPTION_CHARS = 2000
OF_A_FORMAT = ("format_id", "ext", "vcodec", "acodec", "protocol")
NUMBERS_OF_A_FORMAT = ("width", "height", "fps", "tbr")
ANY_PAGE = ("generic", "html5")
MAX_BYTES = 16_000


def provenance(
    info: Mapping[str, Any], formats: Sequence[Mapping[str, Any]], played_s: float | None
) -> dict[str, Any]:
    """Returns what is kept of yt-dlp's description of a video: at most `MAX_BYTES` of JSON.

    Addresses of media and of pictures, headers and cookies are not part of it.

    Args:
        info: all that yt-dlp says.
        formats: that were fetched.
        played_s: how long they play; None: not known.
    """
    kept: dict[str, Any] = {key: _text(info.get(key), chars) for key, chars in TEXTS.items()}
    kept["description"] = _text(info.get("description"), MAX_DESCRIPTION_CHARS)
    kept |= {key: _number(info.get(key)) for key in NUMBERS}
    kept |= {key: _texts(info.get(key)) for key in LISTS}
    if page := info.get("webpage_url"):
        kept["webpage_url"] = published_url(str(page))[:2000]
    kept["played_s"] = _number(played_s)
    kept["formats"] = [
        {key: _text(f.get(key), 60) for key in OF_A_FORMAT}
        | {key: _number(f.get(key)) for key in NUMBERS_OF_A_FORMAT}
        for f in formats
    ]
    if kept["extractor"] in ANY_PAGE:
        kept["id"] = None  # the end of the address, with what it may hold of secrets
        kept["title"] = (kept["title"] or "").removesuffix(" (1)")  # the first of one
    kept = {key: value for key, value in kept.items() if value not in (None, [], "")}
    for key in ("tags", "categories", "description"):  # in letters of four bytes all is too much
        if len(json.dumps(kept, ensure_ascii=False).encode()) > MAX_BYTES:
            kept.pop(key, None)
    return kept


def _text(value: Any, max_chars: int) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    return one_line(str(value)[: 4 * max_chars], max_chars) or None


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list | tuple):
        return []
    found = (_text(item, MAX_ITEM_CHARS) for item in value[:MAX_ITEMS])
    return [text for text in found if text]


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value if abs(value) < 2**53 else None
