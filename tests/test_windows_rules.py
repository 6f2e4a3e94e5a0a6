"""What a window is, by both rules, against naive computations over all words."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reelscript
from reelscript.pipeline.errors import DataError
from reelscript.reading.faults import Damaged
from reelscript.reading.rules import Clips, Official, Place, Segment
from reelscript.reading.silences import Silences, silences_of

from .windows_made import Made, second_clips, write_corpus


def by_chance(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def spoken(starts_ms: list[int]) -> list[Any]:
    """The clips of a sample: one, with words that begin at these times."""
    words = [{"word": f" w{ms}", "start_s": ms / 1000} for ms in starts_ms]
    return [{"start_s": 0.0, "end_s": 1.0, "text": "", "words": words}]


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.integers(1, 14), min_size=1, max_size=6),
    empty=st.sets(st.integers(0, 40), max_size=3),
    k=st.integers(1, 5),
    stride=st.integers(1, 5),
    seed=st.none() | st.integers(0, 9),
)
def test_windows_clips_are_consecutive_and_refused_if_one_is_empty(
    counts: list[int], empty: set[int], k: int, stride: int, seed: int | None
) -> None:
    stride = min(stride, k)
    flags = np.array([n in empty for n in range(sum(counts))])
    rule = Clips(k, stride, np.array(counts), flags)
    drawn = rule.drawn(None if seed is None else by_chance(seed))
    places = dict[int, list[int]]()
    for sample, (first, _) in zip(drawn.samples.tolist(), drawn.places.tolist(), strict=True):
        places.setdefault(sample, []).append(first)
    given_all = 0
    for sample, count in enumerate(counts):
        expected = 0 if count < k else 1 + (count - k) // stride
        given_all += expected
        found = places.get(sample, [])
        assert all(0 <= first <= count - k for first in found)
        assert all((two - one) % stride == 0 for one, two in pairwise(found))
        before = sum(counts[:sample])
        assert not any(flags[before + first : before + first + k].any() for first in found)
    assert drawn.refused["too_few_clips"] == sum(count < k for count in counts)
    assert len(drawn.samples) + drawn.refused["empty_transcript"] == given_all


def test_windows_clips_all_come_over_the_epochs() -> None:
    rule = Clips(4, 4, np.array([10]), np.zeros(10, bool))
    seen = set()
    for seed in range(20):
        drawn = rule.drawn(by_chance(seed))
        assert len(drawn.samples) == 2
        seen |= {int(first) + i for first, _ in drawn.places for i in range(4)}
    assert seen == set(range(10))


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_windows_clips_frames_are_spread_inside_each(seed: int | None) -> None:
    rule = Clips(2, 2, np.array([2]), np.zeros(2, bool))
    parts = [Segment(1.0, 4.0, "a"), Segment(10.0, 16.0, "b")]
    times = rule.times_s(parts, 6, None if seed is None else by_chance(seed))
    edges = [1, 2, 3, 4, 10, 12, 14, 16]
    lows, highs = [*edges[:3], *edges[4:7]], [*edges[1:4], *edges[5:]]
    assert all(low <= t <= high for low, t, high in zip(lows, times, highs, strict=True))
    if seed is None:
        assert times == [1.5, 2.5, 3.5, 11, 13, 15]


def no_words_inside(words: list[int], start: int, end: int) -> bool:
    return not any(start < word < end for word in words)


@settings(max_examples=300, deadline=None)
@given(
    samples=st.lists(st.lists(st.integers(0, 20_000), max_size=12), min_size=1, max_size=4),
    asked=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 20_000), st.integers(1000, 6000)), max_size=12
    ),
)
def test_windows_silences_cover_a_segment_if_no_word_begins_inside(
    samples: list[list[int]], asked: list[tuple[int, int, int]]
) -> None:
    silences = Silences.from_bytes(silences_of(samples).to_bytes())
    asked = [(sample % len(samples), start, length) for sample, start, length in asked]
    columns = np.array(asked, np.int64).reshape(-1, 3).T
    covered = silences.cover(columns[0], columns[1], columns[1] + columns[2])
    assert covered.tolist() == [no_words_inside(samples[s], a, a + n) for s, a, n in asked]


@settings(max_examples=200, deadline=None)
@given(
    durations=st.lists(st.integers(1_000, 90_000), min_size=1, max_size=4),
    words=st.lists(st.integers(0, 90_000), max_size=120, unique=True),
    seed=st.none() | st.integers(0, 99),
    k=st.sampled_from([2, 4]),
)
def test_windows_official_as_the_released_loader_has_them(
    durations: list[int], words: list[int], seed: int | None, k: int
) -> None:
    said = [sorted(word for word in words if word < duration) for duration in durations]
    rule = Official(k, np.array(durations), silences_of(said))
    drawn = rule.drawn(None if seed is None else by_chance(seed))
    longest = 5 * k + k - 1
    parts = [max(1, duration // (1000 * (longest + 1))) for duration in durations]
    assert len(drawn.samples) + sum(drawn.refused.values()) == sum(parts)
    assert drawn.refused["unreadable"] == 0
    ends = dict[int, int]()
    for sample, place in zip(drawn.samples.tolist(), drawn.places.tolist(), strict=True):
        start, length = place
        part = durations[sample] // parts[sample]
        whole = part // 1000
        offset = start % part if parts[sample] > 1 else start
        if length in (3000, 4000, 5000) and whole - 1 >= (k * length) // 1000 + k - 1:
            end = offset + k * length + (k - 1) * 1000
            assert offset >= 0
            assert end < whole * 1000  # randint leaves out a second, of which random() takes a part
        else:  # too short for what was drawn: begins at 0, ends a second early
            assert offset == 0
            assert length == ((whole - 1) * 1000 - (k - 1) * 1000) // k
        assert start >= ends.get(sample, 0)  # none overlap
        ends[sample] = start + k * length + (k - 1) * 1000
        segments = rule.segments(spoken(said[sample]), Place(*place))
        for i, segment in enumerate(segments):
            begins = start + i * (length + 1000)
            assert (segment.start_s, segment.end_s) == (begins / 1000, (begins + length) / 1000)
            inside = [f"w{ms}" for ms in said[sample] if begins < ms < begins + length]
            assert segment.text.split() == inside
            assert inside
    if seed is None:
        assert {length for _, length in drawn.places.tolist()} <= {4000, *range(4000)}


def test_windows_official_draws_every_length_and_place() -> None:
    words = [list(range(0, 30_000, 100))]
    rule = Official(4, np.array([30_000]), silences_of(words))
    found = np.array([rule.drawn(by_chance(seed)).places[0] for seed in range(300)])
    assert set(found[:, 1]) == {3000, 4000, 5000}
    for length in (3000, 4000, 5000):
        starts = found[found[:, 1] == length, 0]
        assert starts.max() < 30_000 - 4 * length - 3000
        assert set(starts // 1000) == set(range(30 - 1 - 4 * length // 1000 - 3 + 1))


def test_windows_official_frames_are_over_the_whole_window() -> None:
    rule = Official(4, np.array([30_000]), silences_of([[]]))
    parts = [Segment(2.0 + 4 * i, 5.0 + 4 * i, "x") for i in range(4)]  # 2 to 17
    times = rule.times_s(parts, 5, by_chance(0))
    assert all(2 + 3 * i <= t <= 5 + 3 * i for i, t in enumerate(times))
    assert rule.times_s(parts, 5, None) == [3.5, 6.5, 9.5, 12.5, 15.5]


def gappy(count: int) -> tuple[tuple[float, float, str], ...]:
    """Clips of which every third has no words."""
    return tuple((n * 4.0, n * 4.0 + 4, "" if n % 3 == 2 else "two words") for n in range(count))


def test_windows_with_an_empty_transcript_are_refused_and_counted(tmp_path: Path) -> None:
    samples = [
        Made("x_full", 24.0, second_clips(24), "train-000000.tar"),
        Made("x_gaps", 24.0, gappy(6), "train-000000.tar"),
        Made("x_short", 4.0, second_clips(3), "train-000000.tar"),
    ]
    folder = write_corpus(tmp_path / "corpus", samples)
    small: dict[str, Any] = {"frames": 4, "px": 16}
    clips = reelscript.open(folder).windows(**small)
    assert len(clips) == len(list(clips)) == 6
    assert clips.refused == {"too_few_clips": 1, "empty_transcript": 1}
    official = reelscript.open(folder).windows(rule="official", **small)
    for epoch in range(8):
        assert official.state_dict()["epoch"] == epoch
        expected, refused = len(official), official.refused
        steps = list(official)
        assert len(steps) == expected
        assert all(text for step in steps for text in step["text"])
        assert refused["too_short"] == 1
        assert expected + refused["empty_transcript"] == 2


def test_windows_official_remembers_silences(tmp_path: Path) -> None:
    folder = write_corpus(
        tmp_path / "corpus", [Made("x_a", 24.0, second_clips(24), "train-000000.tar")]
    )
    kept = tmp_path / "cache"
    settings: dict[str, Any] = {"rule": "official", "frames": 4, "px": 16, "cache": str(kept)}
    first = list(reelscript.open(folder).windows(**settings))
    remembered = next(kept.iterdir())
    before = remembered.read_bytes()
    again = reelscript.open(folder).windows(**settings)
    (folder / "shards" / "train-000000.tar").rename(tmp_path / "gone")
    assert len(again) == 1  # no json was read
    (tmp_path / "gone").rename(folder / "shards" / "train-000000.tar")
    assert [step["text"] for step in again] == [step["text"] for step in first]
    remembered.write_bytes(before[:50])  # damaged: made anew
    assert len(reelscript.open(folder).windows(**settings)) == 1
    assert remembered.read_bytes() == before


def test_windows_official_meets_a_damaged_json_before_it_reads(tmp_path: Path) -> None:
    samples = [Made(f"x_{n}", 24.0, second_clips(24), "train-000000.tar") for n in range(4)]
    folder = write_corpus(tmp_path / "corpus", samples)
    shard = folder / "shards" / "train-000000.tar"
    shard.write_bytes(shard.read_bytes().replace(b'{"key": "x_2"', b'{"key": "x_3"'))
    small: dict[str, Any] = {"rule": "official", "frames": 4, "px": 16}
    with pytest.raises(Damaged, match=r"x_2\.json in .* has not the sha256"):
        len(reelscript.open(folder).windows(**small))
    with pytest.raises(DataError, match="1 of 4 windows"):
        len(reelscript.open(folder).windows(**small, on_fault="skip"))
    read = reelscript.open(folder).windows(**small, on_fault="skip", max_faults=0.5)
    assert len(list(read)) == 3
    assert read.plan(0).refused["unreadable"] == 1
