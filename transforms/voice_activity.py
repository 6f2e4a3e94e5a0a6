"""Where somebody speaks, and which windows to decode, from Silero's probabilities.

```
probability  ..##########.....####..#######...............####...
spans          [--------]     [--]  [-----]               [--]
windows      [----------------------------]             [------]
```

Spans: voice, with pauses shorter than MIN_PAUSE_S bridged. Windows: at most 30 s, cut in the
longest late pause.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from reelscript.schemas.transcript import Span
from reelscript.transforms.whisper import SAMPLE_RATE_HZ, WINDOW_S

FRAME_SAMPLES = 512  # Silero judges frames of 32 ms at 16 kHz
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
VOICE = (
    0.5  # Silero's default threshold; a span goes on until the probability falls below VOICE - 0.15
)
VOICE_ENDS = 0.35
MIN_PAUSE_S = 0.16  # faster-whisper's for batched decoding
MIN_SPAN_S = 0.1
PAD_S = 0.4  # faster-whisper's, around a window; a word's first consonant is quieter than its vowel
WORD_REACH_S = 0.6  # a word accounts for the voice within this much of it
MIN_MISSED_S = 0.5  # shorter leftovers are word edges, not missed speech
FULL_FROM = 0.75  # a window may be closed at a pause from this share of WINDOW_S on
BLOCK_S = 600  # Silero is run on blocks of this length, so that memory does not grow with the video
TICK_S = (
    0.01  # Whisper's own resolution: windows start on it, so that no time is shifted by rounding
)


def voice_probabilities(audio: NDArray[np.int16]) -> NDArray[np.float32]:
    """Returns Silero's probability of voice, 0..1, for each frame of 32 ms of 16 kHz mono audio."""
    from faster_whisper.vad import get_vad_model

    model, found = get_vad_model(), []
    block_samples = BLOCK_S * SAMPLE_RATE_HZ // FRAME_SAMPLES * FRAME_SAMPLES
    for start in range(0, len(audio), block_samples):
        block = audio[start : start + block_samples].astype(np.float32) / 32768.0
        block = np.pad(block, (0, -len(block) % FRAME_SAMPLES))
        found.append(np.asarray(model(block), dtype=np.float32).reshape(-1))
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def voice_spans(probabilities: NDArray[np.float32], duration_s: float) -> list[Span]:
    """Returns the stretches in which somebody speaks, in order and disjoint.

    A span opens where the probability reaches VOICE and closes where it stays below VOICE_ENDS for
    MIN_PAUSE_S; spans shorter than MIN_SPAN_S are left out.
    """
    spans: list[Span] = []
    start: int | None = None
    quiet: int | None = None
    min_pause_frames = round(MIN_PAUSE_S / FRAME_S)
    for i, p in enumerate(np.append(probabilities, [0.0] * (min_pause_frames + 1))):
        if p >= VOICE:
            start, quiet = (i if start is None else start), None
        elif start is not None and p < VOICE_ENDS:
            quiet = i if quiet is None else quiet
            if i - quiet >= min_pause_frames:
                _add_span(spans, start, quiet, duration_s)
                start = quiet = None
    return spans


def _add_span(spans: list[Span], start: int, end: int, duration_s: float) -> None:
    start_s, end_s = round(start * FRAME_S, 3), round(min(end * FRAME_S, duration_s), 3)
    if end_s - start_s >= MIN_SPAN_S:
        spans.append(Span(start_s, end_s))


def split_long(
    spans: list[Span], probabilities: NDArray[np.float32], longest_s: float
) -> list[Span]:
    """Returns the spans; those over `longest_s` are cut at the weakest voice in their last half."""
    out: list[Span] = []
    todo = list(reversed(spans))
    while todo:
        span = todo.pop()
        if span.duration_s <= longest_s:
            out.append(span)
            continue
        low, high = (int((span.start_s + share * longest_s) / FRAME_S) for share in (0.5, 1.0))
        weakest = low + int(np.argmin(probabilities[low:high]))
        cut_s = round((weakest + 0.5) * FRAME_S, 3)
        out.append(Span(span.start_s, cut_s))
        todo.append(Span(cut_s, span.end_s))
    return out


