"""Is anybody speaking, and in which language? Decided before anything is transcribed.

The language is heard by a **multilingual** model in several windows spread over the video. An
English-only model must not be asked: it writes fluent English whatever it hears, and a text
detector then agrees that it is English.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from reelscript.pipeline.errors import Reject
from reelscript.pipeline.stage import Live, Resources, Stage, threshold, tuning
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.transcript import LanguageVote, Span, Voice
from reelscript.schemas.video import Seconds, Video
from reelscript.transforms import whisper
from reelscript.transforms.scratch_audio import scratch_audio
from reelscript.transforms.voice_activity import (
    VOICE,
    speech_windows,
    voice_probabilities,
    voice_spans,
)

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

SURE = 0.5  # a window with a language at least this likely has a say in whether the windows agree
Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class Speech(Stage):
    """Voice activity, the windows to transcribe, and the spoken language.

    Attributes:
        language_model: multilingual Whisper model that hears the language; None: the one that
            transcribes.
        language: what is spoken in every source, stated by the user (ISO 639-1); then nothing is
            asked of a model. A `language` column of the source list states it for one source and
            wins.
        language_windows: how many windows of at most 30 s are heard, spread evenly over the speech.
        accept: languages that may pass; None: `language.accept`.
        min_share: least share of the video with voice ...
        enough_s: ... unless there are this many seconds of it.
        min_voice_probability: least mean probability of voice where there is some: music that trips
            the detector does so weakly.
        certain_probability: from here on the heard language is believed.
        min_probability: least probability of an accepted language where the heard one is not
            certain.
        min_agreement: least share of the windows that are sure of a language and hear the same one.
        device, compute_type: where and how the model runs; "auto": GPU with float16 if there is
            one, else CPU, int8.
    """

    language_model: str | None = None
    language: str | None = None
    language_windows: Annotated[int, Ge(1), Le(64)] = 4
    accept: tuple[str, ...] | None = threshold(None)
    min_share: Share = threshold(0.2)
    enough_s: Annotated[Seconds, Ge(0)] = threshold(10.0)
    min_voice_probability: Share = threshold(0.7)
    certain_probability: Share = threshold(0.5)
    min_probability: Share = threshold(0.2)
    min_agreement: Share = threshold(0.7)
    device: str = tuning("auto")
    compute_type: str = "auto"

    name: ClassVar[str] = "speech"
    rejects: ClassVar[tuple[str, ...]] = (
        "no_speech",
        "language",
        "language_uncertain",
        "language_mixed",
    )
    reads: ClassVar[tuple[str, ...]] = (
        "source_sha256",
        "audio_stream",
        "start_s",
        "duration_s",
        "stated_language",
    )
    writes: ClassVar[tuple[str, ...]] = (
        *("voice", "speech_s", "speech_share", "voice_probability"),
        *("heard_languages", "language", "language_probability", "language_agreement"),
    )
    artefacts: ClassVar[tuple[str, ...]] = ("voice",)

    @property
    def resources(self) -> Resources:
        """A GPU where the model runs on one."""
        return Resources(
            gpus=1.0 if self.device.startswith("cuda") and self.language is None else 0.0
        )

    def settings(self) -> dict[str, object]:
        """Returns the settings that results depend on; the model's files stand for its name."""
        model = self.language_model and whisper.fingerprint(self.language_model)
        return super().settings() | {"language_model": model}

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function; the model is loaded when the first video needs it."""
        yield self._measure

    def _measure(self, video: Video, workspace: Workspace) -> Video:
        duration_s = video.duration_s or 0.0
        audio = scratch_audio(video, workspace)
        probabilities = voice_probabilities(audio)
        spans = voice_spans(probabilities, duration_s)
        windows = speech_windows(spans, probabilities, duration_s)
        voiced = probabilities[probabilities >= VOICE]
        stated = video.stated_language or self.language
        votes = [] if stated else self._votes(audio, windows)
        speech_s = sum(s.duration_s for s in spans)
        video = replace(
            video,
            voice=workspace.put_record(Voice(spans, windows, votes)),
            speech_s=round(speech_s, 3),
            speech_share=round(speech_s / duration_s, 4) if duration_s else 0.0,
            voice_probability=round(float(voiced.mean()), 4) if len(voiced) else 0.0,
        )
        return replace(video, language=stated) if stated else _with_language(video, votes)

    def _votes(self, audio: NDArray[np.int16], windows: list[Span]) -> list[LanguageVote]:
        picked = spread(windows, self.language_windows)
        if not picked or self.language_model is None:
            return []
        model = whisper.resident(self.language_model, self.device, self.compute_type, 1)
        return [_hear(model, audio, window) for window in picked]

    def judge(self, video: Video) -> None:
        """Raises Reject where nobody speaks, or not in an accepted language."""
        speech_s, share, heard = (
            video.speech_s or 0.0,
            video.speech_share or 0.0,
            video.voice_probability or 0.0,
        )
        if (
            not speech_s
            or (share < self.min_share and speech_s < self.enough_s)
            or heard < self.min_voice_probability
        ):
            raise Reject(
                "no_speech", speech_s=speech_s, speech_share=share, voice_probability=heard
            )
        if self.accept is None or video.language is None:
            return
        p = video.language_probability
        if p is None:  # stated, not heard
            if video.language not in self.accept:
                raise Reject("language", stated=video.language)
            return
        if video.language not in self.accept and p >= self.certain_probability:
            raise Reject("language", heard=video.language, probability=p)
        spoken, probability = spoken_language(video, self.accept)
        if probability < self.min_probability:
            raise Reject(
                "language_uncertain",
                heard=video.language,
                probability=p,
                accepted=spoken,
                of_it=probability,
            )
        if video.language_agreement is not None and video.language_agreement < self.min_agreement:
            raise Reject(
                "language_mixed", heard=video.heard_languages, agreement=video.language_agreement
            )


def language_to_transcribe(
    video: Video, accept: tuple[str, ...] | None
) -> tuple[str, float | None]:
    """Returns the language that words are taken for, as stated or heard, and its probability."""
    if video.language_probability is None or accept is None or video.language in accept:
        return video.language or "en", video.language_probability
    return spoken_language(video, accept)


def spoken_language(video: Video, accept: tuple[str, ...]) -> tuple[str, float]:
    """Returns the language to transcribe in, the likeliest accepted one, and its probability."""
    heard: dict[str, float] = json.loads(video.heard_languages or "{}")
    best = max(accept, key=lambda language: heard.get(language, 0.0))
    return best, heard.get(best, 0.0)


def spread(windows: list[Span], count: int) -> list[Span]:
    """Returns at most `count` of the windows, evenly spread, the first and the last among them."""
    if len(windows) <= count:
        return windows
    positions = (
        np.linspace(0, len(windows) - 1, count).round().astype(int)
        if count > 1
        else [len(windows) // 2]
    )
    return [windows[i] for i in dict.fromkeys(int(p) for p in positions)]


def _hear(model: WhisperModel, audio: NDArray[np.int16], window: Span) -> LanguageVote:
    from faster_whisper.audio import pad_or_trim

    rate = whisper.SAMPLE_RATE_HZ
    piece = (
        audio[int(window.start_s * rate) : int(window.end_s * rate)].astype(np.float32) / 32768.0
    )
    encoded = model.encode(pad_or_trim(model.feature_extractor(piece)[..., :-1]))
    ranked = model.model.detect_language(encoded)[0]
    best = {token.strip("<|>"): round(float(p), 4) for token, p in ranked[:10]}
    return LanguageVote(window, best)


def _with_language(video: Video, votes: list[LanguageVote]) -> Video:
    """Returns the record with the mean over the windows, each counted by its length."""
    weight = sum(v.window.duration_s for v in votes)
    if not weight:
        return replace(video, heard_languages="{}", language=None, language_probability=0.0)
    mean: defaultdict[str, float] = defaultdict(float)
    for vote in votes:
        for language, p in vote.probabilities.items():
            mean[language] += p * vote.window.duration_s / weight
    heard = {
        language: round(p, 4)
        for language, p in sorted(mean.items(), key=lambda item: (-item[1], item[0]))[:8]
    }
    top = next(iter(heard))
    sure = [
        (max(v.probabilities, key=v.probabilities.__getitem__), v.window.duration_s)
        for v in votes
        if _is_sure(v)
    ]
    same = sum(s for language, s in sure if language == top)
    return replace(
        video,
        heard_languages=json.dumps(heard),
        language=top,
        language_probability=heard[top],
        language_agreement=round(same / sum(s for _, s in sure), 4) if sure else None,
    )


def _is_sure(vote: LanguageVote) -> bool:
    return max(vote.probabilities.values(), default=0.0) >= SURE
