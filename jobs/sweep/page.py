"""The page of a sweep, in the dress of the report: lines, or a field of hours, over a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from reelscript.jobs.report.frame import environment, page
from reelscript.jobs.sweep.words import (
    costs,
    head_of,
    hours_said,
    rows_of,
    sentences_of,
    title_of,
)

Chart = dict[str, Any]
KEPT, UNKNOWN = "hours kept", "hours of unknown sources"


def sweep_page(found: Mapping[str, Any]) -> str:
    """Returns the page of what `sweep` gives: one file that opens from disk."""
    charts = charts_of(found)
    body = (
        environment("reelscript.jobs.sweep")
        .get_template("sweep.html.jinja")
        .render(
            found=found,
            title=title_of(found),
            sentences=sentences_of(found),
            captions={name: chart["label"] for name, chart in charts.items()},
            head=head_of(found),
            rows=rows_of(found),
        )
    )
    return page(title_of(found), Markup(body), {"charts": charts})


def charts_of(found: Mapping[str, Any]) -> dict[str, Chart]:
    """Returns the drawings of a sweep, as reelscript.jobs.report.frame has them."""
    if found["kind"] == "costs":
        return _cost_bars(found)
    if len(found["settings"]) == 2:
        return {"hours": _heat(found)}
    numbers = [point for point in found["points"] if _number(point) is not None]
    if len(numbers) > 1:
        return {"hours": _lines(found, numbers, "hours"), "clips": _lines(found, numbers, "clips")}
    return {"hours": _bars(found)}


def _number(point: Mapping[str, Any]) -> float | None:
    """Returns the value of the one setting of a point; None where it is off, or no number."""
    (value,), (text,) = point["values"].values(), point["texts"].values()
    return float(value) if _is_number(value) and text.lstrip("-")[:1].isdigit() else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lines(found: Mapping[str, Any], points: list[Any], what: str) -> Chart:
    """Returns a line of hours or clips over the values of one setting."""
    (setting,) = found["settings"]
    ordered = sorted(points, key=lambda point: _number(point) or 0.0)
    kept = [[_number(point), point["kept"][what]] for point in ordered]
    series = [{"name": f"{what} kept", "tone": "kept", "points": kept}]
    if what == "hours" and any(point["unknown"]["videos"] for point in points):
        unknown = [[_number(point), point["unknown"]["hours"]] for point in ordered]
        series.append({"name": UNKNOWN, "tone": "unused", "points": unknown})
    shown = _is_number(setting["value"]) and setting["text"].lstrip("-")[:1].isdigit()
    stands = [{"x": setting["value"], "label": "now"}] if shown else []
    label = f"{what} kept by {setting['setting']}".capitalize()
    if len(series) > 1:
        label += f", and in grey {UNKNOWN}"
    axes = {"x": setting["setting"], "y": what, "log": ""}
    return {"kind": "lines", "label": label, "series": series, "marks": stands, **axes}


def _bars(found: Mapping[str, Any]) -> Chart:
    (setting,) = found["settings"]
    rows = [{"label": f"{setting['text']} (stands)", "value": found["standing"]["hours"]}]
    for point in found["points"]:
        (text,) = point["texts"].values()
        rows.append({"label": text, "value": point["kept"]["hours"]})
    toned = [{**row, "tone": "kept"} for row in rows]
    label = f"Hours kept by {setting['setting']}"
    return {"kind": "bars", "label": label, "rows": toned, "x": KEPT}


def _heat(found: Mapping[str, Any]) -> Chart:
    across, down = (setting["setting"] for setting in found["settings"])
    cells = [
        {
            "x": point["texts"][across],
            "y": point["texts"][down],
            "value": point["kept"]["hours"],
            "text": hours_said(point["kept"]["hours"], found)
            + ("?" if point["unknown"]["videos"] else ""),
        }
        for point in found["points"]
    ]
    label = f"Hours kept by {across} and {down}; ?: some videos are unknown there"
    return {"kind": "heat", "label": label, "cells": cells, "x": across, "y": down}


def _cost_bars(found: Mapping[str, Any]) -> dict[str, Chart]:
    """Returns bars of what each threshold keeps out, known and unknown."""
    values = {setting["setting"]: setting["text"] for setting in found["settings"]}
    named = [
        (f"{name} = {values[name]}", point)
        for point in found["points"]
        for name in point["values"]
        if costs(point)
    ]
    both = {
        "hours": ("accent", "Hours of samples that come in with this threshold off", "difference"),
        "unknown": ("unused", "Hours of source that nobody has measured further", "unknown"),
    }
    charts = {}
    for name, (tone, label, part) in both.items():
        rows = [
            {"label": said, "value": point[part]["hours"], "tone": tone}
            for said, point in named
            if point[part]["hours"] > 0
        ]
        if rows:
            rows.sort(key=lambda row: -float(row["value"]))
            charts[name] = {"kind": "bars", "label": label, "rows": rows, "x": "hours"}
    return charts
