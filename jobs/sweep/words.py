"""What a sweep says, in a terminal and on its page: a table, and sentences under it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

COUNTED = ("videos", "clips", "samples", "hours")
STANDS = "*"
LARGE_HOURS = 100.0


def print_sweep(found: Mapping[str, Any], console: Console) -> None:
    """Prints the points of a sweep as a table, and under it what they mean."""
    table = Table(title=Text(title_of(found)), title_justify="left", box=box.SIMPLE)
    for name in head_of(found):  # names may be folded where there is no room, numbers not
        number = name.lstrip("+") in (*COUNTED, "value", "+/- hours", "unknown")
        table.add_column(name, justify="right", no_wrap=number, overflow="fold")
    for row in rows_of(found):
        table.add_row(*row)
    console.print(table)
    for line in sentences_of(found):
        console.print(Text(line))


def title_of(found: Mapping[str, Any]) -> str:
    """Returns what the table is about."""
    if found["kind"] == "costs":
        return f"{found['corpus']}: what each threshold keeps out, the costliest first"
    names = " and ".join(setting["setting"] for setting in found["settings"])
    return f"{found['corpus']} at other values of {names}"


def head_of(found: Mapping[str, Any]) -> list[str]:
    """Returns the names of the columns."""
    if found["kind"] == "costs":
        return ["threshold", "value", "+videos", "+clips", "+hours", "unknown"]
    names = [setting["setting"].partition(".")[2] for setting in found["settings"]]
    return [*names, *COUNTED, "+/- hours", "unknown"]


def rows_of(found: Mapping[str, Any]) -> list[list[str]]:
    """Returns the rows of the table: the corpus as it stands, then each point.

    Of thresholds that are turned off, only those that cost something.
    """
    values = {setting["setting"]: setting["text"] for setting in found["settings"]}
    if found["kind"] == "costs":
        return [
            [name, values[name], *_more(point["difference"], found), _unknown(point, found)]
            for point in found["points"]
            if costs(point)
            for name in point["values"]
        ]
    first = [f"{text} {STANDS}" for text in values.values()]
    return [
        [*first, *_counts(found["standing"], found), "", ""],
        *(
            [
                *point["texts"].values(),
                *_counts(point["kept"], found),
                f"{'+' if point['difference']['hours'] >= 0 else ''}"
                f"{hours_said(point['difference']['hours'], found)}",
                _unknown(point, found),
            ]
            for point in found["points"]
        ),
    ]


def costs(point: Mapping[str, Any]) -> bool:
    """Returns whether a point differs from the corpus as it stands, or may."""
    return any(point["difference"].values()) or bool(point["unknown"]["videos"])


def sentences_of(found: Mapping[str, Any]) -> list[str]:
    """Returns what the numbers mean, and what they do not know."""
    sources, points = found["sources"], found["points"]
    left, whole = sources["unmeasured"], sources["measured"]
    lines = [
        "Hours are of samples. Decided from stored scores: nothing was run, and what would be "
        "encoded anew is taken to succeed."
    ]
    if found["kind"] == "sweep":
        lines.insert(0, f"{STANDS} the corpus as it stands, release {found['release']}.")
    else:
        free = sum(not costs(point) for point in points)
        lines.append(
            f"Each threshold was turned off by itself, the others as they stand: "
            f"{free} of {len(points)} cost nothing alone."
        )
    if left["videos"]:
        stages = ", ".join(f"{stage} {count:,}" for stage, count in left["stages"].items())
        hours = f"{hours_said(left['hours'], found)} of {hours_said(sources['hours'], found)} hours"
        lines.append(
            f"{left['videos']:,} of {sources['videos']:,} sources ({hours}) ended before there "
            f"were scores of their clips ({stages}): what these would score is unknown, and none "
            "of them is counted as kept."
        )
    else:
        lines.append(f"All {whole['videos']:,} sources have scores of their clips.")
    if any(point["unknown"]["videos"] for point in points):
        lines.append(
            "unknown: videos (hours of source) that a value lets in and that nobody has measured "
            "further; how much of them would be kept, only a build can tell."
        )
    return lines


def hours_said(hours: float, found: Mapping[str, Any]) -> str:
    """Returns hours with as many digits as a corpus of this size needs."""
    return f"{hours:,.2f}" if found["sources"]["hours"] >= LARGE_HOURS else f"{hours:.4f}"


def _counts(kept: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [*(f"{kept[name]:,}" for name in COUNTED[:-1]), hours_said(kept["hours"], found)]


def _more(difference: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    videos, clips, _, hours = _counts(difference, found)
    return [videos, clips, hours]


def _unknown(point: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    videos, hours = point["unknown"]["videos"], point["unknown"]["hours"]
    return f"{videos:,}, {hours_said(hours, found)} h" if videos else "0"
