"""What may happen in a generated video: who does what, and where; and what is held out for tests.

A combination is an actor (size, color, shape) that does an action in a place. Every fifth one is
held out: the places of its five words in their lists add up to a multiple of five. So each split
has every word, and every pair of words, and training never shows a combination of the test videos.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Literal, NamedTuple

Split = Literal["train", "test"]
HELD_OUT_EVERY = 5

SIZES = ("small", "large")
COLORS = {
    "red": (214, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (252, 220, 60),
    "green": (20, 140, 50),
    "blue": (30, 70, 220),
    "purple": (130, 40, 170),
    "white": (250, 250, 250),
    "black": (16, 16, 20),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "moon")
ACTIONS = {  # each begins and ends by itself: none needs another one to have happened
    "right": "glides from left to right",
    "left": "glides from right to left",
    "fall": "falls from the top to the bottom",
    "rise": "rises from the bottom to the top",
    "jump": "jumps up and down",
    "swing": "swings from side to side",
    "grow": "grows larger and larger",
    "shrink": "becomes smaller and smaller",
    "spin": "spins around its middle",
    "loop": "flies along a wide circle",
    "split": "breaks into four pieces",
    "join": "is put together from four pieces",
    "fade": "loses its color and turns gray",
    "shake": "shakes and trembles",
}
PLACES = {
    "beach": "on the beach",
    "meadow": "on the meadow",
    "desert": "in the desert",
    "city": "in the city",
    "mountains": "in the mountains",
    "forest": "in the forest",
    "room": "in the empty room",
    "night": "under the stars",
}


class Actor(NamedTuple):
    """Who does something. Its text is what every sentence calls it."""

    size: str
    color: str
    shape: str

    @property
    def text(self) -> str:
        """The same words at each mention, so that none tells whether it is the first."""
        return f"{self.size} {self.color} {self.shape}"


class Combination(NamedTuple):
    """An actor that does an action in a place."""

    actor: Actor
    action: str
    place: str


ACTORS = tuple(Actor(*words) for words in product(SIZES, COLORS, SHAPES))
_LISTS = (SIZES, tuple(COLORS), SHAPES, tuple(ACTIONS), tuple(PLACES))


def split_of(combination: Combination) -> Split:
    """Returns which videos may show a combination."""
    words = (*combination.actor, combination.action, combination.place)
    numbers = (known.index(word) for known, word in zip(_LISTS, words, strict=True))
    return "train" if sum(numbers) % HELD_OUT_EVERY else "test"


def combinations(split: Split) -> Iterator[Combination]:
    """Yields every combination that the videos of a split are made of."""
    for combination in map(Combination._make, product(ACTORS, ACTIONS, PLACES)):
        if split_of(combination) == split:
            yield combination
