"""Words with sound times: in order, inside the video, each with a start and an end.

Recognisers leave words without a time (numbers and signs, in some engines), let neighbours overlap, or stretch a
word over a pause. No word is dropped: a time that is missing or cannot be is interpolated, and counted.

```
given        [a]   [b.........]  c?   [d]        b stretched over a pause, c without a time
aligned      [a]   [b...]  [c...]     [d]
```
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

from reelscript.pipeline.stage import Live, Stage
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.text import ms
from reelscript.schemas.transcript import Transcript, Word
from reelscript.schemas.video import Seconds, Video

LONGEST_WORD_S = (
    2.5  # a longer "word" has swallowed a pause; the longest English ones take about 1.5 s to say
)
USUAL_WORD_S = (
    0.3  # what a word without room of its own gets: speech has about 2.5 to 3.5 words a second
)


@dataclass(frozen=True)
class Align(Stage):
    """Word times on the video's clock. It has no settings."""

    name: ClassVar[str] = "align"
    reads: ClassVar[tuple[str, ...]] = ("transcript", "duration_s")
    writes: ClassVar[tuple[str, ...]] = ("aligned_words", "interpolated_words")

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""

        def live(video: Video, workspace: Workspace) -> Video:
            transcript = workspace.get_record(Transcript, video.transcript)
            words = aligned(transcript.words, video.duration_s or 0.0)
            count = sum(w.interpolated for w in words)
            return replace(
                video, aligned_words=workspace.put_record(words), interpolated_words=count
            )

        yield live


def aligned(words: Sequence[Word], duration_s: Seconds) -> list[Word]:
    """Returns the same words in the same order with 0 <= start <= end <= start of the next <= `duration_s`.

    Args:
        words: in the order in which they were said; times may be missing, out of order, or outside the video.
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
                interpolated=times is None,
            )
        )
    return out


def _trusted(words: Sequence[Word], duration_s: Seconds) -> list[tuple[float, float] | None]:
    """Returns each word's times where they can be: a time must not lie before that of a word said earlier."""
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
