"""What one stage may use for one video, and what its worker does use.

CPU-seconds are what is limited: they say what a video costs on a busy machine as on an idle one.
The wall clock is only a safety net for what waits for ever, because a slow disk or a crowded
machine may make any video slow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from reelscript.pipeline.control_groups import control_groups
from reelscript.pipeline.stage import Stage

SHARE_OF_MEMORY = 0.7  # of what there is, for all workers together
MIN_WORKER_BYTES = 4 << 30  # with many workers each gets this all the same: few need it at once
ROOT = Path("/")


NO_MEMORY = ("out_of_memory", "more memory than one worker may have")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stage may use for one video; far above what any good video needs.

    Each limit is a base and so much for each second of the video, once a stage has measured it.

    The largest needs we know of, in CPU-seconds for a second of video on one core: Whisper large-v3
    in int8 about 5 (base takes 0.2, measured; large has 21 times its weights), and 20 if every
    window is decoded four times; decoding AV1 or HEVC of 8K at 60 fps about 24 (estimated from 10
    to 20 fps in 4K).

    Attributes:
        memory_bytes: of a CPU worker with all that it starts; None: its share of the machine's.
        cpu_base_s: CPU-seconds for any video: a short one fills a whole window of a recogniser.
        cpu_per_media_s: CPU-seconds more for each second of video.
        wall_base_s: seconds for any video: more than `acquire` may take to fetch one (an hour).
        wall_per_media_s: seconds more for each second of video.
        patience_s: seconds more for stages that wait for others, by name.
        poll_s: how often workers are looked at.

    Raises:
        ValueError: the safety net lies below what it is to catch.
    """

    memory_bytes: int | None = None
    cpu_base_s: float = 300.0
    cpu_per_media_s: float = 30.0
    wall_base_s: float = 7200.0
    wall_per_media_s: float = 60.0
    patience_s: Mapping[str, float] = field(default_factory=dict)
    poll_s: float = 0.5

    def __post_init__(self) -> None:
        if self.wall_base_s <= self.cpu_base_s or self.wall_per_media_s < self.cpu_per_media_s:
            raise ValueError("the limits of wall-clock time must lie above those of CPU-seconds")

    def for_stages(self, stages: Iterable[Stage]) -> Limits:
        """Returns these limits with the patience that each of the stages asks for."""
        return replace(self, patience_s={stage.name: stage.patience_s for stage in stages})

    def exceeded(
        self, used: Used, wall_s: float, memory_bytes: int | None, duration_s: float | None
    ) -> tuple[str, str] | None:
        """Returns the reason to stop a worker, and what it exceeds; None where there is none.

        Both become part of a row, so they hold nothing that differs from run to run.

        Args:
            used: by the worker, in this stage.
            wall_s: since the stage began.
            memory_bytes: its limit; None for no limit.
            duration_s: of the video; None where it is not known yet.
        """
        media_s = duration_s or 0.0
        most_cpu_s = self.cpu_base_s + self.cpu_per_media_s * media_s
        most_wall_s = self.wall_base_s + self.wall_per_media_s * media_s
        if memory_bytes is not None and used.memory_bytes > memory_bytes:
            return NO_MEMORY
        if used.cpu_s > most_cpu_s:
            return "cpu_limit", f"more than {most_cpu_s:.0f} CPU-s"
        if wall_s > most_wall_s:
            return "timed_out", f"more than {most_wall_s:.0f} s"
        return None


def share_of_memory(workers: int, root: Path = ROOT) -> int:
    """Returns the bytes that each of so many CPU workers may use of the memory there is.

    Args:
        workers: at least 1.
        root: where /proc and /sys are.
    """
    for_all_bytes = int(_memory_bytes(root) * SHARE_OF_MEMORY)
    return max(min(MIN_WORKER_BYTES, for_all_bytes), for_all_bytes // workers)


def _memory_bytes(root: Path) -> int:
    """Returns the machine's memory, or the least that a control group we are in may use of it."""
    least = int(psutil.virtual_memory().total)
    for folder in control_groups("memory", root):
        for name in ("memory.max", "memory.limit_in_bytes"):  # of versions 2 and 1
            with contextlib.suppress(OSError, ValueError):  # not there, or "max"
                least = min(least, int((folder / name).read_text()))
    return max(1, least)


@dataclass(slots=True)
class Used:
    """CPU-seconds since a process began, and resident bytes now."""

    cpu_s: float = 0.0
    memory_bytes: int = 0

    def add(self, process: psutil.Process) -> None:
        """Adds what a process has used, with its children that are gone; nothing if it is gone."""
        try:
            with process.oneshot():
                cpu, memory = process.cpu_times(), process.memory_info()
        except psutil.Error:
            return
        self.cpu_s += cpu.user + cpu.system
        self.cpu_s += getattr(cpu, "children_user", 0.0) + getattr(cpu, "children_system", 0.0)
        self.memory_bytes += memory.rss


def used_by(pids: Collection[int]) -> dict[int, Used]:
    """Returns what children of this process have used, each with all that it started itself.

    Those that are gone are missing.
    """
    below = psutil.Process().children(recursive=True)  # one look at the table of processes for all
    parents: dict[int, int] = {}
    for process in below:
        with contextlib.suppress(psutil.Error):
            parents[process.pid] = process.ppid()
    found: dict[int, Used] = {}
    for process in below:
        pid = process.pid
        while pid not in pids and pid in parents:
            pid = parents[pid]
        if pid in pids:
            found.setdefault(pid, Used()).add(process)
    return found
