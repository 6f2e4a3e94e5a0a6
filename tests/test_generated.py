"""Generated videos: what may happen in them, and whether it is seen when it is told."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.examples.generate import Recipe, combinations, frames, narration, story
from reelscript.examples.generate.backgrounds import background
from reelscript.examples.generate.picture import draw
from reelscript.examples.generate.story import Event, Story
from reelscript.examples.generate.world import ACTIONS, ACTORS, PLACES, Combination, split_of
from reelscript.examples.voices import RATE_HZ

SMALL = Recipe(size=(64, 48), fps=8, events=(2, 3))
numbers = st.integers(0, 10_000)


def stories(count: int, recipe: Recipe | None = None) -> list[Story]:
    return [story(recipe or Recipe(), n) for n in range(count)]


def test_generated_splits_part_all_combinations() -> None:
    train, test = set(combinations("train")), set(combinations("test"))
    assert not train & test
    assert len(train | test) == len(ACTORS) * len(ACTIONS) * len(PLACES)
    assert 0.18 < len(test) / len(train | test) < 0.22


def test_generated_splits_both_have_every_word_and_every_pair_of_words() -> None:
    def pairs(split: Any) -> set[tuple[tuple[int, str], ...]]:
        found = set()
        for actor, action, place in combinations(split):
            words = list(enumerate((*actor, action, place)))
            found |= {(a, b) for a in words for b in words if a < b}
        return found

    assert pairs("train") == pairs("test")


@pytest.mark.parametrize("split", ["train", "test"])
def test_generated_videos_hold_only_combinations_of_their_split(split: Any) -> None:
    for told in stories(300, Recipe(split=split, events=(4, 20))):
        happened = [Combination(e.actor, e.action, told.place) for e in told.events]
        assert {split_of(c) for c in happened} == {split}
        assert len(set(happened)) == len(happened)
        assert 4 <= len(happened) <= 20


def test_generated_videos_hold_most_combinations_soon() -> None:
    seen = {(e.actor, e.action, s.place) for s in stories(3000) for e in s.events}
    assert len(seen) > 0.75 * len(list(combinations("train")))
    several = [len({e.actor for e in s.events}) < len(s.events) for s in stories(1000)]
    assert np.mean(several) > 0.9  # do several things: who acts does not tell alone what is done


@given(numbers, numbers, st.sampled_from(["train", "test"]))
def test_generated_story_depends_on_seed_split_and_index_alone(
    seed: int, index: int, split: Any
) -> None:
    told = story(Recipe(split=split, seed=seed), index)
    assert told == story(Recipe(split=split, seed=seed, size=(64, 64), sound="none"), index)
    assert told.events != story(Recipe(split=split, seed=seed + 1), index).events
    assert told.events != story(Recipe(split=split, seed=seed), index + 1).events
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", told.video_id)


@given(numbers)
@settings(max_examples=15, deadline=None)
def test_generated_event_is_seen_just_while_its_sentence_is_told(index: int) -> None:
    told = story(SMALL, index)
    sound, sentences = narration(told)
    duration_s = len(sound) / RATE_HZ
    still = background(told.place, *SMALL.size)
    seen = list(frames(told, sentences, SMALL, duration_s))
    assert len(seen) == round(duration_s * SMALL.fps)
    for n, pixels in enumerate(seen):
        t_s = n / SMALL.fps
        speaking = any(s.start_s <= t_s < s.end_s for s in sentences)
        assert pixels.shape == (48, 64, 3)
        changed = int((pixels != still).any(axis=-1).sum())
        assert changed >= 20 if speaking else changed == 0


@given(numbers)
@settings(max_examples=15, deadline=None)
def test_generated_words_fill_their_sentences_in_order(index: int) -> None:
    told = story(Recipe(), index)
    sound, sentences = narration(told)
    assert [s.text for s in sentences] == [e.text for e in told.events]
    for before, after in pairwise(sentences):
        assert 0.65 < after.start_s - before.end_s < 1.15
    for sentence in sentences:
        assert " ".join(w.word for w in sentence.words) == sentence.text
        times = [t for w in sentence.words for t in (w.start_s, w.end_s)]
        assert times == sorted(times)
        assert times[0] == sentence.start_s
        assert times[-1] == pytest.approx(sentence.end_s, abs=0.0011)
        for word in sentence.words:
            heard = sound[round(word.start_s * RATE_HZ) : round(word.end_s * RATE_HZ)]
            assert np.abs(heard).max() > 0.3
    pauses = np.abs(sound).reshape(-1)[: round(sentences[0].start_s * RATE_HZ)]
    assert not pauses.any()


@pytest.mark.parametrize("place", PLACES)
def test_generated_actors_stand_out_from_every_place(place: str) -> None:
    still = background(place, 112, 112).astype(int)
    for actor in ACTORS:
        pixels = still.astype(np.uint8)
        draw(pixels, Event(actor, "spin", "", (0.5, 0.5), 1.0), 0.1)
        away = np.abs(pixels.astype(int) - still).sum(-1)
        assert np.sort(away.reshape(-1))[-80:].min() > 60, actor


def test_generated_actions_are_told_apart_by_their_motion() -> None:
    """No two actions of one actor give the same pictures, whatever its shape."""
    for shape_of in ("small red circle", "large white ring", "small black square"):
        actor = next(a for a in ACTORS if a.text == shape_of)
        seen = {}
        for action in ACTIONS:
            shots = []
            for share in (0.05, 0.3, 0.45, 0.6, 0.9):
                pixels = background("room", 64, 64).copy()
                draw(pixels, Event(actor, action, "", (0.5, 0.5), 1.0), share)
                shots.append(pixels.astype(int))
            seen[action] = np.stack(shots)
        for one in seen:
            for other in seen:
                assert one == other or np.abs(seen[one] - seen[other]).max() > 40, (one, other)
