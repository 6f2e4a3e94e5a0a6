"""All worker processes of a run: who is there, who is free, who comes and goes."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from reelscript.pipeline.engines import worker
from reelscript.pipeline.engines.groups import Kind
from reelscript.pipeline.engines.leash import interrupts_held, one_thread
from reelscript.pipeline.engines.watched import GRACE_S, Worker

BATCHES_IN_HAND: Mapping[Kind, int] = {"cpu": 1, "gpu": 2}
"""Of a worker that is at work: a GPU does not wait for us to hear that it is through."""


class Crew:
    """All workers of a run.

    Args:
        orders: what they are told.
        counts: how many workers of each kind there may be.
        memory_bytes: what a CPU worker may use.
        gpus: names of what the GPU workers see, one each; none: they see what we see.
    """

    def __init__(
        self,
        orders: worker.Orders,
        counts: Mapping[Kind, int],
        memory_bytes: int,
        gpus: Sequence[str] = (),
    ) -> None:
        self.orders = orders
        self.counts = counts
        self.workers: list[Worker] = []
        self._memory_bytes = memory_bytes
        self._gpus = gpus

    def busy(self) -> list[Worker]:
        """Returns those that have a video in hand."""
        return [w for w in self.workers if w.tasks]

    def idle(self, kind: Kind) -> int:
        """Returns how many workers of a kind could begin at once, those not yet started too."""
        return self.counts[kind] - sum(w.kind == kind for w in self.busy())

    def free(self, kind: Kind, attempt: int) -> Worker | None:
        """Returns a worker without a video, started if need be; None where all are at work."""
        own = [w for w in self.workers if w.kind == kind]
        idle = next((w for w in own if not w.tasks and w.stopped is None), None)
        return idle or (self.start(kind, attempt) if len(own) < self.counts[kind] else None)

    def soon_free(self, kind: Kind) -> Worker | None:
        """Returns a worker at work that may be given its next batch by now."""
        own = [w for w in self.workers if w.kind == kind and w.stopped is None and not w.alone]
        return next((w for w in own if 0 < w.batches < BATCHES_IN_HAND[kind]), None)

    def start(self, kind: Kind, attempt: int) -> Worker:
        """Returns a new worker. `attempt`: how many in a row have failed to start before it."""
        context = multiprocessing.get_context("spawn")
        # A CUDA context maps far more than it uses: that of a GPU worker is not limited.
        memory_bytes = self._memory_bytes if kind == "cpu" else None
        gpu = self._unused_gpu() if kind == "gpu" else None
        with interrupts_held(), one_thread():
            ours, theirs = context.Pipe()
            arguments = (theirs, self.orders, memory_bytes, gpu)
            name = f"reelscript-{kind}"
            process = context.Process(target=worker.main, args=arguments, name=name, daemon=True)
            process.start()
            theirs.close()
            started = Worker(kind, process, ours, memory_bytes, gpu, attempt)
            self.workers.append(started)
        return started

    def _unused_gpu(self) -> str | None:
        """Returns the GPU that the fewest workers see."""
        seen = Counter(w.gpu for w in self.workers)
        return min(self._gpus, key=lambda gpu: seen[gpu], default=None)

    def bury(self, dead: Worker) -> str:
        """Takes a dead worker off the list and returns how it died."""
        self.workers.remove(dead)
        return dead.end(GRACE_S)

    def dismiss(self) -> None:
        """Ends all workers: idle ones may close what they have open, the others are killed."""
        for w in self.workers:
            w.pipe.close()
            if w.tasks:
                w.kill()
        until = time.monotonic() + GRACE_S
        while self.workers:
            self.workers[-1].end(max(0.0, until - time.monotonic()))
            self.workers.pop()
