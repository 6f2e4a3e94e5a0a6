"""The one record that travels: what is known of a source video, and what became of it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from reelscript.schemas.text import json_bytes, one_line

Seconds: TypeAlias = float
"""A time or a duration in seconds. A field that holds a time says from which zero it counts."""

Outcome: TypeAlias = Literal["pending", "kept", "rejected", "failed"]
"""pending: on its way. In the end `videos.parquet` holds kept, rejected (not wanted) and
failed (broken)."""

MAX_RECORD_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """One source video: facts, counts, outcome, and digests of its artefacts in the store.

    Times without another zero count from the **start of the video's timeline**: the earliest moment
    at which either the chosen video stream or the chosen audio stream presents something (`start_s`
    on the container's own clock).

    ```
    container clock   0 ---- start_s ------------------------------------------->
    this record              0 ---- first word ---- ... ---- duration_s
    ```
    """

    # Who it is: from the source list.
    video_id: str
    url: str  # published: the URL, or the path relative to the source root
    location: str  # where to read it: a URL or an absolute path; never published
    signature: str | None = None  # `<bytes>:<time of change in ns>` of a local file; not published
    position: int = 0  # in the source list, from 0
    title: str | None = None
    license: str | None = None
    channel: str | None = None
    stated_language: str | None = None  # what the list says is spoken, ISO 639-1
    subtitles: str | None = None  # where the list says its subtitles lie
    metadata: str | None = None  # JSON text from the list, passed through
    captions_location: str | None = None  # of subtitles: a URL or an absolute path; not published
    captions_signature: str | None = None  # as `signature`, of a local file of subtitles

    # What became of it.
    outcome: Outcome = "pending"
    stage: str | None = None
    reason: str | None = None
    detail: str | None = None

    # acquire
    source_sha256: str | None = None
    source_bytes: int | None = None
    media: str | None = None  # digest of the stored copy; None where the source is read in place
    retrieved_at: str | None = None  # ISO 8601, UTC; None where the source is read in place
    site_title: str | None = None  # what the site says, else the last part of the URL
    site_channel: str | None = None
    site_license: str | None = None
    site_facts: str | None = None  # JSON: upload_date, categories, tags, extractor, id
    site: str | None = None  # digest of schemas.site.Site: all that the site says and has
    playlist_videos: int | None = None  # where it is no video but a list of so many

    # probe
    duration_s: Seconds | None = None
    start_s: Seconds | None = None  # zero of this record's times, on the container's clock
    container: str | None = None
    video_stream: int | None = None  # index in the container
    video_codec: str | None = None
    width_px: int | None = None  # as shown, after rotation
    height_px: int | None = None
    rotation_deg: int | None = None  # counter-clockwise turn that makes it upright: 0, 90, 180, 270
    fps: float | None = None
    variable_fps: bool | None = None
    frames: int | None = None  # packets of the chosen video stream
    audio_stream: int | None = None
    audio_codec: str | None = None
    audio_rate_hz: int | None = None
    audio_channels: int | None = None

    # glance
    keyframes: int | None = None
    static_share: float | None = (
        None  # 0..1 of the time between keyframes in which the picture stands still
    )
    keyframe_hashes: str | None = (
        None  # up to 16 difference hashes, 16 hex digits each, evenly spread in time
    )

    # speech
    voice: str | None = None  # digest of schemas.transcript.Voice
    speech_s: Seconds | None = None
    speech_share: float | None = None  # 0..1 of the duration
    voice_probability: float | None = None  # mean of Silero's probability where it hears speech
    heard_languages: str | None = (
        None  # JSON: language -> mean probability over the windows, best first
    )
    language: str | None = (
        None  # as heard or stated, ISO 639-1; after transcribe: the one it was decoded in
    )
    language_probability: float | None = None  # None where it was stated
    language_agreement: float | None = None  # 0..1 of the windows that say the same

    # captions, where `transcribe.captions` asks for them
    captions: str | None = None  # digest of schemas.transcript.Transcript, if they can be used
    captions_fault: str | None = None  # why they cannot
    captions_counts: str | None = None  # JSON: cues, words, and what was no word

    # transcribe
    transcript_source: str | None = None  # "asr" or "captions"
    transcript: str | None = None  # digest of schemas.transcript.Transcript
    words: int | None = None
    windows: int | None = None
    redecoded_windows: int | None = None
    doubtful_windows: int | None = None  # below Whisper's own thresholds even after decoding again

    # language
    text_language: str | None = None
    text_language_probability: float | None = None
    text_chars: int | None = None  # letters that langdetect judged

    # align, segment, score
    aligned_words: str | None = None  # digest of a list of schemas.transcript.Word
    interpolated_words: int | None = None
    segments: str | None = None  # digest of a list of schemas.clip.Segment
    clips: str | None = None  # digest of a list of schemas.clip.Clip
    clips_cut: int | None = None
    words_per_s: float | None = None
    densest_30s_words: int | None = None
    unique_word_share: float | None = None
    mean_word_probability: float | None = None

    # proxy
    proxy: str | None = None  # digest of the small stand-in that is read once the source is gone

    # encode
    passages: str | None = None  # digest of a list of schemas.clip.Passage
    encodings: str | None = None  # digest of a list of schemas.sample.Encoding

    @property
    def pending(self) -> bool:
        """True while no stage has rejected it and none has failed."""
        return self.outcome == "pending"

    def ended(self, outcome: Outcome, stage: str, reason: str, detail: str | None = None) -> Video:
        """Returns this record with an outcome and who gave it, why, and with which numbers."""
        said = None if detail is None else one_line(detail)
        return dataclasses.replace(self, outcome=outcome, stage=stage, reason=reason, detail=said)

    def to_json(self) -> str:
        """Returns the record as ASCII JSON text, without the fields that are None."""
        known = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        return json_bytes(json.dumps(known, ensure_ascii=False)).decode()

    @classmethod
    def from_json(cls, text: str) -> Video:
        """Returns the record that `to_json` wrote, less unknown fields (of a later version)."""
        known = {f.name for f in dataclasses.fields(cls)}
        values: dict[str, Any] = json.loads(text)
        return cls(**{k: v for k, v in values.items() if k in known})


FIELD_NAMES = tuple(f.name for f in dataclasses.fields(Video))
