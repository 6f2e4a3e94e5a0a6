"""Spans, windows and missed speech: against drawings of voice of which everything is known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelscript.schemas.transcript import Span
from reelscript.transforms.voice_activity import (
    FRAME_S,
    MIN_MISSED_S,
    MIN_PAUSE_S,
    MIN_SPAN_S,
    TICK_S,
    VOICE,
    VOICE_ENDS,
    WORD_REACH_S,
    longest_pause_near_middle,
    missed_speech,
    overlap_s,
    speech_windows,
    split_long,
    voice_spans,
)
from reelscript.transforms.whisper import WINDOW_S

Track = tuple[NDArray[np.float32], float]


@st.composite
def tracks(draw: st.DrawFn) -> Track:
    """Probabilities a frame, and the duration: runs of silence, of doubt and of voice."""
    runs = draw(
        st.lists(
            st.tuples(st.sampled_from([0.0, 0.1, 0.4, 0.5, 0.6, 0.95]), st.integers(1, 1500)),
            max_size=25,
        )
    )
    jitter = np.random.default_rng(draw(st.integers(0, 99)))
    parts = [np.full(n, p) - jitter.uniform(0, 0.04, n) * (p > 0.5) for p, n in runs]
    found = np.concatenate([*parts, np.zeros(0)]).astype(np.float32)
    cut_s = draw(st.integers(0, 31)) / 1000  # the last frame is padded
    return found, round(max(0.0, len(found) * FRAME_S - cut_s), 3)


def naive_spans(probabilities: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Hysteresis, frame by frame, then short pauses filled: (first, end) frames."""
    voiced, on = [], False
    for p in probabilities:
        on = p >= VOICE or (on and p >= VOICE_ENDS)
        voiced.append(on)
    runs: list[list[int]] = []
    for i, here in enumerate(voiced):
        if here and runs and runs[-1][1] == i:
            runs[-1][1] = i + 1
        elif here:
            runs.append([i, i + 1])
    joined: list[list[int]] = []
    for run in runs:
        # a pause of exactly MIN_PAUSE_S (5 frames of 32 ms) is bridged, a longer one is not
        if joined and run[0] - joined[-1][1] <= round(MIN_PAUSE_S / FRAME_S):
            joined[-1][1] = run[1]
        else:
            joined.append(run)
    return [(a, b) for a, b in joined]


@given(tracks())
@settings(max_examples=60, deadline=None)
def test_voice_spans_are_runs_above_the_threshold_with_short_pauses_filled(track: Track) -> None:
    probabilities, duration_s = track
    wanted = [
        (round(a * FRAME_S, 3), round(min(b * FRAME_S, duration_s), 3))
        for a, b in naive_spans(probabilities)
    ]
    found = [(s.start_s, s.end_s) for s in voice_spans(probabilities, duration_s)]
    assert found == [(a, b) for a, b in wanted if b - a >= MIN_SPAN_S]


def test_voice_spans_of_silence_and_of_nothing_are_none() -> None:
    assert voice_spans(np.zeros(0, np.float32), 0.0) == []
    assert voice_spans(np.full(1000, 0.49, np.float32), 32.0) == []


def on_tick(t: float) -> bool:
    return abs(t / TICK_S - round(t / TICK_S)) < 1e-6


@given(tracks())
@settings(max_examples=100, deadline=None)
def test_speech_windows_are_disjoint_short_on_ticks_and_hold_all_voice(track: Track) -> None:
    probabilities, duration_s = track
    spans = voice_spans(probabilities, duration_s)
    windows = speech_windows(spans, probabilities, duration_s)
    assert bool(windows) == bool(spans)
    assert all(a.end_s <= b.start_s for a, b in pairwise(windows))
    for w in windows:
        assert 0 <= w.start_s < w.end_s <= duration_s + 1e-9
        assert w.duration_s <= WINDOW_S + 1e-9
        assert on_tick(w.start_s)
        assert on_tick(w.end_s)
        assert overlap_s(spans, w.start_s, w.end_s) > 0
    for span in spans:
        # an end is rounded down to a tick, and a float may lose one more
        held_s = overlap_s(windows, span.start_s, span.end_s)
        assert held_s >= span.duration_s - 2 * TICK_S - 1e-9


