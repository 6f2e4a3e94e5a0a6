"""What travels through Ray, and what an actor does with it.

A row is a parcel: a few videos on their way, as JSON lines, below 4 kB each. Where videos take long
it holds one, so that none waits behind another; where they are done in no time (found remembered)
it holds many, because a row costs Ray some milliseconds. One row in is one row out, so that Ray may
repeat any piece of work.

```
driver -> Feed -> parcels -> OnNode (group 0) -> OnNode (group 1) -> ... -> driver
```
"""

from __future__ import annotations

import asyncio
import atexit
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

from reelscript.pipeline.engines.ended import Ended
from reelscript.pipeline.engines.groups import Group
from reelscript.pipeline.engines.limits import Limits
from reelscript.pipeline.engines.station import Station
from reelscript.pipeline.errors import ReelscriptError, StorageError, UsageError

Row: TypeAlias = dict[str, Any]
"""number: of the parcel. videos: JSON lines of Ended. unbegun: of those that the first group gives
back. error: "" or the one sentence that ends the run. is_storage: which kind of error that is.
each_s: seconds a video, in the group that took longest."""

EXIT_S = 10  # for an actor to end once Python has
HOLD_S = 2.0  # after which an actor begins no further video of a parcel


def row_of(number: int, on_their_way: Sequence[Ended]) -> Row:
    """Returns a parcel as the driver sends it."""
    nothing = {"unbegun": "", "error": "", "is_storage": False, "each_s": 0.0}
    return {"number": number, "videos": lines_of(on_their_way), **nothing}


def lines_of(on_their_way: Sequence[Ended]) -> str:
    """Returns videos as JSON lines."""
    return "\n".join(ended.to_json() for ended in on_their_way)


def from_lines(lines: str) -> list[Ended]:
    """Returns the videos that `lines_of` wrote."""
    return [Ended.from_json(line) for line in lines.split("\n") if line]


def error_of(row: Row) -> ReelscriptError | None:
    """Returns what an actor found wrong with the machine, the settings or the store."""
    if not row["error"]:
        return None
    return (StorageError if row["is_storage"] else UsageError)(row["error"])


class Stopped(Exception):
    """The driver gives a job up. Raised where it reads: that is what ends a job of Ray Data."""


class Feed:
    """An actor beside the driver that holds the parcels until they are finished.

    Who reads them may be asked by Ray to begin again, and must find the same ones. What the driver
    says may arrive in another order than it was said in.
    """

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self._finished: set[int] = set()
        self._closed = self._stopped = False
        self._news = asyncio.Condition()
        self._workers: list[Any] = []

    async def join(self, worker: Any) -> None:
        """Takes note of an actor that works for the run."""
        self._workers.append(worker)

    async def workers(self) -> list[Any]:
        """Returns all actors that have worked for the run."""
        return self._workers

    async def give(self, row: Row, finished: Sequence[int]) -> None:
        """Adds the next parcel, and forgets those that are finished."""
        self._finished.update(finished)
        for number in finished:
            self._rows.pop(number, None)
        async with self._news:
            self._rows[row["number"]] = row
            self._news.notify_all()

    async def close(self, stop: bool) -> None:
        """Says that nothing follows; `stop`: whoever reads is to give up all that was given."""
        async with self._news:
            self._closed, self._stopped = True, stop
            self._news.notify_all()

    async def parcel(self, number: int) -> Row | None:
        """Returns a parcel, once it is there: an empty one if it is finished; None: no more.

        Raises:
            Stopped: all is to be given up.
        """
        known = self._rows, self._finished
        async with self._news:
            await self._news.wait_for(lambda: self._closed or any(number in k for k in known))
        if self._stopped:
            raise Stopped
        return row_of(number, []) if number in self._finished else self._rows.get(number)


def parcels(_: Row, feed: Any) -> Iterator[Row]:
    """Yields the parcels of a feed as they come."""
    import ray

    number = 0
    while (row := ray.get(feed.parcel.remote(number))) is not None:
        yield row
        number += 1


class OnNode:
    """One worker of a group: a station in an actor of Ray.

    What is wrong with the machine, the settings or the store becomes part of the row, because what
    an actor raises reaches the driver as pages of Ray's own.

    Args:
        feed: of the run.
        group: its stages.
        store_url: the work folder, as every node sees it.
        run_name: of this run.
        limits: of what a stage may use.
    """

    def __init__(
        self, feed: Any, group: Group, store_url: str, run_name: str, limits: Limits
    ) -> None:
        import ray

        feed.join.remote(ray.get_runtime_context().current_actor)
        atexit.register(signal.alarm, EXIT_S)  # an actor was seen to wait for ever in its exit
        # Else each child of this process would run Ray's own script, to know our main module.
        vars(sys.modules["__main__"]).pop("__file__", None)
        self._group = group
        self._arguments = (store_url, run_name, limits)
        self._station: Station | None = None
        self._together = Together(self._run, group.videos_at_once)

    def __call__(self, row: Row) -> Row:
        """Returns the parcel after this group."""
        began = time.monotonic()
        try:
            done, unbegun = self._done(from_lines(row["videos"]))
        except (UsageError, StorageError) as error:
            is_storage = isinstance(error, StorageError)
            return {**row, "videos": "", "error": str(error), "is_storage": is_storage}
        each_s = max(row["each_s"], (time.monotonic() - began) / max(1, len(done)))
        back = "\n".join(lines for lines in (row["unbegun"], lines_of(unbegun)) if lines)
        return {**row, "videos": lines_of(done), "unbegun": back, "each_s": each_s}

    def _done(self, waiting: list[Ended]) -> tuple[list[Ended], list[Ended]]:
        """Returns those that were run, and those that the first group gives back unbegun."""
        if self._group.videos_at_once > 1:
            return self._together(waiting), []
        done: list[Ended] = []
        until = time.monotonic() + HOLD_S
        for ended in waiting:
            if done and self._group.number == 0 and time.monotonic() > until:
                break
            done += self._together([ended])
        return done, waiting[len(done) :]

    def _run(self, waiting: Sequence[Ended]) -> list[Ended]:
        if self._station is None:
            store_url, run_name, limits = self._arguments
            self._station = Station(self._group, store_url, run_name, 1, limits)
        found = self._station.run([ended.video for ended in waiting])
        return [now.after(earlier) for now, earlier in zip(found, waiting, strict=True)]

    def __del__(self) -> None:
        """Ends the workers of the station when Ray ends the actor in peace."""
        if self._station is not None:
            self._station.close()


class Together:
    """Makes of what several threads ask for at once a few calls of one function.

    While a call is at work, those who come wait; the next one takes along all that wait. So nobody
    waits for a batch to be full, and one that is kept busy finds full ones.

    Args:
        run: the function; as many results as there are items.
        most: items a call.
    """

    def __init__(self, run: Callable[[Sequence[Ended]], list[Ended]], most: int) -> None:
        self._run = run
        self._most = most
        self._waiting: deque[tuple[Ended, Future[Ended]]] = deque()
        self._turn = threading.Lock()

    def __call__(self, items: Sequence[Ended]) -> list[Ended]:
        """Returns the results of these items, in their order."""
        ours: list[Future[Ended]] = [Future() for _ in items]
        self._waiting.extend(zip(items, ours, strict=True))
        while not all(future.done() for future in ours):
            with self._turn:
                if not all(future.done() for future in ours):
                    self._next_call()
        return [future.result() for future in ours]

    def _next_call(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        try:
            found = self._run([item for item, _ in batch])
        except BaseException as error:
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), ended in zip(batch, found, strict=True):
            future.set_result(ended)
