"""Who gives work to workers, sees how they die, and stops those that use too much."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.connection import wait

from reelscript.pipeline.engines.crew import Crew
from reelscript.pipeline.engines.in_vain import InVain
from reelscript.pipeline.engines.limits import NO_MEMORY, Limits, Used
from reelscript.pipeline.engines.protocols import Gate, Listener
from reelscript.pipeline.engines.suspects import Death, Task, conviction
from reelscript.pipeline.engines.waiting import Waiting
from reelscript.pipeline.engines.watch import Watch
from reelscript.pipeline.engines.watched import STARTING, Worker
from reelscript.pipeline.errors import ReelscriptError
from reelscript.pipeline.stage import Timing
from reelscript.schemas.video import Video

MOST_SUSPECTS = 100  # before they are tried: there may be a million videos


class Stopped(Exception):
    """A run was told to stop; what its workers have in hand belongs to nobody."""


class Supervisor:
    """One run of videos through groups of stages.

    Args:
        crew: its workers.
        limits: of what a stage may use for a video.
        listener: is told how it goes.
        gate: is asked before a video is taken; None: it is always open.
        alone: is entered while a suspect is tried, when no other worker of the crew is there.
    """

    def __init__(
        self,
        crew: Crew,
        limits: Limits,
        listener: Listener,
        gate: Gate | None = None,
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._crew = crew
        self._groups = crew.orders.groups
        self._watch = Watch(limits)
        self._listener = listener
        self._gate = gate
        self._alone = alone
        self._stopped = False
        self._exhausted = False
        self._waiting = Waiting(self._groups, crew.counts)
        self._suspects: deque[Task] = deque()
        self._finished: deque[Video] = deque()
        self._in_vain = InVain()

    def run(self, source: Iterator[Video]) -> Iterator[Video]:
        """Yields each video once, as it finishes."""
        while True:
            self._take_in(source)
            self._dispatch()
            if self._crew.busy() or self._waiting:
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

    def stop(self) -> None:
        """Makes the run raise Stopped, soon; another thread may ask for it."""
        self._stopped = True

    def _ended(self) -> Iterator[Video]:
        while self._finished:
            yield self._finished.popleft()

    # Giving work.

    def _take_in(self, source: Iterator[Video]) -> None:
        while (
            not self._exhausted
            and self._waiting.has_room(0)
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
        self._waiting.add(0, video)
        return True

    def _dispatch(self) -> None:
        """Gives waiting videos to idle workers, those furthest on first; starts workers at need.

        Who is at work gets its next batch ahead of time, if that is a full one: where fewer wait
        it is not the bottleneck, and more will have come when it is through.
        """
        for number, group in self._waiting.open_groups():
            while idle := self._crew.idle(group.kind):
                batch = self._waiting.batch(number, idle)
                free = batch and self._crew.free(group.kind, self._in_vain.of(STARTING))
                if not free:
                    self._waiting.put_back(batch)
                    break
                free.give(batch)
            while soon := self._crew.soon_free(group.kind):
                batch = self._waiting.full_batch(number)
                if not batch:
                    break
                soon.give(batch)

    def _try_alone(self, suspect: Task) -> None:
        """Gives a suspect to a new worker, once no other is there, and waits for the end of it."""
        self._crew.dismiss()
        with self._alone():
            kind = self._groups[suspect.group].kind
            self._crew.start(kind, self._in_vain.of(STARTING)).give([suspect], alone=True)
            while self._crew.busy():
                self._listen()

    # Listening.

    def _listen(self) -> None:
        """Handles what workers say, and their deaths, until it is time to look at them again."""
        by_pipe: dict[object, Worker] = {w.pipe: w for w in self._crew.workers}
        for pipe in wait([w.pipe for w in self._crew.workers], self._watch.due_in_s):
            self._hear(by_pipe[pipe])
        if self._watch.due_in_s <= 0:
            self._watch.look([w for w in self._crew.busy() if w.stopped is None])
            self._find_dead()
        if self._stopped:
            raise Stopped

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
            self._in_vain.succeeded(speaker.opening)
            speaker.opening = None
            speaker.begin()
        if what == "stage" and isinstance(value, tuple):
            videos, stage = value
            speaker.enter(videos, stage)
            for video in videos:
                self._listener.started(video, stage)
        elif what == "opening":
            speaker.opening = str(value)
            speaker.attempt = self._in_vain.of(speaker.opening)
        elif what == "timing" and isinstance(value, Timing):
            self._listener.measured(value)
        elif what == "done" and isinstance(value, Video):
            self._pass_on(speaker.tasks.pop(value.video_id).group, value)
        elif what == "no memory":
            speaker.stop(*NO_MEMORY)
        elif what == "abort" and isinstance(value, ReelscriptError):
            raise value

    def _pass_on(self, group: int, video: Video) -> None:
        following = group + 1
        if following == len(self._groups) or video.outcome in ("rejected", "failed"):
            self._finished.append(video)
        else:
            self._waiting.add(following, video)

    # Death.

    def _find_dead(self) -> None:
        """Hears of workers that are dead though a process of theirs still holds their pipe."""
        for w in [w for w in self._crew.workers if not w.process.is_alive()]:
            if w.pipe.poll():
                self._hear(w)
            else:
                self._bury(w)

    def _bury(self, dead: Worker) -> None:
        """Takes a dead worker off the list; its videos become suspects, or are convicted."""
        died = self._crew.bury(dead)
        death = dead.stopped or Death(died, None, dead.alone)
        if dead.opening is not None:
            self._in_vain.failed(dead.opening, dead.attempt + 1, death.seen)
        begun, others = dead.left()
        if dead.alone:
            self._suspects.extendleft(others)
        else:
            self._waiting.put_back(others)
        for task in begun:
            self._suspect(task, dead, death)

    def _suspect(self, task: Task, dead: Worker, death: Death) -> None:
        """Holds a death against a video that the worker had begun on."""
        assert task.seen is not None
        assert task.stage is not None
        if dead.at != (task,):  # what it was stopped for may be another's doing
            death = Death(death.seen, None, dead.alone)
        task.deaths.append(death)
        convicted = conviction(task.deaths)
        if convicted is None:
            self._suspects.append(task)
            self._listener.suspected(task.seen, task.stage, death.seen)
            return
        failed = task.seen.ended("failed", task.stage, *convicted)
        cpu_s = (dead.used or Used()).cpu_s
        timing = Timing(failed.video_id, task.stage, dead.wall_s, cpu_s, False, "failed")
        self._listener.measured(timing)
        self._finished.append(failed)
