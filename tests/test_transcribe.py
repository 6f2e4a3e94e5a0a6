"""The ladder of decodings, with decoders that do as they are told: no model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.pipeline.errors import Reject
from reelscript.schemas.transcript import Span, Voice, Window, Word
from reelscript.schemas.video import Video
from reelscript.transforms import whisper
from reelscript.transforms.align import LONGEST_WORD_S
from reelscript.transforms.recogniser import (
    SHIFT_S,
    WINDOWS_A_CALL,
    Decoded,
    Recogniser,
    cut_around,
    spans_of,
)
from reelscript.transforms.transcribe import Transcribe

STAGE = Transcribe(model="tiny.en", accept=("en",))
RUNGS = ["wider_beam", "cut_at_pause", "cut_at_missed", "shifted"]
Numbers = Callable[[str, Span], dict[str, float]]


def window(span: Span, attempt: str, **numbers: float) -> Window:
    good = {"avg_logprob": -0.2, "no_speech_probability": 0.1, "compression_ratio": 1.3}
    values: dict[str, Any] = good | {"missed_speech_s": 0.0} | numbers
    return Window(span.start_s, span.end_s, attempt=attempt, doubtful=False, **values)


class Told(Recogniser):
    """A recogniser whose windows come out with the numbers that a function gives for them."""

    def __init__(self, voice: Voice, numbers: Numbers, stage: Transcribe = STAGE) -> None:
        self.calls: list[tuple[str, int, list[Span]]] = []
        self.numbers = numbers
        no_model: Any = None
        super().__init__(stage, no_model, np.zeros(16, np.int16), voice, "en")

    def batched(self, windows: Sequence[Span], beam_size: int, attempt: str) -> list[Decoded]:
        self.calls.append((attempt, beam_size, list(windows)))
        return [
            Decoded(
                window(w, attempt, **self.numbers(attempt, w)),
                [Word(f" {attempt}", w.start_s, w.start_s + 0.5, 0.9, 0)],
            )
            for w in windows
        ]


SPANS = [Span(1.0, 8.0), Span(9.0, 14.0), Span(16.0, 29.0)]
VOICE = Voice(SPANS, [Span(0.6, 29.4)], [])
BAD = {"avg_logprob": -1.5}


def test_transcribe_a_good_window_is_decoded_once() -> None:
    told = Told(VOICE, lambda _attempt, _span: {})
    (found,) = told.decode()
    assert [c[0] for c in told.calls] == ["batched"]
    assert told.calls[0][1] == STAGE.beam_size
    assert (found.window.attempt, found.window.doubtful) == ("batched", False)


@pytest.mark.parametrize("good", RUNGS)
def test_transcribe_the_first_rung_that_is_good_is_taken(good: str) -> None:
    told = Told(VOICE, lambda attempt, _span: {} if attempt == good else BAD)
    found = told.decode()
    assert [c[0] for c in told.calls] == ["batched", *RUNGS[: RUNGS.index(good) + 1]]
    assert {c[1] for c in told.calls[1:]} == {STAGE.retry_beam_size}
    assert {d.window.attempt for d in found} == {good}
    assert not any(d.window.doubtful for d in found)


def test_transcribe_every_window_of_a_rung_must_be_good() -> None:
    def numbers(attempt: str, span: Span) -> dict[str, float]:
        return BAD if attempt != "shifted" and span.start_s < 5 else {}

    found = Told(VOICE, numbers).decode()
    assert {d.window.attempt for d in found} == {"shifted"}


def test_transcribe_where_all_is_bad_the_likeliest_is_kept_and_marked() -> None:
    likely = {"batched": -1.9, "wider_beam": -1.2, "cut_at_pause": -1.5, "cut_at_missed": -1.4}
    told = Told(VOICE, lambda attempt, _span: {"avg_logprob": likely.get(attempt, -3.0)})
    (found,) = told.decode()
    assert [c[0] for c in told.calls] == ["batched", *RUNGS]
    assert (found.window.attempt, found.window.doubtful) == ("wider_beam", True)


def test_transcribe_an_attempt_without_repetition_is_better_than_a_likely_loop() -> None:
    def numbers(attempt: str, span: Span) -> dict[str, float]:
        loop = {"compression_ratio": 9.0, "avg_logprob": -0.05}
        return BAD if attempt == "shifted" else loop

    (found,) = Told(VOICE, numbers).decode()
    assert (found.window.attempt, found.window.doubtful) == ("shifted", True)


def test_transcribe_an_attempt_that_misses_less_is_better_than_a_likelier_one() -> None:
    def numbers(attempt: str, span: Span) -> dict[str, float]:
        least = attempt == "wider_beam"
        return {"missed_speech_s": 3.0 if least else 9.0, "avg_logprob": -0.9 if least else -0.1}

    (found,) = Told(VOICE, numbers).decode()
    assert (found.window.attempt, found.window.doubtful) == ("wider_beam", True)


def test_transcribe_of_several_windows_only_the_bad_one_is_marked() -> None:
    def numbers(attempt: str, span: Span) -> dict[str, float]:
        if attempt == "cut_at_pause" and span.start_s > 5:
            return {}
        return BAD if attempt == "cut_at_pause" else {"avg_logprob": -5.0}

    found = Told(VOICE, numbers).decode()
    assert [(d.window.attempt, d.window.doubtful) for d in found] == [
        ("cut_at_pause", True),
        ("cut_at_pause", False),
    ]


def test_transcribe_neighbours_of_a_bad_window_are_left_alone() -> None:
    voice = Voice([Span(0.0, 95.0)], [Span(k * 30.0, k * 30.0 + 30.0) for k in range(3)], [])
    told = Told(
        voice, lambda attempt, span: BAD if (attempt, span.start_s) == ("batched", 30.0) else {}
    )
    found = told.decode()
    assert [d.window.attempt for d in found] == ["batched", "wider_beam", "batched"]
    assert told.calls[1][2] == [voice.windows[1]]


def test_transcribe_many_windows_are_decoded_in_calls_of_a_fixed_size() -> None:
    windows = [Span(k * 30.0, k * 30.0 + 30.0) for k in range(2 * WINDOWS_A_CALL + 5)]
    told = Told(Voice([], windows, []), lambda _attempt, _span: {}, replace(STAGE, batch_size=3))
    assert [d.window.start_s for d in told.decode()] == [w.start_s for w in windows]
    assert [len(c[2]) for c in told.calls] == [WINDOWS_A_CALL, WINDOWS_A_CALL, 5]


def test_transcribe_without_voice_nothing_is_decoded() -> None:
    told = Told(Voice([], [], []), lambda _attempt, _span: {})
    assert told.decode() == []
    assert told.calls == []


@given(
    st.integers(0, 10_000),
    st.integers(1, 3000),
    st.lists(st.integers(0, 13_000), max_size=12, unique=True).map(sorted),
)
def test_transcribe_every_rung_stays_in_its_window_in_order(
    start: int, length: int, edges: list[int]
) -> None:
    """In ticks of 10 ms; each rung but the shifted one decodes the whole window."""
    whole = Span(start / 100, (start + length) / 100)
    spans = [Span(a / 100, b / 100) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    told = Told(Voice(spans, [whole], []), lambda _attempt, _span: BAD)
    told.decode()
    names = [c[0] for c in told.calls[1:]]
    assert names == [r for r in RUNGS if r in names]
    assert "wider_beam" in names
    for attempt, _, windows in told.calls[1:]:
        first_s = whole.start_s + (SHIFT_S if attempt == "shifted" else 0.0)
        assert (windows[0].start_s, windows[-1].end_s) == (first_s, whole.end_s)
        assert all(a.end_s == b.start_s for a, b in pairwise(windows))
        assert all(w.duration_s > 0 for w in windows)
        for w in windows:
            assert w.start_s * 100 == pytest.approx(round(w.start_s * 100), abs=1e-6)


@given(st.integers(0, 3000), st.integers(60, 3000), st.integers(-500, 6000), st.integers(0, 3000))
def test_transcribe_cut_around_makes_pieces_that_fit_together(
    start: int, length: int, missed: int, missed_length: int
) -> None:
    span = Span(start / 100, (start + length) / 100)
    gap = Span(missed / 100, (missed + missed_length) / 100)
    pieces = cut_around(span, gap)
    assert (pieces[0].start_s, pieces[-1].end_s) == (span.start_s, span.end_s)
    assert all(a.end_s == b.start_s for a, b in pairwise(pieces))
    assert all(p.duration_s >= 0 for p in pieces)
    assert len(pieces) <= 3


def test_transcribe_cut_around_the_missed_part_is_a_piece_of_its_own() -> None:
    whole = Span(0.0, 30.0)
    assert cut_around(whole, Span(10.0, 14.0)) == [
        Span(0, 10.0),
        Span(10.0, 14.0),
        Span(14.0, 30.0),
    ]
    assert cut_around(whole, Span(0.2, 14.0)) == [Span(0.0, 14.0), Span(14.0, 30.0)]
    assert cut_around(whole, Span(20.0, 29.8)) == [Span(0.0, 20.0), Span(20.0, 30.0)]


@pytest.mark.parametrize(
    ("bad", "numbers"),
    [
        (False, {}),
        (True, {"avg_logprob": -1.01}),
        (False, {"avg_logprob": -1.0}),
        (False, {"avg_logprob": -1.01, "no_speech_probability": 0.61}),  # surely silent
        (True, {"avg_logprob": -1.01, "no_speech_probability": 0.6}),
        (False, {"no_speech_probability": 0.99}),
        (True, {"compression_ratio": 2.41}),
        (False, {"compression_ratio": 2.4}),
        (True, {"missed_speech_s": 2.01}),
        (False, {"missed_speech_s": 2.0}),
    ],
)
def test_transcribe_a_window_is_bad_by_whispers_numbers(
    bad: bool, numbers: dict[str, float]
) -> None:
    assert STAGE.is_bad(window(Span(0.0, 30.0), "batched", **numbers)) == bad


def test_transcribe_a_word_over_a_whole_sentence_covers_none_of_it() -> None:
    words = [
        Word(" a", 1.0, 9.0, 0.9, 0),
        Word(" b", None, None, None, 0),
        Word(" c", 9.0, 9.5, 0.9, 0),
    ]
    assert spans_of(words) == [Span(1.0, 1.0 + LONGEST_WORD_S), Span(9.0, 9.5)]


# What is asked of faster-whisper, and how its answer is read.


@dataclass
class FakePipeline:
    """faster-whisper's batched pipeline: one segment a clip, one word 1 s after its start."""

    asked: dict[str, Any]

    def __call__(self, _model: Any) -> FakePipeline:
        return self

    def transcribe(self, audio: Any, **options: Any) -> tuple[Any, None]:
        self.asked.update(options, samples=len(audio))
        return (self.segment(clip) for clip in options["clip_timestamps"]), None

    def segment(self, clip: dict[str, float]) -> Any:
        seek = int(clip["start"] * 16000) // 160  # as faster-whisper counts: whole samples, ticks
        word = SimpleNamespace(
            word=" a", start=seek / 100 + 1.0, end=seek / 100 + 1.5, probability=0.5
        )
        blank = SimpleNamespace(word="  ", start=0.0, end=0.0, probability=0.5)
        return SimpleNamespace(
            seek=seek,
            words=[word, blank],
            avg_logprob=-0.25,
            no_speech_prob=0.125,
            compression_ratio=1.5,
        )


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    faster_whisper = pytest.importorskip("faster_whisper")
    fake = FakePipeline({})
    monkeypatch.setattr(faster_whisper, "BatchedInferencePipeline", fake)
    return fake


