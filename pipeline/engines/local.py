"""This machine as an engine: supervised worker processes, no daemon, no cluster.

Stages that stand together and need the same resources run fused in one process, so that a video's
sound stays in its scratch folder. Where a GPU is used there are two pools: CPU workers before and
after, one worker a GPU between.

```
videos --> [probe glance speech] --> [transcribe] --> [language align segment score] --> videos
                cpu pool               gpu pool                  cpu pool
```

A worker that dies takes nobody with it. What it had in hand is a suspect, tried again at the end,
alone; only what kills its worker alone, too, is `failed(crashed)`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import psutil

from reelscript.pipeline.engines import worker
from reelscript.pipeline.engines.worker import Chain
from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.stage import Stage, Timing
from reelscript.pipeline.store import Store
from reelscript.schemas.video import Video

POLL_S = 0.5
GRACE_S = 5.0  # for a worker to end by itself
STAGE_BASE_S = 900.0  # a safety net for hangs, not a budget: no stage takes this long ...
STAGE_PER_MEDIA_S = 60.0  # ... plus this many seconds for each second of video
SHARE_OF_MEMORY = 0.7  # of the machine's, for all workers together
MIN_WORKER_BYTES = 4 << 30


class Listener(Protocol):
    """Who wants to know how a run goes."""

    def started(self, video: Video, stage: str) -> None:
        """A worker begins a stage on a video."""

    def measured(self, timing: Timing) -> None:
        """A stage has ended for a video."""


@dataclass(eq=False)
class Worker:
    """A process and what it has in hand."""

    kind: str
    process: BaseProcess
    pipe: Connection
    video: Video | None = None
    chain: int = 0
    stage: str = ""
    stage_since: float = field(default_factory=time.monotonic)
    verdict: str | None = None  # why the supervisor killed it


class LocalEngine:
    """Runs stages on this machine.

    Args:
        store: the work folder; its URL is what the workers get.
        scratch: node-local folder.
        workers: CPU worker processes.
        gpus: GPU worker processes, where a stage needs a GPU.
    """

    def __init__(self, store: Store, scratch: Path, workers: int, gpus: int = 1) -> None:
        self.store = store
        self.scratch = scratch
        self.counts = {"cpu": max(1, workers), "gpu": max(1, gpus)}
        total_bytes = psutil.virtual_memory().total
        self.max_memory_bytes = max(
            MIN_WORKER_BYTES, int(total_bytes * SHARE_OF_MEMORY / self.counts["cpu"])
        )

    def run(
        self, stages: Sequence[Stage], videos: Iterable[Video], listener: Listener
    ) -> Iterator[Video]:
        """Yields each video once, as it finishes: after all stages or the first that ended it.

        Raises:
            UsageError: a stage cannot be opened on this machine.
        """
        supervisor = _Supervisor(self, chains_of(stages), listener)
        try:
            yield from supervisor.run(iter(videos))
        finally:
            supervisor.stop()


def chains_of(stages: Sequence[Stage]) -> list[tuple[str, Chain]]:
    """Returns the stages as fused chains, each with its kind of worker ("cpu" or "gpu")."""
    groups = groupby(stages, key=lambda stage: "gpu" if stage.resources.gpus else "cpu")
    return [(kind, tuple(group)) for kind, group in groups]


class _Supervisor:
    def __init__(
        self, engine: LocalEngine, chains: list[tuple[str, Chain]], listener: Listener
    ) -> None:
        self.engine = engine
        self.kinds = [kind for kind, _ in chains]
        self.chains = [chain for _, chain in chains]
        self.listener = listener
        self.workers: list[Worker] = []
        self.waiting: list[deque[Video]] = [deque() for _ in chains]
        self.suspects: deque[tuple[int, Video]] = deque()
        self.finished: deque[Video] = deque()
        self.handlers: dict[str, Callable[[Worker, object], None]] = {
            "stage": self._on_stage,
            "timing": self._on_timing,
            "done": self._on_done,
            "abort": self._on_abort,
        }

    def run(self, source: Iterator[Video]) -> Iterator[Video]:
        exhausted = False
        while True:
            while not exhausted and len(self.waiting[0]) < 2 * self.engine.counts["cpu"]:
                video = next(source, None)
                if video is None:
                    exhausted = True
                else:
                    self.waiting[0].append(video)
            self._dispatch()
            if exhausted and not self._busy() and not any(self.waiting):
                if not self.suspects:
                    break
                self._try_alone(*self.suspects.popleft())
            self._listen()
            while self.finished:
                yield self.finished.popleft()
        yield from self.finished

    def stop(self) -> None:
        for w in self.workers:
            w.pipe.close()
            if w.video is not None:
                w.process.kill()
        for w in self.workers:
            w.process.join(timeout=GRACE_S)
            if w.process.is_alive():
                w.process.kill()
                w.process.join()

    def _busy(self) -> bool:
        return any(w.video is not None for w in self.workers)

    def _dispatch(self) -> None:
        """Gives waiting videos to idle workers, those furthest on first; starts workers at need."""
        for number in reversed(range(len(self.chains))):
            if (
                number + 1 < len(self.chains)
                and len(self.waiting[number + 1]) > 2 * self.engine.counts["cpu"]
            ):
                continue  # the next group does not keep up: do not pile up audio in scratch
            while self.waiting[number] and (idle := self._idle(self.kinds[number])) is not None:
                self._give(idle, number, self.waiting[number].popleft())

    def _idle(self, kind: str) -> Worker | None:
        own = [w for w in self.workers if w.kind == kind]
        idle = next((w for w in own if w.video is None), None)
        return idle or (self._start(kind) if len(own) < self.engine.counts[kind] else None)

    def _start(self, kind: str) -> Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        limit = (
            self.engine.max_memory_bytes if kind == "cpu" else None
        )  # a CUDA context maps far more than it uses
        arguments = (theirs, self.chains, self.engine.store.url, str(self.engine.scratch), limit)
        process = context.Process(
            target=worker.main, args=arguments, name=f"reelscript-{kind}", daemon=True
        )
        process.start()
        theirs.close()
        started = Worker(kind, process, ours)
        self.workers.append(started)
        return started

    def _give(self, to: Worker, number: int, video: Video) -> None:
        to.video, to.chain, to.stage, to.stage_since = (
            video,
            number,
            self.chains[number][0].name,
            time.monotonic(),
        )
        with contextlib.suppress(OSError):  # it died while idle: its pipe ends, and it is buried
            to.pipe.send((number, video))

    def _try_alone(self, number: int, video: Video) -> None:
        """Runs a suspect while no other worker has anything in hand; a second death convicts it."""
        alone = self._start(self.kinds[number])
        self._give(alone, number, video)
        while alone.video is not None and alone in self.workers:
            self._listen(convict=True)

    def _listen(self, convict: bool = False) -> None:
        """Handles what workers say, and their deaths, for at most POLL_S."""
        by_pipe: dict[object, Worker] = {w.pipe: w for w in self.workers}
        for pipe in wait([w.pipe for w in self.workers], timeout=POLL_S) if by_pipe else []:
            speaker = by_pipe[pipe]
            try:
                what, value = speaker.pipe.recv()
            except (EOFError, OSError):
                self._bury(speaker, convict)
                continue
            self.handlers[what](speaker, value)
        self._watch()

    def _on_stage(self, speaker: Worker, name: object) -> None:
        speaker.stage, speaker.stage_since = str(name), time.monotonic()
        if speaker.video is not None:
            self.listener.started(speaker.video, speaker.stage)

    def _on_timing(self, _speaker: Worker, timing: object) -> None:
        assert isinstance(timing, Timing)
        self.listener.measured(timing)

    def _on_done(self, speaker: Worker, video: object) -> None:
        assert isinstance(video, Video)
        speaker.video = None
        last = speaker.chain + 1 == len(self.chains) or video.outcome in ("rejected", "failed")
        (self.finished if last else self.waiting[speaker.chain + 1]).append(video)

    def _on_abort(self, _speaker: Worker, message: object) -> None:
        raise UsageError(str(message))

    def _bury(self, dead: Worker, convict: bool) -> None:
        """Takes a dead worker off the list; its video becomes a suspect, or is convicted."""
        dead.process.join(timeout=GRACE_S)
        if dead.process.is_alive():  # it has let go of its pipe, but does not end
            dead.process.kill()
            dead.process.join()
        self.workers.remove(dead)
        if dead.video is None:
            return
        code = dead.process.exitcode or 0
        died = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        if not convict:
            self.suspects.append((dead.chain, dead.video))
            return
        reason, detail = (
            dead.verdict or "crashed",
            f"its worker died alone, twice: {dead.verdict or died}",
        )
        failed = dead.video.ended("failed", dead.stage, reason, detail)
        self.listener.measured(Timing(failed.video_id, dead.stage, 0.0, 0.0, False, "failed"))
        self.finished.append(failed)

    def _watch(self) -> None:
        """Kills workers that hang or grow beyond what the machine has."""
        for w in self.workers:
            if w.video is None or w.verdict is not None:
                continue
            budget_s = STAGE_BASE_S + STAGE_PER_MEDIA_S * (w.video.duration_s or 0.0)
            if time.monotonic() - w.stage_since > budget_s:
                w.verdict = "timed_out"
            elif w.kind == "cpu" and _resident_bytes(w.process.pid) > self.engine.max_memory_bytes:
                w.verdict = "out_of_memory"
            if w.verdict is not None:
                w.process.kill()


def _resident_bytes(pid: int | None) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def default_workers() -> int:
    """Returns the CPU cores that this process may use."""
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    )
