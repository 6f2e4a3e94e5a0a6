"""Clips from words: nothing lost, nothing doubled, and no cheaper set of cuts exists."""

from __future__ import annotations

import math
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.pipeline.stage import apply
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Segment
from reelscript.schemas.transcript import Word
from reelscript.schemas.video import Video
from reelscript.transforms.segment import (
    CLAUSE_PAUSE_S,
    COST_OF_LENGTH,
    COST_OF_MID_SENTENCE,
    COST_OF_SHORT,
    COST_OF_SILENCE,
    FREE_SILENCE_S,
    FULL_PAUSE_S,
    PAUSE_RELIEF,
    REWARD_OF_SENTENCE_END,
    SegmentWords,
    best_cuts,
)

Timed = tuple[list[Word], float]


def times(word: Word) -> tuple[float, float]:
    assert word.start_s is not None
    assert word.end_s is not None
    return word.start_s, word.end_s


def spoken(*words: tuple[str, float, float]) -> list[Word]:
    return [Word(text, start_s, end_s, 0.9, 0) for text, start_s, end_s in words]


TEXTS = (" a", " word", " stop.", " why?", ' end."', " Ja!", "'s", "-glued", ",", " 3.5", " 。")


@st.composite
def timed_words(draw: st.DrawFn, most: int = 60, longest_ms: int = 4000) -> Timed:
    """Aligned words on a grid of 1 ms and the duration of their video."""
    at, words = draw(st.integers(0, 4000)), []
    gap = st.one_of(st.just(0), st.integers(0, 700), st.integers(0, 9000))
    for _ in range(draw(st.integers(1, most))):
        length = draw(st.one_of(st.integers(0, 600), st.integers(0, longest_ms)))
        words.append(Word(draw(st.sampled_from(TEXTS)), at / 1000, (at + length) / 1000, None, 0))
        at += length + draw(gap)
    last_ms = round(times(words[-1])[1] * 1000)
    return words, (last_ms + draw(st.integers(0, 3000))) / 1000


stages = st.builds(
    SegmentWords,
    min_s=st.sampled_from([0.5, 2.0, 3.0]),
    max_s=st.sampled_from([3.0, 6.0, 15.0]),
    target_s=st.sampled_from([2.0, 5.0, 9.0]),
    max_pause_s=st.sampled_from([1.0, 5.0]),
    widen_s=st.sampled_from([0.0, 0.1, 1.0, 3.0]),
    pad_before_s=st.sampled_from([0.0, 0.2]),
    pad_after_s=st.sampled_from([0.0, 0.4, 1.0]),
)


def may_cut(words: list[Word], index: int, spaced: bool) -> bool:
    """Whether a clip may end with words[index]."""
    return index + 1 == len(words) or not spaced or words[index + 1].word[0].isspace()


@given(timed_words(), stages, st.booleans())
@settings(max_examples=150, deadline=None)
def test_segment_every_word_is_in_one_clip_and_clips_are_disjoint(
    timed: Timed, stage: SegmentWords, spaced: bool
) -> None:
    words, duration_s = timed
    clips = stage.cut(words, duration_s, spaced)
    assert [i for c in clips for i in range(c.first_word, c.end_word)] == list(range(len(words)))
    assert all(a.end_s <= b.start_s for a, b in pairwise(clips))
    for clip in clips:
        own = words[clip.first_word : clip.end_word]
        assert 0 <= clip.start_s <= times(own[0])[0]
        assert times(own[-1])[1] <= clip.end_s <= duration_s
        assert may_cut(words, clip.end_word - 1, spaced)
        inside = stage.min_s - 1e-6 <= clip.end_s - clip.start_s <= stage.max_s + 1e-6
        assert clip.within_bounds == inside
        check_length(words, clip, stage, spaced)


def check_length(words: list[Word], clip: Segment, stage: SegmentWords, spaced: bool) -> None:
    """Too long, or with a long silence in it, is only what could not be cut; growth has bounds."""
    inner = [i for i in range(clip.first_word, clip.end_word - 1) if may_cut(words, i, spaced)]
    start_s, end_s = times(words[clip.first_word])[0], times(words[clip.end_word - 1])[1]
    if end_s - start_s > stage.max_s:
        assert not inner
    for i in inner:
        assert times(words[i + 1])[0] - times(words[i])[1] <= stage.max_pause_s
    before_s, after_s = start_s - clip.start_s, clip.end_s - end_s
    assert before_s <= stage.pad_before_s + stage.widen_s + 1e-6
    assert after_s <= stage.pad_after_s + stage.widen_s + 1e-6
    assert clip.end_s - clip.start_s <= max(stage.max_s, end_s - start_s) + 1e-6
    if end_s - start_s >= stage.min_s:  # long enough: not widened, only padded
        assert before_s <= stage.pad_before_s + 1e-3
        assert after_s <= stage.pad_after_s + 1e-3


