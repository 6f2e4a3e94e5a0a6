"""The engine that runs groups of stages on a Ray cluster, as one streaming job of Ray Data.

```
driver: feeds parcels of videos, as many as are bounded -> takes them back as they finish
          |                                                   ^
Ray Data: |-> CPU actors (group 0) -> GPU actors (1) -> CPU actors (2)
```

All groups work at the same time. Ray restarts actors that die and repeats what they had in hand;
where a cluster has become too small for that, the job is begun again with what is left of both.
Whose fault a death is, is found on the node (`station.py`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

from reelscript.pipeline.engines.ended import Ended
from reelscript.pipeline.engines.groups import groups_of
from reelscript.pipeline.engines.limits import Limits
from reelscript.pipeline.engines.protocols import Gate, Listener
from reelscript.pipeline.engines.ray.cluster import Cluster
from reelscript.pipeline.engines.ray.job import Job, Lost
from reelscript.pipeline.engines.ray.joining import OBJECT_STORE_BYTES, joined
from reelscript.pipeline.engines.ray.pools import pools_of
from reelscript.pipeline.engines.ray.rows import Row, error_of, from_lines
from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.stage import Stage
from reelscript.pipeline.store import Store
from reelscript.schemas.video import Video

PARCEL_S = 0.5  # what a parcel should take
MOST_A_PARCEL = 64
REPLACED_S = 60.0
LOOK_S = 2.0
MOST_IN_VAIN = 3


class RayEngine:
    """Runs stages on a Ray cluster; see the top of this file.

    As a context manager it keeps the cluster of its first run for the others.

    Args:
        store: the work folder, which all nodes must see.
        workers: CPUs, an actor each; None: all that are free.
        gpus: GPUs.
        limits: of what a stage may use.
        address: of a cluster that runs: "auto", "host:port"; None: a private one on this machine.
        object_store_bytes: of a private cluster.
        replaced_s: how long a lost node may take to come back before the run goes on without it.
    """

    def __init__(
        self,
        store: Store,
        workers: int | None = None,
        gpus: int = 1,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        address: str | None = None,
        object_store_bytes: int = OBJECT_STORE_BYTES,
        replaced_s: float = REPLACED_S,
    ) -> None:
        self.store = store
        self.workers = workers
        self.gpus = gpus
        self.limits = limits
        self.address = address
        self.object_store_bytes = object_store_bytes
        self.replaced_s = replaced_s
        self._stack: ExitStack | None = None
        self._cluster: Cluster | None = None

    def __enter__(self) -> RayEngine:
        self._stack = ExitStack()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        assert self._stack is not None
        stack, self._stack, self._cluster = self._stack, None, None
        stack.close()

    @contextmanager
    def _joined(self) -> Iterator[Cluster]:
        """Gives the cluster that is kept, or one for the time of a run."""
        if self._cluster is not None:
            yield self._cluster
            return
        to_join = joined(self.address, self.workers, self.gpus, self.object_store_bytes)
        if self._stack is not None:
            self._cluster = self._stack.enter_context(to_join)
            yield self._cluster
        else:
            with to_join as cluster:
                yield cluster

    def run(
        self,
        stages: Sequence[Stage],
        videos: Iterable[Video],
        listener: Listener,
        gate: Gate | None = None,
    ) -> Iterator[Video]:
        """Yields each video once, as it finishes: after all stages, or after one that ended it.

        Args:
            stages: what to run, in order; at least one.
            videos: taken a few at a time, as there is work for them.
            listener: is told of a video what happened to it when it finishes.
            gate: while it is not open no further video is taken; those in work go on.

        Raises:
            UsageError: there is no cluster, too little of it is free, a node cannot take part, or a
                stage cannot be opened there.
            StorageError: a disk of ours is full, or the store is out of reach.
            ReelscriptError: the cluster is gone.
        """
        groups = groups_of(stages)
        with self._joined() as cluster, cluster.spoken():
            share = cluster.claimed({group.kind for group in groups}, self.workers, self.gpus)
            cluster.check_nodes(self.store)
            way, in_vain = OnTheirWay(_seen_by_all(cluster, videos), gate), 0
            while not way.finished:
                before = way.ended
                job = Job(cluster, groups, pools_of(groups, share), self.store, self.limits)
                try:
                    yield from self._worked(job, way, listener)
                except Lost as lost:
                    way.back()
                    in_vain = in_vain + 1 if way.ended == before else 0
                    if in_vain == MOST_IN_VAIN:
                        raise UsageError(f"the Ray cluster fails again and again: {lost}") from None
                    share = cluster.left_of(share)
                finally:
                    job.stop()

    def _worked(self, job: Job, way: OnTheirWay, listener: Listener) -> Iterator[Video]:
        """Yields what a job finishes. Raises Lost."""
        too_small_since: float | None = None
        while True:
            way.fill(job)
            if way.finished:
                return
            row = job.next(LOOK_S)
            if row is None:
                too_small_since = (too_small_since or time.monotonic()) if job.too_big() else None
                if too_small_since and time.monotonic() - too_small_since > self.replaced_s:
                    raise Lost("it has become too small")
                continue
            error = error_of(row)
            if error is not None:
                raise error
            for ended in way.taken_back(row):
                ended.tell(listener)
                yield ended.video


def _seen_by_all(cluster: Cluster, videos: Iterable[Video]) -> Iterator[Video]:
    """Yields the videos. Raises UsageError where a node does not see the first local source."""
    source = iter(videos)
    for video in source:
        file = None if cluster.own else _local_file(video)
        if file is not None:
            cluster.check_sees(file)
        yield video
        if file is not None:
            break
    yield from source


def _local_file(video: Video) -> Path | None:
    """Returns where a source is read in place; None: it is fetched, or not there."""
    with suppress(OSError):  # a URL may be longer than a name of a file
        if video.media is None and Path(video.location).is_file():
            return Path(video.location)
    return None


class OnTheirWay:
    """The videos that were taken and have not finished, each known to be so exactly once.

    Args:
        source: where more are taken from.
        gate: is asked before each.

    Attributes:
        ended: how many have finished.
    """

    def __init__(self, source: Iterator[Video], gate: Gate | None) -> None:
        self.ended = 0
        self._source = source
        self._gate = gate
        self._exhausted = False
        self._again: deque[Video] = deque()  # taken, and to be given before others
        self._out: dict[str, Video] = {}
        self._each_s = PARCEL_S  # a video, of late

    @property
    def finished(self) -> bool:
        """Whether nothing is left."""
        return self._exhausted and not self._out and not self._again

    def fill(self, job: Job) -> None:
        """Gives a job as much as it should have."""
        most = max(1, min(MOST_A_PARCEL, int(PARCEL_S / max(1e-9, self._each_s))))
        while job.hungry and (parcel := self._parcel(most)):
            job.give(parcel)
        if not self._out and not self._exhausted:  # the gate is closed, and nothing may open it
            parcel = self._parcel(1, gated=False)
            if parcel and self._gate is not None:
                self._gate.stuck()
            if parcel:
                job.give(parcel)

    def _parcel(self, most: int, gated: bool = True) -> list[Ended]:
        found: list[Video] = []
        while len(found) < most:
            if self._again:
                found.append(self._again.popleft())
                continue
            if gated and self._gate is not None and not self._gate.open():
                break
            video = None if self._exhausted else next(self._source, None)
            if video is None:
                self._exhausted = True
                break
            found.append(video)
        self._out.update((video.video_id, video) for video in found)
        return [Ended(video) for video in found]

    def taken_back(self, row: Row) -> list[Ended]:
        """Returns what a parcel has finished, of that which is still out."""
        self._each_s = max(row["each_s"], (self._each_s + row["each_s"]) / 2)
        for ended in from_lines(row["unbegun"]):
            if ended.video.video_id in self._out:
                self._again.append(self._out.pop(ended.video.video_id))
        found = [e for e in from_lines(row["videos"]) if self._out.pop(e.video.video_id, None)]
        self.ended += len(found)
        return found

    def back(self) -> None:
        """Takes back all that a lost job had."""
        self._again.extend(self._out.values())
        self._out.clear()
