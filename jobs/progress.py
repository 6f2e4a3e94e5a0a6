"""How a build goes, for whoever watches: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from reelscript.jobs.pace import Pace
from reelscript.pipeline.stage import Timing
from reelscript.schemas.video import Video

PLAIN_EVERY_S = 15.0
SUSPECTS_TOLD = 20


@dataclass
class Row:
    """What has happened in one stage. `media_s`: how long the videos are that it measured."""

    done: int = 0
    remembered: int = 0
    rejected: int = 0
    failed: int = 0
    media_s: float = 0.0

    @property
    def measured(self) -> int:
        """Videos that were measured now, not remembered."""
        return self.done - self.remembered


@dataclass(slots=True)
class Now:
    """A video on its way: in a stage since `since` (monotonic), or between two (`stage` is "")."""

    stage: str
    since: float
    media_s: float = 0.0
    worked: bool = False  # something was measured on it


class Progress:
    """Counts what the engine tells, shows it, and gives snapshots of it to other threads.

    Args:
        console: where to show it; None for nowhere.

    Attributes:
        stages: what has happened in the phase that runs, or ran last, by stage.
        measured_in_all: by stage, the videos that were measured in any phase, not remembered.
    """

    def __init__(self, console: Console | None) -> None:
        self.console = console
        self.stages: dict[str, Row] = {}
        self.measured_in_all: Counter[str] = Counter()
        self.total = 0
        self.title = ""
        self.known = 0
        self._since = time.monotonic()
        self._told = self._since
        self._doing = ""
        self._last = ""
        self._pace = Pace()
        self._now: dict[str, Now] = {}
        self._suspects = 0
        self._suspects_told: deque[dict[str, str]] = deque(maxlen=SUSPECTS_TOLD)
        self._lock = threading.RLock()
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
        with self._lock:
            self.stages = {name: Row() for name in stages}
            self.title, self.total, self.known, self._since = title, total, known, time.monotonic()
            self._doing, self._last, self._pace = title, [*stages, ""][len(stages) - 1], Pace()
            self._now.clear()
        try:
            yield from self._shown()
        finally:
            with self._lock:
                self._now.clear()

    def _shown(self) -> Iterator[None]:
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

    def doing(self, title: str) -> None:
        """Tells snapshots what a build does between phases; shows nothing."""
        with self._lock:
            self._doing, self._since = title, time.monotonic()

    def started(self, video: Video, stage: str) -> None:
        """A worker begins a stage on a video."""
        with self._lock:
            now = self._now.setdefault(video.video_id, Now(stage, 0.0))
            now.stage, now.since = stage, time.monotonic()
            now.media_s = video.duration_s or now.media_s

    def suspected(self, video: Video, stage: str, died: str) -> None:
        """The worker of a video died (how, `died` says); the video will be tried again, alone."""
        with self._lock:
            self._now.pop(video.video_id, None)
            self._suspects += 1
            told = {"video_id": video.video_id, "stage": stage, "died": died}
            self._suspects_told.append(told)

    def measured(self, timing: Timing) -> None:
        """A stage has ended for a video."""
        with self._lock:
            now = self._now.setdefault(timing.video_id, Now("", 0.0))
            now.stage, now.media_s = "", timing.duration_s or now.media_s
            now.worked |= not timing.remembered
            row = self.stages.setdefault(timing.stage, Row())
            row.done += 1
            row.remembered += timing.remembered
            self.measured_in_all[timing.stage] += not timing.remembered
            row.rejected += timing.outcome == "rejected"
            row.failed += timing.outcome == "failed"
            row.media_s += 0.0 if timing.remembered else now.media_s
            if timing.outcome in ("rejected", "failed") or timing.stage == self._last:
                del self._now[timing.video_id]
                self._pace.end(now.worked, now.media_s)
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

    def snapshot(self) -> dict[str, Any]:
        """Returns what happens now as plain data; it may be called from any thread.

        Returns:
            phase: what is done now, for_s for how long, suspects: count and last. In a phase of
            stages also: total, known, ended: its videos, those of which an earlier build knows the
            end, those that ended now. stages: by name the fields of Row, and `entering`, how many
            it will see. now: video_id, stage, since (wall clock) and for_s of what is in work, the
            longest first. rates: `Pace.rates`. left_s: until it is through; None: not known.
        """
        with self._lock:
            for_s = round(time.monotonic() - self._since, 3)
            suspects = {"count": self._suspects, "last": list(self._suspects_told)}
            told = {"phase": self._doing, "for_s": for_s, "suspects": suspects}
            if self._doing != self.title:
                return told
            counts = {"total": self.total, "known": self.known, "ended": self._pace.ended}
            entering = self._entering()
            stages = {
                name: dataclasses.asdict(row) | {"entering": entering[name]}
                for name, row in self.stages.items()
            }
            pace = {"rates": self._pace.rates(), "left_s": self._left_s()}
            return told | counts | {"stages": stages, "now": self._in_work()} | pace

    def _in_work(self) -> list[dict[str, Any]]:
        at, wall = time.monotonic(), datetime.now(UTC)
        inside = sorted((n.since, video_id, n.stage) for video_id, n in self._now.items())
        return [
            {
                "video_id": video_id,
                "stage": stage,
                "since": (wall - timedelta(seconds=at - since)).isoformat("T", "seconds"),
                "for_s": round(at - since, 3),
            }
            for since, video_id, stage in inside
            if stage
        ]

    def _left_s(self) -> float | None:
        return self._pace.left_s(self.total - self.known - self._pace.ended)

    def table(self) -> Table:
        """Returns the rows as a table: done, video hours an hour, time left, rejected, failed."""
        with self._lock:
            return self._table()

    def _table(self) -> Table:
        title = f"{self.title}: {self.total} videos, {self.known} known"
        if self._pace.worked:
            rate = self._pace.rates()["recent_videos_per_h"]
            title += f", {rate:.0f} an hour, {clock(self._left_s())} left"
        table = Table(title=title, title_justify="left")
        for name in ("stage", "done", "video h/h", "left", "rejected", "failed"):
            table.add_column(name, justify="left" if name == "stage" else "right")
        elapsed_s = max(time.monotonic() - self._since, 1e-3)
        for (name, row), total in zip(self.stages.items(), self._entering().values(), strict=True):
            left = total - row.done
            left_s = elapsed_s / row.measured * left if row.measured else None
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
