"""When each word of a caption is said, and whether captions belong to what is heard.

A word's time is that of the file where it has one (YouTube's automatic captions do). Else the words
share the time of their cue by their letters, and no more of it than a slow speaker takes, since
cues often stay longer than what they say:

```
cue      |----------------------------------|      next cue
words    [How][are][you]                           marked as interpolated
```
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from reelscript.schemas.text import ms
from reelscript.schemas.transcript import Span, Word
from reelscript.schemas.video import Seconds
from reelscript.transforms.caption_cleaning import Line

# The space after a word counts as one. English has about 0.06 s a letter; against times that a
# recogniser heard, 0.08 to 0.12 s gave the same errors, and both less and no limit larger ones.
LETTER_S = 0.1
NEAR_S = 0.5  # how far captions and voice may lie apart: people place cues by hand


def until(lines: Sequence[Line], end_s: Seconds) -> list[Line]:
    """Returns cleaned cues without what is said from a second on, none of which lasts longer."""
    kept = []
    for line in lines:
        if line.start_s < end_s:
            late = (k for k, piece in enumerate(line.pieces) if (piece.start_s or 0.0) >= end_s)
            pieces = line.pieces[: next(late, None)]
            last_s = line.end_s if line.end_s > line.start_s else math.inf
            kept.append(replace(line, end_s=min(last_s, end_s), pieces=pieces))
    return kept


def timed_words(lines: Sequence[Line]) -> list[Word]:
    """Returns the words of cleaned cues in order, each with a start and an end.

    Args:
        lines: as `cleaned` gives them: each begins after the one before.
    """
    by_word = any(piece.start_s is not None for line in lines for piece in line.words)
    nexts_s = [*(line.start_s for line in lines[1:]), math.inf]
    return [
        word
        for line, next_s in zip(lines, nexts_s, strict=False)
        for word in _words(line, next_s, by_word)
    ]


def _words(line: Line, next_s: Seconds, by_word: bool) -> list[Word]:
    """Returns the words of a line, none of which lasts into the next one.

    Where a file tells the times of words, the first one of a line is said when its cue begins.
    """
    said = line.words
    if not said:
        return []
    end_s = min(line.end_s if line.end_s > line.start_s else math.inf, next_s)
    given = [piece.start_s for piece in said]
    if by_word:
        given[0] = line.start_s
    known, latest_s = {0: line.start_s}, line.start_s
    for k, start_s in enumerate(given[1:], 1):
        if start_s is not None and latest_s <= start_s <= end_s:
            known[k] = latest_s = start_s
    letters = [len(piece.text.strip()) + 1 for piece in said]
    starts, ends = _spread(letters, known, end_s)
    return [
        Word(p.text, ms(starts[k]), ms(ends[k]), None, 0, not (k in known and given[k] is not None))
        for k, p in enumerate(said)
    ]


def _spread(
    letters: Sequence[int], known: dict[int, Seconds], end_s: Seconds
) -> tuple[list[Seconds], list[Seconds]]:
    """Returns starts and ends of words; those without a known start share the time to the next."""
    starts: list[Seconds] = []
    ends: list[Seconds] = []
    places = [*known, len(letters)]
    for first, after in pairwise(places):
        at_s, until_s = known[first], known.get(after, end_s)
        letter_s = min(LETTER_S, (until_s - at_s) / sum(letters[first:after]))
        for count in letters[first:after]:
            starts.append(at_s)
            at_s += count * letter_s
            ends.append(at_s)
    return starts, ends


def fit(words: Sequence[Word], voice: Sequence[Span]) -> float:
    """Returns how well captions and voice cover each other, 0..1: the lesser of the two shares.

    It is the share of the voice with words near it, or of the words with voice near them.
    """
    said = [Span(w.start_s or 0.0, w.end_s or 0.0) for w in words]
    return min(_share(said, _widened(voice)), _share(voice, _widened(said)))


def _widened(spans: Sequence[Span]) -> list[Span]:
    """Returns the union of spans in order, each longer by `NEAR_S` at both ends."""
    union: list[Span] = []
    for span in spans:
        start_s, end_s = span.start_s - NEAR_S, span.end_s + NEAR_S
        if union and start_s <= union[-1].end_s:
            union[-1] = Span(union[-1].start_s, max(union[-1].end_s, end_s))
        else:
            union.append(Span(start_s, end_s))
    return union


def _share(spans: Sequence[Span], union: Sequence[Span]) -> float:
    """Returns the share of the time of `spans` that lies in a union; 0 where there is none.

    Both are in the order of their starts.
    """
    whole_s = sum(span.duration_s for span in spans)
    common_s, first = 0.0, 0
    for span in spans:
        while first < len(union) and union[first].end_s <= span.start_s:
            first += 1
        k = first
        while k < len(union) and union[k].start_s < span.end_s:
            common_s += min(span.end_s, union[k].end_s) - max(span.start_s, union[k].start_s)
            k += 1
    return common_s / whole_s if whole_s else 0.0
