"""Stages that do on purpose what real ones do by accident, to test engines with.

```python
from reelscript.pipeline.testing import KillsItsWorker, videos

ended = list(engine.run([KillsItsWorker()], videos(5, 2), listener))  # videos()[2] kills its worker
```

They harm the videos that have the marker in their id, and only measure the others.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import mmap
import os
import signal
import subprocess
import sys
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from reelscript.pipeline.errors import Reject, StageError, UsageError
from reelscript.pipeline.stage import Live, Resources, Stage, threshold, tuning
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video

MARKER = "poison"
BLOCK_BYTES = 16 << 20
FOR_EVER_S = 3600.0


def videos(count: int, *marked: int) -> list[Video]:
    """Returns pending videos `v000`, `v001`, ...; at the indices `marked` the id has the marker."""
    ids = [f"v{n:03d}_{MARKER}" if n in marked else f"v{n:03d}" for n in range(count)]
    return [
        Video(video_id=i, url=f"{i}.mp4", location=f"/nowhere/{i}.mp4", position=n)
        for n, i in enumerate(ids)
    ]


def noted(log: str | Path) -> list[list[str]]:
    """Returns the lines of a log: ["open", stage, pid] of openings, else [video_id, stage, pid]."""
    path = Path(log)
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


@dataclass(frozen=True)
class Fake(Stage):
    """A stage that measures the length of the url, after it has done its act to a marked video.

    Attributes:
        marker: what the id of a marked video holds.
        log: a file to which each opening and each measurement is added as one line; "" for none.
    """

    marker: str = MARKER
    log: str = tuning("")

    reads: ClassVar[tuple[str, ...]] = ("url",)
    writes: ClassVar[tuple[str, ...]] = ("words",)

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""
        self._note("open")
        yield self._live

    def _live(self, video: Video, workspace: Workspace) -> Video:
        self._note(video.video_id)
        if self.marker in video.video_id:
            self.act(video)
        return dataclasses.replace(video, words=len(video.url))

    def _note(self, what: str) -> None:
        if self.log:
            with Path(self.log).open("a") as file:  # one short write: lines of processes do not mix
                file.write(f"{what} {self.name} {os.getpid()}\n")

    @abstractmethod
    def act(self, video: Video) -> None:
        """Does to a marked video what the stage is for."""


@dataclass(frozen=True)
class Counts(Fake):
    """Measures `factor` times the length of the url and judges it: to see what is remembered.

    Attributes:
        factor: a setting that changes the facts.
        max_words: a threshold.
        hurry: a setting that changes no fact.
    """

    factor: int = 1
    max_words: int | None = threshold(None)
    hurry: int = tuning(0)

    name: ClassVar[str] = "counts"
    rejects: ClassVar[tuple[str, ...]] = ("too_many",)

    def _live(self, video: Video, workspace: Workspace) -> Video:
        found = super()._live(video, workspace)
        return dataclasses.replace(found, words=self.factor * (found.words or 0))

    def act(self, video: Video) -> None:
        """Does nothing."""

    def judge(self, video: Video) -> None:
        """Rejects what has more words than `max_words`."""
        words = video.words or 0
        if self.max_words is not None and words > self.max_words:
            raise Reject("too_many", words=words, max_words=self.max_words)


@dataclass(frozen=True)
class Waits(Fake):
    """Takes its time over every video."""

    wait_s: float = tuning(0.0)

    name: ClassVar[str] = "waits"
    writes: ClassVar[tuple[str, ...]] = ("frames",)

    def _live(self, video: Video, workspace: Workspace) -> Video:
        time.sleep(self.wait_s)
        return dataclasses.replace(super()._live(video, workspace), frames=len(video.url))

    def act(self, video: Video) -> None:
        """Does nothing."""


@dataclass(frozen=True)
class Idles(Waits):
    """Waits, each time, and nothing of it is remembered: what else it takes is the engine's."""

    name: ClassVar[str] = "idles"
    remembers: ClassVar[bool] = False


@dataclass(frozen=True)
class OnGpu(Waits):
    """Asks for a GPU, and uses none."""

    name: ClassVar[str] = "on_gpu"
    writes: ClassVar[tuple[str, ...]] = ("windows",)

    @property
    def resources(self) -> Resources:
        """One GPU."""
        return Resources(gpus=1.0)

    def _live(self, video: Video, workspace: Workspace) -> Video:
        return dataclasses.replace(super()._live(video, workspace), windows=1)


@dataclass(frozen=True)
class IdlesOnGpu(OnGpu):
    """Waits as a GPU would be waited for, and nothing of it is remembered."""

    name: ClassVar[str] = "idles_on_gpu"
    remembers: ClassVar[bool] = False


@dataclass(frozen=True)
class RejectsEvery(Fake):
    """Rejects the videos at every `nth` position, from the first on."""

    nth: int = 2

    name: ClassVar[str] = "rejects_every"
    rejects: ClassVar[tuple[str, ...]] = ("nth",)
    reads: ClassVar[tuple[str, ...]] = ("url", "position")

    def _live(self, video: Video, workspace: Workspace) -> Video:
        if video.position % self.nth == 0:
            raise Reject("nth", position=video.position)
        return super()._live(video, workspace)

    def act(self, video: Video) -> None:
        """Does nothing."""


