"""The places, each as a still picture in dull colors, from which every actor stands out."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reelscript.examples.generate.picture import Pixels

Field = NDArray[np.float32]  # (height, width)
Color = tuple[int, int, int]


@functools.lru_cache(maxsize=32)
def background(place: str, width: int, height: int) -> Pixels:
    """Returns the picture of a place in which nothing happens. It cannot be written to."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pixels = PLACES[place]((x + 0.5) / width, (y + 0.5) / height)
    found = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
    found.flags.writeable = False
    return found


def _slope(share: Field, start: Color, end: Color) -> Field:
    """Returns colors between two, (height, width, 3)."""
    first, last = np.asarray(start, np.float32), np.asarray(end, np.float32)
    return np.asarray(first + share[..., None] * (last - first), np.float32)


def _on(pixels: Field, where: NDArray[np.bool_], color: Color) -> Field:
    """Returns the picture with one color where `where` is true."""
    return np.where(where[..., None], np.asarray(color, np.float32), pixels)


def _beach(x: Field, y: Field) -> Field:
    sky = _slope(y, (150, 175, 190), (170, 190, 195))
    sea = _on(sky, y > 0.4, (95, 130, 145))
    sea = _on(sea, (y > 0.4) & (np.sin(60 * y + 3 * np.sin(9 * x)) > 0.8), (125, 155, 165))
    return _on(sea, y > 0.68 + 0.03 * np.sin(7 * x), (185, 170, 140))


def _meadow(x: Field, y: Field) -> Field:
    sky = _slope(y, (140, 165, 190), (175, 190, 200))
    hills = _on(sky, y > 0.55 + 0.08 * np.sin(5 * x), (125, 150, 115))
    return _on(hills, y > 0.72 + 0.04 * np.cos(8 * x), (110, 140, 100))


def _desert(x: Field, y: Field) -> Field:
    sky = _slope(y, (185, 165, 150), (200, 180, 155))
    dunes = _on(sky, y > 0.5 + 0.1 * np.sin(6 * x + 1), (175, 145, 110))
    return _on(dunes, y > 0.68 + 0.1 * np.sin(4 * x - 1), (160, 128, 95))


def _city(x: Field, y: Field) -> Field:
    sky = _slope(y, (150, 155, 165), (180, 178, 175))
    block = np.floor(9 * x)
    wall = y > 0.35 + 0.25 * np.abs(np.sin(3.7 * block))
    window = (np.abs((27 * x) % 1 - 0.5) < 0.25) & (np.abs((22 * y) % 1 - 0.5) < 0.25)
    return _on(_on(sky, wall, (115, 112, 118)), wall & window, (150, 146, 135))


def _mountains(x: Field, y: Field) -> Field:
    sky = _slope(y, (140, 155, 175), (185, 190, 200))
    peak = 0.25 + 1.1 * np.abs((1.7 * x + 0.15) % 1 - 0.5)
    rock = _on(sky, y > peak, (122, 122, 132))
    return _on(rock, (y > peak) & (y < peak + 0.08), (178, 182, 188))


def _forest(x: Field, y: Field) -> Field:
    mist = _slope(y, (135, 150, 135), (105, 122, 102))
    trunk = np.abs((7 * x) % 1 - 0.5) < 0.13
    return _on(_on(mist, trunk & (y > 0.15), (108, 94, 80)), y > 0.85, (95, 112, 88))


def _room(x: Field, y: Field) -> Field:
    wall = _slope(x, (165, 155, 160), (145, 135, 142))
    floor = _on(wall, y > 0.72, (140, 118, 98))
    return _on(floor, (y > 0.72) & ((12 * (x - 0.5) / (y + 0.05)) % 1 < 0.08), (118, 98, 80))


def _night(x: Field, y: Field) -> Field:
    sky = _slope(y, (82, 88, 120), (112, 108, 132))
    column, row = np.floor(14 * x), np.floor(10 * y)
    across, down = 0.5 + 0.3 * np.sin(12.9 * column + 7 * row), 0.5 + 0.3 * np.cos(5 * column * row)
    stars = np.hypot((14 * x) % 1 - across, (10 * y) % 1 - down) < 0.12
    return _on(sky, stars & ((column + 3 * row) % 2 == 0), (180, 182, 190))


PLACES: dict[str, Callable[[Field, Field], Field]] = {
    "beach": _beach,
    "meadow": _meadow,
    "desert": _desert,
    "city": _city,
    "mountains": _mountains,
    "forest": _forest,
    "room": _room,
    "night": _night,
}
