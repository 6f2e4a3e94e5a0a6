"""The estimate in a process of its own, which a source may kill without harm."""

from __future__ import annotations

import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

from rich.console import Console

from reelscript.jobs.config import Config
from reelscript.jobs.estimate.estimate import Estimate, estimate
from reelscript.jobs.progress import Progress
from reelscript.pipeline.engines.limits import share_of_memory
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.store import Store
from reelscript.schemas.videos import Videos


def estimate_apart(
    videos: Videos, config: Config, work: Store, corpus: Store, workers: int, gpus: int, quiet: bool
) -> Estimate:
    """Returns what `estimate` does.

    Raises:
        DataError: a sampled source killed the process that looked at it.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_limit_memory) as pool:
        asked = pool.submit(_estimate, videos, config, work, corpus, workers, gpus, quiet)
        try:
            return asked.result()
        except BrokenProcessPool:
            raise DataError(
                "no estimate: one of the sampled sources killed the process that looked at it; "
                "a build survives that and says which it is"
            ) from None


def _limit_memory() -> None:
    most_bytes = share_of_memory(1)
    with suppress(ValueError, OSError):  # a lower limit of the system stays
        resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, most_bytes))


def _estimate(
    videos: Videos, config: Config, work: Store, corpus: Store, workers: int, gpus: int, quiet: bool
) -> Estimate:
    progress = Progress(None if quiet else Console(stderr=True))
    return estimate(videos, config, work, workers, gpus, progress, corpus)
