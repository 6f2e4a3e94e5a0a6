"""At the edge between two groups of stages: the sound of a video, for the group that listens.

On a cluster the group with the GPU may run on another machine than the one before it. Without this
stage it would fetch the whole video to hear it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

from reelscript.pipeline.errors import (
    DamagedArtefact,
    Reject,
    StageError,
    StorageError,
    UsageError,
)
from reelscript.pipeline.full_disk import raise_if_disk_full
from reelscript.pipeline.stage import Live, Stage, facts_of, tuning
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import FIELD_NAMES, Video
from reelscript.transforms.scratch_audio import leave_audio


@dataclass(frozen=True)
class LeaveSound(Stage):
    """No facts: the sound of a video in the store, if a stage of a later group will listen to it.

    Attributes:
        ahead: the stages after this one, up to the last that listens.
    """

    ahead: tuple[Stage, ...] = tuning(())

    name: ClassVar[str] = "leave_sound"
    reads: ClassVar[tuple[str, ...]] = FIELD_NAMES  # whatever a stage ahead may depend on
    writes: ClassVar[tuple[str, ...]] = ()
    remembers: ClassVar[bool] = False

    @property
    def answers(self) -> str:
        """The first stage that listens: without edges between groups that one would decode."""
        return next((s.name for s in self.ahead if _listens_on_gpu(s)), self.name)

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""
        yield self._leave

    def _leave(self, video: Video, workspace: Workspace) -> Video:
        """Leaves the sound. A source that cannot be decoded fails where one without edges does."""
        try:
            if workspace.passing and self.will_listen(video, workspace):
                leave_audio(video, workspace)
        except (UsageError, StorageError, DamagedArtefact, MemoryError):
            raise
        except Exception as error:  # whoever listens meets it as well, and says so
            raise_if_disk_full(error, workspace)
        return video

    def will_listen(self, video: Video, workspace: Workspace) -> bool:
        """Returns whether a stage ahead has yet to measure, as far as can be told from here."""
        for stage in self.ahead:
            found = workspace.remembered(stage.name, stage.key(video)) if stage.remembers else None
            if found is None or not stage.still_there(found.get("facts") or {}, workspace):
                return True
            try:
                video = replace(video, **facts_of(found))
                stage.judge(video)
            except (Reject, StageError):
                return False
        return False


def with_sound_left(stages: Sequence[Stage]) -> list[Stage]:
    """Returns the stages as they run on machines that share no disk: with one that leaves sound.

    It stands before the first stages on a GPU among which one listens; they are a group of their
    own. Where nobody listens on a GPU all stages that need sound are in one group.
    """
    listening = [n for n, stage in enumerate(stages) if _listens_on_gpu(stage)]
    edge = listening[0] if listening else 0
    while edge and stages[edge - 1].resources.gpus:
        edge -= 1
    if not edge:
        return list(stages)
    ahead = tuple(stages[edge : listening[-1] + 1])
    return [*stages[:edge], LeaveSound(ahead), *stages[edge:]]


def _listens_on_gpu(stage: Stage) -> bool:
    return bool(stage.resources.gpus) and "audio_stream" in stage.reads
