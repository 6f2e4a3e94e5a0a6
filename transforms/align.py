"""Words with sound times: in order, inside the video, each with a start and an end.

Recognisers leave words without a time (numbers and signs, in some engines), let neighbours overlap,
or stretch a word over a pause. No word is dropped: a time that is missing or cannot be is
interpolated, and counted.

```
given        [a]   [b.........]  c?   [d]        b stretched over a pause, c without a time
aligned      [a]   [b...]  [c...]     [d]
voice         ===  ======             =====
snapped       [a]  [b...]  [c...]     [d..]
```
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

from reelscript.pipeline.stage import Live, Stage
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.text import ms
from reelscript.schemas.transcript import Span, Transcript, Voice, Word
from reelscript.schemas.video import Seconds, Video

LONGEST_WORD_S = (
    2.5  # a longer "word" has swallowed a pause; the longest English ones take about 1.5 s to say
)
SNAP_S = (
    0.6  # how far a word's edge may be off the edge of the voice and still be meant to lie on it
)
PAUSE_S = 0.1  # words closer than this follow one another
USUAL_WORD_S = (
    0.3  # what a word without room of its own gets: speech has about 2.5 to 3.5 words a second
)


@dataclass(frozen=True)
class Align(Stage):
    """Word times on the video's clock. It has no settings."""

    name: ClassVar[str] = "align"
    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("transcript", "voice", "duration_s")
    writes: ClassVar[tuple[str, ...]] = ("aligned_words", "interpolated_words")
    artefacts: ClassVar[tuple[str, ...]] = ("aligned_words",)

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""

        def live(video: Video, workspace: Workspace) -> Video:
            transcript = workspace.get_record(Transcript, video.transcript)
            words = aligned(transcript.words, video.duration_s or 0.0)
            words = snapped(words, workspace.get_record(Voice, video.voice).spans)
            count = sum(w.interpolated for w in words)
            return replace(
                video, aligned_words=workspace.put_record(words), interpolated_words=count
            )

        yield live


def aligned(words: Sequence[Word], duration_s: Seconds) -> list[Word]:
    """Returns the words in order with 0 <= start <= end <= start of the next <= `duration_s`.

    Args:
        words: in the order in which they were said; times may be missing, out of order, or outside
            the video.
        duration_s: length of the video.
    """
    trusted = _trusted(words, duration_s)
    starts = _filled([t[0] if t else None for t in trusted], duration_s)
    out: list[Word] = []
    for i, (word, times) in enumerate(zip(words, trusted, strict=True)):
        next_s = starts[i + 1] if i + 1 < len(words) else duration_s
        end_s = min(
            times[1] if times else starts[i] + USUAL_WORD_S, next_s, starts[i] + LONGEST_WORD_S
        )
        out.append(
            replace(
                word,
                start_s=ms(starts[i]),
                end_s=ms(max(end_s, starts[i])),
                interpolated=word.interpolated or times is None,
            )
        )
    return out


def snapped(words: Sequence[Word], spans: Sequence[Span]) -> list[Word]:
    """Returns aligned words, those beside a pause moved to where the voice starts or ends.

    Whisper's attention puts the first word after a pause too early, and lets the last one before
    it last too long, by up to 2 s; Silero's edges are right to about 0.1 s. A word is moved only
    if it overlaps a span of voice, over at most `SNAP_S` (an end that is too late: over any
    silence), and never past a neighbour.
    """
    out = list(words)
    first = 0  # the first span that may matter: words come in order
    for i, word in enumerate(out):
        start_s, end_s = word.start_s or 0.0, word.end_s or 0.0
        while first < len(spans) and spans[first].end_s <= start_s:
            first += 1
        if first == len(spans) or spans[first].start_s >= end_s:
            continue  # no voice was heard where it stands
        span = spans[first]
        before_s = (out[i - 1].end_s or 0.0) if i else 0.0
        after_s = (words[i + 1].start_s or 0.0) if i + 1 < len(words) else math.inf
        if start_s < span.start_s <= start_s + SNAP_S and before_s <= start_s - PAUSE_S:
            start_s = span.start_s
        if after_s >= end_s + PAUSE_S or after_s >= span.end_s + PAUSE_S:
            if span.end_s < end_s and _silent(spans, first, end_s):
                end_s = max(span.end_s, start_s)
            elif end_s < span.end_s <= min(end_s + SNAP_S, after_s):
                end_s = span.end_s
        out[i] = replace(word, start_s=ms(start_s), end_s=ms(end_s))
    return out


def _silent(spans: Sequence[Span], index: int, until_s: Seconds) -> bool:
    """Returns whether no further span of voice starts before `until_s`."""
    return index + 1 == len(spans) or spans[index + 1].start_s >= until_s


def _trusted(words: Sequence[Word], duration_s: Seconds) -> list[tuple[float, float] | None]:
    """Returns each word's times where they can be: none before that of a word said earlier."""
    out: list[tuple[float, float] | None] = []
    latest_s = 0.0
    for word in words:
        start_s, end_s = word.start_s, word.end_s
        if (
            start_s is None
            or end_s is None
            or not latest_s - 0.5 <= start_s <= duration_s
            or end_s < start_s
        ):
            out.append(None)
            continue
        start_s = max(start_s, latest_s)  # neighbours may overlap by a little
        out.append((start_s, min(max(end_s, start_s), duration_s)))
        latest_s = start_s
    return out


def _filled(starts: Sequence[float | None], duration_s: Seconds) -> list[float]:
    """Returns the starts with the missing ones spread evenly between their neighbours."""
    known = [i for i, start_s in enumerate(starts) if start_s is not None]
    out: list[float] = []
    for left, right in zip([-1, *known], [*known, len(starts)], strict=True):
        before_s = out[-1] if out else 0.0
        missing = right - left - 1
        if right < len(starts):
            step_s = (float(starts[right] or 0.0) - before_s) / (missing + 1)
        else:
            step_s = min(USUAL_WORD_S, (duration_s - before_s) / (missing + 1))
        out += [before_s + step_s * (k + 1) for k in range(missing)]
        if right < len(starts):
            out.append(float(starts[right] or 0.0))
    return out
