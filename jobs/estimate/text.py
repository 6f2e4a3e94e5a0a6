"""An estimate on a terminal: a table of stages, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from reelscript.jobs.estimate.disk import said_bytes
from reelscript.jobs.estimate.estimate import Estimate
from reelscript.jobs.estimate.spread import Spread

UNKNOWN = "unknown"
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86400.0


def estimate_table(estimate: Estimate) -> Group:
    """Returns the stages as a table, and under it hours, disk, time and how rough all that is."""
    table = Table(title="What a build would take", title_justify="left", box=box.SIMPLE)
    for name in ("stage", "videos in", "CPU time (10-90 %)", "wall clock (10-90 %)"):
        table.add_column(name, justify="left" if name == "stage" else "right", overflow="fold")
    for cost in estimate.stages:
        videos = UNKNOWN if cost.videos is None else said_count(cost.videos)
        cpu = spread_text(cost.cpu_s, said_time) + (" of GPU" if cost.gpu and cost.cpu_s else "")
        table.add_row(cost.stage, videos, cpu, spread_text(cost.wall_s, said_time))
    return Group(table, *(Text(line) for line in estimate_lines(estimate)))


def estimate_lines(estimate: Estimate) -> list[str]:
    """Returns what stands under the table, as sentences."""
    lines = []
    if estimate.finished:
        lines.append(f"{estimate.finished:,} of {estimate.sources:,} are finished already")
    if not estimate.left:
        return [*lines, "nothing is left to measure", *estimate.notes]
    named: list[tuple[str, Spread | None, Callable[[float], str]]] = [
        ("hours of source", estimate.source_s, said_hours),
        ("hours kept", estimate.kept_s, said_hours),
        ("disk for the corpus", estimate.corpus_bytes, said_bytes),
        ("disk for work", estimate.work_bytes, said_bytes),
        ("time in all", estimate.wall_s, said_time),
    ]
    lines += [f"{name}: {spread_text(spread, said)}" for name, spread, said in named]
    trials = "videos of earlier builds" if estimate.from_ledger else "excerpts"
    lines.append(
        f"from {estimate.looked_at:,} of {estimate.left:,} sources and {estimate.trials} {trials}: "
        "a rough guess"
    )
    return [*lines, *estimate.notes, *(f"warning: {text}" for text in estimate.warnings)]


def spread_text(spread: Spread | None, said: Callable[[float], str]) -> str:
    """Returns an estimate with its bounds, such as `1.2 GB (0.9 GB to 1.6 GB)`."""
    if spread is None:
        return UNKNOWN
    if spread.low is None or spread.high is None:
        return f"{said(spread.value)} (spread unknown)"
    low, value, high = said(spread.low), said(spread.value), said(spread.high)
    return value if low == high else f"{value} ({low} to {high})"


def said_hours(seconds: float) -> str:
    """Returns seconds as hours, with two digits or three."""
    hours = seconds / HOUR_S
    if hours < 0.095:
        return f"{hours:.2g}"
    return f"{hours:,.{0 if hours >= 99.5 else 1 if hours >= 9.95 else 2}f}"


def said_time(seconds: float) -> str:
    """Returns a duration in its two largest units: 3 d 4 h, 5 h 20 min, 12 min, 40 s."""
    if 0 < seconds < 0.1:
        return "< 0.1 s"
    if seconds < MINUTE_S:
        return f"{seconds:.{1 if seconds < 9.95 else 0}f} s"
    if seconds < HOUR_S:
        return f"{seconds / MINUTE_S:.0f} min"
    big, small, names = (DAY_S, HOUR_S, "d h") if seconds >= DAY_S else (HOUR_S, MINUTE_S, "h min")
    whole, rest = divmod(round(seconds / small), round(big / small))
    first, second = names.split()
    return f"{whole} {first} {rest} {second}"


def said_count(count: float) -> str:
    """Returns a number of videos; what is no whole number is rounded."""
    return f"{count:,.0f}"
