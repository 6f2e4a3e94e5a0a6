"""This machine as an engine: supervised worker processes, no daemon, no cluster.

Stages that stand together and need the same resources run fused in one process, so that a video's
sound stays in its scratch folder. Where a GPU is used there are two pools: CPU workers before and
after, one worker a GPU between, which has its next videos before it asks for them.

```
videos --> [probe glance speech] --> [transcribe] --> [language align segment score] --> videos
                cpu pool               gpu pool                  cpu pool

local.py        the engine: what a build asks for         groups.py     which stages run fused
supervisor.py   gives work, hears of ends and deaths      waiting.py    what waits for a worker
crew.py         worker processes, who is free             gpus.py       which GPU each one sees
watched.py      one of them, from outside                 watch.py      stops what uses too much
worker.py       one of them, from inside                  limits.py     what a stage may use
batch.py        videos through a group, in a worker       leash.py      it ends with its supervisor
opened.py       stages as a worker has them               suspects.py   whose fault a death is
                                                          in_vain.py    when the machine is at fault
```

A worker that dies takes nobody with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from reelscript.pipeline.cores import usable_cores
from reelscript.pipeline.engines.crew import Crew
from reelscript.pipeline.engines.gpus import own_gpus
from reelscript.pipeline.engines.groups import Kind, groups_of
from reelscript.pipeline.engines.limits import Limits, share_of_memory
from reelscript.pipeline.engines.protocols import Gate, Listener
from reelscript.pipeline.engines.supervisor import Supervisor
from reelscript.pipeline.engines.worker import Orders
from reelscript.pipeline.stage import Stage
from reelscript.pipeline.store import Store
from reelscript.schemas.video import Video

__all__ = ["Gate", "Limits", "Listener", "LocalEngine", "default_workers"]


class LocalEngine:
    """Runs stages on this machine.

    Args:
        store: the work folder; its URL is what the workers get.
        scratch: node-local folder.
        workers: CPU worker processes.
        gpus: GPUs to use where a stage needs one; each gets a process, which sees no other.
        limits: what a stage may use for one video.
    """

    def __init__(
        self,
        store: Store,
        scratch: Path,
        workers: int,
        gpus: int = 1,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.store = store
        self.scratch = scratch
        self.counts: dict[Kind, int] = {"cpu": max(1, workers), "gpu": max(1, gpus)}
        self.limits = limits

    def run(
        self,
        stages: Sequence[Stage],
        videos: Iterable[Video],
        listener: Listener,
        gate: Gate | None = None,
    ) -> Iterator[Video]:
        """Yields each video once, as it finishes: after all stages or the first that ended it.

        Args:
            stages: what to run, in order; at least one.
            videos: taken one by one, as there is work for them.
            listener: is told how it goes.
            gate: while it is not open no further video is taken; those in work go on.

        Raises:
            UsageError: a stage cannot be opened on this machine, or no worker can be started.
            StorageError: a disk of ours is full.
        """
        groups, workers = groups_of(stages), self.counts["cpu"]
        memory_bytes = self.limits.memory_bytes or share_of_memory(workers)
        orders = Orders(tuple(groups), self.store.url, str(self.scratch))
        on_gpus = any(group.kind == "gpu" for group in groups)
        gpus = own_gpus(self.counts["gpu"], os.environ) if on_gpus else []
        crew = Crew(orders, self.counts, memory_bytes, gpus)
        supervisor = Supervisor(crew, self.limits.for_stages(stages), listener, gate)
        try:
            yield from supervisor.run(iter(videos))
        finally:
            crew.dismiss()


def default_workers() -> int:
    """Returns a worker for each CPU core that this process may use."""
    return usable_cores()
