"""Decoding windows of speech, and decoding the bad ones again by a ladder without sampling.

```
windows --batched, beam--> numbers --good--> words
                              | bad: unlikely, repetitive, or voice without words
                              v
               wider beam | cut at a pause | cut around what was missed | shifted
                              |
               the first good one, else the best
```
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reelscript.schemas.text import ms, score
from reelscript.schemas.transcript import Span, Voice, Window, Word
from reelscript.transforms import whisper
from reelscript.transforms.align import LONGEST_WORD_S
from reelscript.transforms.voice_activity import longest_pause_near_middle, missed_speech

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

    from reelscript.transforms.transcribe import Transcribe

# Bounds memory; fixed, because faster-whisper carries state from window to window within a call.
WINDOWS_A_CALL = 32
SHIFT_S = 0.5
SHORTEST_S = 0.5  # no window is cut to less


@dataclass(frozen=True)
class Decoded:
    """One window as decoded: its numbers, and its words with times in the video and `window` 0."""

    window: Window
    words: list[Word]


class Recogniser:
    """One video's audio with the model and the settings to decode it."""

    def __init__(
        self,
        settings: Transcribe,
        model: WhisperModel,
        audio: NDArray[np.int16],
        voice: Voice,
        language: str,
    ) -> None:
        self.settings = settings
        self.model = model
        self.audio = audio
        self.voice = voice
        self.language = language
        self.options: dict[str, Any] = {
            "language": language,
            "task": "transcribe",
            "temperature": 0.0,
            "word_timestamps": True,
            "condition_on_previous_text": False,
            "vad_filter": False,
        }

    def decode(self, first: Iterable[Decoded] | None = None) -> list[Decoded]:
        """Returns the windows as decoded, in order; a bad one may come back as several shorter.

        Args:
            first: what `first_pass` gives, where that was done before (`decode_together.py`).
        """
        out: list[Decoded] = []
        for decoded in self.first_pass() if first is None else first:
            out += self._again(decoded) if self.settings.is_bad(decoded.window) else [decoded]
        return out

    def first_pass(self) -> Iterator[Decoded]:
        """Yields the windows as decoded once, good or bad."""
        windows = self.voice.windows
        for start in range(0, len(windows), WINDOWS_A_CALL):
            call = windows[start : start + WINDOWS_A_CALL]
            yield from self.batched(call, self.settings.beam_size, "batched")

    def _again(self, first: Decoded) -> list[Decoded]:
        """Returns the first attempt of which every window is good, else the best one, marked."""
        beam = self.settings.retry_beam_size
        attempts = [[first]]
        for attempt, windows in self._ladder(first):
            attempts.append(self.batched(windows, beam, attempt))
            if not any(self.settings.is_bad(d.window) for d in attempts[-1]):
                return attempts[-1]
        best = max(attempts, key=self._goodness)
        return [
            replace(d, window=replace(d.window, doubtful=self.settings.is_bad(d.window)))
            for d in best
        ]

    def _ladder(self, first: Decoded) -> Iterator[tuple[str, list[Span]]]:
        """Yields the attempts in order: their name and the windows to decode."""
        span = Span(first.window.start_s, first.window.end_s)
        spans = [s for s in self.voice.spans if s.end_s > span.start_s and s.start_s < span.end_s]
        yield "wider_beam", [span]
        if span.duration_s > 2 * SHORTEST_S:
            cut_s = longest_pause_near_middle(spans, span)
            yield "cut_at_pause", [Span(span.start_s, cut_s), Span(cut_s, span.end_s)]
        missed = missed_speech(self.voice.spans, spans_of(first.words), span)
        if missed:
            yield "cut_at_missed", cut_around(span, max(missed, key=lambda m: m.duration_s))
        if span.duration_s > SHORTEST_S + SHIFT_S:
            yield "shifted", [Span(span.start_s + SHIFT_S, span.end_s)]

    def _goodness(self, attempt: list[Decoded]) -> tuple[bool, float, float]:
        """Returns what attempts are compared by: no repetition; least missed; log-probability.

        That repetition counts first is Whisper's preference.
        """
        repeats = any(
            d.window.compression_ratio > self.settings.max_compression_ratio for d in attempt
        )
        missed_s = sum(d.window.missed_speech_s for d in attempt)
        return (
            not repeats,
            -round(missed_s),
            sum(d.window.avg_logprob for d in attempt) / len(attempt),
        )

    def batched(self, windows: Sequence[Span], beam_size: int, attempt: str) -> list[Decoded]:
        """Returns the windows decoded in one call."""
        from faster_whisper import BatchedInferencePipeline

        segments = self.begun(BatchedInferencePipeline(self.model), windows, beam_size)
        return self.finished(windows, segments, attempt)

    def begun(self, pipeline: Any, windows: Sequence[Span], beam_size: int) -> Iterable[Any]:
        """Returns the segments of a call of faster-whisper, which decodes when they are asked for.

        Only the audio that the windows span is turned into floats.
        """
        rate, origin_s = whisper.SAMPLE_RATE_HZ, windows[0].start_s
        piece = (
            self.audio[round(origin_s * rate) : round(windows[-1].end_s * rate)].astype(np.float32)
            / 32768.0
        )
        ticks = _ticks(windows)
        # faster-whisper truncates seconds to samples: half a sample more keeps a tick of 10 ms a
        # tick of 10 ms.
        clips = [{"start": (a * 160 + 0.5) / rate, "end": (b * 160 + 0.5) / rate} for a, b in ticks]
        segments, _ = pipeline.transcribe(
            piece,
            clip_timestamps=clips,
            batch_size=self.settings.batch_size,
            beam_size=beam_size,
            **self.options,
        )
        found: Iterable[Any] = segments
        return found

    def finished(
        self, windows: Sequence[Span], segments: Iterable[Any], attempt: str
    ) -> list[Decoded]:
        """Returns the windows of a call from the segments that faster-whisper gives."""
        ticks = _ticks(windows)
        by_window: dict[int, list[Any]] = {}
        for segment in segments:
            nearest = min(range(len(ticks)), key=lambda i: abs(ticks[i][0] - segment.seek))
            by_window.setdefault(nearest, []).append(segment)
        return [self._decoded(w, by_window.get(i, []), attempt) for i, w in enumerate(windows)]

    def _decoded(self, span: Span, segments: list[Any], attempt: str) -> Decoded:
        """Returns a window from the segments that faster-whisper gives for it.

        There is one, without timestamp tokens. Word times count from `seek`, which faster-whisper's
        rounding may put a tick before the window's start.
        """
        words = [
            Word(
                w.word,
                ms(span.start_s + w.start - s.seek / 100),
                ms(span.start_s + w.end - s.seek / 100),
                score(w.probability),
                0,
            )
            for s in segments
            for w in s.words or ()
            if w.word.strip()
        ]
        window = Window(
            span.start_s,
            span.end_s,
            avg_logprob=score(min((s.avg_logprob for s in segments), default=0.0)) or 0.0,
            no_speech_probability=score(max((s.no_speech_prob for s in segments), default=1.0))
            or 0.0,
            compression_ratio=score(max((s.compression_ratio for s in segments), default=0.0))
            or 0.0,
            missed_speech_s=ms(
                sum(m.duration_s for m in missed_speech(self.voice.spans, spans_of(words), span))
            ),
            attempt=attempt,
            doubtful=False,
        )
        return Decoded(window, words)


def _ticks(windows: Sequence[Span]) -> list[tuple[int, int]]:
    """Returns the windows in ticks of 10 ms from the start of the first."""
    origin_s = windows[0].start_s
    return [
        (round((w.start_s - origin_s) * 100), round((w.end_s - origin_s) * 100)) for w in windows
    ]


def spans_of(words: Sequence[Word]) -> list[Span]:
    """Returns when words are said, each cut to a believable length.

    A word stretched over a sentence covers nothing of it.
    """
    times = [(w.start_s, w.end_s) for w in words if w.start_s is not None and w.end_s is not None]
    return [Span(start_s, min(end_s, start_s + LONGEST_WORD_S)) for start_s, end_s in times]


def cut_around(span: Span, missed: Span) -> list[Span]:
    """Returns a window as up to three, one the missed stretch, on Whisper's grid of 10 ms."""
    cuts = [round(t, 2) for t in (missed.start_s, missed.end_s)]
    inner = [t for t in cuts if span.start_s + SHORTEST_S < t < span.end_s - SHORTEST_S]
    edges = [span.start_s, *inner, span.end_s]
    return [Span(a, b) for a, b in pairwise(edges)]
