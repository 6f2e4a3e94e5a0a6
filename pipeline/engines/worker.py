"""A worker process of the local engine: one video at a time, heavy things loaded once.

It talks to its supervisor over a pipe: it is told ("run", chain, video) and says ("stage", name)
when it begins one, ("timing", ...) when it ends one, and ("done", video). If its supervisor is
gone, so is it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeAlias

from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.stage import Live, Stage, apply
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video

Chain: TypeAlias = tuple[Stage, ...]
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Stages:
    """The live functions of stages, opened at their first use and closed together."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._live: dict[Stage, Live] = {}

    def live(self, stage: Stage) -> Live:
        """Returns the stage's live function, which opens the stage when it is first called."""

        def call(video: Video, workspace: Workspace) -> Video:
            if stage not in self._live:
                self._live[stage] = self._opened(stage)
            return self._live[stage](video, workspace)

        return call

    def _opened(self, stage: Stage) -> Live:
        """Returns the live function; what is missing on this machine is no fault of a video."""
        try:
            return self._stack.enter_context(stage.open())
        except ImportError as error:
            raise UsageError(
                f"the stage {stage.name} needs {error.name}, which is not installed: "
                "pip install 'reelscript[asr]'"
            ) from error

    def close(self) -> None:
        """Closes every stage that was opened."""
        self._stack.close()


def run_chain(
    chain: Chain,
    video: Video,
    stages: Stages,
    workspace: Workspace,
    say: Callable[[tuple[str, object]], None],
) -> Video:
    """Returns the video after the stages of a chain, or after the first that rejected or failed."""
    for stage in chain:
        if video.outcome in ("rejected", "failed"):
            break
        say(("stage", stage.name))
        video, timing = apply(stage, stages.live(stage), video, workspace)
        say(("timing", timing))
    return video


def main(
    pipe: Connection,
    chains: Sequence[Chain],
    store_url: str,
    scratch: str,
    max_memory_bytes: int | None,
) -> None:
    """Serves the supervisor until it hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to handle
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if max_memory_bytes is not None:
        with contextlib.suppress(ValueError, OSError):  # a lower limit of the system stays
            resource.setrlimit(resource.RLIMIT_DATA, (max_memory_bytes, max_memory_bytes))
    workspace, stages = Workspace(Store(store_url), Path(scratch)), Stages()
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            number, video = pipe.recv()
            try:
                pipe.send(("done", run_chain(chains[number], video, stages, workspace, pipe.send)))
            except UsageError as error:
                pipe.send(("abort", str(error)))
    stages.close()
