"""A worker process as its supervisor sees it: what it has in hand, how it is ended."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from reelscript.pipeline.engines.groups import Kind
from reelscript.pipeline.engines.leash import kill_group
from reelscript.pipeline.engines.limits import Used
from reelscript.pipeline.engines.suspects import Death, Task
from reelscript.schemas.video import Video

GRACE_S = 5.0  # for workers to end by themselves
STARTING = "a worker process"


@dataclass(eq=False)
class Worker:
    """A process and what it has in hand.

    Attributes:
        kind: of groups that it runs.
        memory_bytes: what it may use; None: not limited.
        gpu: the only one that it sees; None: those that we see.
        tasks: what it was given and has not ended, by video_id.
        alone: no other worker is there.
        at: the tasks that the current stage is about: one, or those of a joint step.
        opening: what it is about to have ready: STARTING at first, then stages, at times. A death
            meanwhile is no video's fault.
        attempt: how many in a row have failed to have that ready.
        used: in this stage. cpu_before_s: all before it; None until it is first looked at.
        wall_s: in this stage, without times in which the supervisor was not running either.
        stopped: why the supervisor has killed it.
    """

    kind: Kind
    process: BaseProcess
    pipe: Connection
    memory_bytes: int | None
    gpu: str | None
    attempt: int
    tasks: dict[str, Task] = field(default_factory=dict)
    alone: bool = False
    at: tuple[Task, ...] = ()
    opening: str | None = STARTING
    used: Used | None = None
    cpu_before_s: float | None = None
    wall_s: float = 0.0
    stopped: Death | None = None
    _given: int = 0

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def batches(self) -> int:
        """How many batches it has in hand."""
        return len({task.batch for task in self.tasks.values()})

    def give(self, tasks: Sequence[Task], alone: bool = False) -> None:
        """Gives it a batch of videos before the same group; what it has in hand comes first."""
        if not self.tasks:
            self.at = ()
            self.begin()
        self._given, self.alone = self._given + 1, alone
        for task in tasks:
            task.batch, task.seen, task.stage = self._given, None, None
            self.tasks[task.video.video_id] = task
        with contextlib.suppress(OSError):  # it died while idle: its pipe ends, and it is buried
            self.pipe.send((tasks[0].group, [task.video for task in tasks]))

    def enter(self, videos: Sequence[Video], stage: str) -> None:
        """Takes note that it begins a stage."""
        self.at = tuple(self.tasks[video.video_id] for video in videos)
        for task, video in zip(self.at, videos, strict=True):
            task.seen, task.stage = video, stage
        self.begin()

    def begin(self) -> None:
        """Counts from now on what it uses."""
        self.used, self.cpu_before_s, self.wall_s = None, None, 0.0

    def look(self, all_used: Used, step_s: float) -> Used:
        """Takes note of what it has used, and returns what of that falls into this stage."""
        if self.cpu_before_s is None:  # at most a poll's time after the stage began
            self.cpu_before_s = all_used.cpu_s
        self.used = Used(all_used.cpu_s - self.cpu_before_s, all_used.memory_bytes)
        self.wall_s += step_s
        return self.used

    @property
    def stage(self) -> str | None:
        """Where it is; None until it has said so."""
        return self.at[0].stage if self.at else None

    @property
    def media_s(self) -> float:
        """Seconds of video that the current stage is about, as far as they are known."""
        return sum((task.seen and task.seen.duration_s) or 0.0 for task in self.at)

    def left(self) -> tuple[list[Task], list[Task]]:
        """Returns what it has not ended: the videos on which a stage has begun, and the others.

        What dies while something is opened has begun on none.
        """
        tasks = list(self.tasks.values())
        begun = [task for task in tasks if task.seen is not None and self.opening is None]
        return begun, [task for task in tasks if task not in begun]

    def stop(self, reason: str, measured: str) -> None:
        """Kills it for what it uses.

        Args:
            reason: which limit that exceeds.
            measured: the same in words.
        """
        self.stopped = Death(measured, reason, self.alone)
        self.kill()

    def kill(self) -> None:
        """Kills it and all that it has started."""
        kill_group(self.pid)
        self.process.kill()

    def end(self, grace_s: float) -> str:
        """Waits for its end, makes sure of it, and returns how it ended, for people."""
        wait([self.process.sentinel], grace_s)  # join() would free its pid while a group has it
        self.kill()
        self.process.join(GRACE_S)
        self.pipe.close()
        code = self.process.exitcode
        if code is None:  # it waits for a disk or a device that does not answer
            return "signal SIGKILL, of which it did not die yet"
        self.process.close()
        return f"exit status {code}" if code >= 0 else f"signal {_signal_name(-code)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of those without a name, between SIGRTMIN and SIGRTMAX
        return str(number)
