"""Stages over videos as both phases of a build run them: counted, shown, cleaned up after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reelscript.jobs.progress import Progress
from reelscript.jobs.room import Room
from reelscript.pipeline.engines.protocols import Engine
from reelscript.pipeline.stage import Stage, Timing
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.schemas.videos import Videos
from reelscript.transforms.leave_sound import with_sound_left


@dataclass(frozen=True)
class Runner:
    """An engine and what surrounds it in a build.

    Attributes:
        engine: runs stages.
        workspace: where artefacts lie.
        progress: is told how it goes.
        room: of the work folder.
    """

    engine: Engine
    workspace: Workspace
    progress: Progress
    room: Room

    def run(
        self, phase: str, stages: Sequence[Stage], todo: Videos, known: int
    ) -> Iterator[tuple[Video, dict[str, float]]]:
        """Yields each video as it ends, with its CPU seconds by stage.

        What the video had in scratch, or passed from group to group, is removed when the next one
        is asked for, so what was yielded can be written down first.

        Args:
            phase: what it is called where progress is shown.
            stages: what is run.
            todo: the videos.
            known: how many more are finished already.
        """
        costs = _Costs(self.progress, self.room)
        names = [stage.name for stage in stages]
        run = with_sound_left(stages) if self.workspace.passing else stages
        with self.progress.phase(phase, names, len(todo) + known, known):
            videos = self.room.counted(todo)
            ended = self.engine.run(run, videos, costs, self.room) if len(todo) else ()
            for video in ended:  # a cluster that nobody needs is not started
                yield video, costs.take(video)
                self.workspace.forget_scratch(video)
                self.workspace.forget_passing(video)
                self.room.ended(video)


class _Costs:
    """Listens to an engine: passes on what it tells, and adds up CPU seconds by video and stage."""

    def __init__(self, progress: Progress, room: Room) -> None:
        self._progress = progress
        self._room = room
        self._cpu_s: dict[str, dict[str, float]] = {}  # of the videos that are in work

    def started(self, video: Video, stage: str) -> None:
        """A worker begins a stage on a video."""
        self._room.started(video)
        self._progress.started(video, stage)

    def suspected(self, video: Video, stage: str, died: str) -> None:
        """A worker has died over a video."""
        self._progress.suspected(video, stage, died)

    def measured(self, timing: Timing) -> None:
        """A stage has ended for a video."""
        self._cpu_s.setdefault(timing.video_id, {})[timing.stage] = round(timing.cpu_s, 4)
        self._room.stored(timing)
        self._progress.measured(timing)

    def take(self, video: Video) -> dict[str, float]:
        """Returns CPU seconds by stage of a video that has ended, and forgets them."""
        return self._cpu_s.pop(video.video_id, {})


def only(cpu_s: dict[str, float], stages: Iterable[str]) -> dict[str, float]:
    """Returns the CPU seconds of some stages."""
    return {name: cpu_s[name] for name in stages if name in cpu_s}
