"""Generated sentences tell nothing of the order of events, and the pictures do.

A text-only model that could order them would pass every learning test without looking.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reelscript.examples.generate import Recipe, frames, narration, story
from reelscript.examples.generate.backgrounds import background
from reelscript.examples.generate.story import Story
from reelscript.examples.generate.world import ACTIONS, COLORS, PLACES
from reelscript.examples.voices import RATE_HZ

ORDER_WORDS = re.compile(
    r"\b(first|second|third|then|next|final\w*|last\w*|after\w*|before|later|earlier|former|latter|"
    r"again|another|other|also|still|already|now|once|soon|until|while|meanwhile|begin\w*|start\w*|"
    r"end|ends|ended|return\w*|back|the (small|large)|this|that|it|he|she|they)\b",
    re.IGNORECASE,
)


def stories(count: int, recipe: Recipe | None = None) -> list[Story]:
    return [story(recipe or Recipe(), n) for n in range(count)]


def test_generated_sentences_refer_to_no_other_sentence() -> None:
    for told in stories(400):
        for event in told.events:
            assert not ORDER_WORDS.search(event.text), event.text
            # The same words at each mention: never "the ball" for what was "a ball" before.
            assert f"a {event.actor.text} {ACTIONS[event.action]}" in event.text.lower()
            assert PLACES[told.place] in event.text.lower()


def disjoint_pairs(told: Story, texts: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
    """Pairs of sentences of a video, each in one pair at most, and whether the left came earlier.

    Where any order is as likely as any other, the answers are independent throws of a fair coin.
    """
    places = list(range(len(texts)))
    random.Random(f"pairs of {told.video_id}").shuffle(places)
    for left, right in zip(places[::2], places[1::2], strict=False):
        yield texts[left], texts[right], left < right


def features(pairs: Sequence[tuple[str, str, bool]]) -> NDArray[np.float32]:
    """Words of the left less those of the right; their forms; and which actions meet, in order."""
    known = sorted({word for a, b, _ in pairs for word in (a + " " + b).lower().split()})
    column = {word: n for n, word in enumerate(known)}
    phrases = list(ACTIONS.values())
    found = np.zeros((len(pairs), len(known) + 2 + 2 * len(phrases) ** 2), np.float32)
    for row, (left, right, _) in zip(found, pairs, strict=True):
        for text, sign in ((left, 1), (right, -1)):
            for word in text.lower().split():
                row[column[word]] += sign
            row[len(known)] += sign * text.lower().startswith("a ")
            row[len(known) + 1] += sign * len(text) / 50
        done = [next(n for n, p in enumerate(phrases) if p in text) for text in (left, right)]
        meet = len(known) + 2 + done[0] * len(phrases) + done[1]
        row[meet] = 1
        same = left.split(phrases[done[0]])[0][-12:] == right.split(phrases[done[1]])[0][-12:]
        row[meet + len(phrases) ** 2] = same
    return found


def text_only_accuracy(texts_of: Callable[[Story], Sequence[str]]) -> tuple[float, float]:
    """How often a logistic regression over words tells the order of new videos, and its sigma."""
    pairs = [p for told in stories(2400) for p in disjoint_pairs(told, texts_of(told))]
    x, y = features(pairs), np.array([earlier for *_, earlier in pairs], np.float32)
    held_out = len(pairs) // 3
    weights = np.zeros(x.shape[1], np.float32)
    for _ in range(150):
        p = 1 / (1 + np.exp(-x[held_out:] @ weights))
        slope = x[held_out:].T @ (p - y[held_out:]) / len(p) + 1e-3 * weights
        weights -= 1.0 * slope
    right = (x[:held_out] @ weights > 0) == (y[:held_out] > 0.5)
    return float(right.mean()), 0.5 / math.sqrt(held_out)


def test_generated_words_tell_no_order() -> None:
    accuracy, sigma = text_only_accuracy(lambda told: [e.text for e in told.events])
    assert abs(accuracy - 0.5) < 4 * sigma
    assert sigma < 0.012  # 4 sigma are less than 5 %


def said_as_people_do(told: Story) -> list[str]:
    """The sentences with "the" for an actor that was seen before: the leak to be found."""
    seen: set[Any] = set()
    texts = []
    for event in told.events:
        article = "the" if event.actor in seen else "a"
        texts.append(
            event.text.lower().replace(f"a {event.actor.text}", article + " " + event.actor.text)
        )
        seen.add(event.actor)
    return texts


def test_generated_words_with_a_leak_would_be_found_out() -> None:
    accuracy, sigma = text_only_accuracy(said_as_people_do)
    assert accuracy > 0.5 + 8 * sigma


@pytest.mark.parametrize("what", ["action", "size", "color", "shape", "form", "pause", "place"])
def test_generated_positions_tell_nothing(what: str) -> None:
    """Chi-squared of what happens against the half of the video in which it happens."""
    table: Counter[tuple[Any, bool]] = Counter()
    for told in stories(2500):
        for n, event in enumerate(told.events):
            value = {
                "action": event.action,
                **event.actor._asdict(),
                "form": event.text.startswith("A "),
                "pause": round(event.pause_s, 1),
                "place": (event.at[0] > 0.5, event.at[1] > 0.5),
            }[what]
            table[value, 2 * n + 1 > len(told.events)] += 1
    values = sorted({value for value, _ in table}, key=str)
    seen = np.array([[table[value, late] for late in (False, True)] for value in values], float)
    expected = seen.sum(1, keepdims=True) * seen.sum(0) / seen.sum()
    chi2, freedom = ((seen - expected) ** 2 / expected).sum(), len(values) - 1
    assert chi2 < freedom + 4 * math.sqrt(2 * freedom)


def color_seen(told: Story, pixels: NDArray[np.uint8]) -> str:
    """The known color that most of what differs from the empty place comes near to."""
    still = background(told.place, pixels.shape[1], pixels.shape[0])
    changed = pixels[(pixels != still).any(axis=-1)].astype(int)
    off = {name: np.abs(changed - color).sum(-1) < 60 for name, color in COLORS.items()}
    return max(off, key=lambda name: int(off[name].sum()))


def test_generated_pictures_tell_the_order() -> None:
    """What sees colors alone puts two sentences about two colors in order, nearly always."""
    recipe, right = Recipe(fps=4), []
    for told in stories(25):
        sound, sentences = narration(told)
        shown = list(frames(told, sentences, recipe, len(sound) / RATE_HZ))
        for n in range(len(sentences) - 1):
            colors = [event.actor.color for event in told.events[n : n + 2]]
            if colors[0] != colors[1] and told.events[n].action != "fade":
                early = shown[math.ceil(sentences[n].start_s * recipe.fps) + 2]
                right.append(color_seen(told, early) == colors[0])
    assert len(right) > 60
    assert np.mean(right) > 0.95
