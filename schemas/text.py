"""Text from outside, made harmless: for terminals, for one-line fields, for digests."""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from typing import Any

CUT = "…"


def one_line(text: str, max_chars: int = 300) -> str:
    """Returns `text` as one printable line of at most `max_chars` characters.

    Control characters, terminal escapes, bidirectional overrides, line separators and lone
    surrogates become spaces or are dropped, so that a title can neither move a cursor nor reverse
    what stands beside it.
    """
    kept = (
        c if unicodedata.category(c)[0] != "C" and c not in "\u2028\u2029" else " " for c in text
    )
    line = " ".join("".join(kept).split())
    return line if len(line) <= max_chars else line[: max_chars - 1] + CUT


def canonical_json(value: Any) -> bytes:
    """Returns the one JSON text of `value`: keys sorted, no spaces, UTF-8, no NaN.

    Raises:
        ValueError: a float in it is NaN or infinite.
    """
    return json_bytes(
        json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    )


def json_bytes(text: str) -> bytes:
    """Returns JSON text as UTF-8.

    The lone surrogates by which Python holds a file name that is no UTF-8 become JSON's escapes.
    """
    return text.encode("utf-8", "backslashreplace")


def digest(value: Any) -> str:
    """Returns the sha256 (64 hex digits) of a JSON text of `value`.

    The text is ASCII, so that a file name that is no UTF-8 (lone surrogates in Python) has one.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def ms(seconds: float) -> float:
    """Returns `seconds` rounded to milliseconds, the resolution of every published time."""
    return round(float(seconds), 3)


def score(value: float) -> float | None:
    """Returns `value` rounded to 6 digits behind the point, or None where it is not finite."""
    return round(float(value), 6) if math.isfinite(value) else None
