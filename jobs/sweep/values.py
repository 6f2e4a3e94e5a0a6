"""The values that a command line asks for: `2:6:0.5`, `0.1,0.2,off`; exact, never drifting."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation, localcontext
from typing import TypeAlias

from reelscript.pipeline.errors import UsageError
from reelscript.schemas.text import one_line

OFF = "off"
WORDS = {"on": True, "true": True, "false": False}
MOST_POINTS = 200
MAGNITUDES = 12  # of numbers that are taken: 10^-12 to 10^12; no threshold lies beyond
MOST_CHARS = 24  # of one number
EXACT_DIGITS = 80  # enough for any sum of two such numbers

Value: TypeAlias = Decimal | bool | str
"""A number, a truth, or OFF."""


def values_of(text: str, setting: str) -> list[Value]:
    """Returns the values that stand behind `setting=`, in their order, each once.

    Args:
        text: `start:stop:step`, both ends included, or values with commas between.
        setting: for what is said of a wrong one.

    Raises:
        UsageError: it is neither, there are none, or more than MOST_POINTS.
    """
    parts = text.split(":")
    found = _range(parts, text, setting) if len(parts) > 1 else _listed(text, setting)
    if len(found) > MOST_POINTS:
        raise UsageError(_too_many(setting, len(found)))
    return found


def said(value: Value) -> str:
    """Returns a value as it is written: 2.5, 10, on, off."""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return value if isinstance(value, str) else "on" if value else OFF


def _range(parts: list[str], text: str, setting: str) -> list[Value]:
    if len(parts) != 3:
        raise UsageError(
            f"{setting}={one_line(text, 60)}: expected start:stop:step, such as 2:6:0.5"
        )
    start, stop, step = (_number(part, setting) for part in parts)
    if step <= 0 or start > stop:
        raise UsageError(
            f"{setting}={one_line(text, 60)}: this range holds no value; expected start:stop:step "
            "with start up to stop and a step above 0, such as 2:6:0.5"
        )
    with localcontext() as context:
        context.prec = EXACT_DIGITS
        count = int((stop - start) // step) + 1
        if count > MOST_POINTS:
            raise UsageError(_too_many(setting, count))
        return [start + n * step for n in range(count)]


def _listed(text: str, setting: str) -> list[Value]:
    words = [word.strip() for word in text.split(",")]
    return list(dict.fromkeys(_value(word, setting) for word in words))


def _value(word: str, setting: str) -> Value:
    lower = word.lower()
    if lower == OFF:
        return OFF
    return WORDS[lower] if lower in WORDS else _number(word, setting)


def _number(word: str, setting: str) -> Decimal:
    """Returns a number as it is written. Raises UsageError where it is none."""
    try:
        number = Decimal(word.strip()) if len(word) <= MOST_CHARS else Decimal("nan")
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or (number and abs(number.adjusted()) > MAGNITUDES):
        raise UsageError(
            f"{setting}={one_line(word, 60)}: expected a number, {OFF}, numbers with commas "
            "between, or start:stop:step"
        )
    return number


def _too_many(setting: str, count: int) -> str:
    return f"{setting}: {count} values are too many; a sweep has at most {MOST_POINTS} points"
