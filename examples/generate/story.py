"""What happens in video n: events in random order, each with a sentence that tells no order.

The events of a video are drawn together and are put in an order by chance. Each is over when its
sentence is, and leaves nothing behind; a sentence names its actor in the same words each time,
refers to no other sentence, and its form is drawn by itself. So any order of the same sentences is
as likely as any other, and only the pictures tell which one it is.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from typing import Literal, get_args

from reelscript.examples.generate.world import (
    ACTIONS,
    ACTORS,
    PLACES,
    Actor,
    Combination,
    Split,
    split_of,
)
from reelscript.pipeline.errors import UsageError

SoundKind = Literal["babble", "voice", "none"]
PAUSE_S = (0.7, 1.1)  # between two sentences: longer than any silence inside of one
SIDE_PX = (32, 1080)  # of a picture
MAX_FPS = 60
MAX_EVENTS = 20
MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class Recipe:
    """What a generated corpus is made by. Equal recipes give equal videos.

    Attributes:
        split: "train", or "test": combinations that training videos never show.
        seed: another one gives other videos.
        size: width and height in pixels, both even.
        fps: pictures a second.
        sound: "babble" has a sound for each word, which voice activity detection takes for a voice
            but which is no speech; "voice" is Piper's; "none": no sound stream.
        events: fewest and most in a video.
    """

    split: Split = "train"
    seed: int = 1
    size: tuple[int, int] = (112, 112)
    fps: int = 10
    sound: SoundKind = "babble"
    events: tuple[int, int] = (4, 12)

    def __post_init__(self) -> None:
        if self.split not in get_args(Split):
            raise UsageError(f"split: expected train or test, found {self.split!r}")
        if self.sound not in get_args(SoundKind):
            raise UsageError(f"sound: expected babble, voice or none, found {self.sound!r}")
        if not all(SIDE_PX[0] <= side <= SIDE_PX[1] and side % 2 == 0 for side in self.size):
            raise UsageError(
                f"size: expected even sides of {SIDE_PX[0]} to {SIDE_PX[1]} pixels, found "
                f"{self.size[0]}x{self.size[1]}"
            )
        if not 1 <= self.fps <= MAX_FPS:
            raise UsageError(f"fps: expected 1 to {MAX_FPS}, found {self.fps}")
        if not 0 <= self.seed <= MAX_SEED:
            raise UsageError(f"seed: expected 0 to {MAX_SEED}, found {self.seed}")
        if not 1 <= self.events[0] <= self.events[1] <= MAX_EVENTS:
            raise UsageError(
                f"events: expected fewest and most, 1 to {MAX_EVENTS}, found "
                f"{self.events[0]} and {self.events[1]}"
            )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens while its sentence is told.

    Attributes:
        actor, action: who does what.
        text: the sentence.
        at: where its middle lies, (x, y) as shares of the picture.
        pause_s: how long nothing happens after it.
    """

    actor: Actor
    action: str
    text: str
    at: tuple[float, float]
    pause_s: float

    @property
    def name(self) -> str:
        """Who does what, for the file beside the video."""
        return f"{self.action}: {self.actor.text}"


@dataclass(frozen=True, slots=True)
class Story:
    """A place, and what happens there in this order."""

    video_id: str
    place: str
    events: tuple[Event, ...]


def video_id(recipe: Recipe, index: int) -> str:
    """Returns the name of video `index` of a recipe, and what its chances are drawn from."""
    return f"{recipe.split}-{recipe.seed}-{index:06d}"


def story(recipe: Recipe, index: int) -> Story:
    """Returns what happens in video `index` of a recipe, whatever other videos are made."""
    name = video_id(recipe, index)
    rng = random.Random(name)
    place = rng.choice(list(PLACES))
    wanted = rng.randint(*recipe.events)
    chosen = rng.sample(_pool(rng, recipe.split, place, wanted), wanted)
    return Story(name, place, tuple(_event(rng, combination) for combination in chosen))


def _pool(rng: random.Random, split: Split, place: str, wanted: int) -> list[Combination]:
    """Returns what may happen in a video: all that a few actors may do there.

    So some actors do several things, and who acts does not tell alone what is done.
    """
    cast = rng.randint(2, max(2, wanted))
    pool: list[Combination] = []
    for count, actor in enumerate(rng.sample(ACTORS, len(ACTORS))):
        if count >= cast and len(pool) >= wanted:
            break
        pool += (Combination(actor, action, place) for action in _actions(split, place, actor))
    return pool


@functools.cache
def _actions(split: Split, place: str, actor: Actor) -> tuple[str, ...]:
    return tuple(a for a in ACTIONS if split_of(Combination(actor, a, place)) == split)


def _event(rng: random.Random, combination: Combination) -> Event:
    at = (rng.uniform(0.35, 0.65), rng.uniform(0.4, 0.6))
    pause_s = round(rng.uniform(*PAUSE_S), 3)
    return Event(combination.actor, combination.action, _sentence(rng, combination), at, pause_s)


def _sentence(rng: random.Random, combination: Combination) -> str:
    """Returns the sentence, in one of two forms."""
    who, does = f"a {combination.actor.text}", ACTIONS[combination.action]
    where = PLACES[combination.place]
    text = f"{who} {does} {where}." if rng.random() < 0.5 else f"{where} {who} {does}."
    return text[0].upper() + text[1:]
