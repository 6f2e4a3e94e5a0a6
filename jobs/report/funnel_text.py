"""The funnel as a table on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from reelscript.schemas.text import one_line

MOST_CHARS = 2000  # of a cell: the reasons of a corpus that came from elsewhere may be anything
COLUMNS = ("stage", "in", "rejected", "failed", "left", "hours", "clips", "why")


def funnel_table(stats: Mapping[str, Any]) -> Table:
    """Returns what entered and left each stage of `stats.json`, and why the rest did not."""
    table = Table(title="What became of the sources", title_justify="left", box=box.SIMPLE)
    for name in COLUMNS:
        text = name in ("stage", "why")
        table.add_column(name, justify="left" if text else "right", no_wrap=name != "why")
    for row in stats["funnel"]:
        videos, clips = row["videos"], row["clips"] or {}
        gone = {**videos["rejected_by"], **videos["failed_by"]}
        why = ", ".join(f"{n} {reason}" for reason, n in sorted(gone.items(), key=lambda i: -i[1]))
        table.add_row(
            Text(one_line(row["stage"], MOST_CHARS)),
            str(videos["entered"]),
            str(videos["rejected"] or ""),
            str(videos["failed"] or ""),
            str(videos["left"]),
            f"{videos['hours_left']:.2f}",
            str(clips.get("left", "")),
            Text(one_line(why, MOST_CHARS)),
        )
    return table
