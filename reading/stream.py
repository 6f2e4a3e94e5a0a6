"""What both streams of training data are: windows of a corpus, and captioned clips.

```
for batch in loader:              torch's DataLoader(stream, batch_size=None, num_workers=4), or
    train(batch)                  the stream itself
    stream.received(batch)        so that state_dict() is where the trainer is
```

A stream yields the steps of one epoch and then is at the next. Whatever the number of workers, the
same steps come in the same order, because worker w makes the steps w, w + W, w + 2 W, ... and the
DataLoader asks its workers in turn.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelscript.pipeline.errors import DataError, UsageError
from reelscript.pipeline.store import Store
from reelscript.reading.ahead import ahead
from reelscript.reading.faults import Damaged, Fault, check_share, fault_of
from reelscript.reading.members import Members
from reelscript.reading.order import (
    Numbers,
    Purpose,
    epoch_order,
    generator,
    positions_of_step,
    steps_left,
)
from reelscript.reading.plan import Fetched, Plan
from reelscript.reading.settings import StreamSettings
from reelscript.reading.torch_side import tell_torch, this_worker

REMOTE_AHEAD = 4  # members under way at a time where reading them takes long
Step = dict[str, Any]

if TYPE_CHECKING:  # for who checks types; at run time `tell_torch` does it, if torch is there
    from torch.utils.data import IterableDataset

    _ForTorch = IterableDataset[Step]
else:
    _ForTorch = object


class State(TypedDict):
    """Where a stream is; JSON."""

    epoch: int
    position: int  # windows of this epoch that were seen, over all ranks
    of: str  # which order this is a position in


class Stream(ABC, _ForTorch):
    """Steps of training data; a torch IterableDataset where torch is installed.

    Attributes:
        settings: how it is read.
        faults: how many damaged samples were gone past since it was opened, by kind.
    """

    def __init__(self, store: Store, rows: pa.Table, settings: StreamSettings) -> None:
        self.store = store
        self.settings = settings
        self.faults: Counter[str] = Counter()
        self._rows = rows
        self._epoch = self._position = self._epoch_faults = 0
        self._plan: tuple[int, Plan] | None = None
        tell_torch(Stream)

    @property
    @abstractmethod
    def identity(self) -> str:
        """A digest of what decides which windows there are in which order."""

    @abstractmethod
    def _drawn(self, epoch: int) -> Plan:
        """Returns the plan of an epoch."""

    @abstractmethod
    def _members(self, store: Store) -> Members:
        """Returns a reader of members."""

    @abstractmethod
    def _wanted(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """Returns which members of a sample are read."""

    @abstractmethod
    def _made(self, fetched: Fetched, numbers: np.random.Generator | None) -> Step:
        """Returns one window, decoded; by chance if there are `numbers`. Raises Damaged."""

    def plan(self, epoch: int | None = None) -> Plan:
        """Returns the windows of an epoch, by default the current one. Reads no video."""
        epoch = self._epoch if epoch is None else epoch
        if self._plan is None or self._plan[0] != epoch:
            self._plan = (epoch, self._drawn(epoch))
        return self._plan[1]

    @property
    def refused(self) -> dict[str, int]:
        """How many windows or passages the current epoch lacks, by reason."""
        return dict(self.plan().refused)

    def __len__(self) -> int:
        """Steps of this rank in the whole current epoch: exact, and equal on all ranks."""
        pad = self.settings.equal == "pad"
        return steps_left(len(self.plan().order), 0, self._per_step, pad)

    def state_dict(self) -> State:
        """Returns where the trainer is: the step after the last one that was received."""
        return {"epoch": self._epoch, "position": self._position, "of": self.identity}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where a state was taken.

        The number of ranks and the size of batches may be others than they were.

        Raises:
            UsageError: it is the state of a stream with other windows or another order.
        """
        if state["of"] != self.identity:
            raise UsageError(
                "this state was taken over other data or with other settings: "
                "the same corpus, release, rule, seed and shuffling are needed to go on"
            )
        self._epoch, self._position = int(state["epoch"]), int(state["position"])
        self._epoch_faults = 0

    def set_epoch(self, epoch: int) -> None:
        """Goes to the beginning of an epoch."""
        self._epoch, self._position, self._epoch_faults = epoch, 0, 0

    def received(self, step: Mapping[str, Any]) -> None:
        """Moves `state_dict()` behind a step and counts its faults; call it for every step.

        Only the process that gets the steps of all workers knows where the trainer is. Without
        workers the stream has done it before it yielded the step, and nothing happens.

        Raises:
            TooManyFaults: the workers together went past more damaged samples than `max_faults`.
        """
        state = step["state"]
        if (state["epoch"], state["position"]) == (self._epoch, self._position):
            return
        found: list[Fault] = step["faults"]
        self.faults.update(fault.kind for fault in found)
        self._epoch_faults += len(found)
        if found:
            self._check(self._epoch_faults, found[-1])
        if state["epoch"] != self._epoch:
            self._epoch_faults = 0
        self._epoch, self._position = state["epoch"], state["position"]

    def __iter__(self) -> Iterator[Step]:
        """Yields the steps of this epoch that are left; in a worker of torch, its part of them.

        Raises:
            Damaged: a sample is not what the index says, and `on_fault` is "raise".
            TooManyFaults: more than `max_faults` of the windows were gone past.
            DataError: there are too few windows for one step.
        """
        worker, workers = this_worker()
        epoch, position, of = self._epoch, self._position, self.identity
        plan, per_step = self.plan(epoch), self._per_step
        if len(self) == 0:
            raise DataError(
                f"{len(plan.order)} windows are too few for a step of {per_step}, "
                f"{self.settings.world} ranks together; refused: {dict(plan.refused)}"
            )
        steps = steps_left(len(plan.order), position, per_step, self.settings.equal == "pad")
        for number, step in self._steps(plan, epoch, position, range(worker, steps, workers)):
            after = position + (number + 1) * per_step
            ended = number + 1 == steps
            step["state"] = State(
                epoch=epoch + 1 if ended else epoch, position=0 if ended else after, of=of
            )
            if workers == 1:
                self.received(step)
            yield step
        self.set_epoch(epoch + 1)  # also in a worker that is kept for the next epoch

    def _steps(
        self, plan: Plan, epoch: int, position: int, steps: range
    ) -> Iterator[tuple[int, Step]]:
        """Yields some steps with their numbers, counted from `position`."""
        settings, total = self.settings, len(plan.order)
        batch = settings.batch_size or 1
        members = self._members(Store(self.store.url))  # a connection does not survive a fork
        places = (
            place
            for step in steps
            for place in positions_of_step(
                position, step, settings.rank, settings.world, batch, total
            )
        )

        def fetch(number: int) -> Fetched:
            row = self._row(int(plan.samples[number]))
            place = tuple(int(part) for part in plan.places[number])
            return Fetched(row, place, members.read(row, self._wanted(row)))

        windows, faults, found = list[Step](), list[Fault](), 0
        to_come = ahead(fetch, (int(plan.order[place]) for place in places), self._depth)
        with contextlib.closing(to_come):
            done = iter(steps)
            for number, fetched in to_come:
                windows.append(self._window(epoch, number, fetched, fetch, faults))
                if faults and settings.on_fault == "skip":
                    self._check(found + len(faults), faults[-1])
                if len(windows) == batch:
                    made = windows[0] if settings.batch_size is None else _stacked(windows)
                    yield next(done), made | {"faults": faults}
                    found += len(faults)
                    windows, faults = [], []

    def _window(
        self,
        epoch: int,
        number: int,
        fetched: Callable[[], Fetched],
        fetch: Callable[[int], Fetched],
        faults: list[Fault],
    ) -> Step:
        """Returns a window, or the one that takes its place; adds what was wrong to `faults`."""
        settings, asked, tried = self.settings, number, set[int]()
        while True:
            drawn = generator(settings.seed, Purpose.WINDOW, epoch, number)
            try:
                return self._made(fetched(), drawn if settings.random else None) | {
                    "window": number
                }
            except Damaged as error:
                if settings.on_fault == "raise":
                    raise
                faults.append(fault_of(error))
                self._check(len(faults), faults[-1])
            tried.add(number)
            spare = generator(settings.seed, Purpose.REPLACEMENT, epoch, asked, len(tried))
            while number in tried:  # not all are: so many faults are too many
                number = int(spare.integers(len(self.plan(epoch).order)))
            fetched = partial(fetch, number)

    def _row(self, sample: int) -> dict[str, Any]:
        row: dict[str, Any] = self._rows.slice(sample, 1).to_pylist()[0]
        return row

    @property
    def _per_step(self) -> int:
        return self.settings.world * (self.settings.batch_size or 1)

    @property
    def _depth(self) -> int:
        if self.settings.read_ahead is not None:
            return self.settings.read_ahead
        return 0 if self.store.local_root is not None else REMOTE_AHEAD

    def _check(self, faults: int, last: Fault) -> None:
        expected = len(self) * (self.settings.batch_size or 1)
        check_share(faults, expected, self.settings.max_faults, last.detail)

    def _order(self, samples: Numbers, epoch: int) -> Numbers:
        """Returns the order of an epoch's windows, which are of these samples."""
        if not self.settings.shuffle:
            return np.arange(len(samples), dtype=np.int64)
        settings = self.settings
        return epoch_order(self._shards[samples], settings.seed, epoch, settings.block_shards)

    @cached_property
    def _shards(self) -> Numbers:
        """Which shard each sample lies in: (samples,)."""
        shards = self._rows["shard"]
        return np.asarray(pc.index_in(shards, value_set=pc.unique(shards)), np.int64)


def _stacked(windows: list[Step]) -> Step:
    """Returns a batch: arrays stacked, (B, ...), everything else in lists."""
    arrays = {
        name: isinstance(value, np.ndarray | int | float) for name, value in windows[0].items()
    }
    return {
        name: np.stack([w[name] for w in windows]) if stack else [w[name] for w in windows]
        for name, stack in arrays.items()
    }
