"""A small canvas: shapes with smooth edges on an RGB picture, drawn with numpy.

Positions are in pixels, x to the right, y down, on a canvas of WIDTH_PX by HEIGHT_PX.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH_PX, HEIGHT_PX = 320, 180
Color = tuple[int, int, int]

WHITE, BLACK, GREY = (250, 250, 250), (20, 20, 26), (120, 124, 132)
RED, ORANGE, YELLOW, GREEN = (214, 40, 40), (245, 140, 30), (252, 214, 60), (46, 150, 70)
BLUE, NAVY, PURPLE, BROWN = (40, 90, 210), (16, 22, 60), (130, 60, 170), (120, 78, 44)
RAINBOW = (RED, ORANGE, YELLOW, GREEN, BLUE, PURPLE)


class Canvas:
    """An RGB picture with a few shapes; edges are smooth, so that slow motion is seen too."""

    def __init__(self) -> None:
        self.pixels: NDArray[np.float32] = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.float32)
        self.y, self.x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float32)

    def paint(self, distance_px: NDArray[np.float32], color: Color, alpha: float = 1.0) -> None:
        """Paints a shape, given the signed distance to its edge (negative inside)."""
        cover = (np.clip(0.5 - distance_px, 0.0, 1.0) * alpha)[..., None]
        self.pixels += cover * (np.asarray(color, np.float32) - self.pixels)

    def sky(self, top: Color, bottom: Color) -> None:
        """Fills the picture from `top` down to `bottom`."""
        share = (self.y / HEIGHT_PX)[..., None]
        self.pixels = (
            np.asarray(top, np.float32) * (1 - share) + np.asarray(bottom, np.float32) * share
        )

    def disc(self, x: float, y: float, radius: float, color: Color, alpha: float = 1.0) -> None:
        """Paints a disc; nothing where the radius is 0."""
        if radius > 0:
            self.paint(np.hypot(self.x - x, self.y - y) - radius, color, alpha)

    def ring(
        self, x: float, y: float, radius: float, width: float, color: Color, alpha: float = 1.0
    ) -> None:
        """Paints a ring of `width` around (x, y)."""
        self.paint(np.abs(np.hypot(self.x - x, self.y - y) - radius) - width / 2, color, alpha)

    def oval(
        self, x: float, y: float, half_w: float, half_h: float, color: Color, alpha: float = 1.0
    ) -> None:
        """Paints an ellipse of half axes `half_w` and `half_h`; nothing where one is 0."""
        if half_w > 0 and half_h > 0:
            away = np.hypot((self.x - x) / half_w, (self.y - y) / half_h) - 1
            self.paint(away * min(half_w, half_h), color, alpha)

    def polygon(self, corners: list[tuple[float, float]], color: Color, alpha: float = 1.0) -> None:
        """Paints a convex polygon; its corners go clockwise as seen."""
        inside = np.full((HEIGHT_PX, WIDTH_PX), -np.inf, np.float32)
        for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
            length = max(float(np.hypot(x1 - x0, y1 - y0)), 1e-6)
            away = ((y1 - y0) * (self.x - x0) - (x1 - x0) * (self.y - y0)) / length
            inside = np.maximum(inside, away)
        self.paint(inside, color, alpha)

    def box(
        self, x: float, y: float, half_w: float, half_h: float, color: Color, turn: float = 0.0
    ) -> None:
        """Paints a rectangle turned by `turn` radians; nothing where it has no size."""
        if half_w <= 0 or half_h <= 0:
            return
        c, s = np.cos(turn), np.sin(turn)
        around = [(-half_w, -half_h), (half_w, -half_h), (half_w, half_h), (-half_w, half_h)]
        self.polygon([(x + a * c - b * s, y + a * s + b * c) for a, b in around], color)

    def line(self, x0: float, y0: float, x1: float, y1: float, width: float, color: Color) -> None:
        """Paints a straight line with round ends."""
        dx, dy = x1 - x0, y1 - y0
        along = ((self.x - x0) * dx + (self.y - y0) * dy) / max(dx * dx + dy * dy, 1e-6)
        along = np.clip(along, 0, 1)
        self.paint(np.hypot(self.x - x0 - along * dx, self.y - y0 - along * dy) - width / 2, color)


def between(start: float, end: float, share: float) -> float:
    """Returns the value at `share` (0..1) of a way that begins and ends gently."""
    share = min(max(share, 0.0), 1.0)
    return start + (end - start) * share * share * (3 - 2 * share)


def blend(start: Color, end: Color, share: float) -> Color:
    """Returns the colour at `share` (0..1) of the way from `start` to `end`."""
    r, g, b = (round(between(p, q, share)) for p, q in zip(start, end, strict=True))
    return r, g, b


def part(share: float, start: float, end: float) -> float:
    """Returns 0..1: how far `share` has come on its way from `start` to `end`."""
    return min(max((share - start) / (end - start), 0.0), 1.0)
