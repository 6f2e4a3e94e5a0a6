"""A worker process of the local engine: one video at a time, heavy things loaded once.

It talks to its supervisor over a pipe. It is told (chain, video) and says

```
("stage", (video, name))      it begins a stage, with the record as it is by now
("opening", name)             it loads what the stage needs, at its first use ...
("opened", name)              ... and has it
("timing", Timing)            the stage has ended
("done", video)               all of the chain has
("no memory", None)           it has none left, and is of no more use
("abort", error)              the machine, the settings or a disk of ours is at fault: no video is
```

If its supervisor is gone, so is it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeAlias

from reelscript.pipeline.engines.leash import lead_group
from reelscript.pipeline.errors import DamagedArtefact, StorageError, UsageError
from reelscript.pipeline.full_disk import raise_if_disk_full
from reelscript.pipeline.stage import Live, Stage, apply
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.text import one_line
from reelscript.schemas.video import Video

Chain: TypeAlias = tuple[Stage, ...]
Say: TypeAlias = Callable[[tuple[str, object]], None]
DAMAGED = "a piece of the work folder was damaged: the next build makes it again"
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Stages:
    """The live functions of stages, opened at their first use and closed together.

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
            if stage not in self._live:
                self._say(("opening", stage.name))
                self._live[stage] = self._opened(stage, workspace)
                self._say(("opened", stage.name))
            return self._live[stage](video, workspace)

        return call

    def _opened(self, stage: Stage, workspace: Workspace) -> Live:
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


def run_chain(chain: Chain, video: Video, stages: Stages, workspace: Workspace, say: Say) -> Video:
    """Returns the video after the stages of a chain, or after the first that rejected or failed.

    Where an artefact turns out to be damaged, or gone, it is walked once more from its start: the
    stage that made the artefact finds that it is no longer there, and makes it again.
    """
    try:
        return _run_chain(chain, video, stages, workspace, say)
    except DamagedArtefact:
        pass
    try:
        return _run_chain(chain, video, stages, workspace, say)
    except DamagedArtefact:  # made by a stage of another chain
        return video.ended("failed", chain[0].name, "damaged_artefact", DAMAGED)


def _run_chain(chain: Chain, video: Video, stages: Stages, workspace: Workspace, say: Say) -> Video:
    for stage in chain:
        if video.outcome in ("rejected", "failed"):
            break
        say(("stage", (video, stage.name)))
        video, timing = apply(stage, stages.live(stage), video, workspace)
        say(("timing", timing))
    return video


def _restorer(chains: Sequence[Chain], workspace: Workspace) -> Callable[[Video], None] | None:
    """Returns what brings back a source that was let go: the stage that once fetched it."""
    for stage in (stage for chain in chains for stage in chain):
        if type(stage).restore is not Stage.restore:
            return partial(stage.restore, workspace=workspace)
    return None


def main(
    pipe: Connection,
    chains: Sequence[Chain],
    store_url: str,
    scratch: str,
    max_memory_bytes: int | None,
) -> None:
    """Serves the supervisor until it hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to handle
    lead_group()
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if max_memory_bytes is not None:
        with contextlib.suppress(ValueError, OSError):  # a lower limit of the system stays
            resource.setrlimit(resource.RLIMIT_DATA, (max_memory_bytes, max_memory_bytes))
    workspace, stages = Workspace(Store(store_url), Path(scratch)), Stages(pipe.send)
    workspace.restore = _restorer(chains, workspace)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            number, video = pipe.recv()
            try:
                pipe.send(("done", run_chain(chains[number], video, stages, workspace, pipe.send)))
            except (UsageError, StorageError) as error:
                kind = StorageError if isinstance(error, StorageError) else UsageError
                pipe.send(("abort", kind(str(error))))
            except MemoryError:
                pipe.send(("no memory", None))
    stages.close()
