"""What an example of a reason shows: its scores, each beside the limits that it had to meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def judged_scores(
    example: Mapping[str, Any], thresholds: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Returns `{"name", "value", "limits", "broken"}` for each score that an example has.

    Args:
        example: of a row of `stats["reasons"]`.
        thresholds: `stats["thresholds"]`. Those that are off are left out.

    `broken` holds those of the `limits` that the value does not meet; a score that was not measured
    breaks none. The broken come first, else all stand in the order of the example.
    """
    limits = [t for t in thresholds if t["of"] == example["kind"] and t["value"] is not None]
    rows = []
    for name, value in example["scores"].items():
        own = [t for t in limits if t["score"] == name]
        broken = [t for t in own if value is not None and _is_broken(value, t)]
        rows.append({"name": name, "value": value, "limits": own, "broken": broken})
    return sorted(rows, key=lambda row: not row["broken"])


def _is_broken(value: float, limit: Mapping[str, Any]) -> bool:
    at: float = limit["value"]
    return value < at if limit["side"] == "min" else value > at
