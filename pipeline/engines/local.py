"""This machine as an engine: supervised worker processes, no daemon, no cluster.

Stages that stand together and need the same resources run fused in one process, so that a video's
sound stays in its scratch folder. Where a GPU is used there are two pools: CPU workers before and
after, one worker a GPU between.

```
videos --> [probe glance speech] --> [transcribe] --> [language align segment score] --> videos
                cpu pool               gpu pool                  cpu pool

local.py        the engine: what a build asks for
supervisor.py   gives work, hears of ends and deaths      suspects.py   whose fault a death is
crew.py         worker processes, from outside            limits.py     what a stage may use
worker.py       a worker process, from inside             leash.py      it ends with its supervisor
```

A worker that dies takes nobody with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from reelscript.pipeline.cores import usable_cores
from reelscript.pipeline.engines.crew import Crew
from reelscript.pipeline.engines.limits import Limits, share_of_memory
from reelscript.pipeline.engines.protocols import Gate, Listener
from reelscript.pipeline.engines.supervisor import Supervisor
from reelscript.pipeline.engines.worker import Chain
from reelscript.pipeline.stage import Stage
from reelscript.pipeline.store import Store
from reelscript.schemas.video import Video

__all__ = ["Gate", "Limits", "Listener", "LocalEngine", "chains_of", "default_workers"]


class LocalEngine:
    """Runs stages on this machine.

    Args:
        store: the work folder; its URL is what the workers get.
        scratch: node-local folder.
        workers: CPU worker processes.
        gpus: GPU worker processes, where a stage needs a GPU.
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
        self.counts = {"cpu": max(1, workers), "gpu": max(1, gpus)}
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
        chains = chains_of(stages)
        workers = self.counts["cpu"]
        memory_bytes = self.limits.memory_bytes or share_of_memory(workers)
        crew = Crew(self.store, self.scratch, [c for _, c in chains], self.counts, memory_bytes)
        kinds = [kind for kind, _ in chains]
        patience_s = {stage.name: stage.patience_s for stage in stages}
        limits = replace(self.limits, patience_s=patience_s)
        supervisor = Supervisor(crew, kinds, 2 * workers, limits, listener, gate)
        try:
            yield from supervisor.run(iter(videos))
        finally:
            crew.dismiss()


def chains_of(stages: Sequence[Stage]) -> list[tuple[str, Chain]]:
    """Returns the stages as fused chains, each with its kind of worker ("cpu" or "gpu")."""
    groups = groupby(stages, key=lambda stage: "gpu" if stage.resources.gpus else "cpu")
    return [(kind, tuple(group)) for kind, group in groups]


def default_workers() -> int:
    """Returns a worker for each CPU core that this process may use."""
    return usable_cores()
