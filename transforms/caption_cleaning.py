"""What is said in cues: without rolling repeats, sounds, lyrics and marks of speakers.

Automatic captions roll: each line is shown as it grows, for a moment alone, and again above the
next one.

```
cue 1          this audiobook                     -> this audiobook
cue 2 (10 ms)  this audiobook                     ->
cue 3          this audiobook / is in the public  -> is in the public
```

People repeat words too. What rolls shows whole lines again, and something new with them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Literal, TypeAlias

from reelscript.pipeline.errors import StageError
from reelscript.schemas.video import Seconds
from reelscript.transforms.caption_formats import Cue

ROLLING_SHARE = 0.5  # of the cues, from which on a file rolls; people repeat a line now and then
ROLLING_TIMES = 3  # shown again, with something new, or for a moment: else a file does not roll
JOINED_S = 0.005  # cues this close follow one another: their times are rounded to 1 or 10 ms
LINES_JOINED_S = 1.0  # as close as this (ours), if whole lines are shown again above a new one
MOMENT_S = 0.05  # YouTube shows a line that is finished alone for 0.01 s
LONGEST_CUE_WORDS = 200  # more words are compared with those of no other cue
LONGEST_WORD_CHARS = 100
MAX_PIECES = 500_000  # four hours of speech, each word shown three times, are 150 000
_NAME = r"[A-ZÀ-ÖØ-ÞА-ЯЁ][A-ZÀ-ÖØ-ÞА-ЯЁ0-9 .'’&#-]{1,29}:(?=\s)"
_PIECES = re.compile(
    r"(?P<sound>\[[^\[\]]*\]"  # [Music], [ __ ]
    r"|^[ \t]*\([^()\n]*\)[ \t]*$"  # (in the round kind, if it is a whole line)
    r"|\([^()\s]+(?:\s+[^()\s]+){0,2}\s*\)"  # (or has at most three words)
    r"|[♪♫♬♩](?:[^♪♫♬♩\n]*[♪♫♬♩]|[^♪♫♬♩]*[♪♫♬♩](?=[ \t]*$)|[^♪♫♬♩\n]*))"
    rf"|(?P<speaker>^[ \t]*(?:(?:[-–—](?!\d)|>{{2,}})[ \t]*(?:{_NAME})?|{_NAME})"
    r"|(?<!\S)>{2,}(?!\S))"
    r"|(?P<word>[^\s\[♪♫♬♩]+|\S)",
    re.MULTILINE,
)
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WRITTEN_TOGETHER = re.compile(rf"[{_SPACELESS}]")  # Thai, Lao, Burmese, Khmer, Japanese, Chinese
_SIGNS = re.compile(
    rf"(?:[^\W{_SPACELESS}]+|\w)[^\w\s]*|[^\w\s]+"
)  # one by one, words of others whole
_SPOKEN_SIGNS = frozenset("&+%@=$€£")
Kind: TypeAlias = Literal["word", "sound", "speaker"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A word with the white space before it, or what is none; and when, if the file tells.

    `opens` marks the first one of a displayed line.
    """

    text: str
    kind: Kind
    start_s: Seconds | None = None
    opens: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """What is new in a cue. `end_s` lies before `start_s` where the file says so."""

    start_s: Seconds
    end_s: Seconds
    pieces: tuple[Piece, ...]

    @property
    def words(self) -> list[Piece]:
        """What is said in it."""
        return [p for p in self.pieces if p.kind == "word"]


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Cues in order of time, each with what is new in it, and counts of what is no word.

    `repeats` counts words that were shown again.
    """

    lines: list[Line]
    repeats: int
    sounds: int
    speakers: int


def cleaned(cues: Iterable[Cue]) -> Cleaned:
    """Returns what is said, each word once. Raises StageError where no video says so much."""
    shown = _in_order(cues)
    again = [0, *(_shown_again(before, now) for before, now in pairwise(shown))][: len(shown)]
    if not _rolls(shown, again):
        again = [n if _for_a_moment(line) else 0 for line, n in zip(shown, again, strict=True)]
    lines = [replace(line, pieces=line.pieces[n:]) for line, n in zip(shown, again, strict=True)]
    before, after = (_counts(found) for found in (shown, lines))
    return Cleaned(lines, before["word"] - after["word"], after["sound"], after["speaker"])


def _rolls(shown: Sequence[Line], again: Sequence[int]) -> bool:
    """Returns whether a file rolls: see the top of this file."""
    filled = sum(bool(line.pieces) for line in shown[1:])
    times = sum(
        0 < n < len(line.pieces) or (n > 0 and _for_a_moment(line))
        for line, n in zip(shown, again, strict=True)
    )
    return times >= ROLLING_TIMES and sum(n > 0 for n in again) >= ROLLING_SHARE * filled


def _for_a_moment(line: Line) -> bool:
    return 0 < line.end_s - line.start_s <= MOMENT_S


def _shown_again(before: Line, now: Line) -> int:
    """Returns how many pieces of a cue the one before may have shown already."""
    opens = [piece.opens for piece in before.pieces]
    count = overlap(_keys(before), _keys(now), opens)
    gap_s = now.start_s - before.end_s
    above_new = count < len(now.pieces) and now.pieces[count].opens
    return count if gap_s <= JOINED_S or (gap_s <= LINES_JOINED_S and above_new) else 0


def _keys(line: Line) -> list[str]:
    return [piece.text.strip().casefold() for piece in line.pieces]


def overlap(before: Sequence[str], now: Sequence[str], opens: Sequence[bool]) -> int:
    """Returns how many pieces at the beginning of a cue are the last whole lines of the one before.

    Args:
        before: pieces of a cue.
        now: pieces of the next one.
        opens: for each of `before`, whether a displayed line begins with it.
    """
    if max(len(before), len(now)) > LONGEST_CUE_WORDS:
        return 0
    sizes = range(min(len(before), len(now)), 0, -1)
    return next((n for n in sizes if opens[-n] and before[-n:] == now[:n]), 0)


def _counts(lines: Sequence[Line]) -> dict[str, int]:
    found = dict.fromkeys(("word", "sound", "speaker"), 0)
    for line in lines:
        for piece in line.pieces:
            found[piece.kind] += 1
    return found


def _in_order(cues: Iterable[Cue]) -> list[Line]:
    """Returns the cues by their start; those that start at once are one, equal ones too."""
    by_start = sorted(dict.fromkeys(cues), key=lambda cue: cue.start_s)
    lines: list[Line] = []
    count = 0
    for start_s, group in groupby(by_start, key=lambda cue: cue.start_s):
        together = list(group)
        pieces = tuple(piece for cue in together for piece in pieces_of(cue))
        count += len(pieces)
        if count > MAX_PIECES:
            raise StageError("bad_captions", f"more than {MAX_PIECES} words and signs")
        lines.append(Line(start_s, max(cue.end_s for cue in together), pieces))
    return lines


def pieces_of(cue: Cue) -> list[Piece]:
    """Returns the words, sounds and marks of a cue in their order."""
    pieces: list[Piece] = []
    times = list(reversed(cue.times))
    line_end = -1  # of the line that the last piece stands in
    for text, kind, first, end in _parts(cue.text):
        said_s = None
        while times and times[-1][0] < end:
            position, time_s = times.pop()
            if position <= first:  # else it is of a part of this word
                said_s = time_s
        shown = text if kind != "word" else _word(text)
        if shown is not None:
            pieces.append(Piece(shown, kind, said_s, first > line_end))
            if first > line_end:
                line_end = (cue.text + "\n").index("\n", end)
    return pieces


def _parts(text: str) -> Iterator[tuple[str, Kind, int, int]]:
    """Yields what stands between two spaces, or is one sign; what it is; where it begins, ends."""
    for found in _PIECES.finditer(text):
        if found["word"] is None:
            yield found[0], "sound" if found["sound"] else "speaker", *found.span()
        elif not _WRITTEN_TOGETHER.search(found[0]):
            yield f" {found[0]}", "word", *found.span()
        else:
            for sign in _SIGNS.finditer(found[0]):
                first = found.start() + sign.start()
                yield sign[0], "word", first, first + len(sign[0])


def _word(written: str) -> str | None:
    """Returns a word without what does not print, or None where nobody would say it."""
    text = "".join(c for c in written if unicodedata.category(c)[0] != "C" or c in "\u200c\u200d")
    spoken = any(c.isalnum() or c in _SPOKEN_SIGNS for c in text)
    return text if spoken and len(text) <= LONGEST_WORD_CHARS else None
