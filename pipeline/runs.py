"""A run tells the store that it runs, what it does and how it ended; one build at a time.

A run claims a number and then overwrites one object, `ledger/runs/000007.json`, every BEAT_S
seconds: a counter that grows, what it does now, and in the end how it ended. There is no lock that
a dead machine could hold: a run is alive as long as its process is there (seen from its own
machine) or its counter grows (seen from another one). Wall clocks are shown to people and never
compared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from reelscript.pipeline.errors import ReelscriptError, UsageError
from reelscript.pipeline.numbered import claim, name_of, numbers
from reelscript.pipeline.processes import this_process
from reelscript.pipeline.run_records import BEAT_S, OPEN, RUNS, RunRecord, alive, run_of, runs
from reelscript.pipeline.store import Store
from reelscript.schemas.text import one_line

KEPT = 20  # the newest runs, of which the objects stay


class Run:
    """One run, as a context manager: tells the store that it runs, and in the end how it ended.

    Args:
        store: the work folder.
        verb: `build` measures, and only one does in a work folder; `publish` runs beside it.
        command: the command line that goes on, for people.
        snapshot: called every BEAT_S seconds from another thread: what it does now, as plain data.

    Raises:
        UsageError: (on entering) another build runs in this work folder.
    """

    def __init__(
        self, store: Store, verb: str, command: str, snapshot: Callable[[], dict[str, Any]]
    ) -> None:
        self.store = store
        self._snapshot = snapshot
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beats, name="reelscript-beat", daemon=True)
        self.record = RunRecord(
            number=0, verb=verb, command=command, started_at=now(), at=now(), **this_process()
        )

    @property
    def number(self) -> int:
        """The number of this run, from 1; 0 before it has one."""
        return self.record.number

    def __enter__(self) -> Run:
        def numbered(number: int) -> bytes:
            self.record = dataclasses.replace(self.record, number=number)
            return self.record.to_json()

        claim(self.store, RUNS, numbered, gap=KEPT)
        OPEN.add((self.store.url, self.number))
        self._thread.start()
        try:
            if self.record.verb == "build":
                self._refuse()
        except BaseException as error:
            ended, said = how_it_ended(error)
            self._end("refused" if isinstance(error, UsageError) else ended, said)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._end(*how_it_ended(error))

    def _end(self, ended: str, said: str | None) -> None:
        self._over.set()
        self._thread.join(timeout=BEAT_S)
        self._put(ended=ended, said=said)
        OPEN.discard((self.store.url, self.number))
        with contextlib.suppress(Exception):  # old objects harm nobody
            self._prune()

    def _refuse(self) -> None:
        """Raises UsageError where another build is alive; notes which runs were found dead.

        Of two that start at once both see the other or only the higher number sees the lower one,
        because each looks after it stored its own: so looking at lower numbers is enough, and one
        goes on.
        """
        others = [r for r in runs(self.store) if r.number < self.number and r.ended is None]
        for record, lives in zip(others, alive(self.store, others), strict=True):
            if lives and record.verb == "build":
                raise UsageError(_in_the_way(record, self.store.url))
            left = None if lives else run_of(self.store, record.number)
            if left is not None and left.ended is None:
                died = dataclasses.replace(left, ended="died", progress={})
                self.store.put(name_of(RUNS, left.number), died.to_json())

    def _beats(self) -> None:
        while not self._over.wait(BEAT_S):
            self._put()

    def _put(self, **end: Any) -> None:
        """Writes the record. What goes wrong is not the build's: the next beat tries again."""
        with self._lock:  # no late beat comes after the end
            if self.record.ended is not None:
                return
            progress = self.record.progress
            with contextlib.suppress(Exception):
                progress = json.loads(json.dumps(self._snapshot(), allow_nan=False))
            beat = self.record.beat + 1
            self.record = dataclasses.replace(
                self.record, beat=beat, at=now(), progress=progress, **end
            )
            with contextlib.suppress(Exception):
                self.store.put(name_of(RUNS, self.number), self.record.to_json())

    def _prune(self) -> None:
        """Removes the objects of old runs that have ended, and those that hold no record."""
        taken = numbers(self.store, RUNS)
        for number in taken:
            if number <= taken[-1] - KEPT:
                record = run_of(self.store, number)
                if record is None or record.ended is not None:
                    self.store.delete(name_of(RUNS, number))


def now() -> str:
    """Returns the wall clock as ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def how_it_ended(error: BaseException | None) -> tuple[str, str | None]:
    """Returns how a run ended that ended with `error`, and the sentence that tells why."""
    if error is None:
        return "done", None
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", None
    if isinstance(error, ReelscriptError):
        return "stopped", one_line(str(error), 1000)
    if isinstance(error, OSError):
        said = f"{error.strerror or error}: {error.filename or ''}".removesuffix(": ")
        return "stopped", one_line(said, 1000)
    return "broke", one_line(f"{type(error).__name__}: {error}", 1000)


def _in_the_way(other: RunRecord, where: str) -> str:
    phase = str(other.progress.get("phase") or "starting")
    return one_line(
        f"another build runs in {where}: on {other.host}, process {other.pid}, since "
        f"{other.started_at}, now in phase {phase!r}; wait for its end or stop it, then give the "
        "same command again, or give this build another work folder and another -o",
        1000,
    )
