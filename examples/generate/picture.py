"""Shapes, drawn where they are: no other pixel is computed.

Pixels are uint8 (height, width, 3), RGB. A shape is a signed distance to its edge, negative inside,
for points (u, v) with v down, when it is about as large as the unit circle.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reelscript.examples.generate.motion import Pose, poses
from reelscript.examples.generate.story import Event
from reelscript.examples.generate.world import COLORS

Pixels = NDArray[np.uint8]
Field = NDArray[np.float32]
Color = tuple[int, int, int]
GRAY, DARK, LIGHT = (128, 128, 128), (40, 40, 44), (225, 225, 225)
RIM_PX = 1.5  # of another brightness, so that a shape is seen on any background


def disc(u: Field, v: Field, radius: float = 1.0) -> Field:
    """Returns the distance to the edge of a disc around (0, 0)."""
    return np.asarray(np.hypot(u, v) - radius, np.float32)


def box(u: Field, v: Field, half_w: float, half_h: float) -> Field:
    """Returns the distance to the edge of a rectangle around (0, 0), exact inside."""
    return np.maximum(np.abs(u) - half_w, np.abs(v) - half_h)


def star(u: Field, v: Field, tips: int, inner: float) -> Field:
    """Returns the distance to the edge of a star, one of whose tips is above.

    All its sectors are folded into one, in which the edge is a line from the tip (1 from the
    middle) to the notch (`inner` from it).
    """
    sector = math.pi / tips
    angle = np.abs((np.arctan2(u, -v) + sector) % (2 * sector) - sector)
    reach = np.hypot(u, v)
    x, y = reach * np.cos(angle), reach * np.sin(angle)
    notch_x, notch_y = inner * math.cos(sector), inner * math.sin(sector)
    length = math.hypot(1 - notch_x, notch_y)
    return np.asarray(((x - 1) * notch_y + y * (1 - notch_x)) / length, np.float32)


def heart(u: Field, v: Field) -> Field:
    """Returns the distance to the edge of a heart: a square on its tip and two discs."""
    side = 0.56
    left, right = disc(u + side / 2**0.5, v + 0.26, side), disc(u - side / 2**0.5, v + 0.26, side)
    tilted = box((u + v - 0.14) / 2**0.5, (u - v + 0.14) / 2**0.5, side, side)
    return np.minimum(np.minimum(left, right), tilted)


SHAPES: dict[str, Callable[[Field, Field], Field]] = {
    "circle": disc,
    "square": lambda u, v: box(u, v, 0.82, 0.82),
    "triangle": lambda u, v: star(u, v, 3, 0.5),
    "star": lambda u, v: star(u, v, 5, 0.42),
    "cross": lambda u, v: np.minimum(box(u, v, 0.95, 0.3), box(u, v, 0.3, 0.95)),
    "ring": lambda u, v: np.abs(disc(u, v, 0.7)) - np.float32(0.3),
    "heart": heart,
    "moon": lambda u, v: np.maximum(disc(u, v), -disc(u - 0.5, v, 0.8)),
}


def draw(pixels: Pixels, event: Event, share: float) -> None:
    """Draws what is seen of an event when `share` (0..1) of it is over."""
    for pose in poses(event, share):
        _paint(pixels, event.actor.shape, pose, COLORS[event.actor.color])


def _paint(pixels: Pixels, shape: str, pose: Pose, color: Color) -> None:
    height, width = pixels.shape[:2]
    radius_px = pose.radius * min(width, height)
    x, y, reach = pose.x * width, pose.y * height, 1.1 * radius_px + RIM_PX + 1
    left, right = max(0, math.floor(x - reach)), min(width, math.ceil(x + reach))
    top, bottom = max(0, math.floor(y - reach)), min(height, math.ceil(y + reach))
    if left >= right or top >= bottom:
        return
    dx = (np.arange(left, right, dtype=np.float32) + 0.5 - x) / radius_px
    dy = (np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5 - y) / radius_px
    c, s = math.cos(pose.turn), math.sin(pose.turn)
    u, v = dx * c + dy * s, dy * c - dx * s
    away_px = SHAPES[shape](u, v) * np.float32(radius_px)
    # A dot beside the middle shows that what is round turns.
    dot_px = np.maximum(away_px, disc(u, v + 0.65, 0.17) * np.float32(radius_px))
    rim = LIGHT if sum(color) < 3 * 70 else DARK
    faded = tuple(round(p + pose.gray * (q - p)) for p, q in zip(color, GRAY, strict=True))
    area = pixels[top:bottom, left:right]
    seen = area.astype(np.float32)
    for edge_px, paint in ((away_px - RIM_PX, rim), (away_px, faded), (dot_px, rim)):
        cover = np.clip(0.5 - edge_px, 0, 1)[..., None]
        seen += cover * (np.asarray(paint, np.float32) - seen)
    area[...] = np.round(seen)
