"""What `evaluate` says on a terminal: tables, and the claims in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich import box
from rich.table import Table
from rich.text import Text

from reelscript.jobs.evaluate.evaluate import Evaluation
from reelscript.jobs.evaluate.figures import Figure
from reelscript.jobs.evaluate.floors import CHANCE, Claim
from reelscript.jobs.evaluate.listed import Classified
from reelscript.jobs.evaluate.listed_videos import NAMED
from reelscript.jobs.evaluate.retrieval import Retrieval
from reelscript.jobs.evaluate.sorting import BLANK_FRAMES, BLIND_HEAD, OTHER_VIDEO, Sorting
from reelscript.schemas.text import one_line

WORDS = {
    "per_transcript": "transcripts at their place",
    "all_right": "windows all right",
    "kendall_tau": "Kendall's tau",
    OTHER_VIDEO: "another video's frames",
    BLIND_HEAD: "trained with blank frames",
    BLANK_FRAMES: "shown blank frames (a weaker floor)",
    CHANCE: "chance",
    "r1": "R@1",
    "r5": "R@5",
    "r10": "R@10",
    "median_rank": "median rank",
    "text_to_video": "text to video",
    "video_to_text": "video to text",
    "top1": "top-1",
    "top5": "top-5",
}
FEW = 20  # videos, below which an interval is rough


def parts_of(made: Evaluation) -> Iterator[Table | Text]:
    """Yields tables and lines, to be printed one below the other."""
    if made.windows is not None:
        yield from _windows(made.windows)
    if made.retrieval is not None:
        name = one_line(made.retrieval.about["list"]["name"], 60)
        yield _retrieval(f"Retrieval on {name}", made.retrieval.retrieval)
        yield from _missing(made.retrieval.about["listed_videos"])
    if made.classification is not None:
        yield from _classes(made.classification)


def _windows(windows: Sorting) -> Iterator[Table | Text]:
    where = f"{windows.windows} windows of {windows.videos} held-out videos"
    if windows.claims is None:
        yield Text("Sorting: not evaluated, this checkpoint has no sorting head.")
    else:
        yield _sorting(f"Sorting {where}", windows.claims)
        for name, claim in windows.claims.items():
            yield Text(f"{WORDS[name]}: {_claim(claim)}")
    yield _retrieval(f"Retrieval among {where}", windows.retrieval)
    if windows.empty:
        yield Text(f"{windows.empty} windows were refused: a transcript in them says nothing.")
    if windows.videos < FEW:
        yield Text(f"Intervals over {windows.videos} videos are rough: {FEW} or more are better.")


def _sorting(title: str, claims: Mapping[str, Claim]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("")
    for name in claims:
        table.add_column(WORDS[name], justify="right")
    table.add_row("sees its video", *(_figure(claim.model) for claim in claims.values()))
    for floor in next(iter(claims.values())).floors:
        cells = (_figure(claim.floors[floor]) for claim in claims.values())
        table.add_row(WORDS[floor], *cells)
    margins = (f"{c.margin:+.3f}{_between(c.interval)}" for c in claims.values())
    table.add_row("above the highest floor", *margins)
    return table


def _claim(claim: Claim) -> str:
    """Returns what may be said: the margin, or that there is none."""
    said = f"{claim.margin:+.3f}{_between(claim.interval)} over {WORDS[claim.over]}"
    if claim.stands:
        return said
    return f"{said}: not shown to be above what is reached without seeing the video"


def _retrieval(title: str, found: Retrieval) -> Table:
    dual = ", dual softmax" if found.dual_softmax else ""
    shared = f", {found.shared_texts} texts at several videos" if found.shared_texts else ""
    size = f"{found.texts} texts, {found.videos} videos"
    table = Table(title=f"{title}: {size}{dual}{shared}", title_justify="left", box=box.SIMPLE)
    table.add_column("")
    first = next(iter(found.directions.values()))
    for name in first:
        table.add_column(WORDS[name], justify="right")
    for direction, figures in found.directions.items():
        table.add_row(WORDS[direction], *(_figure(figure) for figure in figures.values()))
    table.add_row("chance", *(_number(f.chance, f) for f in first.values()))
    return table


def _classes(made: Classified) -> Iterator[Table | Text]:
    name = one_line(made.about["list"]["name"], 60)
    count = made.about["listed_videos"]["found"]
    title = f"Classes of {name}: {count} videos, {made.about['classes']} classes"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("")
    for top in made.zero_shot:
        table.add_column(WORDS[top], justify="right")
    table.add_row("zero-shot", *map(_figure, made.zero_shot.values()))
    if made.linear_probe is not None:
        table.add_row("linear probe", *map(_figure, made.linear_probe.figures.values()))
    table.add_row("chance", *(_number(f.chance, f) for f in made.zero_shot.values()))
    table.add_row("the most frequent class", f"{made.majority:.3f}", "")
    yield table
    if made.linear_probe is not None and made.linear_probe.at_edge:
        yield Text(f"The penalty of the probe, {made.linear_probe.penalty:g}, is the last tried.")
    yield from _missing(made.about["listed_videos"])
    if made.trained_on is not None:
        yield from _missing(made.trained_on["listed_videos"])


def _missing(listed: Mapping[str, object]) -> Iterator[Text]:
    which = listed["which"]
    if isinstance(which, dict) and which:
        some = list(which.items())[:NAMED]
        named = ", ".join(f"{one_line(path, 80)} ({one_line(why, 60)})" for path, why in some)
        more = ", ..." if len(which) > len(some) else ""
        yield Text(f"{len(which)} listed videos are missing and were left out: {named}{more}")


def _figure(figure: Figure) -> str:
    return _number(figure.value, figure) + _between(figure.interval, figure)


def _number(value: float | None, figure: Figure | None = None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if figure is not None and figure.better == "lower" else f"{value:.3f}"


def _between(interval: tuple[float, float] | None, figure: Figure | None = None) -> str:
    if interval is None:
        return ""
    return f" ({_number(interval[0], figure)} to {_number(interval[1], figure)})"
