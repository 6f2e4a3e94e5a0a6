"""One streaming execution of Ray Data: an actor pool for each group, all at work at once."""

from __future__ import annotations

import contextlib
import gc
import queue
import secrets
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from reelscript.pipeline.engines.ended import Ended
from reelscript.pipeline.engines.groups import Group
from reelscript.pipeline.engines.limits import Limits
from reelscript.pipeline.engines.ray.cluster import Cluster, shared_url
from reelscript.pipeline.engines.ray.pools import Pool
from reelscript.pipeline.engines.ray.rows import Feed, OnNode, Row, parcels, row_of
from reelscript.pipeline.store import Store
from reelscript.schemas.text import one_line

ACTORS_START_S = 600  # else somebody was faster in claiming what was free
CLOSE_S = 30.0


class Lost(Exception):
    """A job cannot go on; what it had on its way must be given to another."""


class Job:
    """See the top of this file. `stop` it at last.

    Args:
        cluster: where.
        groups: of stages.
        pools: of actors, one for each group.
        store: the work folder.
        limits: of what a stage may use.
    """

    def __init__(
        self,
        cluster: Cluster,
        groups: Sequence[Group],
        pools: Sequence[Pool],
        store: Store,
        limits: Limits,
    ) -> None:
        self._cluster = cluster
        self._pools = pools
        self._said: queue.SimpleQueue[Row | Lost] = queue.SimpleQueue()
        self._number = 0
        self._in_work: set[int] = set()
        self._finished: list[int] = []
        self._most = 2 * sum(p.actors * p.at_once for p in pools)
        ray, beside_us = cluster.ray, {"num_cpus": 0, "label_selector": cluster.here}
        self._feed = ray.remote(**beside_us)(Feed).remote()
        arguments = (shared_url(store), secrets.token_hex(8), limits)
        with _context(ray):
            rows = ray.data.from_items([{"number": 0}])
            rows = rows.flat_map(parcels, fn_kwargs={"feed": self._feed}, **beside_us)
            for group, pool in zip(groups, pools, strict=True):
                actors = ray.data.ActorPoolStrategy(
                    size=pool.actors,
                    max_tasks_in_flight_per_actor=pool.at_once,  # none waits behind another
                    max_concurrent_calls_per_actor=pool.at_once,
                    enable_true_multi_threading=True,
                )
                rows = rows.map(
                    OnNode,
                    fn_constructor_args=(self._feed, group, *arguments),
                    compute=actors,
                    num_cpus=pool.cpus,
                    num_gpus=pool.gpus,
                )
        self._thread = threading.Thread(target=self._stream, args=(rows,), daemon=True)
        self._thread.start()

    @property
    def hungry(self) -> bool:
        """Whether it should have more parcels."""
        return len(self._in_work) < self._most

    def give(self, on_their_way: Sequence[Ended]) -> None:
        """Gives it a parcel."""
        row = row_of(self._number, on_their_way)
        self._feed.give.remote(row, self._finished)
        self._in_work.add(self._number)
        self._number += 1
        self._finished = []

    def next(self, timeout_s: float) -> Row | None:
        """Returns a parcel that has finished; None: none has in this time.

        Raises:
            Lost: Ray gave it up.
        """
        try:
            said = self._said.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(said, Lost):
            raise said
        self._in_work.discard(said["number"])
        self._finished.append(said["number"])
        return said

    def too_big(self) -> bool:
        """Returns whether the cluster has fewer CPUs or GPUs by now than the actors claim."""
        return any(
            sum(p.actors * getattr(p, kind) for p in self._pools) > self._cluster.total(name) + 1e-6
            for kind, name in (("cpus", "CPU"), ("gpus", "GPU"))
        )

    def stop(self) -> None:
        """Ends it, whatever is at work."""
        ray, given_up = self._cluster.ray, bool(self._in_work)
        with contextlib.suppress(ray.exceptions.RayError):  # what is gone has ended
            self._feed.close.remote(given_up)
            workers = ray.get(self._feed.workers.remote(), timeout=CLOSE_S) if given_up else []
            for worker in workers:  # by itself each would first finish what it has in hand
                ray.kill(worker)
        self._thread.join(CLOSE_S)
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(self._feed)
        self._said = queue.SimpleQueue()  # a traceback in it would hold on to actors
        gc.collect()  # so does a circle of references that a job leaves which was given up

    def _stream(self, rows: Any) -> None:
        """Passes on what comes out; in a thread, so that waiting for it can have an end."""
        ray, said = self._cluster.ray, self._said
        try:
            for bundle in rows.iter_internal_ref_bundles():
                for block in ray.get(list(bundle.block_refs)):
                    for row in block.to_pylist():
                        said.put(row)
            said.put(Lost("it has ended before its work has"))  # else nobody hears of it
        except Exception as error:  # of Ray, and whatever it meets: a broken pipe, memory
            said.put(Lost(one_line(f"{type(error).__name__}: {error}")))


@contextmanager
def _context(ray: Any) -> Iterator[None]:
    """Sets how Ray Data runs what is described within."""
    asked = ray.data.DataContext.get_current().copy()
    asked.target_max_block_size = 1  # each row is a block, and goes on as soon as it is there
    asked.execution_no_progress_timeout_s = -1  # a video may take hours
    asked.wait_for_min_actors_s = ACTORS_START_S
    asked.enable_progress_bars = False
    asked.print_on_execution_start = False
    # It counts rows before it knows how many there will be.
    warnings.filterwarnings("ignore", "The minimum number of concurrent actors")
    with ray.data.DataContext.current(asked):
        yield