def recogniser(voice: Voice, duration_s: float, stage: Transcribe = STAGE) -> Recogniser:
    no_model: Any = None
    audio = np.zeros(round(duration_s * 16000), np.int16)
    return Recogniser(stage, no_model, audio, voice, "en")


def test_transcribe_asks_for_no_sampling_and_no_memory(pipeline: FakePipeline) -> None:
    recogniser(Voice([], [Span(1.0, 5.0)], []), 9.0).decode()
    asked = pipeline.asked
    assert (asked["temperature"], asked["condition_on_previous_text"]) == (0.0, False)
    assert (asked["vad_filter"], asked["word_timestamps"]) == (False, True)
    assert (asked["language"], asked["task"]) == ("en", "transcribe")
    assert asked["samples"] == 4 * 16000  # only the sound that is decoded


def test_transcribe_windows_start_on_whole_ticks_whatever_the_floats(
    pipeline: FakePipeline,
) -> None:
    """Every start from 0.00 to 40.00 s: no sample is lost to truncation, no word is shifted."""
    for first in (0, 7, 29):
        windows = [Span(k / 100, (k + 1) / 100) for k in range(first, 4000, 37)]
        found = recogniser(Voice([], [], []), 41.0).batched(windows, 5, "batched")
        clips = pipeline.asked["clip_timestamps"]
        for w, clip, decoded in zip(windows, clips, found, strict=True):
            assert int(clip["start"] * 16000) == (round(w.start_s * 100) - first) * 160
            (word,) = decoded.words
            assert (word.start_s, word.end_s) == pytest.approx((w.start_s + 1.0, w.start_s + 1.5))
            assert (decoded.window.start_s, decoded.window.end_s) == (w.start_s, w.end_s)


