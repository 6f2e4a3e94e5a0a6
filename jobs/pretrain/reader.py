"""What the training loop asks of a stream of `reading`, and the processes that decode it."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypedDict

from torch.utils.data import DataLoader, IterableDataset

from reelscript.pipeline.errors import DataError, ReelscriptError

STEPS_AHEAD = 4  # that each worker has ready
LAST_STEP_S = 30  # after which torchrun kills what it asked to end


class Fault(Protocol):
    """A sample that could not be read, and in whose place another one stands."""

    @property
    def kind(self) -> str:
        """What is wrong, as a short name."""

    @property
    def key(self) -> str:
        """Of the sample."""

    @property
    def detail(self) -> str:
        """What was found, for people."""


class Step(TypedDict):
    """B windows, or B captioned clips, of one process; a stream may tell more.

    Attributes:
        frames: uint8 (B, T, H, W, 3), square, of the size of the network.
        text: of each window its K transcripts in order of time, of a captioned clip its one.
        key: of the samples that windows are cut from.
        window: (B,), numbers of the windows in their epoch.
        faults: damaged samples that were met.
    """

    frames: Any
    text: Sequence[Sequence[str]]
    key: Sequence[str]
    window: Any
    faults: Sequence[Fault]


class Stream(Protocol):
    """Steps in an order that seed and epoch alone decide, however many processes share them."""

    @property
    def refused(self) -> Mapping[str, int]:
        """How many windows an epoch lacks, by reason."""

    def __len__(self) -> int:
        """Returns how many steps an epoch has: the same in every process."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Yields what is left of the epoch, and is then at the next one."""
        ...

    def received(self, step: Any) -> None:
        """Moves the state behind a step."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """Returns `epoch` and what else is needed to go on behind the last step: plain values."""
        ...

    def load_state_dict(self, state: Any) -> None:
        """Goes on where the stream was that gave this state."""
        ...


class Steps(NamedTuple):
    """A stream, and how many processes decode it.

    Attributes:
        stream: made for this process.
        workers: 0: it is decoded in this process, which waits for it.
    """

    stream: Stream
    workers: int = 0

    def epoch(self) -> Iterator[Step]:
        """Yields what is left of the epoch; the stream's state is behind the last step yielded.

        Raises:
            DataError: too much is damaged, or a worker died.
        """
        for step in self._decoded():
            self.stream.received(step)
            yield step

    def _decoded(self) -> Iterator[Step]:
        if self.workers == 0:
            yield from self.stream
            return
        assert isinstance(self.stream, IterableDataset)
        loader = DataLoader(
            self.stream,
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=STEPS_AHEAD,
            worker_init_fn=_outlive_the_step,
        )
        batches: Any = iter(loader)
        try:
            yield from batches
        except ReelscriptError as error:
            raise DataError(_sentence(error)) from error
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise DataError(
                "a process that decodes windows was killed, perhaps for want of memory: "
                "lower data.workers; the same command goes on"
            ) from error
        finally:
            batches._shutdown_workers()  # else they stay as long as anything refers to an error


def _sentence(error: ReelscriptError) -> str:
    """Returns what an error says, without the traceback that torch puts before a worker's."""
    said = str(error).strip()
    return said.splitlines()[-1].partition(": ")[2] if said.startswith("Caught ") else said


def _outlive_the_step(_worker: int) -> None:
    """Leaves Ctrl-C to the trainer, and after SIGTERM goes on for as long as a step may take.

    Both come to all processes of a terminal or of torchrun; the trainer still needs a batch to end
    its step. It then tells its workers to end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LAST_STEP_S))
