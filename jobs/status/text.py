"""Where a build stands, as text for a terminal, a pipe or a log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reelscript.jobs.progress import clock
from reelscript.jobs.status.counts import Ending
from reelscript.jobs.status.status import Status
from reelscript.pipeline.run_records import RunRecord
from reelscript.schemas.text import one_line

MOST_ROWS = 40  # of what is in work
DETAIL_CHARS = 120
SENTENCE_CHARS = 1000


def print_status(status: Status, console: Console) -> None:
    """Prints where a build stands: what runs, the counts, what is in work, errors, how to go on."""
    for part in _parts(status):
        if isinstance(part, Table):
            console.print(part)
        else:
            console.print(part, markup=False, highlight=False, soft_wrap=True)


def _parts(status: Status) -> Iterator[str | Table]:
    yield _state(status)
    for other in status.others:
        yield f"also running: {_who(other)}, {_phase(other.progress)}"
    progress = status.run.progress if status.run is not None else {}
    running = status.state == "running"
    yield from _counts(status)
    if running:
        yield from _pace(progress)
    if ended := [e for e in status.endings if e.outcome == "rejected"]:
        yield _rejected(ended)
    if running and (now := _dicts(progress.get("now"))):
        yield _in_work(now)
    if died := _dicts(_dict(progress.get("suspects")).get("last")):
        yield _suspects(progress, died)
    if failed := [e for e in status.endings if e.outcome == "failed"]:
        yield _failed(failed)
    yield _published(status)
    for line in status.go_on:
        yield f"{one_line(line['command'], SENTENCE_CHARS)}\n    {one_line(line['what'])}"


# The run.


def _state(status: Status) -> str:
    run = status.run
    if run is None:
        return f"{one_line(status.work)}: no build has told of itself"
    phase, who, at = _phase(run.progress), _who(run), _when(run.at)
    because = f": {one_line(run.said, SENTENCE_CHARS)}" if run.said else ""
    said = {
        "running": f"running, {phase}: {who}",
        "done": f"done at {at}",
        "interrupted": f"interrupted at {at}, {phase}; what was finished is saved",
        "stopped": f"stopped at {at}, {phase}{because}",
        "broke": f"broke at {at}, {phase}{because}",
        "died": f"died about {at}, {phase}: its end was not written, and it is gone: {who}",
    }
    return f"{one_line(status.work)}: {said.get(status.state, one_line(status.state))}"


def _who(run: RunRecord) -> str:
    host, since = one_line(run.host, 80), _when(run.started_at)
    return f"{one_line(run.verb, 20)} {run.number} on {host}, process {run.pid}, since {since}"


def _phase(progress: Mapping[str, Any]) -> str:
    phase = progress.get("phase")
    return f"in phase {one_line(phase, 60)}" if isinstance(phase, str) and phase else "starting"


def _when(iso: str) -> str:
    return one_line(iso, 40).removesuffix("+00:00").replace("T", " ") + " UTC"


# What became of the sources.


def _counts(status: Status) -> Iterator[str]:
    sources = status.sources
    if sources is None:
        yield "the sources are not listed yet"
        return
    said = (
        f"{sources.listed} sources: {sources.measured} measured, {sources.rejected} rejected, "
        f"{sources.failed} failed, {sources.pending} pending"
    )
    again = ", of those {} to be measured again (settings or source changed)"
    yield said + (again.format(sources.again) if sources.again else "")
    if status.encoded:
        yield f"{status.encoded} videos are encoded"


def _pace(progress: Mapping[str, Any]) -> Iterator[str]:
    total, known, ended = (_number(progress.get(name)) for name in ("total", "known", "ended"))
    if None in (total, known, ended):
        return
    rates, left_s = _dict(progress.get("rates")), _number(progress.get("left_s"))
    left = "not known yet" if left_s is None else clock(left_s)
    since = clock(_number(progress.get("for_s")))
    yield (
        f"{_phase(progress)} for {since}: {ended:.0f} of {(total or 0) - (known or 0):.0f} "
        f"ended, time left: {left}"
    )
    said = []
    for title, prefix in (("now", "recent_"), ("since the start", "")):
        videos, hours = (
            _number(rates.get(f"{prefix}{name}")) for name in ("videos_per_h", "media_h_per_h")
        )
        if videos is not None and hours is not None:
            said.append(
                f"{videos:.0f} videos/h, {hours:.{1 if hours >= 1 else 2}f} h of video/h {title}"
            )
    if said:
        yield f"rate: {'; '.join(said)}"


def _table(title: str, names: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for name in names:
        number = name in ("videos", "for")
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    return table


def _row(table: Table, *cells: object) -> None:
    table.add_row(*(Text(one_line(str(cell), DETAIL_CHARS)) for cell in cells))


def _rejected(endings: Iterable[Ending]) -> Table:
    table = _table("Rejected", ("stage", "reason", "videos"))
    for e in endings:
        _row(table, e.stage, e.reason, e.count)
    return table


def _failed(endings: Iterable[Ending]) -> Table:
    table = _table("Failed", ("stage", "reason", "videos", "again?", "for example"))
    for e in endings:
        again = "yes" if e.passing else e.when or "no"
        _row(
            table,
            e.stage,
            e.reason,
            e.count,
            again,
            ": ".join(filter(None, (e.video_id, e.detail))),
        )
    return table


def _in_work(now: list[dict[str, Any]]) -> Table:
    table = _table("In work", ("video", "stage", "since", "for"))
    for inside in now[:MOST_ROWS]:
        since, for_s = str(inside.get("since")), clock(_number(inside.get("for_s")))
        _row(table, inside.get("video_id"), inside.get("stage"), _when(since), for_s)
    if len(now) > MOST_ROWS:
        _row(table, f"and {len(now) - MOST_ROWS} more", "", "", "")
    return table


def _suspects(progress: Mapping[str, Any], died: list[dict[str, Any]]) -> Table:
    many = _number(_dict(progress.get("suspects")).get("count")) or len(died)
    table = _table(
        f"Workers that died: {many:.0f}; their videos are tried again alone",
        ("video", "stage", "died of"),
    )
    for suspect in died[-5:]:
        _row(table, suspect.get("video_id"), suspect.get("stage"), suspect.get("died"))
    return table


def _published(status: Status) -> str:
    if status.release is None:
        return "nothing is published yet"
    counts, hours = _dict(status.release.get("counts")), _dict(status.release.get("hours"))
    kept, samples = (_number(counts.get(name)) or 0 for name in ("kept", "samples"))
    number = _number(status.release.get("release")) or 0
    return (
        f"published: release {number:.0f}, {kept:.0f} videos, {samples:.0f} samples, "
        f"{_number(hours.get('kept')) or 0:.2f} hours"
    )


# What comes from a file may be anything.


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _number(value: object) -> float | None:
    finite = isinstance(value, int | float) and abs(value) < 1e15  # neither infinite nor NaN
    return float(value) if finite else None  # type: ignore[arg-type]