@given(
    st.lists(st.tuples(st.integers(10, 300), st.integers(40, 1600)), min_size=1, max_size=40),
    st.integers(0, 99),
)
def test_speech_windows_of_fluent_speech_stay_short_with_their_padding(
    parts: list[tuple[int, int]], start: int
) -> None:
    """Pauses up to 3 s, utterances up to 16 s, in ticks: windows come out nearly full."""
    at, spans = start, []
    for pause, length in parts:
        spans.append(Span((at + pause) / 100, (at + pause + length) / 100))
        at += pause + length
    windows = speech_windows(spans, np.zeros(at, np.float32), at / 100 + 1.0)
    assert max(w.duration_s for w in windows) <= WINDOW_S + 1e-9
    for span in spans:
        (own,) = [w for w in windows if w.start_s - 1e-9 <= span.start_s < w.end_s]
        assert span.end_s <= own.end_s + 2 * TICK_S  # no utterance that fits is cut


def test_speech_windows_leave_room_for_the_silence_around_them() -> None:
    """29.6 s of speech fit into 30 s, but not with 0.4 s of silence on either side."""
    spans = [Span(1.0, 15.0), Span(15.5, 30.6), Span(40.0, 41.0)]
    windows = speech_windows(spans, np.zeros(1500, np.float32), 50.0)
    assert len(windows) == 2
    assert windows[0].end_s < 15.5


def test_speech_windows_close_at_the_longest_late_pause() -> None:
    """Voice with pauses at 5 s (2 s long), 24 s (1 s) and 27 s (0.3 s): it is cut in the second."""
    spans = [Span(0.0, 5.0), Span(7.0, 24.0), Span(25.0, 27.0), Span(27.3, 29.0), Span(29.5, 40.0)]
    probabilities = np.zeros(2000, np.float32)
    first, second = speech_windows(spans, probabilities, 50.0)
    assert 24.0 < first.end_s < 25.0
    assert first.end_s <= second.start_s <= 25.0
    assert second.end_s == pytest.approx(40.4, abs=TICK_S)


def test_speech_windows_may_end_early_where_the_next_words_do_not_fit() -> None:
    windows = speech_windows([Span(1.0, 3.0), Span(20.0, 45.0)], np.zeros(2000, np.float32), 50.0)
    edges = [t for w in windows for t in (w.start_s, w.end_s)]
    assert edges == pytest.approx([0.6, 3.4, 19.6, 45.4], abs=TICK_S)


