"""Scores of clips and videos, against counts by hand and by naive loops."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.pipeline.stage import apply
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Clip, Segment
from reelscript.schemas.transcript import Span, Transcript, Voice, Window, Word
from reelscript.schemas.video import Video
from reelscript.transforms.score import (
    Score,
    compression_ratio,
    densest_bin,
    repeated_ngram_share,
    unique_share,
)

few_words = st.lists(st.sampled_from([" a", " b.", " C", " c", "?", " d"]), max_size=30)


def bare(words: list[str]) -> list[str]:
    return [b for w in words if (b := w.strip().strip(".?!,").lower())]


@given(few_words)
def test_score_repeated_ngram_share_marks_words_of_later_copies(words: list[str]) -> None:
    plain = bare(words)
    marked = set()
    for i in range(len(plain) - 2):
        for j in range(i):
            if plain[j : j + 3] == plain[i : i + 3]:
                marked |= {i, i + 1, i + 2}
    assert repeated_ngram_share(words) == (len(marked) / len(plain) if plain else 0.0)


@given(few_words)
def test_score_unique_share_counts_words_without_case_and_signs(words: list[str]) -> None:
    plain = bare(words)
    assert unique_share(words) == (len({*plain}) / len(plain) if plain else 1.0)


@given(st.text())
def test_score_compression_ratio_is_bytes_over_zlib_bytes(text: str) -> None:
    data = text.encode()
    assert compression_ratio(text) == (len(data) / len(zlib.compress(data)) if data else 0)


def test_score_compression_ratio_is_whispers_for_a_loop() -> None:
    assert compression_ratio("Thank you. " * 30) > 2.4
    assert compression_ratio("Marie sighed. A brisk wind had come up over the orchard.") < 1.5


@given(st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 3000)), max_size=50))
def test_score_densest_bin_counts_middles(starts: list[tuple[int, int]]) -> None:
    words = [Word(" a", a / 1000, (a + n) / 1000, None, 0) for a, n in starts]
    most = max(
        (sum(30_000 * k <= a + n / 2 < 30_000 * (k + 1) for a, n in starts) for k in range(10)),
        default=0,
    )
    assert densest_bin(words) == most


def window(logprob: float, silent: float, ratio: float) -> Window:
    return Window(0.0, 30.0, logprob, silent, ratio, 0.0, "batched", False)


WORDS = [
    Word(" The", 1.0, 1.2, 0.9, 0),
    Word(" ball", 1.2, 1.6, 0.8, 0),
    Word(" rolls.", 1.6, 2.0, 0.4, 1),
    Word(" Rolls", 31.0, 31.5, None, 1, interpolated=True),
    Word("-on", 31.5, 32.0, 0.5, 7),  # of a window that is not there
]


def scored(
    tmp_path: Path, words: list[Word], segments: list[Segment], source: str = "asr"
) -> tuple[Video, list[Clip]]:
    workspace = Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")
    windows = [window(-0.2, 0.1, 1.3), window(-0.5, 0.7, 2.0)]
    transcript = Transcript(source, "e", "m", "int8", "en", windows, words)
    voice = Voice([Span(0.5, 1.5), Span(1.8, 9.0)], [], [])
    video = Video(
        video_id="a",
        url="a",
        location="a",
        duration_s=40.0,
        static_share=0.25,
        voice=workspace.put_record(voice),
        transcript=workspace.put_record(transcript),
        aligned_words=workspace.put_record(words),
        segments=workspace.put_record(segments),
    )
    stage = Score()
    with stage.open() as live:
        video, timing = apply(stage, live, video, workspace)
    assert timing.trace is None, timing.trace
    return video, workspace.get_records(Clip, video.clips)


def test_score_of_a_clip_is_what_one_counts_by_hand(tmp_path: Path) -> None:
    segments = [Segment(1.0, 3.0, 0, 3, True), Segment(31.0, 32.0, 3, 5, False)]
    video, (first, second) = scored(tmp_path, WORDS, segments)
    s = first.scores
    assert (first.clip_index, first.text, first.within_bounds) == (0, "The ball rolls.", True)
    assert (s.words, s.words_per_s, s.chars_per_s) == (3, 1.5, 7.5)
    assert s.mean_word_probability == pytest.approx(0.7)
    assert s.min_word_probability == 0.4
    assert s.avg_logprob == pytest.approx(-0.3)  # two words at -0.2, one at -0.5
    assert (s.no_speech_probability, s.window_compression_ratio) == (0.7, 2.0)
    assert s.speech_share == pytest.approx((0.5 + 1.2) / 2)
    assert (s.static_share, s.interpolated_share) == (0.25, 0.0)
    assert (s.longest_word_chars, s.unique_word_share, s.repeated_ngram_share) == (5, 1.0, 0.0)
    t = second.scores
    assert (second.clip_index, second.text, second.within_bounds) == (1, "Rolls-on", False)
    assert (t.mean_word_probability, t.min_word_probability, t.avg_logprob) == (0.5, 0.5, -0.5)
    assert (t.interpolated_share, t.speech_share) == (0.5, 0.0)
    assert (video.clips_cut, video.words_per_s, video.densest_30s_words) == (2, 5 / 40, 3)
    assert video.unique_word_share == pytest.approx(4 / 5)
    assert video.mean_word_probability == pytest.approx(2.6 / 4)


def test_score_what_cannot_be_measured_is_none_and_never_nan(tmp_path: Path) -> None:
    words = [replace(w, probability=None, window=9) for w in WORDS]
    video, (clip,) = scored(tmp_path, words, [Segment(1.0, 1.0, 0, 5, False)])
    s = clip.scores
    assert s.mean_word_probability is None
    assert s.min_word_probability is None
    assert s.avg_logprob is None
    assert s.no_speech_probability is None
    assert s.window_compression_ratio is None
    assert video.mean_word_probability is None
    assert math.isfinite(s.words_per_s)


@pytest.mark.parametrize(("source", "share"), [("asr", 0.5), ("captions", None)])
def test_score_of_times_that_were_not_heard_is_of_recognised_words_only(
    tmp_path: Path, source: str, share: float | None
) -> None:
    words = [
        Word(" a", 1.0, 1.4, None, 0, interpolated=False),
        Word(" b", 1.5, 1.9, None, 0, interpolated=True),
    ]
    _, clips = scored(tmp_path, words, [Segment(1.0, 1.9, 0, 2, True)], source)
    assert clips[0].scores.interpolated_share == share
