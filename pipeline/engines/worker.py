"""A worker process of an engine: one batch of videos at a time, heavy things loaded once.

It talks to its supervisor over a pipe. It is told (group, videos) and says

```
("stage", (videos, name))     it begins a stage on a video, or jointly on several, with the records
                              as they are by now
("opening", name)             it loads what the stage needs, at its first use ...
("opened", name)              ... and has it
("timing", Timing)            the stage has ended for a video
("done", video)               all of the group has
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
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from reelscript.pipeline.engines.batch import Way
from reelscript.pipeline.engines.groups import Group
from reelscript.pipeline.engines.leash import lead_group
from reelscript.pipeline.engines.opened import Stages
from reelscript.pipeline.errors import StorageError, UsageError
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Orders:
    """What all workers of a crew are told as they start.

    Attributes:
        groups: of stages; a worker is asked to run one of them, by its number.
        store_url: of the work folder.
        scratch: node-local folder.
        passing: groups that come before or after these may run on other machines.
    """

    groups: tuple[Group, ...]
    store_url: str
    scratch: str
    passing: bool = False

    def workspace(self) -> Workspace:
        """Returns what the stages have at hand."""
        workspace = Workspace(Store(self.store_url), Path(self.scratch), self.passing)
        fetching = next((group.fetching for group in self.groups), None)
        if fetching is not None:
            workspace.restore = partial(fetching.restore, workspace=workspace)
        return workspace


def main(pipe: Connection, orders: Orders, max_memory_bytes: int | None, gpu: str | None) -> None:
    """Serves the supervisor until it hangs up.

    Args:
        pipe: to the supervisor.
        orders: what it is to do.
        max_memory_bytes: what it may ask the system for; None: no limit.
        gpu: the only one that it may see; None: the environment stays as it is.
    """
    if gpu is not None:  # before anything of CUDA is imported: stages do that as they are opened
        os.environ[VISIBLE_GPUS] = gpu
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to handle
    lead_group()
    if max_memory_bytes is not None:
        with contextlib.suppress(ValueError, OSError):  # a lower limit of the system stays
            resource.setrlimit(resource.RLIMIT_DATA, (max_memory_bytes, max_memory_bytes))
    workspace, stages = orders.workspace(), Stages(pipe.send)
    ways = [Way(group.stages, stages, workspace, pipe.send) for group in orders.groups]
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            number, videos = pipe.recv()
            try:
                for video in ways[number].walk(videos):
                    pipe.send(("done", video))
            except (UsageError, StorageError) as error:
                kind = StorageError if isinstance(error, StorageError) else UsageError
                pipe.send(("abort", kind(str(error))))
            except MemoryError:
                pipe.send(("no memory", None))
    stages.close()
