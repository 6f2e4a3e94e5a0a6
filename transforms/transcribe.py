"""What is said, and when: faster-whisper over windows of speech, judged by Whisper's own numbers.

Or, where that is wished, what the source's own subtitles say (`transforms/captions.py`).

faster-whisper's batched mode is fast and silently drops Whisper's thresholds and its fallback. So
each window is judged here, and a bad one is decoded again by a ladder without sampling: what
sampling gives depends on what the process decoded before, and a corpus that cannot be built twice
cannot be checked.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from reelscript.pipeline.errors import Reject
from reelscript.pipeline.stage import (
    Live,
    Resources,
    Stage,
    facts_of,
    found_once,
    threshold,
    tuning,
)
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.text import digest
from reelscript.schemas.transcript import Transcript, Voice, Window
from reelscript.schemas.video import Seconds, Video
from reelscript.transforms import whisper
from reelscript.transforms.decode_together import ahead_of, decoded_ahead
from reelscript.transforms.recogniser import Decoded, Recogniser
from reelscript.transforms.scratch_audio import scratch_audio
from reelscript.transforms.speech import language_to_transcribe

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

VIDEOS_ON_A_GPU = 16  # ours: two batches of short videos with one window each


@dataclass(frozen=True)
class Transcribe(Stage):
    """Words with times and probabilities.

    Attributes:
        model: Whisper model: a hub name, a folder, or a name that an installed package carries.
            "auto": on a GPU large-v3-turbo, else small.
        device: "cuda", "cpu" or "auto".
        compute_type: CTranslate2's; "auto": float16 on a GPU, int8 on a CPU.
        beam_size: beams of the first decoding (Whisper's and faster-whisper's default is 5).
        retry_beam_size: beams when a window is decoded again.
        batch_size: windows decoded at once; word probabilities change with it in the fourth digit.
        batch_videos: videos whose windows are decoded at once (`transforms/decode_together.py`), so
            that short ones fill a batch too; None: 16 on a GPU, 1 on a CPU, which gains nothing by
            it.
        cpu_threads: threads of one model. One: parallelism comes from videos.
        min_avg_logprob, max_no_speech_probability, max_compression_ratio: Whisper's thresholds for
            decoding again (arXiv 2212.04356, section 4.5: -1.0, 0.6, 2.4).
        max_missed_speech_s: a window with more voice than this in stretches without a word is
            decoded again too: batched decoding at times ends a window early and skips whole
            sentences.
        accept: languages it may transcribe in; None: `language.accept`.
        captions: what becomes of subtitles that fit what is heard (`transforms/captions.py`):
            "ignore" them, "fallback": take them where no word was recognised, or "prefer" them, and
            recognise nothing of those videos. Only videos that have some are transcribed again
            where it changes, and none is recognised twice.
    """

    model: str = "auto"
    device: str = tuning("auto")
    compute_type: str = "auto"
    beam_size: Annotated[int, Ge(1)] = 5
    retry_beam_size: Annotated[int, Ge(1)] = 10
    batch_size: Annotated[int, Ge(1)] = 8
    batch_videos: Annotated[int, Ge(1)] | None = tuning(None)
    cpu_threads: Annotated[int, Ge(1)] = 1
    min_avg_logprob: float = -1.0
    max_no_speech_probability: float = 0.6
    max_compression_ratio: float = 2.4
    max_missed_speech_s: Annotated[Seconds, Ge(0)] = 2.0
    accept: tuple[str, ...] | None = threshold(None)
    captions: Literal["ignore", "fallback", "prefer"] = threshold("ignore")

    name: ClassVar[str] = "transcribe"
    rejects: ClassVar[tuple[str, ...]] = ("no_words",)
    reads: ClassVar[tuple[str, ...]] = (
        *("source_sha256", "audio_stream", "start_s", "duration_s", "voice"),
        *("heard_languages", "language", "language_probability", "captions"),
    )
    writes: ClassVar[tuple[str, ...]] = (
        *("transcript", "words", "windows", "redecoded_windows", "doubtful_windows"),
        *("language", "language_probability", "transcript_source"),
    )
    artefacts: ClassVar[tuple[str, ...]] = ("transcript",)

    @property
    def resources(self) -> Resources:
        """A GPU where the model runs on one."""
        return Resources(gpus=1.0 if self.device.startswith("cuda") else 0.0)

    @property
    def videos_at_once(self) -> int:
        """How many videos are decoded at once, at most."""
        on_gpu = self.device.startswith("cuda")
        return self.batch_videos or (VIDEOS_ON_A_GPU if on_gpu else 1)

    def settings(self) -> dict[str, Any]:
        """Returns the settings that results depend on; the model's files stand for its name."""
        return super().settings() | {"model": whisper.fingerprint(self.model)}

    def all_settings(self) -> dict[str, Any]:
        """Returns the settings that facts depend on; to ignore captions is to have none."""
        found = super().all_settings()
        return {k: v for k, v in found.items() if (k, v) != ("captions", "ignore")}

    def key(self, video: Video) -> str:
        """Returns what words depend on: of the heard languages only the one to transcribe in.

        Where captions are taken, words depend on no model.
        """
        language, probability = language_to_transcribe(video, self.accept)
        if self._takes_captions(video):
            return digest([self.name, self.version, video.captions, language, probability])
        inputs: list[Any] = [
            video.source_sha256,
            video.audio_stream,
            video.start_s,
            video.duration_s,
            video.voice,
            language,
        ]
        if self.captions == "fallback" and video.captions is not None:
            inputs.append(video.captions)
        return digest([self.name, self.version, self.settings(), inputs])

    def _takes_captions(self, video: Video) -> bool:
        return self.captions == "prefer" and video.captions is not None

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function with its model resident, or loaded when it is needed."""
        if self.captions != "prefer":
            self._model()

        yield self._measure

    @contextmanager
    def together(self, videos: Sequence[Video], workspace: Workspace) -> Iterator[None]:
        """Yields when the windows of short videos have been decoded once, good or bad, at once."""
        heard = [video for video in videos if not self._takes_captions(video)]
        keys = [self._heard_key(video) for video in heard]
        openers = [partial(self._recogniser, video, workspace) for video in heard]
        with decoded_ahead(dict(zip(keys, openers, strict=True))):
            yield

    def spent_together(self, video: Video) -> float:
        """Returns the CPU-seconds that `together` spent on a video, within its context."""
        return ahead_of(self._heard_key(video)).cpu_s

    def _measure(self, video: Video, workspace: Workspace) -> Video:
        if self._takes_captions(video):
            return self._captioned(video, workspace)
        if self.captions == "ignore" or video.captions is None:
            return self._heard(video, workspace)
        after = self._heard_once(video, workspace)
        return after if after.words else self._captioned(video, workspace)

    def _heard_once(self, video: Video, workspace: Workspace) -> Video:
        """Returns what is heard, remembered as that of a video without captions is."""
        found, _ = found_once(self, self._heard_key(video), self._heard, video, workspace)
        return replace(video, **facts_of(found))

    def _heard_key(self, video: Video) -> str:
        return self.key(replace(video, captions=None))

    def _with(self, transcript: Transcript, video: Video, workspace: Workspace) -> Video:
        language, probability = language_to_transcribe(video, self.accept)
        return replace(
            video,
            transcript=workspace.put_record(transcript),
            transcript_source=transcript.source,
            words=len(transcript.words),
            windows=len(transcript.windows),
            redecoded_windows=sum(w.attempt != "batched" for w in transcript.windows),
            doubtful_windows=sum(w.doubtful for w in transcript.windows),
            language=language,
            language_probability=probability,
        )

    def _model(self) -> WhisperModel:
        return whisper.resident(self.model, self.device, self.compute_type, self.cpu_threads)

    def _captioned(self, video: Video, workspace: Workspace) -> Video:
        return self._with(workspace.get_record(Transcript, video.captions), video, workspace)

    def _heard(self, video: Video, workspace: Workspace) -> Video:
        recogniser = self._recogniser(video, workspace)
        decoded = recogniser.decode(ahead_of(self._heard_key(video)).decoded)
        return self._with(self._transcript(decoded, recogniser.language), video, workspace)

    def _recogniser(self, video: Video, workspace: Workspace) -> Recogniser:
        language, _ = language_to_transcribe(video, self.accept)
        voice, audio = workspace.get_record(Voice, video.voice), scratch_audio(video, workspace)
        return Recogniser(self, self._model(), audio, voice, language)

    def _transcript(self, decoded: Sequence[Decoded], language: str) -> Transcript:
        words = [replace(w, window=i) for i, d in enumerate(decoded) for w in d.words]
        engine = f"faster-whisper {importlib.metadata.version('faster-whisper')}"
        return Transcript(
            "asr",
            engine,
            self.model,
            self.compute_type,
            language,
            [d.window for d in decoded],
            words,
        )

    def judge(self, video: Video) -> None:
        """Raises Reject where not a single word was heard."""
        if not video.words:
            raise Reject("no_words", windows=video.windows)

    def is_bad(self, window: Window) -> bool:
        """Returns whether a window should be decoded again.

        A window that is surely silent (no-speech above, log-probability below) should not: no
        attempt would find words in it.
        """
        unsure = window.avg_logprob < self.min_avg_logprob
        if unsure and window.no_speech_probability > self.max_no_speech_probability:
            return False
        missed = window.missed_speech_s > self.max_missed_speech_s
        return unsure or missed or window.compression_ratio > self.max_compression_ratio
