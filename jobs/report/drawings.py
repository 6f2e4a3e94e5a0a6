"""What the charts of a report are drawn from: for each a spec, as frame.py tells, of the stats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from reelscript.jobs.report.meanings import meaning_of_score
from reelscript.jobs.report.wording import compact, number
from reelscript.jobs.statistics.text import HEAPS_FROM_TOKENS

Spec: TypeAlias = dict[str, Any]

FACTS = {
    "languages": "Languages",
    "licenses": "Licences",
    "channels": "Channels",
    "upload_years": "Upload years",
    "resolutions": "Resolutions",
    "containers": "Containers",
    "video_codecs": "Video codecs",
    "audio_codecs": "Audio codecs",
    "transcripts": "Where the words come from",
    "hosts": "Hosts",
}
"""Facts of the videos by which their hours are counted, in the order of the page."""

UNNAMED = {
    "languages": "not determined",
    "transcripts": "no words",
    "hosts": "local files",
}
BARS = 12  # of a fact are drawn; its table has all that are listed
IN_ORDER = ("upload_years",)  # drawn by name, not by size


def drawings(stats: Mapping[str, Any]) -> dict[str, Spec]:
    """Returns the spec of every chart by its id."""
    return dict(_drawings(stats))


def _drawings(stats: Mapping[str, Any]) -> Iterator[tuple[str, Spec]]:
    for score in stats["scores"]:
        if score["edges"]:
            yield score_id(score), _score(score)
    for fact, title in FACTS.items():
        if stats[fact]["rows"]:
            yield f"fact-{fact}", _fact(fact, title, stats[fact])
    costly = [row for row in stats["limits_cost"] if row["clips_only"]]
    if costly:
        yield "limits", _limits(costly)
    if stats["text"]["growth"]:
        yield "growth", _growth(stats["text"])


def score_id(score: Mapping[str, Any]) -> str:
    """Returns the id of the chart of a score, a row of `stats["scores"]`."""
    return f"{score['of']}-{score['name']}"


def _score(score: Mapping[str, Any]) -> Spec:
    """Kept stands, rejected hangs: each adds up to 100 % of its own, so that shapes compare."""
    kept, rejected = score["kept"], score["rejected"]
    names = ("in samples",) if score["of"] == "passage" else ("kept", "rejected")
    sides = [
        {"name": name, "tone": tone, "counts": side["counts"]}
        for name, tone, side in zip(names, ("kept", "rejected"), (kept, rejected), strict=False)
    ]
    limits = [
        # a whole number lies in the bin that it begins: the most that may be is on this side
        {
            "side": t["side"],
            "at": t["value"] + (1 if score["whole"] and t["side"] == "max" else 0),
            "label": f"{t['side']} {compact(t['value'])}",
        }
        for t in score["thresholds"]
        if t["value"] is not None
    ]
    what = meaning_of_score(score["name"])
    label = f"Histogram of {what}: {number(kept['n'])} {names[0]}, median {number(kept['median'])}"
    if len(names) > 1:
        label += f"; {number(rejected['n'])} rejected, median {number(rejected['median'])}"
    for limit in limits:
        label += f"; limit {limit['label']}"
    return {
        "kind": "histogram",
        "label": f"{label}.",
        "x": what,
        "edges": score["edges"],
        "sides": sides,
        "limits": limits,
    }


def unit_of(hours: Sequence[float]) -> tuple[float, str]:
    """Returns how many of a unit are an hour, and the unit in which these read best."""
    most = max(hours, default=0.0)
    units = ((0.5, 1.0, "hours"), (0.5 / 60, 60.0, "minutes"))
    found = ((per_hour, name) for least, per_hour, name in units if most >= least)
    return next(found, (3600.0, "seconds"))


def _fact(fact: str, title: str, found: Mapping[str, Any]) -> Spec:
    rows = found["rows"][:BARS]
    if fact in IN_ORDER:
        rows = sorted(rows, key=lambda row: (row["name"] is None, row["name"] or ""))
    per_hour, unit = unit_of([row["hours"] for row in rows])
    bars = [
        {
            "label": name_of(fact, row),
            "value": round(row["sample_hours"] * per_hour, 3),
            "of": round(row["hours"] * per_hour, 3),
            "tone": "kept",
        }
        for row in rows
    ]
    told = ", ".join(f"{bar['label']} {number(bar['value'])}" for bar in bars[:5])
    return {
        "kind": "bars",
        "upright": fact in IN_ORDER,
        "label": f"{title}, {unit} in samples: {told}.",
        "x": f"{unit} in samples",
        "rows": bars,
    }


def name_of(fact: str, row: Mapping[str, Any]) -> str:
    """Returns how a row of a fact is called where it has no name of its own, too."""
    name = row["name"]
    return UNNAMED.get(fact, "not stated") if name is None else str(name)


def _limits(costs: Sequence[Mapping[str, Any]]) -> Spec:
    per_hour, unit = unit_of([cost["hours_only"] for cost in costs])
    bars = [
        {"label": c["setting"], "value": round(c["hours_only"] * per_hour, 3), "tone": "rejected"}
        for c in costs
    ]
    first = bars[0]
    return {
        "kind": "bars",
        "upright": False,
        "label": f"What one limit alone keeps out, in {unit} of clips: most by "
        f"{first['label']}, {number(first['value'])}.",
        "x": f"{unit} of clips",
        "rows": bars,
    }


def _growth(text: Mapping[str, Any]) -> Spec:
    points = [[at["tokens"], at["types"]] for at in text["growth"] if at["tokens"] > 0]
    series: list[Spec] = [{"name": "vocabulary", "tone": "kept", "points": points}]
    if text["heaps"]:
        k, beta = text["heaps"]["k"], text["heaps"]["beta"]
        fitted = [[n, round(k * n**beta, 3)] for n, _ in points if n >= HEAPS_FROM_TOKENS]
        series.insert(0, {"name": "Heaps' law", "tone": "rejected", "points": fitted, "bare": True})
    return {
        "kind": "lines",
        "label": f"Growth of the vocabulary: {number(text['types'])} different words among "
        f"{number(text['tokens'])}.",
        "x": "words",
        "y": "different words",
        "log": "xy",
        "series": series,
    }
