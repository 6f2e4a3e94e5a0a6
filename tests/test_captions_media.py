"""Real subtitles of real recordings: word error, start error, and a corpus built from them.

Where the recordings are absent, the tests are skipped.
"""

from __future__ import annotations

import difflib
import json
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from reelscript.jobs.build import build
from reelscript.jobs.config import load_config
from reelscript.jobs.progress import Progress
from reelscript.pipeline.stage import Timing
from reelscript.transforms.caption_formats import cues_of
from reelscript.transforms.captions import transcript_of
from tests.built import MODELS, SHARED, needs_models, needs_shared, rows

pytestmark = needs_shared

SPEECH = SHARED / "media" / "speech_en"
AUTO_VTT = "manifesto_librivox_88s.youtube_auto.vtt"
AUTO_SRT = "manifesto_librivox_88s.youtube_auto.srt"
NASA = "nasa_webb_13s_multistream.human.srt"
FRIDAY = "mdn_friday_his_girl_6s.human.vtt"


def normal(text: str) -> list[str]:
    return re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("-", " ").replace("’", "'")).split()


def reference(name: str) -> list[str]:
    return normal((SPEECH / f"{name.partition('.')[0]}.ref.txt").read_text("utf-8"))


def ours(name: str) -> list[str]:
    return normal("".join(w.word for w in transcript_of((SPEECH / name).read_bytes())[0].words))


def concatenated(name: str) -> list[str]:
    """What naive readers take: the text of all cues."""
    return normal(" ".join(cue.text for cue in cues_of((SPEECH / name).read_bytes())[1]))


def word_error(said: list[str], written: list[str]) -> float:
    import jiwer

    found = jiwer.process_words(" ".join(said), " ".join(written))
    return float(found.wer)


@pytest.mark.parametrize(
    ("name", "most"), [(AUTO_VTT, 0.1), (AUTO_SRT, 0.1), (NASA, 0.35), (FRIDAY, 0.0)]
)
def test_captions_cleaned_say_what_is_said(name: str, most: float) -> None:
    """NASA's last subtitle ends after the reference: its seven words are a quarter of it."""
    assert word_error(reference(name), ours(name)) <= most


def test_captions_taken_as_they_stand_say_everything_three_times() -> None:
    assert word_error(reference(AUTO_VTT), concatenated(AUTO_VTT)) > 1.5


def grams(words: list[str], size: int) -> set[tuple[str, ...]]:
    """Runs of words that follow themselves at once."""
    return {
        tuple(words[i : i + size])
        for i in range(len(words))
        if words[i : i + size] == words[i + size : i + 2 * size]
    }


@pytest.mark.parametrize("name", [AUTO_VTT, AUTO_SRT, NASA, FRIDAY])
def test_captions_cleaned_repeat_nothing_that_is_not_repeated(name: str) -> None:
    for size in range(2, 13):
        assert grams(ours(name), size) <= grams(reference(name), size)
    assert any(grams(concatenated(AUTO_VTT), size) for size in range(2, 13))


@pytest.mark.parametrize(
    ("name", "typical_s", "most_s"), [(AUTO_VTT, 0.12, 0.2), (AUTO_SRT, 0.2, 0.8)]
)
def test_captions_words_start_where_another_recogniser_hears_them(
    name: str, typical_s: float, most_s: float
) -> None:
    """Against Vosk's words; the times of the SubRip file are those of its cues alone."""
    told = json.loads((SPEECH / "manifesto_librivox_88s.vosk_words.json").read_text())
    other = [word for part in told for word in part["words"]]
    words = transcript_of((SPEECH / name).read_bytes())[0].words
    matcher = difflib.SequenceMatcher(
        None, [w["word"] for w in other], ["".join(normal(w.word)) for w in words], autojunk=False
    )
    errors = sorted(
        abs((words[b.b + k].start_s or 0.0) - other[b.a + k]["start"])
        for b in matcher.get_matching_blocks()
        for k in range(b.size)
    )
    assert len(errors) > 150
    assert statistics.median(errors) < typical_s
    assert errors[int(0.9 * len(errors))] < most_s
    assert sum(w.interpolated for w in words) == (1 if name == AUTO_VTT else len(words))


class Ran(Progress):
    """A progress that remembers which videos really went through a stage."""

    def __init__(self) -> None:
        super().__init__(None)
        self.ran: set[tuple[str, str]] = set()

    def measured(self, timing: Timing) -> None:
        """A stage has ended for a video."""
        if not timing.remembered:
            self.ran.add((timing.stage, timing.video_id))
        super().measured(timing)


def made(sources: Path, out: Path, captions: str) -> tuple[dict[str, dict[str, Any]], Ran]:
    progress = Ran()
    settings = [*MODELS, f"transcribe.captions={captions}", "passage.min_clips=2"]
    config = load_config(None, [str(sources)], [*settings, f"work={out.parent / 'work'}"])
    build(out=out, config=config, progress=progress, workers=1)
    return {row["video_id"]: row for row in rows(out, "videos")}, progress


@pytest.fixture
def subtitled(tmp_path: Path) -> Path:
    """One with automatic captions, one with those of another video."""
    media, lines = SHARED / "media", []
    for name, video, subtitles in (
        ("own", "speech_en/manifesto_librivox_88s.mp4", AUTO_VTT),
        ("other", "composite/public_late_speech_en.mp4", NASA),
    ):
        shutil.copyfile(SPEECH / subtitles, tmp_path / subtitles)
        row = {"id": name, "path": str(media / video), "subtitles": subtitles}
        lines.append(json.dumps(row))
    path = tmp_path / "list.jsonl"
    path.write_text("\n".join(lines))
    return path


@needs_models
def test_captions_preferred_make_a_corpus_without_recognition(
    subtitled: Path, tmp_path: Path
) -> None:
    found, progress = made(subtitled, tmp_path / "preferred", "prefer")
    assert {i: row["outcome"] for i, row in found.items()} == {"own": "kept", "other": "kept"}
    assert {i: row["transcript_source"] for i, row in found.items()} == {
        "own": "captions",
        "other": "asr",
    }
    assert found["own"]["captions_fault"] is None
    assert found["own"]["windows"] == 0
    assert found["other"]["captions_fault"].startswith("captions_misfit")
    assert json.loads(found["own"]["captions_counts"])["repeated_words"] > 300
    origins = {}
    for shard in (tmp_path / "preferred/shards").iterdir():
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    meta = json.loads(tar.extractfile(member).read())  # type: ignore[union-attr]
                    origins[meta["video_id"]] = meta["transcript"]["source"]
    assert origins == {"own": "captions", "other": "asr"}
    checker = SHARED / "tools" / "check_dataset.py"
    done = subprocess.run(
        [sys.executable, str(checker), str(tmp_path / "preferred"), "--sources", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout

    # Another word for it measures only what it must: `other` has no captions that fit.
    again, progress = made(subtitled, tmp_path / "ignored", "ignore")
    assert {i for stage, i in progress.ran if stage == "transcribe"} == {"own"}
    assert again["own"]["transcript_source"] == "asr"

    # Other bytes in the file are other words; the row of `other` stands.
    file = subtitled.parent / AUTO_VTT
    file.write_text(file.read_text().replace("audiobook", "recording"))
    _, progress = made(subtitled, tmp_path / "changed", "prefer")
    assert {i for _, i in progress.ran} == {"own"}
    clips = [c["text"] for c in rows(tmp_path / "changed", "clips") if c["video_id"] == "own"]
    assert any("recording" in text for text in clips)
    assert not any("audiobook" in text for text in clips)
