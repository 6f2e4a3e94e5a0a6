"""Which windows an epoch has, and what is read for one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reelscript.reading.order import Numbers


@dataclass(frozen=True)
class Plan:
    """The windows of one epoch.

    Attributes:
        samples: (n,), the row of the index that each is of.
        places: (n, ...), where in its sample each lies.
        order: (n,), their numbers in the order of reading.
        refused: how many others there are not, by reason.
    """

    samples: Numbers
    places: Numbers
    order: Numbers
    refused: Mapping[str, int]


@dataclass(frozen=True)
class Fetched:
    """What was read for one window.

    Attributes:
        row: of the index.
        place: where in the sample the window lies.
        members: those that were asked for, in this order.
    """

    row: dict[str, Any]
    place: tuple[int, ...]
    members: list[bytes]
