"""What tests of engines share: a listener, looks at processes, a stage that joins videos."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psutil

from reelscript.pipeline.engines.batch import Way
from reelscript.pipeline.engines.opened import Stages
from reelscript.pipeline.stage import Resources, Stage, Timing, tuning
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import Fake, noted
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str]] = []
        self.timings: list[Timing] = []
        self.deaths: list[tuple[str, str, str]] = []

    def started(self, video: Video, stage: str) -> None:
        self.begun.append((video.video_id, stage))

    def measured(self, timing: Timing) -> None:
        self.timings.append(timing)

    def suspected(self, video: Video, stage: str, died: str) -> None:
        self.deaths.append((video.video_id, stage, died))


def in_one_process(stages: Sequence[Stage], given: Sequence[Video], folder: Path) -> list[Video]:
    """What an engine must come to, from a plain loop."""
    live = Stages()
    workspace = Workspace(Store(f"memory://{os.urandom(8).hex()}"), folder)
    way = Way(tuple(stages), live, workspace, lambda _: None)
    try:
        return [ended for v in given for ended in way.walk([v])]
    finally:
        live.close()


def attempts(log: str, marked: Video) -> int:
    """How often a video was measured, or its measuring begun."""
    return sum(what == marked.video_id for what, _, _ in noted(log))


def gone(pids: Collection[int]) -> bool:
    """Whether none of the processes runs any more, after a while."""
    left = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(left, timeout=10)
    return all(p.status() == psutil.STATUS_ZOMBIE for p in alive)  # of a dead parent's: not ours


def outcomes(found: Sequence[Video]) -> list[tuple[str, str | None]]:
    return [(v.outcome, v.reason) for v in found]


@dataclass(frozen=True)
class Joins(Fake):
    """Measures videos jointly; each line of its log tells of a video, or of several: `a+b`.

    Attributes:
        at_once: so many.
        wait_s: that it takes over each video, alone or with others.
        jointly: what it does to a batch that holds a marked video: "raise", "kill" or "hang".
        alone: what it does to a marked video by itself.
        on_gpu: it asks for a GPU.
    """

    at_once: int = tuning(4)
    wait_s: float = tuning(0.0)
    jointly: str = ""
    alone: str = ""
    on_gpu: bool = tuning(False)

    name: ClassVar[str] = "joins"

    @property
    def resources(self) -> Resources:
        return Resources(gpus=1.0 if self.on_gpu else 0.0)

    @property
    def videos_at_once(self) -> int:
        return self.at_once

    @contextmanager
    def together(
        self,
        videos: Sequence[Video],
        workspace: Workspace,  # noqa: ARG002
    ) -> Iterator[None]:
        ids = [video.video_id for video in videos]
        self._note("+".join(ids))
        time.sleep(self.wait_s)
        if any(self.marker in i for i in ids):
            harm(self.jointly)
        FOUND.update((video.video_id, len(video.url)) for video in videos)
        try:
            yield
        finally:
            FOUND.clear()

    def spent_together(self, video: Video) -> float:
        return SPENT_S if video.video_id in FOUND else 0.0

    def _live(self, video: Video, workspace: Workspace) -> Video:
        if video.video_id in FOUND:
            return dataclasses.replace(video, words=FOUND[video.video_id])
        time.sleep(self.wait_s)
        return super()._live(video, workspace)

    def act(self, video: Video) -> None:  # noqa: ARG002
        harm(self.alone)


SPENT_S = 1000.0
FOUND: dict[str, int] = {}
"""What was found jointly, in a worker."""


def harm(how: str) -> None:
    if how == "raise":
        raise ValueError("the batch is too large")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        time.sleep(3600)


def batches(log: str | Path) -> list[list[str]]:
    """The ids of each batch that was measured jointly."""
    return [what.split("+") for what, *_ in noted(log) if "+" in what]
