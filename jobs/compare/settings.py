"""Which settings, or versions, two corpora were made with differently."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reelscript.schemas.text import one_line

MAX_CHARS = 200


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """Returns what is not the same as `{"name", "a", "b"}`, sorted by name.

    Args:
        a: plain data, nested as one likes; a setting is named `section.key`.
        b: the same of the other.
    """
    one, other = _flat(a), _flat(b)
    return [
        {"name": one_line(name), "a": _shown(one.get(name)), "b": _shown(other.get(name))}
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    ]


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Returns nested settings as dotted names with their values as JSON."""
    flat: dict[str, str] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = json.dumps(value, ensure_ascii=False, default=str)
    return flat


def _shown(value: str | None) -> str | None:
    """Returns a value in JSON for people: text without its quotes."""
    if value is None:
        return None
    plain = json.loads(value)
    return one_line(plain if isinstance(plain, str) else value, MAX_CHARS)
