"""How a build goes, for whoever watches: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table

from reelscript.pipeline.stage import Timing
from reelscript.schemas.video import Video

PLAIN_EVERY_S = 15.0


@dataclass
class Row:
    """What has happened in one stage."""

    done: int = 0
    remembered: int = 0
    rejected: int = 0
    failed: int = 0
    media_s: float = 0.0
    running: int = 0


class Progress:
    """Counts what the engine tells and shows it.

    Args:
        console: where to show it; None for nowhere.
    """

    def __init__(self, console: Console | None) -> None:
        self.console = console
        self.stages: dict[str, Row] = {}
        self.total = 0
        self.title = ""
        self.known = 0
        self._since = time.monotonic()
        self._told = self._since
        self._media_s: dict[str, float] = {}
        self._live: Live | None = None

    @contextmanager
    def phase(
        self, title: str, stages: Sequence[str], total: int, known: int = 0
    ) -> Iterator[None]:
        """Shows one phase of a build while it runs.

        Args:
            title: what it does.
            stages: names of its stages, in order.
            total: videos that go in.
            known: videos of which an earlier build already knows the end.
        """
        self.stages = {name: Row() for name in stages}
        self.title, self.total, self.known, self._since = title, total, known, time.monotonic()
        if self.console is None:
            yield
        elif self.console.is_terminal:
            with Live(
                get_renderable=self.table,
                console=self.console,
                refresh_per_second=2,
                transient=True,
            ) as self._live:
                yield
            self._say()
        else:
            yield
            self._say()

    def started(self, video: Video, stage: str) -> None:
        """A worker begins a stage on a video."""
        del stage  # the table shows what is done
        if video.duration_s is not None:
            self._media_s[video.video_id] = video.duration_s

    def measured(self, timing: Timing) -> None:
        """A stage has ended for a video."""
        row = self.stages.setdefault(timing.stage, Row())
        row.done += 1
        row.remembered += timing.remembered
        row.rejected += timing.outcome == "rejected"
        row.failed += timing.outcome == "failed"
        row.media_s += self._media_s.get(timing.video_id, 0.0)
        plain = self.console is not None and not self.console.is_terminal
        if plain and time.monotonic() - self._told > PLAIN_EVERY_S:
            self._say()

    def _entering(self) -> dict[str, int]:
        """Returns how many videos each stage will see, as far as is known."""
        left = self.total - self.known
        out = {}
        for name, row in self.stages.items():
            out[name] = left
            left -= row.rejected + row.failed
        return out

    def table(self) -> Table:
        """Returns the rows as a table: done, video hours an hour, time left, rejected, failed."""
        table = Table(
            title=f"{self.title}: {self.total} videos, {self.known} known", title_justify="left"
        )
        for name in ("stage", "done", "video h/h", "left", "rejected", "failed"):
            table.add_column(name, justify="left" if name == "stage" else "right")
        elapsed_s = max(time.monotonic() - self._since, 1e-3)
        for (name, row), total in zip(self.stages.items(), self._entering().values(), strict=True):
            left_s = elapsed_s / row.done * (total - row.done) if row.done else None
            speed = f"{row.media_s / elapsed_s:.1f}" if row.media_s else ""
            cells = [
                f"{row.done}/{total}",
                speed,
                clock(left_s),
                str(row.rejected or ""),
                str(row.failed or ""),
            ]
            table.add_row(name, *cells)
        return table

    def _say(self) -> None:
        """Prints the state as one plain line."""
        assert self.console is not None
        self._told = time.monotonic()
        parts = [
            f"{n} {r.done}/{t}"
            for (n, r), t in zip(self.stages.items(), self._entering().values(), strict=True)
            if t
        ]
        gone = (
            sum(r.rejected for r in self.stages.values()),
            sum(r.failed for r in self.stages.values()),
        )
        known = f", {self.known} known" if self.known else ""
        since = clock(self._told - self._since)
        ended = f"{gone[0]} rejected, {gone[1]} failed{known}"
        line = f"{self.title} ({since}): {', '.join(parts)}; {ended}"
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)


def clock(seconds: float | None) -> str:
    """Returns a duration as 1:02:03 or 2:03; empty for None."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
