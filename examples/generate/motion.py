"""What an action does to its actor, from its begin (share 0) to its end (share 1).

Lengths are shares of the picture's short side, positions shares of its width and height.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from reelscript.examples.generate.story import Event

RADIUS = {"small": 0.1, "large": 0.19}
CORNERS = ((0.18, 0.18), (0.82, 0.18), (0.18, 0.82), (0.82, 0.82))
WHOLE = 0.15  # of the time in which an actor breaks or is put together, it is whole


class Pose(NamedTuple):
    """How an actor, or a piece of it, is seen.

    Attributes:
        x, y: its middle, as shares of the picture.
        radius: as a share of the short side.
        turn: in radians, clockwise.
        gray: how much of its color is lost, 0..1.
    """

    x: float
    y: float
    radius: float
    turn: float = 0.0
    gray: float = 0.0


def poses(event: Event, share: float) -> list[Pose]:
    """Returns how an actor is seen when `share` (0..1) of its event is over: mostly one pose."""
    if event.action in ("split", "join"):
        return _pieces(event, share if event.action == "split" else 1 - share)
    (x, y), radius = event.at, RADIUS[event.actor.size]
    round_ = 2 * math.pi * share
    moved = {
        "right": Pose(share, y, radius),
        "left": Pose(1 - share, y, radius),
        "fall": Pose(x, share, radius),
        "rise": Pose(x, 1 - share, radius),
        "jump": Pose(x, y + 0.25 - 0.45 * abs(math.sin(1.5 * round_)), radius),
        "swing": Pose(x + 0.25 * math.sin(2 * round_), y, radius),
        "grow": Pose(x, y, radius * (0.5 + 1.5 * share)),
        "shrink": Pose(x, y, radius * (2 - 1.5 * share)),
        "spin": Pose(x, y, radius, 2 * round_),
        "loop": Pose(x + 0.25 * math.cos(round_), y + 0.25 * math.sin(round_), radius),
        "fade": Pose(x, y, radius, gray=min(1.0, 1.2 * share)),
        "shake": Pose(x + 0.03 * math.sin(9 * round_), y + 0.03 * math.cos(7 * round_), radius),
    }
    return [moved[event.action]]


def _pieces(event: Event, share: float) -> list[Pose]:
    """Returns the actor whole, or its four pieces on their way to the corners."""
    (x, y), radius = event.at, RADIUS[event.actor.size]
    if share < WHOLE:
        return [Pose(x, y, radius)]
    way = 0.2 + 0.8 * (share - WHOLE) / (1 - WHOLE)  # apart from the start, to be seen as four
    return [
        Pose(x + way * (to_x - x), y + way * (to_y - y), radius / 2, 2 * way)
        for to_x, to_y in CORNERS
    ]
