"""Sound for words that is no speech, but made as a voice makes it: pulses, filtered by formants.

Silero takes it for a voice (it refuses tones and shaped noise), so a corpus can be built of it; no
recogniser finds words in it. A word has a sound of its own, the same each time, and takes as long
as its syllables do.
"""

from __future__ import annotations

import functools
import re
import zlib

import numpy as np
from numpy.typing import NDArray

from reelscript.examples.voices import RATE_HZ, Sound, SpokenWord

SYLLABLE_S = 0.16
GAP_S = 0.03  # between words
ONSET_S, RELEASE_S = 0.04, 0.05  # of a syllable
PITCHES_HZ = (105.0, 120.0, 138.0)
TOP_HZ = 4500.0  # of the harmonics
LOUDNESS = 0.5
STEPS = 128  # as sound of 8 bits, which FLAC makes half as many bytes of
# The first three resonances of a man's vowels (Peterson and Barney 1952, table II), in Hz.
VOWELS_HZ = (
    *((730.0, 1090.0, 2440.0), (530.0, 1840.0, 2480.0), (270.0, 2290.0, 3010.0)),
    *((570.0, 840.0, 2410.0), (300.0, 870.0, 2240.0)),
)
WIDTHS_HZ, LEVELS = (80.0, 100.0, 140.0), (1.0, 0.6, 0.3)  # ours, by ear and by Silero


class Babble:
    """Says each word with as many syllables as it has, and tells when."""

    def say(self, text: str) -> tuple[Sound, list[SpokenWord]]:
        """Returns a sentence as sound, and its words with times from the start of that sound."""
        sounds: list[NDArray[np.float32]] = []
        words: list[SpokenWord] = []
        at = 0
        for word in text.split():
            if words:
                sounds.append(np.zeros(round(GAP_S * RATE_HZ), np.float32))
                at += len(sounds[-1])
            sound = _word(re.sub(r"\W", "", word.lower()))
            sounds.append(sound)
            start_s, at = at / RATE_HZ, at + len(sound)
            words.append(SpokenWord(word, round(start_s, 3), round(at / RATE_HZ, 3)))
        return np.concatenate(sounds), words


@functools.cache
def _word(letters: str) -> Sound:
    """Returns the sound of a word, chosen by its letters."""
    syllables = max(1, len(re.findall("[aeiouy]+", letters)))
    kinds = len(VOWELS_HZ) * len(PITCHES_HZ)
    chosen = [zlib.crc32(f"{letters}{n}".encode()) % kinds for n in range(syllables)]
    return np.concatenate([_syllable(*divmod(kind, len(PITCHES_HZ))) for kind in chosen])


@functools.cache
def _syllable(vowel: int, pitch: int) -> Sound:
    """Returns a vowel whose pitch falls a little, as sound between -LOUDNESS and LOUDNESS."""
    t_s = np.arange(round(SYLLABLE_S * RATE_HZ)) / RATE_HZ
    pitch_hz = PITCHES_HZ[pitch] * (1 + 0.05 * np.cos(np.pi * t_s / SYLLABLE_S))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    sound = np.zeros(len(t_s))
    for n in range(1, int(TOP_HZ / PITCHES_HZ[pitch])):
        away = (n * PITCHES_HZ[pitch] - np.array(VOWELS_HZ[vowel])) / WIDTHS_HZ
        sound += float(np.sum(LEVELS / (1 + away**2))) * n**-0.3 * np.sin(n * phase)
    edges = np.minimum(t_s / ONSET_S, (SYLLABLE_S - t_s) / RELEASE_S).clip(0, 1)
    loud = LOUDNESS * sound * edges / np.abs(sound).max()
    return np.asarray(np.round(STEPS * loud) / STEPS, np.float32)
