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

    Control characters, terminal escapes, bidirectional overrides, line separators and lone surrogates become spaces
    or are dropped, so that a title can neither move a cursor nor reverse what stands beside it.
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
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(value: Any) -> str:
    """Returns the sha256 (64 hex digits) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def ms(seconds: float) -> float:
    """Returns `seconds` rounded to milliseconds, the resolution of every published time."""
    return round(float(seconds), 3)


def score(value: float) -> float | None:
    """Returns `value` rounded to 6 digits behind the point, or None where it is not a finite number."""
    return round(float(value), 6) if math.isfinite(value) else None
