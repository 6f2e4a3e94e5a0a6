"""The processes that train together, as torchrun starts them; without it, this one alone."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import distributed

from reelscript.pipeline.errors import ReelscriptError, UsageError

T = TypeVar("T")
FAILED_EXIT, USAGE_EXIT = 1, 2
# After a collective gloo's threads let go of its tensors, for which they need the interpreter. Who
# ends the group waits for them and holds the interpreter: without a pause both may wait for ever.
LET_GO_S = 0.2


class OtherProcessEnded(ReelscriptError):
    """A process of this run is gone, so that the others cannot go on."""


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0; process 0 writes what is written.
        world: how many there are.
        local_rank: its number on its machine.
        local_world: how many there are on its machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def together(self, act: Callable[[], T]) -> T:
        """Returns what `act` returns, once it went well in every process.

        Raises:
            ReelscriptError: `act` did; where it did in several processes, in the first of them,
                while the others exit without a word.
        """
        value: T | None = None
        error: ReelscriptError | None = None
        try:
            value = act()
        except ReelscriptError as found:
            error = found
        codes = self.gather(0 if error is None else exit_code(error))
        failed = [rank for rank, code in enumerate(codes) if code]
        if failed and failed[0] != self.rank:
            raise SystemExit(codes[failed[0]])
        if error is not None:
            raise error
        return value  # type: ignore[return-value]

    def first(self, act: Callable[[], T]) -> T:
        """Returns in every process what `act` returns in process 0, where alone it is called.

        Raises:
            ReelscriptError: `act` did, in process 0; the others exit without a word.
        """
        made = [self.together(lambda: act() if self.is_first else None)]
        if self.world > 1:
            distributed.broadcast_object_list(made)
        return made[0]  # type: ignore[return-value]

    def gather(self, value: T) -> list[T]:
        """Returns the values of all processes, by rank."""
        if self.world == 1:
            return [value]
        values: list[T] = [value] * self.world
        distributed.all_gather_object(values, value)
        return values

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Returns for each flag whether it is set in any process. Waits for no GPU."""
        if self.world == 1:
            return flags
        found = torch.tensor(flags, dtype=torch.uint8)
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return tuple(bool(flag) for flag in found)

    def device(self, asked: Literal["auto", "cpu", "cuda"]) -> torch.device:
        """Returns the device of this process.

        Raises:
            UsageError: there is no GPU for it.
        """
        gpus = torch.cuda.device_count() if asked != "cpu" else 0
        if asked == "cuda" and not gpus:
            raise UsageError("compute.device is 'cuda', but torch finds no GPU: set it to 'cpu'")
        if not gpus:
            return torch.device("cpu")
        if self.local_world > gpus:
            raise UsageError(
                f"torchrun started {self.local_world} processes here, but there "
                f"{'is 1 GPU' if gpus == 1 else f'are {gpus} GPUs'}: give --nproc-per-node {gpus}"
            )
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)


def exit_code(error: ReelscriptError) -> int:
    """Returns the exit code of an error, for the processes that exit because of another's."""
    return USAGE_EXIT if isinstance(error, UsageError) else FAILED_EXIT


@contextlib.contextmanager
def processes() -> Iterator[Processes]:
    """Gives this process among the others, joined with them where torchrun started several.

    Raises:
        OtherProcessEnded: another one is gone.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes()
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    has_gpus = torch.cuda.is_available()
    if has_gpus:
        torch.cuda.set_device(local % torch.cuda.device_count())
    distributed.init_process_group("cpu:gloo,cuda:nccl" if has_gpus else "gloo")
    try:
        yield Processes(rank, world, local, int(os.environ.get("LOCAL_WORLD_SIZE", str(world))))
    except (distributed.DistError, RuntimeError) as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        raise OtherProcessEnded(
            "another process of this run has ended, and said why if it could; "
            "the same command goes on from the newest checkpoint"
        ) from error
    finally:
        time.sleep(LET_GO_S)
        distributed.destroy_process_group()