def test_transcribe_reads_numbers_and_what_was_missed(pipeline: FakePipeline) -> None:
    voice = Voice([Span(2.0, 25.0)], [Span(1.0, 30.0)], [])
    (found,) = recogniser(voice, 30.0).batched(voice.windows, 5, "batched")
    w = found.window
    assert (w.avg_logprob, w.no_speech_probability, w.compression_ratio) == (-0.25, 0.125, 1.5)
    assert w.missed_speech_s == pytest.approx(25.0 - (2.5 + 0.6))  # the word ends at 2.5 s
    assert (found.words[0].word, found.words[0].probability) == (" a", 0.5)
    assert len(found.words) == 1


def test_transcribe_a_window_of_which_nothing_comes_back_is_silent_or_missed(
    pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "transcribe", lambda _audio, **_options: (iter(()), None))
    voice = Voice([Span(40.0, 50.0)], [Span(1.0, 30.0), Span(35.0, 60.0)], [])
    silent, missed = recogniser(voice, 60.0).batched(voice.windows, 5, "batched")
    assert (silent.words, silent.window.missed_speech_s) == ([], 0.0)
    assert not STAGE.is_bad(silent.window)
    assert missed.window.missed_speech_s == pytest.approx(10.0)
    assert STAGE.is_bad(missed.window)