def cost_of_clip(
    words: list[Word], first: int, end: int, stage: SegmentWords, duration_s: float, spaced: bool
) -> float:
    """What one clip costs, written anew from the constants; infinite where it must not be."""
    start_s, end_s = times(words[first])[0], times(words[end - 1])[1]
    length_s = end_s - start_s
    if not may_cut(words, end - 1, spaced) or length_s > stage.max_s:
        return math.inf
    cost = 0.0
    for i in range(first, end - 1):
        silence_s = times(words[i + 1])[0] - times(words[i])[1]
        if silence_s > stage.max_pause_s and may_cut(words, i, spaced):
            return math.inf
        cost += COST_OF_SILENCE * max(0.0, silence_s - FREE_SILENCE_S)
    if length_s < stage.min_s:
        before_s = start_s - (times(words[first - 1])[1] if first else 0.0)
        after_s = (times(words[end])[0] if end < len(words) else duration_s) - end_s
        room_s = min(stage.widen_s, before_s / 2) + min(stage.widen_s, after_s)
        length_s = min(stage.min_s, length_s + room_s)
    if length_s < stage.min_s * (1 - 1e-9):
        cost += COST_OF_SHORT[0] + COST_OF_SHORT[1] * (stage.min_s - length_s) / stage.min_s
    cost += COST_OF_LENGTH * math.log(max(0.1, length_s) / stage.target_s, 2) ** 2
    if end < len(words):
        text = words[end - 1].word.strip().strip("\"'”’»)]}」』")
        pause_s = times(words[end])[0] - end_s
        if text and text[-1] in ".?!…。？！।؟։":
            cost -= REWARD_OF_SENTENCE_END
        elif text and text[-1] in ",;:–—，、；：" and pause_s >= CLAUSE_PAUSE_S:
            cost += 0.0
        elif pause_s >= FULL_PAUSE_S:
            cost += COST_OF_MID_SENTENCE * (1 - PAUSE_RELIEF)
        else:
            cost += COST_OF_MID_SENTENCE * (1 - PAUSE_RELIEF * pause_s / FULL_PAUSE_S)
    return cost


@given(timed_words(most=9, longest_ms=2500), stages, st.booleans())
@settings(max_examples=150, deadline=None)
def test_segment_no_set_of_cuts_is_cheaper(timed: Timed, stage: SegmentWords, spaced: bool) -> None:
    words, duration_s = timed

    def total(ends: list[int]) -> float:
        return sum(
            cost_of_clip(words, a, b, stage, duration_s, spaced) for a, b in pairwise([0, *ends])
        )

    every = [
        [*cuts, len(words)]
        for n in range(len(words))
        for cuts in combinations(range(1, len(words)), n)
    ]
    least = min(total(ends) for ends in every)
    if math.isfinite(least):
        assert total(best_cuts(words, stage, duration_s, spaced)) == pytest.approx(least, abs=1e-9)


def sentence(text: str, start_s: float, word_s: float = 0.5) -> list[Word]:
    return spoken(
        *(
            (f" {w}", start_s + i * word_s, start_s + (i + 1) * word_s)
            for i, w in enumerate(text.split())
        )
    )


def texts(words: list[Word], clips: list[Segment]) -> list[str]:
    return ["".join(w.word for w in words[c.first_word : c.end_word]).strip() for c in clips]


def test_segment_cuts_at_sentence_ends() -> None:
    first, second = "The ball rolls in the grass now.", "It stops near a tree and then rests."
    words = sentence(first, 0.0) + sentence(second, 3.5)
    assert texts(words, SegmentWords().cut(words, 8.0, True)) == [first, second]


def test_segment_cuts_at_a_pause_where_no_sentence_ends() -> None:
    words = sentence("he goes on and on and on", 0.0) + sentence("and never comes to an end", 4.1)
    found = texts(words, SegmentWords(max_s=7.0).cut(words, 8.0, True))
    assert found == ["he goes on and on and on", "and never comes to an end"]


