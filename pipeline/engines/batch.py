"""A batch of videos through one group of stages, inside a worker: often a batch of one.

```
            stage 1                stage 2: videos_at_once > 1            stage 3
video a  -> apply ->            [  joint  apply  ]            ->          apply -> done
video b  -> apply -> (rejected) done
video c  -> apply ->            [  step   apply  ]            ->          apply -> done
```

`apply()` runs for each video as if it were alone; what a joint step has computed only spares it
time.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from reelscript.pipeline.engines.opened import Say, Stages
from reelscript.pipeline.errors import DamagedArtefact, StorageError, UsageError
from reelscript.pipeline.stage import Stage, Timing, apply, as_seen_by, recalled
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video

DAMAGED = "a piece of the work folder was damaged: the next build makes it again"


@dataclass(frozen=True)
class Joint:
    """How long a joint step took, for each of its videos, and how it failed if it did.

    What it cost in CPU-seconds the stage knows better (`Stage.spent_together`).
    """

    video_ids: frozenset[str] = frozenset()
    wall_s: float = 0.0
    trace: str | None = None

    def added_to(self, timing: Timing) -> Timing:
        """Returns what a stage cost for a video, with its part of the joint step."""
        if timing.video_id not in self.video_ids:
            return timing
        trace = timing.trace or self.trace
        return replace(timing, wall_s=timing.wall_s + self.wall_s, trace=trace)


NO_JOINT = Joint()


@dataclass(frozen=True)
class Way:
    """The way of videos through a group of stages, in this process.

    Attributes:
        group: the stages.
        stages: those that are open.
        workspace: what stages have at hand.
        say: is told how it goes.
    """

    group: tuple[Stage, ...]
    stages: Stages
    workspace: Workspace
    say: Say

    def walk(self, videos: Sequence[Video]) -> Iterator[Video]:
        """Yields each video after all stages, or after the first that rejected or failed it.

        Where an artefact turns out to be damaged, or gone, its video walks once more from the
        start: the stage that made the artefact finds that it is no longer there, and makes it
        again.
        """
        began = {video.video_id: video for video in videos}
        for stage in self.group:
            yield from (video for video in videos if _is_over(video))
            going = [video for video in videos if not _is_over(video)]
            videos, most = [], max(1, stage.videos_at_once)
            for some in (going[n : n + most] for n in range(0, len(going), most)):
                with self._jointly(stage, some) as joint:
                    for video in some:
                        try:
                            videos.append(self._apply(stage, video, joint))
                        except DamagedArtefact:
                            yield self._walk_again(began[video.video_id])
        yield from videos

    def _walk_again(self, video: Video) -> Video:
        now = video
        try:
            for stage in self.group:
                now = now if _is_over(now) else self._apply(stage, now)
        except DamagedArtefact:  # made by a stage of another group
            return video.ended("failed", self.group[0].name, "damaged_artefact", DAMAGED)
        return now

    def _apply(self, stage: Stage, video: Video, joint: Joint = NO_JOINT) -> Video:
        self.say(("stage", ([video], stage.answers)))
        video, timing = apply(stage, self.stages.live(stage), video, self.workspace)
        self.say(("timing", joint.added_to(timing)))
        return video

    @contextmanager
    def _jointly(self, stage: Stage, videos: Sequence[Video]) -> Iterator[Joint]:
        """Lets a stage compute together what it can, where several videos are new to it."""
        new = self._new(stage, videos) if len(videos) > 1 else []
        if len(new) < 2:
            yield NO_JOINT
            return
        self.stages.opened(stage, self.workspace)
        self.say(("stage", (new, stage.answers)))
        began, trace = time.perf_counter(), None
        with ExitStack() as held:
            try:
                seen = [as_seen_by(stage, video) for video in new]
                held.enter_context(stage.together(seen, self.workspace))
            except Exception:  # whatever it is: each is measured by itself, and then it has a name
                trace = traceback.format_exc()
            each_s = (time.perf_counter() - began) / len(new)
            yield Joint(frozenset(video.video_id for video in new), each_s, trace)

    def _new(self, stage: Stage, videos: Sequence[Video]) -> list[Video]:
        """Returns those of which no result of the stage is remembered."""
        new = []
        for video in videos:
            try:
                if recalled(stage, stage.key(video), self.workspace) is None:
                    new.append(video)
            except (UsageError, StorageError):
                raise
            except Exception:  # of what lies in the video: `apply` will say so
                continue
        return new


def _is_over(video: Video) -> bool:
    return video.outcome in ("rejected", "failed")
