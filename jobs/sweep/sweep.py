"""`reelscript sweep`: the corpus at other thresholds, from stored scores, running nothing again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.standing_config import standing_config
from reelscript.jobs.sweep.decided import Decider, Kept
from reelscript.jobs.sweep.lengths import MS_A_SECOND
from reelscript.jobs.sweep.measured import Corpus, read_corpus
from reelscript.jobs.sweep.settings import (
    Point,
    axes_of,
    points_of,
    text_in,
    turned_off,
    value_in,
)
from reelscript.pipeline.store import Store
from reelscript.reading.releases import read_newest
from reelscript.schemas.text import one_line

FORMAT = "reelscript-sweep/1"
HOUR_MS = 3_600_000
COUNTS = ("videos", "clips", "samples")


def sweep(folder: str, asked: Sequence[str] = ()) -> dict[str, Any]:
    """Returns what would be kept of a corpus at other thresholds, ready for JSON.

    Nothing is measured, read of the work folder, or written.

    Args:
        folder: the corpus (or its fsspec URL).
        asked: up to two of `section.key=values`; none: each threshold off by itself, the one that
            costs the most hours first.

    Returns:
        `settings`: each with its `value` as it stands; `standing`: what is kept; `sources`: of them
        `measured` whole, and `unmeasured`, by the stage at which they ended; `points`: each with
        its `values`, what is `kept`, its `difference` to what stands, and what is `unknown`.

    Raises:
        UsageError: a setting cannot be swept, or not at these values.
        DataError: there is no corpus, it is damaged, or its own settings do not give what stands.
    """
    store = Store(folder)
    config = standing_config(store, read_newest(store))
    axes = axes_of(asked, config)
    points = points_of(axes, config) if axes else turned_off(config)
    corpus = read_corpus(store)
    decider = Decider(corpus)
    seconds = corpus.videos.column("duration_s").to_pylist()
    found = [_point(point, decider, seconds) for point in points]
    if not axes:
        found.sort(key=_by_cost)
    names = dict.fromkeys(name for point in found for name in point["values"])
    return {
        "format": FORMAT,
        "corpus": corpus.name,
        "release": corpus.release,
        "kind": "sweep" if axes else "costs",
        "settings": [
            {"setting": name, "value": value_in(config, name), "text": text_in(config, name)}
            for name in names
        ],
        "standing": _counted(decider.standing),
        "sources": _sources(corpus),
        "points": found,
    }


def _point(point: Point, decider: Decider, seconds: Sequence[float | None]) -> dict[str, Any]:
    """Returns what one point comes to, as plain data."""
    chosen = decider.chosen(point.config)
    kept, standing = decider.count(chosen), decider.standing
    more = {name: getattr(kept, name) - getattr(standing, name) for name in COUNTS}
    return {
        "values": point.values,
        "texts": point.texts,
        "stands": point.config == decider.corpus.config,
        "kept": _counted(kept),
        "difference": {**more, "hours": _hours(kept.ms - standing.ms)},
        "unknown": {
            "videos": len(chosen.unknown),
            "hours": _hours_of([seconds[row] for row in chosen.unknown]),
        },
    }


def _by_cost(point: dict[str, Any]) -> tuple[float, float, int, str]:
    hours, unknown = point["difference"]["hours"], point["unknown"]
    return (-hours, -unknown["hours"], -unknown["videos"], next(iter(point["values"])))


def _sources(corpus: Corpus) -> dict[str, Any]:
    """Returns how many sources there are, measured whole or ended before, with their hours."""
    whole = pc.equal(corpus.videos.column("outcome"), "pending")
    before = corpus.videos.where(pc.invert(whole))
    stages = Counter(one_line(s or "unknown", 40) for s in before.column("stage").to_pylist())
    listed = sorted(stages.items(), key=lambda item: (-item[1], item[0]))
    return {
        **_of_source(corpus.videos.column("duration_s")),
        "measured": _of_source(corpus.videos.where(whole).column("duration_s")),
        "unmeasured": {**_of_source(before.column("duration_s")), "stages": dict(listed)},
    }


def _of_source(durations: pa.ChunkedArray) -> dict[str, Any]:
    return {"videos": len(durations), "hours": _hours_of(durations.to_pylist())}


def _counted(kept: Kept) -> dict[str, Any]:
    return {**{name: getattr(kept, name) for name in COUNTS}, "hours": _hours(kept.ms)}


def _hours_of(seconds: Sequence[float | None]) -> float:
    """Returns hours of source; a source whose length nobody knows adds none."""
    return _hours(sum(round((s or 0.0) * MS_A_SECOND) for s in seconds))


def _hours(milliseconds: int) -> float:
    return round(milliseconds / HOUR_MS, 6)