@given(st.integers(1, 120_000), st.integers(0, 50_000), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_split_long_cuts_without_loss_where_the_voice_is_weak(
    length_ms: int, start_ms: int, seed: int
) -> None:
    span = Span(start_ms / 1000, (start_ms + length_ms) / 1000)
    frames = int(span.end_s / FRAME_S) + 2
    probabilities = np.random.default_rng(seed).uniform(0.5, 1, frames).astype(np.float32)
    pieces = split_long([span], probabilities, 10.0)
    assert (pieces[0].start_s, pieces[-1].end_s) == (span.start_s, span.end_s)
    for a, b in pairwise(pieces):
        assert a.end_s == b.start_s
        assert 5.0 - FRAME_S <= a.duration_s <= 10.0 + 1e-9
        low = int((a.start_s + 5.0) / FRAME_S)
        high = int((a.start_s + 10.0) / FRAME_S)
        assert probabilities[int(a.end_s / FRAME_S)] == probabilities[low:high].min()
    assert pieces[-1].duration_s <= 10.0 + 1e-9


def ordered(most_ms: int, disjoint: bool) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Stretches in ms, sorted; every other gap is left out if they are disjoint."""
    times = st.lists(st.integers(0, most_ms), max_size=16, unique=True)
    if disjoint:
        return times.map(lambda t: list(zip(sorted(t)[::2], sorted(t)[1::2], strict=False)))
    pair = st.tuples(st.integers(0, most_ms), st.integers(0, 800))
    return st.lists(pair, max_size=8).map(lambda p: sorted((a, a + n) for a, n in p))


@given(
    ordered(9000, True), ordered(9000, False), st.tuples(st.integers(0, 5000), st.integers(1, 4000))
)
@settings(max_examples=150, deadline=None)
def test_missed_speech_is_voice_far_from_any_word(
    voice: list[tuple[int, int]], words: list[tuple[int, int]], window: tuple[int, int]
) -> None:
    """The oracle paints every millisecond."""
    reach, least = round(WORD_REACH_S * 1000), round(MIN_MISSED_S * 1000)
    low, high = window[0], window[0] + window[1]
    wanted: list[tuple[int, int]] = []
    for a, b in voice:
        bare = np.zeros(12_000, bool)
        bare[max(a, low) : max(0, min(b, high))] = True
        for start, end in words:
            bare[max(0, start - reach) : end + reach] = False
        edges = np.flatnonzero(np.diff(np.concatenate([[False], bare, [False]]).astype(int)))
        wanted += [(int(x), int(y)) for x, y in zip(edges[::2], edges[1::2], strict=True)]
    found = missed_speech(
        [Span(a / 1000, b / 1000) for a, b in voice],
        [Span(a / 1000, b / 1000) for a, b in words],
        Span(low / 1000, high / 1000),
    )
    plain = [(round(s.start_s * 1000), round(s.end_s * 1000)) for s in found]
    assert all(b - a >= least for a, b in plain)
    # a stretch of exactly MIN_MISSED_S may fall on either side of a float
    assert [p for p in plain if p[1] - p[0] > least] == [p for p in wanted if p[1] - p[0] > least]


@given(ordered(30_000, True), st.integers(0, 20_000), st.integers(1000, 10_000))
def test_longest_pause_near_middle_is_near_the_middle_on_a_tick(
    voice: list[tuple[int, int]], start_ms: int, length_ms: int
) -> None:
    window = Span(start_ms / 1000, (start_ms + length_ms) / 1000)
    spans = [Span(a / 1000, b / 1000) for a, b in voice]
    at_s = longest_pause_near_middle(spans, window)
    assert on_tick(at_s)
    middle_s = (window.start_s + window.end_s) / 2
    assert abs(at_s - middle_s) <= window.duration_s / 4 + TICK_S
    inner = [
        (b.start_s - a.end_s, (a.end_s + b.start_s) / 2)
        for a, b in pairwise(spans)
        if abs((a.end_s + b.start_s) / 2 - middle_s) < window.duration_s / 4 - 1e-6
    ]
    if inner:
        longest_s = max(length for length, _ in inner)
        around = [
            b.start_s - a.end_s
            for a, b in pairwise(spans)
            if a.end_s - TICK_S <= at_s <= b.start_s + TICK_S
        ]
        assert max(around) >= longest_s - 1e-9


def test_longest_pause_near_middle_without_pauses_is_the_middle() -> None:
    assert longest_pause_near_middle([Span(0.0, 30.0)], Span(4.0, 10.0)) == pytest.approx(7.0)


@given(ordered(5000, True), st.integers(0, 5000), st.integers(0, 3000))
def test_overlap_counts_the_shared_milliseconds(
    voice: list[tuple[int, int]], start_ms: int, length_ms: int
) -> None:
    shared = sum(len(range(max(a, start_ms), min(b, start_ms + length_ms))) for a, b in voice)
    spans = [Span(a / 1000, b / 1000) for a, b in voice]
    found = overlap_s(spans, start_ms / 1000, (start_ms + length_ms) / 1000)
    assert found == pytest.approx(shared / 1000)
