"""Word times made sound: no word lost, every time possible, and what is guessed is counted."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.pipeline.stage import apply
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.transcript import Span, Transcript, Voice, Word
from reelscript.schemas.video import Video
from reelscript.transforms.align import (
    LONGEST_WORD_S,
    SNAP_S,
    USUAL_WORD_S,
    Align,
    aligned,
    snapped,
)

moments = st.one_of(st.none(), st.integers(-5_000, 70_000).map(lambda n: n / 1000))
anything = st.builds(
    Word, st.sampled_from([" a", " b", "'s", " 7"]), moments, moments, st.none(), st.integers(0, 3)
)


def word(text: str, start_s: float | None, end_s: float | None) -> Word:
    return Word(text, start_s, end_s, 0.9, 0)


def times(words: list[Word]) -> list[tuple[float, float]]:
    found = []
    for w in words:
        assert w.start_s is not None
        assert w.end_s is not None
        found.append((w.start_s, w.end_s))
    return found


@given(st.lists(anything, max_size=40), st.integers(0, 60_000).map(lambda n: n / 1000))
@settings(max_examples=300, deadline=None)
def test_align_whatever_comes_the_times_are_possible(words: list[Word], duration_s: float) -> None:
    found = aligned(words, duration_s)
    keep = [(w.word, w.probability, w.window) for w in words]
    assert [(w.word, w.probability, w.window) for w in found] == keep
    moments = times(found)
    for start_s, end_s in moments:
        assert 0 <= start_s <= end_s <= duration_s
        assert end_s - start_s <= LONGEST_WORD_S + 1e-6
        assert (start_s, end_s) == (round(start_s, 3), round(end_s, 3))
    assert all(a[1] <= b[0] for a, b in pairwise(moments))
    for before, after in zip(words, found, strict=True):
        if before.start_s is None or before.end_s is None or before.end_s < before.start_s:
            assert after.interpolated
    assert times(aligned(found, duration_s)) == moments  # a second time changes nothing


@st.composite
def sound(draw: st.DrawFn) -> list[Word]:
    """Words with times as a good recogniser gives them: in order, disjoint, none too long."""
    at, found = 0, []
    for gap, length in draw(
        st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 2500)), max_size=30)
    ):
        at += gap
        found.append(word(" a", at / 1000, (at + length) / 1000))
        at += length
    return found


@given(sound())
def test_align_leaves_sound_times_as_they_are(words: list[Word]) -> None:
    assert aligned(words, 300.0) == words


@given(sound(), st.sets(st.integers(0, 29)))
def test_align_counts_what_it_guesses_and_guesses_between_neighbours(
    words: list[Word], without: set[int]
) -> None:
    given_ = [word(w.word, None, None) if i in without else w for i, w in enumerate(words)]
    found = aligned(given_, 300.0)
    assert [i for i, w in enumerate(found) if w.interpolated] == [
        i for i in range(len(words)) if i in without
    ]
    for i, (before, after) in enumerate(zip(words, found, strict=True)):
        if i not in without:
            assert before.start_s == after.start_s
        if i not in without and i + 1 not in without:
            assert before.end_s == after.end_s


def test_align_spreads_words_without_times_evenly() -> None:
    words = [
        word(" a", 1.0, 1.2),
        word(" b", None, None),
        word(" c", None, 3.0),
        word(" d", 4.0, 4.5),
    ]
    found = times(aligned(words, 10.0))
    assert [start_s for start_s, _ in found] == [1.0, 2.0, 3.0, 4.0]
    assert found[1][1] == pytest.approx(2.0 + USUAL_WORD_S)


def test_align_words_without_times_at_the_end_follow_at_the_usual_pace() -> None:
    found = times(aligned([word(" a", 1.0, 1.2), *[word(" b", None, None)] * 3], 60.0))
    assert [start_s for start_s, _ in found] == pytest.approx([1.0, 1.3, 1.6, 1.9])
    squeezed = times(aligned([word(" a", 1.0, 1.2), *[word(" b", None, None)] * 3], 1.4))
    assert [start_s for start_s, _ in squeezed] == pytest.approx([1.0, 1.1, 1.2, 1.3])


def test_align_a_transcript_without_any_times_still_has_all_its_words() -> None:
    found = aligned([word(" a", None, None)] * 4, 10.0)
    assert len(found) == 4
    assert all(w.interpolated for w in found)


@pytest.mark.parametrize(
    ("start_s", "end_s"), [(2.0, 1.0), (3.0, 2.9), (99.0, 99.5), (0.2, 0.4)], ids=str
)
def test_align_does_not_believe_times_that_cannot_be(start_s: float, end_s: float) -> None:
    """Backwards, behind the end of the video, or long before the word said earlier."""
    words = [word(" a", 1.0, 1.5), word(" b", start_s, end_s), word(" c", 3.0, 3.4)]
    found = aligned(words, 10.0)
    assert [w.interpolated for w in found] == [False, True, False]
    assert found[1].start_s == 2.0


def test_align_neighbours_that_overlap_a_little_meet() -> None:
    found = aligned([word(" a", 1.0, 1.6), word(" b", 1.5, 2.0), word(" c", 1.4, 2.2)], 10.0)
    assert times(found) == [(1.0, 1.5), (1.5, 1.5), (1.5, 2.2)]
    assert not any(w.interpolated for w in found)


def test_align_a_word_stretched_over_a_pause_is_shortened() -> None:
    found = aligned([word(" a", 1.0, 9.0), word(" b", 9.0, 9.4)], 10.0)
    assert times(found) == [(1.0, 1.0 + LONGEST_WORD_S), (9.0, 9.4)]


@given(
    sound(),
    st.lists(st.integers(0, 90_000), max_size=20, unique=True).map(sorted),
    st.integers(0, 90_000),
)
@settings(max_examples=300, deadline=None)
def test_align_snapping_keeps_order_and_every_word(
    words: list[Word], edges: list[int], duration_ms: int
) -> None:
    duration_s = max([duration_ms / 1000, *(end_s for _, end_s in times(words))])
    spans = [
        Span(a / 1000, min(b / 1000, duration_s))
        for a, b in zip(edges[::2], edges[1::2], strict=False)
        if a / 1000 < duration_s
    ]
    found = snapped(words, spans)
    assert [w.word for w in found] == [w.word for w in words]
    assert all(0 <= a <= b <= duration_s for a, b in times(found))
    assert all(a[1] <= b[0] for a, b in pairwise(times(found)))
    edges_s = {s.start_s for s in spans} | {s.end_s for s in spans}
    for (a, b), (c, d) in zip(times(words), times(found), strict=True):
        assert c == a or (c in edges_s and a < c <= a + SNAP_S + 1e-6)
        assert d in (b, c) or d in edges_s
        assert d <= b + SNAP_S + 1e-6
        if not any(s.start_s < b and a < s.end_s for s in spans):
            assert (a, b) == (c, d)  # no voice was heard where it stands


def test_align_words_at_a_pause_go_to_the_edges_of_the_voice() -> None:
    words = [word(" a", 1.0, 1.5), word(" b", 1.5, 3.6), word(" c", 4.7, 5.2), word(" d", 5.2, 5.5)]
    found = snapped(words, [Span(1.0, 2.0), Span(5.0, 5.8)])
    assert times(found) == [(1.0, 1.5), (1.5, 2.0), (5.0, 5.2), (5.2, 5.8)]


def test_align_the_stage_stores_words_and_says_how_many_are_guessed(tmp_path: Path) -> None:
    workspace = Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")
    words = [word(" a", 1.0, 1.2), word(" b", None, None), word(" c", 2.0, 2.5)]
    transcript = Transcript("captions", "none", "none", "none", "en", [], words)
    digest = workspace.put_record(transcript)
    voice = workspace.put_record(Voice([], [], []))
    video = Video(
        video_id="a", url="a", location="a", duration_s=5.0, transcript=digest, voice=voice
    )
    stage = Align()
    with stage.open() as live:
        video, timing = apply(stage, live, video, workspace)
    assert timing.trace is None
    assert video.interpolated_words == 1
    assert workspace.get_records(Word, video.aligned_words) == aligned(words, 5.0)
