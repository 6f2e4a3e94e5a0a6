"""The stations of a group in one worker process of Beam, shared by all of its threads.

Beam has as many copies of a DoFn as it has bundles in work at once. A model is to be loaded once a
process nevertheless, and a GPU to hold one. So the copies share stations, which close when the last
copy has left. A station runs one child, and one thread of ours waits for it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue

from reelscript.pipeline.engines.ended import Ended
from reelscript.pipeline.engines.gpus import own_gpus
from reelscript.pipeline.engines.groups import Group
from reelscript.pipeline.engines.limits import Limits
from reelscript.pipeline.engines.station import Station
from reelscript.pipeline.errors import UsageError
from reelscript.schemas.video import Video

HARNESS = "apache_beam.runners.worker.sdk_worker_main"
POLL_A_STATION_S = 0.03  # each look at the processes of a machine takes about 10 ms


@dataclass(frozen=True)
class StationsOf:
    """What the stations of a group in one process are made of. Small, and pickled.

    Attributes:
        group: what they run.
        work: URL of the work folder.
        run_name: of the run.
        workers: stations of a CPU group.
        gpus: how many of the machine a GPU group has a station for.
        limits: what a stage may use for one video.
    """

    group: Group
    work: str
    run_name: str
    workers: int
    gpus: int
    limits: Limits

    @property
    def count(self) -> int:
        """How many stations."""
        return max(1, self.gpus if self.group.kind == "gpu" else self.workers)

    @property
    def name(self) -> str:
        """What the group is called in a pipeline."""
        stages = ", ".join(stage.name for stage in self.group.stages)
        return f"{self.group.kind} group {self.group.number}: {stages}"

    def stations(self) -> list[Station]:
        """Returns the stations, which start their children at need."""
        poll_s = max(self.limits.poll_s, POLL_A_STATION_S * self.count)
        limits = replace(self.limits, poll_s=poll_s)
        of_gpus = own_gpus(self.count, os.environ) if self.group.kind == "gpu" else []
        own = [of_gpus[n : n + 1] for n in range(self.count)]
        return [Station(self.group, self.work, self.run_name, 1, limits, gpus) for gpus in own]


class Stations:
    """Stations at work, each given videos when it is free.

    Args:
        of: what they are made of.
    """

    def __init__(self, of: StationsOf) -> None:
        _check_process(of.group)
        self._stations = of.stations()
        self._free: SimpleQueue[Station] = SimpleQueue()
        for station in self._stations:
            self._free.put(station)
        self._threads = ThreadPoolExecutor(of.count, f"reelscript-{of.group.kind}")

    def submit(self, videos: Sequence[Video]) -> Future[list[Ended]]:
        """Returns what will have become of the videos, which one station gets together.

        Where the stations are closed before, its result is Stopped or CancelledError.
        """
        return self._threads.submit(self._run, videos)

    def _run(self, videos: Sequence[Video]) -> list[Ended]:
        station = self._free.get()
        try:
            return station.run(videos)
        finally:
            self._free.put(station)

    def close(self) -> None:
        """Ends all stations, at once: one may wait for another. What they have in hand is lost."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with ThreadPoolExecutor(len(self._stations)) as closing:
            ends = [closing.submit(station.close) for station in self._stations]
        self._threads.shutdown(wait=True)
        for end in ends:
            end.result()


_JOINED: dict[tuple[str, int], tuple[Stations, int]] = {}
_LOCK = threading.Lock()  # held also while stations close: who waits for their end finds them gone


def join(of: StationsOf) -> Stations:
    """Returns the stations of a group in this process, made by the first who asks.

    Raises:
        UsageError: a stage cannot be had in the processes of a worker.
        StorageError: there is no place for scratch.
    """
    key = (of.run_name, of.group.number)
    with _LOCK:
        stations, members = _JOINED.get(key) or (Stations(of), 0)
        _JOINED[key] = (stations, members + 1)
    return stations


def leave(of: StationsOf) -> None:
    """Says that one of those who joined is gone; after the last, the stations are closed."""
    key = (of.run_name, of.group.number)
    with _LOCK:
        if key not in _JOINED:  # `close_all` was faster
            return
        stations, members = _JOINED.pop(key)
        if members > 1:
            _JOINED[key] = (stations, members - 1)
        else:
            stations.close()


def close_all(run_name: str) -> None:
    """Closes the stations of a run in this process: some runners leave it to the end of all."""
    with _LOCK:
        for key in [key for key in _JOINED if key[0] == run_name]:
            _JOINED.pop(key)[0].close()


def _check_process(group: Group) -> None:
    """Makes a worker process of Beam one that can have children of ours.

    Children import what their parent was started with (`spawn`). Here that is Beam's own program:
    seconds and 100 MB for nothing, so it is hidden from them. In the process of a driver nothing is
    changed.

    Raises:
        UsageError: a stage stands where a child cannot import it from.
    """
    main = sys.modules["__main__"]
    if getattr(main.__spec__, "name", None) == HARNESS:
        main.__spec__ = None
        del main.__file__
    of_script = [stage.name for stage in group.stages if type(stage).__module__ == "__main__"]
    if of_script and not hasattr(main, "__file__"):
        raise UsageError(
            f"the stage {of_script[0]} stands in a script, which worker processes cannot import: "
            "put it into a module"
        )
