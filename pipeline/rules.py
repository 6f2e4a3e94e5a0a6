"""The thresholds over stored scores, as data: each names its score, its side and its origin.

`min_X` and `max_X` bound the clip score X; `video_min_X` and `video_max_X` bound the fact X of the
whole video. A score that was not measured (null) is not judged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt

from reelscript.schemas.video import Seconds

OUT_OF_BOUNDS = "clip_out_of_bounds"
PASSAGE_TOO_SHORT = "passage_too_short"
DUPLICATE_CONTENT = "duplicate_content"
VIDEO_FAILED = "video_failed"


def limit(default: float | None, origin: str) -> float | None:
    """A threshold with the source of its default."""
    return field(default=default, metadata={"origin": origin})


@dataclass(frozen=True)
class Quality:
    """Thresholds over the scores of clips and videos; None: not applied.

    Sources: Whisper (arXiv 2212.04356, section 4.5); NeMo Curator's WhisperHallucinationStage;
    FineVideo's word density filter; MERLOT Reserve's download script (arXiv 2201.02639).
    """

    min_words: float | None = limit(3.0, "ours: fewer words say little about a picture")
    min_words_per_s: float | None = limit(0.5, "FineVideo: more than 0.5 words per second")
    max_words_per_s: float | None = limit(7.0, "ours: the fastest speakers reach about 6")
    max_chars_per_s: float | None = limit(
        40.0, "NeMo Curator: more than 40 characters per second is invented"
    )
    min_avg_logprob: float | None = limit(-1.0, "Whisper: below it a window is decoded again")
    max_no_speech_probability: float | None = limit(0.6, "Whisper: above it a window may be silent")
    max_window_compression_ratio: float | None = limit(
        2.4, "Whisper: above it a window repeats itself"
    )
    max_compression_ratio: float | None = limit(2.4, "Whisper's limit, on the clip's own text")
    min_mean_word_probability: float | None = limit(0.3, "ours: below it most words are guesses")
    max_repeated_ngram_share: float | None = limit(
        0.5, "ours, after Gopher's duplicate n-grams (arXiv 2112.11446)"
    )
    min_unique_word_share: float | None = limit(
        0.4, "NeMo Curator: at most 0.4 different words is invented"
    )
    max_longest_word_chars: float | None = limit(
        24.0, "NeMo Curator: a word of 25 characters or more is invented"
    )
    min_speech_share: float | None = limit(
        0.2, "ours: Silero must hear voice in a fifth of the clip"
    )
    max_static_share: float | None = limit(
        None, "off: MERLOT Reserve and FineVideo leave still videos out"
    )
    max_interpolated_share: float | None = limit(
        0.5, "ours: half of the words must have been heard where they stand"
    )
    video_min_densest_30s_words: float | None = limit(None, "off: MERLOT Reserve asks for 50")
    video_min_words_per_s: float | None = limit(None, "off: FineVideo asks for 0.5")
    video_max_static_share: float | None = limit(
        None, "off: see glance.max_static_share, which acts earlier"
    )


@dataclass(frozen=True)
class Dedup:
    """Exact duplicates: the same bytes under two names. The first one in the source list stays."""

    same_bytes: bool = True


@dataclass(frozen=True)
class PassageRules:
    """Which runs of kept clips become samples.

    Attributes:
        min_clips, max_clips: clips in a passage; TVTS sorts 4 transcripts (arXiv 2209.15280,
            section 3.2).
        max_s: longest passage.
        max_gap_s: a longer gap between two clips ends a passage.
    """

    min_clips: Annotated[int, Ge(1)] = 4
    max_clips: Annotated[int, Ge(1)] = 32
    max_s: Annotated[Seconds, Gt(0)] = 90.0
    max_gap_s: Annotated[Seconds, Ge(0)] = 5.0

    def __post_init__(self) -> None:
        if self.min_clips > self.max_clips:
            raise ValueError(
                f"passage.min_clips ({self.min_clips}) is larger than "
                f"passage.max_clips ({self.max_clips})"
            )


@dataclass(frozen=True)
class Rule:
    """One threshold: a value passes if it is at least (`min`) or at most (`max`) the limit."""

    setting: str
    score: str
    side: str  # "min" or "max"
    of_video: bool
    limit: float | None
    origin: str

    @property
    def reason(self) -> str:
        """What a row rejected by it says."""
        return (
            ("video_" if self.of_video else "")
            + ("low_" if self.side == "min" else "high_")
            + self.score
        )


def rules_of(quality: Quality) -> Iterator[Rule]:
    """Yields every threshold, also those that are not applied, in the order in which they judge."""
    for f in dataclasses.fields(quality):
        name, of_video = f.name.removeprefix("video_"), f.name.startswith("video_")
        side, _, score = name.partition("_")
        yield Rule(f.name, score, side, of_video, getattr(quality, f.name), f.metadata["origin"])


def quality_reasons(quality: Quality) -> list[str]:
    """Returns every reason that the quality rules may give."""
    return [OUT_OF_BOUNDS, *(rule.reason for rule in rules_of(quality))]