def test_segment_a_long_silence_ends_a_clip_even_of_one_word() -> None:
    words = spoken((" One", 10.0, 10.5), (" two.", 16.0, 16.5))
    stage = SegmentWords(max_pause_s=5.0, pad_before_s=0.0, pad_after_s=0.0)
    assert [(c.start_s, c.end_s, c.within_bounds) for c in stage.cut(words, 30.0, True)] == [
        (9.0, 11.5, False),
        (15.0, 17.5, False),
    ]


def test_segment_widens_a_short_clip_at_its_end_first() -> None:
    words = sentence("Look at that dog.", 10.0)  # 2 s of at least 2.8 s
    (clip,) = SegmentWords(min_s=2.8, pad_before_s=0.0, pad_after_s=0.0).cut(words, 30.0, True)
    assert (clip.start_s, clip.end_s, clip.within_bounds) == (10.0, 12.8, True)


def test_segment_pads_a_clip_with_the_silence_around_it_but_leaves_the_next_one_its_own() -> None:
    first, second = (
        sentence("They walk on and on and on.", 1.0),
        sentence("Then the dog barks at it.", 4.7),
    )
    one, two = SegmentWords(pad_before_s=0.2, pad_after_s=0.4).cut(first + second, 9.0, True)
    assert (one.start_s, one.end_s) == pytest.approx((0.8, 4.6))  # half of the pause of 0.2 s
    assert (two.start_s, two.end_s) == pytest.approx((4.6, 8.1))


def test_segment_padding_makes_no_clip_longer_than_allowed() -> None:
    """A millisecond to spare, of which each side would get a half and round it up."""
    for start_ms in range(1000, 1100):
        words = spoken((" So", start_ms / 1000, (start_ms + 14_999) / 1000))
        (clip,) = SegmentWords(max_s=15.0).cut(words, 30.0, True)
        assert clip.within_bounds
        assert 14.999 - 1e-6 <= clip.end_s - clip.start_s <= 15.0 + 1e-6


def test_segment_never_leaves_the_video() -> None:
    words = sentence("Look here.", 0.3)
    (clip,) = SegmentWords().cut(words, 1.4, True)
    assert (clip.start_s, clip.end_s, clip.within_bounds) == (0.0, 1.4, False)


def test_segment_a_word_without_a_space_stays_on_the_one_before() -> None:
    words = spoken(*((f"{' ' if i == 0 else ''}x", i * 1.0, i + 1.0) for i in range(30)))
    (clip,) = SegmentWords().cut(words, 30.0, spaced=True)
    assert (clip.end_word, clip.within_bounds) == (30, False)
    pieces = SegmentWords().cut(words, 30.0, spaced=False)
    assert len(pieces) > 1
    assert all(c.within_bounds for c in pieces)


def test_segment_no_words_are_no_clips() -> None:
    assert SegmentWords().cut([], 10.0, True) == []


@pytest.mark.parametrize(("language", "count"), [("en", 1), ("zh", 4), ("ja", 4)])
def test_segment_the_stage_knows_which_languages_have_spaces(
    tmp_path: Path, language: str, count: int
) -> None:
    workspace = Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")
    words = spoken(*((f"字{'。' if i % 5 == 4 else ''}", i * 1.0, i + 1.0) for i in range(20)))
    video = Video(
        video_id="a",
        url="a",
        location="a",
        duration_s=20.0,
        language=language,
        aligned_words=workspace.put_record(words),
    )
    stage = SegmentWords()
    with stage.open() as live:
        video, _ = apply(stage, live, video, workspace)
    assert len(workspace.get_records(Segment, video.segments)) == count


def test_segment_a_video_without_words_is_rejected(tmp_path: Path) -> None:
    workspace = Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")
    video = Video(
        video_id="a", url="a", location="a", duration_s=9.0, aligned_words=workspace.put_record([])
    )
    stage = SegmentWords()
    with stage.open() as live:
        video, _ = apply(stage, live, video, workspace)
    assert (video.outcome, video.reason, video.detail) == ("rejected", "no_clips", "words=0")


def test_segment_refuses_bounds_that_exclude_everything() -> None:
    with pytest.raises(ValueError, match=r"segment\.min_s \(9\.0\) is larger than segment\.max_s"):
        SegmentWords(min_s=9.0, max_s=5.0)
