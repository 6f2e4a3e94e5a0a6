"""Runs take turns to publish: a release is cut by one at a time."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reelscript.pipeline.errors import StorageError
from reelscript.pipeline.numbered import claim, name_of, numbers
from reelscript.pipeline.run_records import POLL_S, RunRecord, alive, run_of
from reelscript.pipeline.runs import Run
from reelscript.pipeline.store import Store

TICKETS = "ledger/publishing"


@contextmanager
def turn(store: Store, run: Run) -> Iterator[Callable[[], None]]:
    """Waits until it is this run's turn to publish, and holds it; yields a check.

    Who wants to publish draws a ticket, the next number, and waits while a lower one of a run that
    is alive exists. Two never have the turn at once: let x < y both have it. y found no ticket x,
    so x was stored after y looked, and thus after y was stored. But whoever stores a ticket looks
    afterwards for higher ones, and gives it back where there is one (`claim`); x would have found
    y. Tickets of dead runs are removed by whoever waits for them.

    This rests on a store where one sees at once what was stored before: local disks and today's
    object stores. It does not cover a run that stands still for longer than WATCH_S (a paused
    machine) and is seen as dead from another machine, then wakes and goes on. The check makes that
    gap small: call it just before what publishes.

    Yields:
        A function that raises StorageError where another machine took this run for dead.
    """
    ticket = json.dumps({"run": run.number}).encode()
    mine = name_of(TICKETS, number := claim(store, TICKETS, lambda _: ticket, gap=1))

    def check() -> None:
        try:
            store.get(mine)
        except FileNotFoundError:
            raise StorageError(
                f"another run took this one for dead and publishes from {store.url}: "
                "the same command goes on"
            ) from None

    try:
        while _in_front(store, number):
            time.sleep(POLL_S)
        yield check
    finally:
        with contextlib.suppress(Exception):  # it is void when this run has ended
            store.delete(mine)


def _in_front(store: Store, number: int) -> bool:
    """Returns whether runs with lower tickets are alive, and removes the tickets of dead ones."""
    holders = {n: _holder(store, n) for n in numbers(store, TICKETS) if n < number}
    records = [record for record in holders.values() if record is not None]
    lives = {r.number for r, yes in zip(records, alive(store, records), strict=True) if yes}
    for n, record in holders.items():
        if record is None or record.number not in lives:
            store.delete(name_of(TICKETS, n))
    return bool(lives)


def _holder(store: Store, number: int) -> RunRecord | None:
    """Returns the run that holds a ticket; None where the ticket or its run is gone."""
    try:
        run = json.loads(store.get(name_of(TICKETS, number)))["run"]
        return run_of(store, run) if type(run) is int else None
    except (FileNotFoundError, ValueError, LookupError, TypeError, RecursionError):
        return None
