"""Stores that fail by a plan: full disks, half puts, late copies, kills. Ships for tests.

```python
corpus = Store(str(tmp_path / "corpus"))     # a local folder, or Store(faulty_url()), a dumb remote
with faults(Fault("put", at=3, errno=ENOSPC)) as plan, pytest.raises(StorageError):
    publish(corpus, ...)                     # its third put finds the disk full

with faults() as plan:                       # nothing fails: how many operations are there?
    publish(corpus, ...)
for k in range(1, plan.count("write") + 1):  # a kill at each of them
    with faults(Fault("write", at=k, crash=True)), pytest.raises(Crash):
        publish(...)
    publish(...)                             # the same again makes the same corpus
```

The plan holds for every local `Store` and every `faulty://` one of this process (worker processes
know nothing of it). A `faulty://` store lives in memory, over many plans; it is the worst that a
store may be: a put that fails half way leaves half an object, which readers see.

The operations: `put` (also put_file, put_if_absent), `create`, `copy`, `move` (on `faulty://` a
copy and a delete), `delete`; `get` (also get_range, open_read), `info` (exists, size), `list`.
`write` stands for each of the first five, `read` for each of the last three, `any` for all.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from reelscript.pipeline import attempts
from reelscript.pipeline.disk import Disk, SourceUnreadable

WRITES = ("put", "create", "copy", "move", "delete")
READS = ("get", "info", "list")
FOR_EVER = 1 << 60


class Crash(BaseException):
    """The process is killed here: after it no operation of the plan does anything any more."""


@dataclass(frozen=True)
class Fault:
    """What happens to one operation, or to several in a row.

    Attributes:
        operation: its kind, or "write", "read" or "any".
        at: which of those that match, counted from 1; an attempt that is repeated counts again.
        times: how many from there on; FOR_EVER for a disk that stays broken.
        name: a pattern (fnmatch) that the path matches.
        errno: fails with this error of the system; None: it does not fail.
        crash: fails with Crash instead, and so does all that follows.
        part: of put and create: this share of the bytes is written before it fails. On a local disk
            they lie in a part file then, on `faulty://` under the name. None: nothing is written.
        done: it fails after all has been done: only the answer is lost.
        slow_s: sleeps so long before it.
        again: is done once more by itself, after so many further operations (or at the end of the
            plan): a late copy of a put, perhaps on top of a newer one.
    """

    operation: str = "write"
    at: int = 1
    times: int = 1
    name: str = "*"
    errno: int | None = None
    crash: bool = False
    part: float | None = None
    done: bool = False
    slow_s: float = 0.0
    again: int | None = None

    def matches(self, kind: str, path: str) -> bool:
        """Returns whether an operation is one of those that this fault counts."""
        kinds = {"write": WRITES, "read": READS, "any": WRITES + READS}
        wanted = kinds.get(self.operation, (self.operation,))
        return kind in wanted and fnmatch.fnmatchcase(path, self.name)


@dataclass
class Plan:
    """Faults to come, and what has happened so far.

    Attributes:
        faults: those to come; of several that hit one operation the first strikes.
        ignore: a pattern of paths that are neither counted nor hit.
        operations: kind and path of all that was asked for, in order, with repeated attempts.
        dead: a Crash has struck.
    """

    faults: tuple[Fault, ...] = ()
    ignore: str = ""
    operations: list[tuple[str, str]] = field(default_factory=list)
    dead: bool = False

    def __post_init__(self) -> None:
        self._seen = [0] * len(self.faults)
        self._late: list[tuple[int, Callable[[], object]]] = []
        self._lock = threading.Lock()
        self._here = threading.local()

    def count(self, operation: str = "any") -> int:
        """Returns how many operations of a kind were asked for ("write", "read", "any" too)."""
        return sum(Fault(operation).matches(kind, path) for kind, path in self.operations)

    def run(
        self, kind: str, path: str, do: Callable[[], Any], half: Callable[[float], object] | None
    ) -> Any:
        """Does an operation as the plan has it. `half` stores a share of what a put would store."""
        if getattr(self._here, "inside", False) or fnmatch.fnmatchcase(path, self.ignore):
            return do()  # a part of an operation that was counted
        with self._lock:
            if self.dead:
                raise Crash
            fault = self._strikes(kind, path)
            due = [again for when, again in self._late if when <= len(self.operations)]
            self._late = [late for late in self._late if late[0] > len(self.operations)]
            self.operations.append((kind, path))
            if fault is not None and fault.again is not None:
                self._late.append((len(self.operations) + fault.again, do))
        self._here.inside = True
        try:
            _deliver(due)
            return do() if fault is None else self._strike(fault, path, do, half)
        finally:
            self._here.inside = False

    def finish(self) -> None:
        """Delivers what is still late."""
        late, self._late = self._late, []
        _deliver([again for _, again in late])

    def _strikes(self, kind: str, path: str) -> Fault | None:
        """Returns the fault that hits this operation, and counts it for all."""
        hit = None
        for n, fault in enumerate(self.faults):
            if fault.matches(kind, path):
                self._seen[n] += 1
                if hit is None and fault.at <= self._seen[n] < fault.at + fault.times:
                    hit = fault
        return hit

    def _strike(
        self,
        fault: Fault,
        path: str,
        do: Callable[[], Any],
        half: Callable[[float], object] | None,
    ) -> Any:
        time.sleep(fault.slow_s)
        if fault.errno is None and not fault.crash:
            return do()
        if fault.done:
            answer = do()
            if hasattr(answer, "close"):  # an open file
                answer.close()
        elif fault.part is not None and half is not None:
            self._here.cut = fault
            try:
                half(fault.part)
            finally:
                self._here.cut = None
        raise self._error(fault, path)

    def _error(self, fault: Fault, path: str) -> BaseException:
        self.dead = self.dead or fault.crash
        if fault.crash:
            return Crash()
        code = fault.errno or 0
        return OSError(code, os.strerror(code), path)

    def write(self, really: Callable[..., None]) -> Callable[..., None]:
        """Returns what writes part files of a local store: whole, or a share and then the error."""

        def write(disk: Disk, part: Path, pieces: Iterable[bytes]) -> None:
            fault: Fault | None = getattr(self._here, "cut", None)
            if fault is None or fault.part is None:
                really(disk, part, pieces)
                return
            data = b"".join(pieces)
            really(disk, part, [data[: int(len(data) * fault.part)]])
            raise self._error(fault, str(part))

        return write

    def discard(self, really: Callable[..., None]) -> Callable[..., None]:
        """Returns what removes part files: nothing, once the process is killed."""

        def discard(disk: Disk, part: Path) -> None:
            if not self.dead:
                really(disk, part)

        return discard

    def wrapped(self, kind: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a method of a file system that asks this plan first."""

        @functools.wraps(method)
        def call(fs: Any, *args: Any, **kwargs: Any) -> Any:
            named = "create" if kwargs.get("mode") == "create" else kind
            path = str(args[method.__name__ in TO_THE_SECOND])
            do = functools.partial(method, fs, *args, **kwargs)
            half = functools.partial(_half, fs, do, args, kwargs)
            return self.run(named, path, do, half if named in ("put", "create") else None)

        return call