@dataclass(frozen=True)
class Raises(Fake):
    """Raises StageError(kind) on marked videos, or ValueError where `kind` is None."""

    kind: str | None = None
    message: str = "broken"

    name: ClassVar[str] = "raises"

    def act(self, video: Video) -> None:
        """Raises."""
        if self.kind is not None:
            raise StageError(self.kind, self.message)
        raise ValueError(self.message)


@dataclass(frozen=True)
class CannotOpen(Fake):
    """Finds at opening that the machine is not as it needs it: a model is missing."""

    model: str = "none"

    name: ClassVar[str] = "cannot_open"

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Raises UsageError."""
        if self.model:
            raise UsageError(f"there is no model {self.model!r} on this machine")
        yield self._live

    def act(self, video: Video) -> None:
        """Does nothing."""


@dataclass(frozen=True)
class BreaksAtOpening(Fake):
    """Raises something unforeseen at opening, or kills its worker there.

    Attributes:
        kills: it does the latter, at its first so many openings (counted in the log).
        full_disk: what it raises is that a disk is full.
    """

    kills: int = 0
    full_disk: bool = False

    name: ClassVar[str] = "breaks_at_opening"

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Raises RuntimeError or OSError, or dies by SIGKILL."""
        self._note("open")
        if self.kills and sum(what == "open" for what, *_ in noted(self.log)) > self.kills:
            yield self._live
            return
        if self.kills:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.full_disk:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/models/base")
        raise RuntimeError("the library is of another version")

    def act(self, video: Video) -> None:
        """Does nothing."""


@dataclass(frozen=True)
class KillsItsWorker(Fake):
    """Kills the process it runs in, as a decoder that crashes does: never run it in your own.

    Attributes:
        times: only at the first so many measurements of marked videos (counted in the log).
    """

    times: int | None = None

    name: ClassVar[str] = "kills_its_worker"

    def act(self, video: Video) -> None:
        """Dies by SIGKILL."""
        if self.times is None or sum(self.marker in i for i, *_ in noted(self.log)) <= self.times:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Hangs(Fake):
    """Never comes back from a marked video.

    Attributes:
        locked: in native code that holds the interpreter's lock, so that no thread runs.
    """

    locked: bool = False

    name: ClassVar[str] = "hangs"

    def act(self, video: Video) -> None:
        """Sleeps."""
        if self.locked:
            ctypes.PyDLL(None).sleep(int(FOR_EVER_S))
        time.sleep(FOR_EVER_S)


@dataclass(frozen=True)
class Leaks(Fake):
    """Keeps memory for every video, marked or not, until its process ends."""

    leaked_bytes: int = 0

    name: ClassVar[str] = "leaks"

    def _live(self, video: Video, workspace: Workspace) -> Video:
        _LEAKED.append(bytearray(b"\1" * self.leaked_bytes))
        return super()._live(video, workspace)

    def act(self, video: Video) -> None:
        """Does nothing."""


_LEAKED: list[bytearray] = []


@dataclass(frozen=True)
class BurnsCpu(Fake):
    """Computes for ever at a marked video."""

    name: ClassVar[str] = "burns_cpu"

    def act(self, video: Video) -> None:
        """Spins."""
        while True:
            pass


@dataclass(frozen=True)
class StartsChild(Fake):
    """Starts a program at a marked video and waits for it, for ever; the log gets its pid.

    Attributes:
        burns: the program computes; else it sleeps.
    """

    burns: bool = False

    name: ClassVar[str] = "starts_child"

    def act(self, video: Video) -> None:
        """Waits for a program."""
        code = "while True: pass" if self.burns else f"import time; time.sleep({FOR_EVER_S})"
        with subprocess.Popen([sys.executable, "-c", code]) as child:
            self._note(f"child:{child.pid}")
            child.wait()


@dataclass(frozen=True)
class FillsDisk(Fake):
    """Finds the disk full at a marked video."""

    code: int = errno.ENOSPC

    name: ClassVar[str] = "fills_disk"

    def act(self, video: Video) -> None:
        """Raises OSError, wrapped as libraries do."""
        try:
            raise OSError(self.code, os.strerror(self.code), f"/scratch/{video.video_id}/part")
        except OSError as error:
            raise StageError("connection_failed", "the copy ended early") from error


@dataclass(frozen=True)
class EatsMemory(Fake):
    """Asks for memory and writes to it, up to `most_bytes`.

    Attributes:
        shared: of the kind that RLIMIT_DATA does not count; it is then kept until the worker dies.
    """

    most_bytes: int = 1 << 30
    shared: bool = False

    name: ClassVar[str] = "eats_memory"

    def act(self, video: Video) -> None:
        """Eats."""
        eaten: list[mmap.mmap | bytearray] = []
        while len(eaten) * BLOCK_BYTES < self.most_bytes:
            if self.shared:
                block = mmap.mmap(-1, BLOCK_BYTES)
                block.write(b"\1" * BLOCK_BYTES)
                eaten.append(block)
            else:
                eaten.append(bytearray(b"\1" * BLOCK_BYTES))
        if self.shared:
            time.sleep(FOR_EVER_S)
