"""Objects that are numbered as they come: `ledger/runs/000007.json`. No number has two owners."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

from reelscript.pipeline.store import Store

NUMBERED = re.compile(r"(\d{6,12})\.json")
BACK_OFF_S = 0.05


def name_of(folder: str, number: int) -> str:
    """Returns the name of an object."""
    return f"{folder}/{number:06d}.json"


def numbers(store: Store, folder: str) -> list[int]:
    """Returns the numbers that are taken, in order."""
    names = (name.removeprefix(f"{folder}/") for name in store.names(folder))
    return sorted(int(found[1]) for name in names if (found := NUMBERED.fullmatch(name)))


def claim(store: Store, folder: str, data: Callable[[int], bytes], gap: int) -> int:
    """Returns a number that is now ours, above all that were there when its object was stored.

    Between looking which numbers are taken and taking the next one, others may have come, and
    gone: then ours is an old number, used again. So one looks once more, and gives it back where a
    number stands that is higher by `gap` or more.

    Args:
        store: where.
        folder: of the objects.
        data: what the object of a number holds.
        gap: 1 where objects may be removed at any time; n where an object is removed only when
            there is a number higher by at least n.
    """
    while True:
        mine = max(numbers(store, folder), default=0) + 1
        if store.create(name_of(folder, mine), data(mine)):
            if max(numbers(store, folder), default=mine) < mine + gap:
                return mine
            store.delete(name_of(folder, mine))
        time.sleep(random.uniform(0, BACK_OFF_S))
