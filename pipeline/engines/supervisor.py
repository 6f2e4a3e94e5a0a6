"""Who gives work to workers, sees how they die, and stops those that use too much."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait

from reelscript.pipeline.engines.crew import STARTING, Crew, Worker
from reelscript.pipeline.engines.limits import NO_MEMORY, Limits, Used, used_by
from reelscript.pipeline.engines.protocols import Gate, Listener
from reelscript.pipeline.engines.suspects import Death, Task, conviction
from reelscript.pipeline.errors import ReelscriptError, UsageError
from reelscript.pipeline.stage import Timing
from reelscript.schemas.video import Video

MOST_IN_VAIN = 3  # starts, or openings of a stage, in a row
START_S = 600.0  # for a worker to start, on whatever disk its packages lie: no video's time
MOST_SUSPECTS = 100  # before they are tried: there may be a million videos
MOST_POLLS = 10  # a longer pause was ours (Ctrl-Z, a machine asleep), not that of a worker


class Supervisor:
    """One run of videos through chains of stages.

    Args:
        crew: its workers.
        kinds: of the worker that each chain needs.
        most_waiting: videos before a chain, beyond which no more are sent there.
        limits: of what a stage may use for a video.
        listener: is told how it goes.
        gate: is asked before a video is taken; None: it is always open.
    """

    def __init__(
        self,
        crew: Crew,
        kinds: Sequence[str],
        most_waiting: int,
        limits: Limits,
        listener: Listener,
        gate: Gate | None,
    ) -> None:
        self._crew = crew
        self._kinds = kinds
        self._most_waiting = most_waiting
        self._limits = limits
        self._listener = listener
        self._gate = gate
        self._exhausted = False
        self._waiting: list[deque[Task]] = [deque() for _ in kinds]
        self._suspects: deque[Task] = deque()
        self._finished: deque[Video] = deque()
        self._in_vain: dict[str, int] = {}  # attempts in a row, by what was to be had ready
        self._looked_at = time.monotonic()

    def run(self, source: Iterator[Video]) -> Iterator[Video]:
        """Yields each video once, as it finishes."""
        while True:
            self._take_in(source)
            self._dispatch()
            if self._crew.busy() or any(self._waiting):
                self._listen()
            elif self._suspects:
                while self._suspects:
                    self._try_alone(self._suspects.popleft())
                    yield from self._ended()
            elif not self._take(source):
                break
            elif self._gate is not None:
                self._gate.stuck()
            yield from self._ended()

    def _ended(self) -> Iterator[Video]:
        while self._finished:
            yield self._finished.popleft()

    # Giving work.

    def _take_in(self, source: Iterator[Video]) -> None:
        while (
            not self._exhausted
            and len(self._waiting[0]) < self._most_waiting
            and len(self._suspects) < MOST_SUSPECTS
            and (self._gate is None or self._gate.open())
        ):
            self._take(source)

    def _take(self, source: Iterator[Video]) -> bool:
        """Takes one video, and returns whether there was one."""
        video = None if self._exhausted else next(source, None)
        if video is None:
            self._exhausted = True
            return False
        self._waiting[0].append(Task(0, video))
        return True

    def _dispatch(self) -> None:
        """Gives waiting videos to idle workers, those furthest on first; starts workers at need."""
        for number in reversed(range(len(self._kinds))):
            following = self._waiting[number + 1 :][:1]
            if following and len(following[0]) > self._most_waiting:
                continue  # the next group does not keep up: do not pile up audio in scratch
            while self._waiting[number]:
                idle = self._crew.idle(self._kinds[number], self._in_vain.get(STARTING, 0))
                if idle is None:
                    break
                idle.give(self._waiting[number].popleft())

    def _try_alone(self, suspect: Task) -> None:
        """Gives a suspect to a new worker, once no other is there, and waits for the end of it."""
        self._crew.dismiss()
        alone = self._crew.start(self._kinds[suspect.chain], self._in_vain.get(STARTING, 0))
        alone.give(suspect, alone=True)
        while self._crew.busy():
            self._listen()

    # Listening.

    def _listen(self) -> None:
        """Handles what workers say, and their deaths, until it is time to look at them again."""
        by_pipe: dict[object, Worker] = {w.pipe: w for w in self._crew.workers}
        next_look = self._looked_at + self._limits.poll_s
        timeout_s = max(0.0, next_look - time.monotonic())
        for pipe in wait([w.pipe for w in self._crew.workers], timeout_s):
            self._hear(by_pipe[pipe])
        if time.monotonic() >= next_look:
            self._look()

    def _hear(self, speaker: Worker) -> None:
        """Handles all that a worker has said: what it uses counts for the stage where it is."""
        more = True
        while more:
            try:
                what, value = speaker.pipe.recv()
            except (EOFError, OSError):
                self._bury(speaker)
                return
            self._handle(speaker, what, value)
            more = speaker.pipe.poll()

    def _handle(self, speaker: Worker, what: str, value: object) -> None:
        if what == "opened" or speaker.opening == STARTING:
            self._in_vain.pop(str(speaker.opening), None)
            speaker.opening = None
            speaker.begin()
        if what == "stage" and isinstance(value, tuple):
            speaker.video, speaker.stage = value
            speaker.begin()
            self._listener.started(*value)
        elif what == "opening":
            speaker.opening = str(value)
            speaker.attempt = self._in_vain.get(speaker.opening, 0)
        elif what == "timing" and isinstance(value, Timing):
            self._listener.measured(value)
        elif what == "done" and isinstance(value, Video):
            self._pass_on(speaker, value)
        elif what == "no memory":
            reason, seen = NO_MEMORY
            speaker.stopped = Death(seen, reason, speaker.alone)
            speaker.kill()
        elif what == "abort" and isinstance(value, ReelscriptError):
            raise value

    def _pass_on(self, speaker: Worker, video: Video) -> None:
        assert speaker.task is not None
        following = speaker.task.chain + 1
        speaker.task = None
        if following == len(self._kinds) or video.outcome in ("rejected", "failed"):
            self._finished.append(video)
        else:
            self._waiting[following].append(Task(following, video))

    # Death.

    def _look(self) -> None:
        """Kills workers that use more than they may; finds dead ones whose pipe is still held."""
        now = time.monotonic()
        step_s = min(now - self._looked_at, MOST_POLLS * self._limits.poll_s)
        self._looked_at = now
        busy = [w for w in self._crew.busy() if w.stopped is None]
        found = used_by([w.pid for w in busy]) if busy else {}
        for w in busy:
            if w.pid not in found:
                continue
            used = w.look(found[w.pid], step_s)
            if w.opening == STARTING and w.wall_s < START_S:
                continue
            duration_s = w.video.duration_s if w.video is not None else None
            wall_s = w.wall_s - self._limits.patience_s.get(w.stage or "", 0.0)
            stop = self._limits.exceeded(used, wall_s, w.memory_bytes, duration_s)
            if stop is not None:
                reason, measured = stop
                w.stopped = Death(measured, reason, w.alone)
                w.kill()
        for w in [w for w in self._crew.workers if not w.process.is_alive()]:
            if w.pipe.poll():
                self._hear(w)
            else:
                self._bury(w)

    def _bury(self, dead: Worker) -> None:
        """Takes a dead worker off the list; its video becomes a suspect, or is convicted."""
        died, task = self._crew.bury(dead), dead.task
        death = dead.stopped or Death(died, None, dead.alone)
        if dead.opening is not None:
            self._count_in_vain(dead.opening, dead.attempt + 1, death.seen)
        if task is None:
            return
        if dead.stage is None or dead.opening is not None:  # no stage had this video yet
            (self._suspects if dead.alone else self._waiting[task.chain]).appendleft(task)
            return
        assert dead.video is not None
        task.deaths.append(death)
        convicted = conviction(task.deaths)
        if convicted is None:
            self._suspects.append(task)
            self._listener.suspected(dead.video, dead.stage, death.seen)
            return
        failed = dead.video.ended("failed", dead.stage, *convicted)
        cpu_s = (dead.used or Used()).cpu_s
        timing = Timing(failed.video_id, dead.stage, dead.wall_s, cpu_s, False, "failed")
        self._listener.measured(timing)
        self._finished.append(failed)

    def _count_in_vain(self, what: str, attempts: int, died: str) -> None:
        """Raises UsageError where a thing could not be had ready several times in a row."""
        self._in_vain[what] = max(attempts, self._in_vain.get(what, 0))
        if self._in_vain[what] < MOST_IN_VAIN:
            return
        if what == STARTING:
            raise UsageError(
                f"worker processes end as they start, {MOST_IN_VAIN} times in a row, the last by "
                f"{died}: what they said stands above (a script that builds needs "
                "`if __name__ == '__main__':`)"
            )
        raise UsageError(
            f"the stage {what} cannot be opened on this machine: its worker ended "
            f"{MOST_IN_VAIN} times in a row while it was opened, the last by {died}"
        )
