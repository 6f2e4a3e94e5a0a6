"""What is heard in a video: where there is voice, what is said, and when."""

from __future__ import annotations

from dataclasses import dataclass

from reelscript.schemas.video import Seconds


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time on the video's clock: `start_s` <= t < `end_s`."""

    start_s: Seconds
    end_s: Seconds

    @property
    def duration_s(self) -> Seconds:
        """Its length."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class LanguageVote:
    """What the multilingual model hears in one window, best languages first."""

    window: Span
    probabilities: dict[str, float]  # ISO 639-1 -> 0..1, the ten best


@dataclass(frozen=True, slots=True)
class Voice:
    """Where somebody speaks, and the windows to decode: at most 30 s, cut where nobody speaks."""

    spans: list[Span]
    windows: list[Span]
    votes: list[LanguageVote]


@dataclass(frozen=True, slots=True)
class Word:
    """One word as the recogniser wrote it, with the white space before it.

    Times count from the start of the video's timeline. They are None only in a transcript whose
    source gave none; after the align stage every word has both.
    """

    word: str
    start_s: Seconds | None
    end_s: Seconds | None
    probability: float | None  # 0..1
    window: int  # index into Transcript.windows
    interpolated: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """One decoded window, with the numbers by which Whisper judges itself.

    Source: arXiv 2212.04356, section 4.5.
    """

    start_s: Seconds
    end_s: Seconds
    avg_logprob: float  # mean natural-log probability of a token, <= 0
    no_speech_probability: float  # 0..1
    compression_ratio: float  # bytes of text / bytes of its zlib compression
    missed_speech_s: (
        Seconds  # voice in stretches without a word: the decoder has skipped a sentence
    )
    attempt: str  # which decoding gave it: "batched", or a rung of the ladder
    doubtful: bool  # no attempt met the thresholds; the numbers are those of the best one


@dataclass(frozen=True, slots=True)
class Transcript:
    """All that was said, with where it comes from.

    Captions have no windows, no probabilities and no `compute_type` ("none"); their `model` is
    "manual", "automatic" or "unknown", and their `engine` begins with the format of their file.
    """

    source: str  # "asr" or "captions"
    engine: str  # package and version
    model: str
    compute_type: str
    language: str
    windows: list[Window]
    words: list[Word]
