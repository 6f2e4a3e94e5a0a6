"""Sentences told one by one, and when: what a video's JSON file says.

```
time     0 -- LEAD_S --|-- sentence --|-- pause --|-- sentence --|-- ... --|-- pause --|
picture                | its event    |           | its event    |
```
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from reelscript.examples.voices import RATE_HZ, Sound, SpokenWord

LEAD_S = 0.8


class Speaker(Protocol):
    """Somebody who says a sentence, and when each of its words."""

    def say(self, text: str) -> tuple[Sound, list[SpokenWord]]:
        """Returns a sentence as sound, and its words with times from the start of that sound."""


@dataclass(frozen=True)
class Told:
    """A sentence, the event that it tells, and when both happen.

    `words` is empty where the voice does not tell when it says them.
    """

    event: str
    text: str
    start_s: float
    end_s: float
    words: list[SpokenWord]


def narrate(events: Iterable[tuple[str, str, float]], speaker: Speaker) -> tuple[Sound, list[Told]]:
    """Returns a narration, and what is told when.

    Args:
        events: name, sentence, and the pause that follows it in seconds.
        speaker: who tells them.
    """
    sounds: list[Sound] = [np.zeros(round(LEAD_S * RATE_HZ), np.float32)]
    told: list[Told] = []
    for name, text, pause_s in events:
        start_s = sum(map(len, sounds)) / RATE_HZ
        sound, words = speaker.say(text)
        moved = [
            SpokenWord(w.word, round(start_s + w.start_s, 3), round(start_s + w.end_s, 3))
            for w in words
        ]
        end_s = start_s + len(sound) / RATE_HZ
        told.append(Told(name, text, round(start_s, 3), round(end_s, 3), moved))
        sounds += [sound, np.zeros(round(pause_s * RATE_HZ), np.float32)]
    return np.concatenate(sounds), told


def truth(video: str, language: str, duration_s: float, told: Iterable[Told]) -> dict[str, Any]:
    """Returns what stands in the JSON file beside a video; times from the start of the video."""
    return {
        "video": video,
        "language": language,
        "license": "CC0-1.0",
        "duration_s": round(duration_s, 3),
        "sentences": [asdict(sentence) for sentence in told],
    }
