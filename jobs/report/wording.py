"""Numbers, lengths and texts as people read them, on pages and on the card."""

from __future__ import annotations

from typing import Any
from unicodedata import category

from markupsafe import Markup


def printable(value: Any) -> Any:
    """Returns text without control characters or turns of direction; all else as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    if value.isascii() and value.isprintable():
        return value
    return "".join(c if c == "\n" or category(c)[0] != "C" else " " for c in value)


def upper_first(text: str) -> str:
    """Returns text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def number(value: float | int | None) -> str:
    """Returns a number for people: thousands parted, four significant digits; a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def compact(value: float) -> str:
    """Returns a number for an axis, with k and M for thousands and millions."""
    for limit, sign in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{sign}"
    return f"{value:.6g}"


def hours_text(hours: float | None) -> str:
    """Returns a length given in hours in the unit that people would use."""
    if hours is None:
        return "–"
    if 0 < hours < 0.05 / 3600:
        return "<0.1 s"
    for limit, unit_h, sign in ((1.0, 1.0, "h"), (1 / 60, 1 / 60, "min"), (0.0, 1 / 3600, "s")):
        if hours >= limit * 0.9995:
            value = hours / unit_h
            return f"{value:,.0f} {sign}" if value >= 99.95 or value == 0 else f"{value:.1f} {sign}"
    return f"{hours:.1f} h"


def seconds_text(seconds: float | None) -> str:
    """Returns a length given in seconds in the unit that people would use."""
    return hours_text(None if seconds is None else seconds / 3600)


def clock(seconds: float | None) -> str:
    """Returns a time in a video as players show it: minutes and seconds, hours where there are."""
    if seconds is None:
        return "–"
    minutes, rest_s = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest_s:02}" if hours else f"{minutes}:{rest_s:02}"


def percent(part: float, whole: float) -> str:
    """Returns a share in per cent; a dash of nothing. What is not nothing is never shown as 0."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1 %"
    return f"{share:.1f} %" if share < 99.95 or share == 100 else ">99.9 %"
