"""Worker processes as their supervisor sees them: how they start and end, what each has in hand."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from reelscript.pipeline.engines import worker
from reelscript.pipeline.engines.leash import interrupts_held, kill_group
from reelscript.pipeline.engines.limits import Used
from reelscript.pipeline.engines.suspects import Death, Task
from reelscript.pipeline.engines.worker import Chain
from reelscript.pipeline.store import Store
from reelscript.schemas.video import Video

GRACE_S = 5.0  # for workers to end by themselves
STARTING = "a worker process"


@dataclass(eq=False)
class Worker:
    """A process and what it has in hand.

    Attributes:
        kind: "cpu" or "gpu".
        memory_bytes: what it may use; None: not limited.
        task: what it was given; None while it is idle.
        alone: no other worker is there.
        video: the record of its task as the current stage got it.
        stage: where it is; None until it has said so of this task.
        opening: what it is about to have ready: STARTING at first, then stages, at times. A death
            meanwhile is no video's fault.
        attempt: how many in a row have failed to have that ready.
        used: in this stage. cpu_before_s: all before it; None until it is first looked at.
        wall_s: in this stage, without times in which the supervisor was not running either.
        stopped: why the supervisor has killed it.
    """

    kind: str
    process: BaseProcess
    pipe: Connection
    memory_bytes: int | None
    attempt: int
    task: Task | None = None
    alone: bool = False
    video: Video | None = None
    stage: str | None = None
    opening: str | None = STARTING
    used: Used | None = None
    cpu_before_s: float | None = None
    wall_s: float = 0.0
    stopped: Death | None = None

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self.process.pid is not None
        return self.process.pid

    def give(self, task: Task, alone: bool = False) -> None:
        """Gives a video to an idle worker."""
        self.task, self.alone, self.video, self.stage = task, alone, task.video, None
        self.begin()
        with contextlib.suppress(OSError):  # it died while idle: its pipe ends, and it is buried
            self.pipe.send((task.chain, task.video))

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


class Crew:
    """All workers of a run.

    Args:
        store: the work folder; its URL is what the workers get.
        scratch: node-local folder.
        chains: what they can be asked to run.
        counts: how many workers of each kind there may be.
        memory_bytes: what a CPU worker may use.
    """

    def __init__(
        self,
        store: Store,
        scratch: Path,
        chains: Sequence[Chain],
        counts: Mapping[str, int],
        memory_bytes: int,
    ) -> None:
        self.workers: list[Worker] = []
        self._counts = counts
        self._memory_bytes = memory_bytes
        self._arguments = (tuple(chains), store.url, str(scratch))

    def busy(self) -> list[Worker]:
        """Returns those that have a video in hand."""
        return [w for w in self.workers if w.task is not None]

    def idle(self, kind: str, attempt: int) -> Worker | None:
        """Returns a worker without a video, started if need be; None where all are at work."""
        own = [w for w in self.workers if w.kind == kind]
        idle = next((w for w in own if w.task is None and w.stopped is None), None)
        return idle or (self.start(kind, attempt) if len(own) < self._counts[kind] else None)

    def start(self, kind: str, attempt: int) -> Worker:
        """Returns a new worker. `attempt`: how many in a row have failed to start before it."""
        context = multiprocessing.get_context("spawn")
        # A CUDA context maps far more than it uses: that of a GPU worker is not limited.
        memory_bytes = self._memory_bytes if kind == "cpu" else None
        with interrupts_held():
            ours, theirs = context.Pipe()
            arguments = (theirs, *self._arguments, memory_bytes)
            name = f"reelscript-{kind}"
            process = context.Process(target=worker.main, args=arguments, name=name, daemon=True)
            process.start()
            theirs.close()
            started = Worker(kind, process, ours, memory_bytes, attempt)
            self.workers.append(started)
        return started

    def bury(self, dead: Worker) -> str:
        """Takes a dead worker off the list and returns how it died."""
        self.workers.remove(dead)
        return dead.end(GRACE_S)

    def dismiss(self) -> None:
        """Ends all workers: idle ones may close what they have open, the others are killed."""
        for w in self.workers:
            w.pipe.close()
            if w.task is not None:
                w.kill()
        until = time.monotonic() + GRACE_S
        while self.workers:
            self.workers[-1].end(max(0.0, until - time.monotonic()))
            self.workers.pop()