# What the words depend on.

HEARD = Video(
    video_id="a",
    url="a",
    location="a",
    source_sha256="0" * 64,
    audio_stream=1,
    start_s=0.0,
    duration_s=60.0,
    voice="1" * 64,
    heard_languages='{"en": 0.6, "de": 0.3}',
    language="en",
    language_probability=0.6,
)


@pytest.fixture
def named_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper, "fingerprint", lambda name: f"files of {name}")


@pytest.mark.usefixtures("named_models")
def test_transcribe_words_do_not_depend_on_what_is_accepted() -> None:
    keys = {
        replace(STAGE, accept=accept).key(HEARD)
        for accept in (None, ("en",), ("de", "en"), ("en", "fr", "zh"))
    }
    assert len(keys) == 1
    sure = replace(HEARD, language_probability=0.9, heard_languages='{"en": 0.9}')
    assert STAGE.key(sure) in keys
    assert replace(STAGE, device="cpu").key(HEARD) in keys


@pytest.mark.usefixtures("named_models")
def test_transcribe_words_depend_on_sound_language_and_settings() -> None:
    others = [
        replace(STAGE, accept=("de",)).key(HEARD),  # then German is what it is decoded in
        STAGE.key(replace(HEARD, source_sha256="2" * 64)),
        STAGE.key(replace(HEARD, voice="3" * 64)),
        STAGE.key(replace(HEARD, audio_stream=2)),
        STAGE.key(replace(HEARD, start_s=0.5)),
        replace(STAGE, beam_size=1).key(HEARD),
        replace(STAGE, batch_size=1).key(HEARD),
        replace(STAGE, model="base").key(HEARD),
        replace(STAGE, max_missed_speech_s=9.0).key(HEARD),
        replace(STAGE, compute_type="float32").key(HEARD),
        STAGE.key(HEARD),
    ]
    assert len(set(others)) == len(others)


def test_transcribe_no_word_is_a_reject() -> None:
    with pytest.raises(Reject) as found:
        STAGE.judge(replace(HEARD, words=0, windows=3))
    assert (found.value.reason, found.value.detail) == ("no_words", "windows=3")
    STAGE.judge(replace(HEARD, words=1, windows=3))