def speech_windows(
    spans: list[Span], probabilities: NDArray[np.float32], duration_s: float
) -> list[Span]:
    """Returns the windows to decode: in order, disjoint, at most 30 s each, holding every span.

    A window takes spans while they fit. If another one would not fit, it is closed at the longest
    pause in its last quarter, so that few sentences are cut. PAD_S of the silence around it belongs
    to it, as far as there is some.
    """
    spans = split_long(spans, probabilities, WINDOW_S - 2 * PAD_S)
    groups: list[list[Span]] = []
    first = 0
    while first < len(spans):
        fits = first
        while (
            fits + 1 < len(spans)
            and spans[fits + 1].end_s - spans[first].start_s <= WINDOW_S - 2 * PAD_S
        ):
            fits += 1
        last = fits if fits + 1 == len(spans) else _best_close(spans, first, fits)
        groups.append(spans[first : last + 1])
        first = last + 1
    return _padded([Span(g[0].start_s, g[-1].end_s) for g in groups], duration_s)


def _best_close(spans: list[Span], first: int, fits: int) -> int:
    """Returns the span after which to close a window from `first`, which may reach to `fits`."""
    full_s = spans[first].start_s + FULL_FROM * WINDOW_S
    late = [i for i in range(first, fits + 1) if spans[i].end_s >= full_s] or [fits]
    return max(late, key=lambda i: (spans[i + 1].start_s - spans[i].end_s, i))


def _padded(windows: list[Span], duration_s: float) -> list[Span]:
    out: list[Span] = []
    for i, w in enumerate(windows):
        before = 0.0 if i == 0 else (windows[i - 1].end_s + w.start_s) / 2
        after = duration_s if i + 1 == len(windows) else (w.end_s + windows[i + 1].start_s) / 2
        start_s = np.floor(max(before, w.start_s - PAD_S) / TICK_S) * TICK_S
        end_s = np.floor(min(after, w.end_s + PAD_S) / TICK_S) * TICK_S
        start_s = max(start_s, out[-1].end_s) if out else start_s
        out.append(Span(round(float(start_s), 2), round(float(end_s), 2)))
    return out


def overlap_s(spans: list[Span], start_s: float, end_s: float) -> float:
    """Returns how many seconds of `start_s` .. `end_s` lie in the spans."""
    return sum(max(0.0, min(s.end_s, end_s) - max(s.start_s, start_s)) for s in spans)


def missed_speech(spans: list[Span], words: Sequence[Span], window: Span) -> list[Span]:
    """Returns the stretches of a window with voice and no word near: what a decoder skipped."""
    missed: list[Span] = []
    for span in spans:
        at_s, end_s = max(span.start_s, window.start_s), min(span.end_s, window.end_s)
        for word in words:
            if word.end_s + WORD_REACH_S <= at_s:
                continue
            if word.start_s - WORD_REACH_S >= end_s:
                break
            if word.start_s - WORD_REACH_S - at_s >= MIN_MISSED_S:
                missed.append(Span(at_s, word.start_s - WORD_REACH_S))
            at_s = max(at_s, word.end_s + WORD_REACH_S)
        if end_s - at_s >= MIN_MISSED_S:
            missed.append(Span(at_s, end_s))
    return missed


def longest_pause_near_middle(spans: list[Span], window: Span) -> float:
    """Returns where to cut a window in two: in its longest pause, or in its middle.

    A pause counts if it lies in the middle half.
    """
    quarter_s = window.duration_s / 4
    pauses = [(b.start_s - a.end_s, (a.end_s + b.start_s) / 2) for a, b in pairwise(spans)]
    inner = [
        (length_s, at_s)
        for length_s, at_s in pauses
        if abs(at_s - (window.start_s + 2 * quarter_s)) <= quarter_s
    ]
    at_s = max(inner, default=(0.0, window.start_s + 2 * quarter_s))[1]
    return round(at_s / TICK_S) * TICK_S
