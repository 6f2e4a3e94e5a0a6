"""Stages as a worker has them: opened at their first use, closed together at the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeAlias

from reelscript.pipeline.errors import StorageError, UsageError
from reelscript.pipeline.full_disk import raise_if_disk_full
from reelscript.pipeline.stage import Live, Stage
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.text import one_line
from reelscript.schemas.video import Video

Say: TypeAlias = Callable[[tuple[str, object]], None]
"""Tells the supervisor something; `worker.py` lists what."""


class Stages:
    """The live functions of stages.

    Args:
        say: is told what is being opened.
    """

    def __init__(self, say: Say = lambda _: None) -> None:
        self._say = say
        self._stack = ExitStack()
        self._live: dict[Stage, Live] = {}

    def live(self, stage: Stage) -> Live:
        """Returns the stage's live function, which opens the stage when it is first called."""

        def call(video: Video, workspace: Workspace) -> Video:
            return self.opened(stage, workspace)(video, workspace)

        return call

    def opened(self, stage: Stage, workspace: Workspace) -> Live:
        """Returns the stage's live function once the stage is open."""
        if stage not in self._live:
            self._say(("opening", stage.name))
            self._live[stage] = self._open(stage, workspace)
            self._say(("opened", stage.name))
        return self._live[stage]

    def _open(self, stage: Stage, workspace: Workspace) -> Live:
        """Returns the live function. Whatever fails here is no fault of a video."""
        try:
            return self._stack.enter_context(stage.open())
        except (UsageError, StorageError, MemoryError):
            raise
        except ImportError as error:
            raise UsageError(
                f"the stage {stage.name} needs {error.name}, which is not installed: "
                "pip install 'reelscript[asr]'"
            ) from error
        except Exception as error:
            raise_if_disk_full(error, workspace)
            said = one_line(f"{type(error).__name__}: {error}")
            raise UsageError(
                f"the stage {stage.name} cannot be opened on this machine: {said}"
            ) from error

    def close(self) -> None:
        """Closes every stage that was opened."""
        self._stack.close()
