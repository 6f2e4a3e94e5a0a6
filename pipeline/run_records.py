"""What the runs in a work folder tell of themselves, and which of them are alive."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from reelscript.pipeline.numbered import name_of, numbers
from reelscript.pipeline.processes import exists, this_process
from reelscript.pipeline.store import Store

BEAT_S = 2.0
WATCH_S = 3 * BEAT_S + 2.0  # for a beat of a run on another machine
POLL_S = 0.5
RUNS = "ledger/runs"
OPEN: set[tuple[str, int]] = set()  # store and number of the runs of this process


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What stands in the object of a run.

    Attributes:
        verb: build or publish.
        command: the command line that goes on.
        host: the machine's name, for people.
        machine: where `pid` and `born` mean something; see `this_process`.
        started_at: wall clock of its machine, ISO 8601, UTC.
        beat: grows while it runs.
        at: wall clock of the last beat.
        progress: what it does; `Progress.snapshot`.
        ended: None while it runs; done, interrupted, stopped (`said` tells why, in a sentence),
            refused (another build ran), broke (a fault of the program), or died (found dead by a
            later build).
    """

    number: int
    verb: str
    command: str
    host: str
    machine: str
    pid: int
    born: str
    started_at: str
    beat: int = 0
    at: str = ""
    progress: dict[str, Any] = field(default_factory=dict)
    ended: str | None = None
    said: str | None = None

    @classmethod
    def from_json(cls, data: bytes) -> RunRecord:
        """Returns the record that an object holds. Raises ValueError where it holds none."""
        try:
            values = json.loads(data, parse_constant=_no_number)
        except RecursionError as error:
            raise ValueError("no record of a run") from error
        if not isinstance(values, dict):
            raise ValueError("no record of a run")
        known = {f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values}
        try:
            record = cls(**known)
        except TypeError as error:
            raise ValueError("no record of a run") from error
        whole = all(type(n) is int for n in (record.number, record.pid, record.beat))
        names = (record.verb, record.command, record.host, record.machine, record.born)
        texts = (*names, record.started_at, record.at)
        maybe = all(t is None or isinstance(t, str) for t in (record.ended, record.said))
        right = whole and maybe and all(isinstance(t, str) for t in texts)
        if not (right and type(record.progress) is dict):
            raise ValueError("no record of a run")
        try:
            record.to_json()  # what can be read but not be written again: too deep, 1e999
        except RecursionError as error:
            raise ValueError("no record of a run") from error
        return record

    def to_json(self) -> bytes:
        """Returns the record as JSON. Raises ValueError where a number in it is not finite."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False).encode()


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def runs(store: Store) -> list[RunRecord]:
    """Returns the records of all runs, by number; objects that hold none are left out."""
    found = (run_of(store, number) for number in numbers(store, RUNS))
    return [record for record in found if record is not None]


def run_of(store: Store, number: int) -> RunRecord | None:
    """Returns the record of one run; None where there is none or it is damaged."""
    try:
        record = RunRecord.from_json(store.get(name_of(RUNS, number)))
    except (FileNotFoundError, ValueError):
        return None
    return record if record.number == number else None


def alive(store: Store, records: Sequence[RunRecord], watch_s: float = WATCH_S) -> list[bool]:
    """Returns for each run whether it runs.

    One on this machine does if its process is there. One on another machine does if it beats while
    we watch, for at most `watch_s` by our own clock that never jumps; all are watched at once.
    """
    here = this_process()
    lives = {
        r.number: _runs_here(store, r)
        for r in records
        if r.ended is not None or r.machine == here["machine"]
    }
    until = time.monotonic() + watch_s
    while unknown := [r for r in records if r.number not in lives]:
        for record in unknown:
            found = run_of(store, record.number)
            if found is None or found.ended is not None:
                lives[record.number] = False
            elif found.beat != record.beat:
                lives[record.number] = True
        if time.monotonic() > until:
            break
        time.sleep(POLL_S)
    return [lives.get(r.number, False) for r in records]


def _runs_here(store: Store, record: RunRecord) -> bool:
    if record.ended is not None or not exists(record.pid, record.born):
        return False
    return record.pid != os.getpid() or (store.url, record.number) in OPEN
