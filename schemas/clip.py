"""Pieces of a video: clips cut from its transcript, and passages of consecutive kept clips."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from reelscript.schemas.video import Seconds

SPACELESS_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "km", "my", "yue"})
"""Languages written without spaces: a word may start a clip without one before it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A clip before it is scored: a stretch of the video and the words in it.

    `first_word` and `end_word` are a half-open range of indices into the aligned words.
    `within_bounds` says whether its length lies between the segment stage's `min_s` and `max_s`.
    """

    start_s: Seconds
    end_s: Seconds
    first_word: int
    end_word: int
    within_bounds: bool


@dataclass(frozen=True, slots=True)
class Scores:
    """Numbers about one clip. They decide nothing here; None where nothing could be measured."""

    words: int
    words_per_s: float
    chars_per_s: float
    mean_word_probability: float | None  # 0..1
    min_word_probability: float | None
    avg_logprob: float | None  # of the windows its words come from, weighted by words
    no_speech_probability: float | None  # highest of those windows
    window_compression_ratio: float | None  # highest of those windows
    compression_ratio: float  # of the clip's own text
    repeated_ngram_share: float  # 0..1 of its words that lie in a 3-gram seen before in the clip
    unique_word_share: float  # 0..1
    longest_word_chars: int
    speech_share: float  # 0..1 of the clip in which Silero hears voice
    static_share: float | None  # 0..1, from the keyframes around the clip
    interpolated_share: float | None  # 0..1 of its words whose time was interpolated; see score


SCORE_NAMES = tuple(f.name for f in dataclasses.fields(Scores))


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip as measured: where it lies (on the video's timeline), what is said, its scores."""

    clip_index: int
    start_s: Seconds
    end_s: Seconds
    text: str
    first_word: int
    end_word: int
    within_bounds: bool
    scores: Scores


@dataclass(frozen=True, slots=True)
class Passage:
    """An unbroken stretch of a video that holds consecutive kept clips: what becomes one sample."""

    key: str
    start_s: Seconds
    end_s: Seconds
    split: str  # "train" or "val"
    clips: list[int] = field(default_factory=list)  # their clip_index

    @property
    def duration_s(self) -> Seconds:
        """Its length."""
        return self.end_s - self.start_s


def sample_key(video_id: str, start_s: Seconds) -> str:
    """Returns the key of the passage at `start_s`: `<video_id>-<milliseconds, 9 digits>`."""
    return f"{video_id}-{round(start_s * 1000):09d}"
