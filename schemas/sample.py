"""The published sample (format `reelscript/1`): its json member, and what encoding found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

FORMAT = "reelscript/1"


@dataclass(frozen=True, slots=True)
class Encoding:
    """One passage as encoded: the digest of its mp4 in the store and what that mp4 holds.

    And the digest of its frames.mp4, where one is wanted.
    """

    key: str
    mp4: str  # sha256, its name in the store
    mp4_bytes: int
    width_px: int
    height_px: int
    fps: float
    frames: int
    duration_s: float
    has_audio: bool
    frames_mp4: str | None = None  # sha256
    frames_mp4_bytes: int | None = None


class SampleWord(TypedDict):
    """A word of a clip; seconds from the start of the sample's mp4."""

    word: str
    start_s: float
    end_s: float
    probability: float | None


class SampleClip(TypedDict):
    """A clip of a sample; seconds from the start of the sample's mp4."""

    start_s: float
    end_s: float
    text: str
    words: list[SampleWord]
    scores: dict[str, float | int | None]


class SampleTranscript(TypedDict):
    """Where the words come from."""

    source: str
    engine: str
    model: str
    compute_type: str


class SampleJson(TypedDict):
    """The json member of a sample."""

    format: str
    key: str
    video_id: str
    url: str
    title: str | None
    license: str | None
    channel: str | None
    source_sha256: str
    split: str
    start_s: float  # in the source video
    end_s: float
    duration_s: float  # of the mp4 member, like the next four
    width_px: int
    height_px: int
    fps: float
    frames: int
    language: str | None
    language_probability: float | None
    clips: list[SampleClip]
    scores: dict[str, Any]
    transcript: SampleTranscript
