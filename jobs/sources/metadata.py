"""What a list says of a source beyond the known columns: any JSON, made small and harmless."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

MAX_METADATA_BYTES = 1000
MAX_METADATA_DEPTH = 8


def metadata_text(value: Any) -> str | None:
    """Returns metadata as JSON text of at most MAX_METADATA_BYTES, or None where there is none.

    Of a larger dict it holds the first entries that fit, and `"_cut": true`.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):  # plain text: it becomes a string
            value = json.loads(value)
    value = _plain(value, MAX_METADATA_DEPTH)
    if len(whole := _json(value)) <= MAX_METADATA_BYTES:
        return whole.decode()
    kept: dict[str, Any] = {"_cut": True}
    for key, item in value.items() if isinstance(value, dict) else ():
        if len(_json({**kept, key: item})) > MAX_METADATA_BYTES:
            break
        kept[key] = item
    return _json(kept).decode()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _plain(value: Any, depth: int) -> Any:
    """Returns a value as JSON can hold it: no NaN, no half surrogate pairs, nested so deep."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else str(value)[:MAX_METADATA_BYTES]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict | list | tuple) and depth == 0:
        return None
    if isinstance(value, dict):
        return {_plain(str(k), 1): _plain(v, depth - 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, depth - 1) for v in value]
    return str(value).encode("utf-8", "replace").decode()
