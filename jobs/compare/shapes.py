"""The distributions of a score in two corpora, over the same edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from reelscript.jobs.compare.drift import kept_values
from reelscript.jobs.statistics.histogram import histogram
from reelscript.jobs.statistics.rows import Rows
from reelscript.jobs.statistics.scores import SCORES, TABLES


def score_shapes(
    a: Rows, b: Rows, limits: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """Returns a histogram of each score of what is kept, for `a` and `b` over shared edges.

    Each is `{"of", "name", "whole", "edges", "a", "b", "limits"}`. `a` and `b` are sides as
    `histogram` gives them. `limits` are the thresholds on it, `{"in", "setting", "side", "value"}`:
    `in` is "both" where the two have the same, else "a" or "b". Scores that neither has are left
    out.

    Args:
        a: rows of the one corpus.
        b: rows of the other.
        limits: their `thresholds` of stats.json.

    Raises:
        DataError: the rows cannot be read.
    """
    found = []
    for of, name, value, kept in SCORES:
        table, schema = TABLES[of]
        one, other = (kept_values(rows, table, value, kept) for rows in (a, b))
        own = _limits(of, name, limits)
        whole = value == name and pa.types.is_integer(schema.field(name).type)
        made = histogram(
            np.concatenate([one, other]),
            np.arange(len(one) + len(other)) < len(one),
            [limit["value"] for limit in own],
            whole,
        )
        if made["edges"]:
            sides = {"a": made["kept"], "b": made["rejected"]}
            edges = {"whole": whole, "edges": made["edges"]}
            found.append({"of": of, "name": name, **edges, **sides, "limits": own})
    return found


def _limits(
    of: str,
    name: str,
    limits: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]],
) -> list[dict[str, Any]]:
    """Returns the thresholds on a score that are set, with whose they are."""
    whose: dict[tuple[str, str, float], str] = {}
    for side, own in zip("ab", limits, strict=True):
        for limit in own:
            if (limit["of"], limit["score"]) == (of, name) and limit["value"] is not None:
                key = (str(limit["setting"]), str(limit["side"]), float(limit["value"]))
                whose[key] = "both" if key in whose else side
    return [
        {"in": at, "setting": setting, "side": side, "value": value}
        for (setting, side, value), at in sorted(whose.items())
    ]
