"""A comparison as tables on a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reelscript.schemas.text import one_line

WIDTH = 100
MOST_ROWS = 12  # of each table: the report has all of them
MOST_WORDS = 8
CELL_CHARS = 60
FATES = {
    "rejected": "rejected there",
    "video_ended": "their video ended there",
    "other_clips": "their video was cut otherwise",
    "no_video": "their video is not there",
}


def compare_text(result: Mapping[str, Any]) -> str:
    """Returns what `compare` returned as plain text for a terminal, the largest drift first."""
    out = io.StringIO()
    console = Console(file=out, width=WIDTH, color_system=None, legacy_windows=False)
    names = [one_line(name, 30) for name in result["names"]]
    console.print(Text(f"A: {names[0]}    B: {names[1]}"))
    for table in _tables(result):
        if table.row_count:
            console.print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _tables(result: Mapping[str, Any]) -> Iterable[Table]:
    for what in ("settings", "versions"):
        rows = ([d["name"], _said(d["a"]), _said(d["b"])] for d in result[what])
        yield _table(f"Different {what}", ("", "A", "B"), rows, left=3)
    yield _table(
        "How much",
        ("", "A", "B", "B - A"),
        ([n["name"], _count(n["a"]), _count(n["b"]), _signed(n)] for n in _amounts(result)),
    )
    drifting = [s for s in result["scores"] if s["larger_in_b"] is not None]
    yield _table(
        "Scores of what is kept: how likely one of B is larger than one of A",
        ("score", "median A", "median B", "larger", "effect", "KS"),
        (
            [
                f"{s['of']}.{s['name']}",
                *(f"{s[side]['median']:.4g}" for side in "ab"),
                f"{s['larger_in_b']:.3f}",
                s["size"],
                f"{s['distance']:.3f}",
            ]
            for s in drifting[:MOST_ROWS]
        ),
    )
    moved = [f for f in result["facts"] if f["distance"]]
    yield _table(
        "Shares: how much must change to make A into B",
        ("of", "distance", "moved most"),
        ([f["name"], f"{100 * f['distance']:.1f} %", _moves(f["categories"])] for f in moved),
    )
    yield _words(result["words"])
    yield _clips(result["clips"])


def _table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1
) -> Table:
    """Returns a table; its last column and the first `left` are text, the others numbers."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for at, name in enumerate(columns):
        text = at < left or name in ("moved most", "effect")
        table.add_column(name, justify="left" if text else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell, CELL_CHARS)) for cell in row))
    return table


def _amounts(result: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    yield from result["counts"]
    for row in result["hours"]:
        yield row | {"name": f"hours.{row['name']}"}


def _words(words: Mapping[str, Any]) -> Table:
    if words["divergence"] is None:
        return _table("", ("",), ())
    return _table(
        f"Words: Jensen-Shannon divergence {words['divergence']:.4f} of at most 1",
        ("word", "A", "B", "part"),
        (
            [w["text"], f"{100 * w['a']:.3f} %", f"{100 * w['b']:.3f} %", f"{w['part']:.6f}"]
            for w in words["words"][:MOST_WORDS]
        ),
    )


def _clips(clips: Mapping[str, Any]) -> Table:
    rows = [["in both", "", "", *_size(clips["both"])]]
    for side in "ab":
        only = clips[f"only_{side}"]
        rows.append([f"only in {side.upper()}", "", "", *_size(only)])
        rows += [
            ["", FATES[fate["fate"]], fate["reason"] or "", *_size(fate)]
            for fate in only["fates"][:MOST_ROWS]
        ]
    return _table("Kept clips", ("kept", "because", "reason", "clips", "hours"), rows, left=3)


def _size(of: Mapping[str, Any]) -> tuple[str, str]:
    return f"{of['clips']:,}", _count(of["hours"])


def _count(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"


def _signed(number: Mapping[str, Any]) -> str:
    value = number["difference"]
    return ("+" if value > 0 else "") + _count(value) if value else ""


def _moves(categories: Sequence[Mapping[str, Any]]) -> str:
    shown = (
        f"{'unknown' if c['name'] is None else one_line(c['name'], 20)} "
        f"{100 * c['difference']:+.1f}"
        for c in categories[:3]
    )
    return ", ".join(shown)


def _said(value: str | None) -> str:
    return "–" if value is None else value