def _deliver(late: Iterable[Callable[[], object]]) -> None:
    for again in late:
        with suppress(OSError, SourceUnreadable):  # of a file that is gone, there is no late copy
            again()


METHODS = {
    "pipe_file": "put",
    "put_file": "put",
    "cp_file": "copy",
    "mv": "move",
    "rm_file": "delete",
    "cat_file": "get",
    "open": "get",
    "info": "info",
    "find": "list",
}
TO_THE_SECOND = ("put_file", "cp_file", "mv")  # methods whose second argument is what they write


class FaultyFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """What stands behind `faulty://`: files in memory, apart from those of `memory://`."""

    protocol = "faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(str(path).removeprefix("faulty://"))


def _half(
    fs: Any, do: Callable[[], Any], args: tuple[Any, ...], kwargs: dict[str, Any], share: float
) -> None:
    """Does a put up to a share of its bytes; that of a local disk fails by itself at that point."""
    if isinstance(fs, Disk):
        do()
        return
    first, second = args[:2]
    put = isinstance(second, bytes)  # else put_file: a source, then the path
    path, data = (first, second) if put else (second, Path(first).read_bytes())
    MemoryFileSystem.pipe_file(fs, path, data[: int(len(data) * share)], **kwargs)


@contextmanager
def faults(*plan: Fault, ignore: str = "") -> Iterator[Plan]:
    """Makes the stores of this process fail by a plan, for the time of the context.

    Attempts are repeated without waiting meanwhile.

    Args:
        plan: the faults; none to only record what is done.
        ignore: a pattern (fnmatch) of paths that are neither counted nor hit, such as
            `*/ledger/runs/*`, which a thread writes at its own time. They work on after a Crash.
    """
    now = Plan(plan, ignore)
    with ExitStack() as patches:
        changed: list[tuple[Any, str, Any]] = [
            (fs, name, now.wrapped(kind, getattr(fs, name)))
            for fs in (Disk, FaultyFileSystem)
            for name, kind in METHODS.items()
        ]
        changed.append((Disk, "write", now.write(Disk.write)))
        changed.append((Disk, "discard", now.discard(Disk.discard)))
        changed.append((attempts, "WAIT_S", 0.0))
        for place, name, value in changed:
            patches.enter_context(mock.patch.object(place, name, value))
        yield now
        now.finish()


def faulty_url() -> str:
    """Returns the URL of a new, empty store in memory that obeys `faults`."""
    fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)
    return f"faulty://{uuid.uuid4().hex}"
