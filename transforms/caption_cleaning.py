"""What is said in cues: without rolling repeats, sounds, lyrics and marks of speakers.

Automatic captions roll: each line is shown as it grows, for a moment alone, and again above the
next one.

```
cue 1          this audiobook                     -> this audiobook
cue 2 (10 ms)  this audiobook                     ->
cue 3          this audiobook / is in the public  -> is in the public
```
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, TypeAlias

from reelscript.pipeline.errors import StageError
from reelscript.schemas.video import Seconds
from reelscript.transforms.caption_formats import Cue

ROLLING_SHARE = 0.5  # of the cues, from which on a file rolls; people repeat a line now and then
JOINED_S = 0.005  # cues this close follow one another: their times are rounded to 1 or 10 ms
LONGEST_CUE_WORDS = 200  # more words are compared with those of no other cue
LONGEST_WORD_CHARS = 100
MAX_PIECES = 500_000  # four hours of speech, each word shown three times, are 150 000
_NAME = r"[A-ZÀ-ÖØ-ÞА-ЯЁ][A-ZÀ-ÖØ-ÞА-ЯЁ0-9 .'’&#-]{1,29}:(?=\s)"
_PIECES = re.compile(
    r"(?P<sound>\[[^\[\]]*\]"  # [Music], [ __ ]
    r"|^[ \t]*\([^()\n]*\)[ \t]*$"  # (in the round kind, if it is a whole line)
    r"|\([^()\s]+(?:\s+[^()\s]+){0,2}\s*\)"  # (or has at most three words)
    r"|[♪♫♬♩][^♪♫♬♩\n]*[♪♫♬♩]?)"
    rf"|(?P<speaker>^[ \t]*(?:(?:[-–—]|>{{2,}})[ \t]*(?:{_NAME})?|{_NAME})|(?<!\S)>{{2,}}(?!\S))"
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
    """A word with the white space before it, or what is none; and when, if the file tells."""

    text: str
    kind: Kind
    start_s: Seconds | None = None


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
    keys = [[p.text.strip().casefold() for p in line.pieces] for line in shown]
    overlaps = [0]
    for k in range(1, len(shown)):
        joined = shown[k].start_s <= shown[k - 1].end_s + JOINED_S
        overlaps.append(overlap(keys[k - 1], keys[k]) if joined else 0)
    filled = sum(bool(key) for key in keys[1:])
    rolls = filled > 0 and sum(n > 0 for n in overlaps) >= ROLLING_SHARE * filled
    cut = overlaps if rolls else [0] * len(shown)
    lines = [replace(line, pieces=line.pieces[n:]) for line, n in zip(shown, cut, strict=True)]
    before, after = (_counts(found) for found in (shown, lines))
    return Cleaned(lines, before["word"] - after["word"], after["sound"], after["speaker"])


def overlap(before: Sequence[str], now: Sequence[str]) -> int:
    """Returns how many pieces at the end of a cue stand again at the beginning of the next one."""
    if max(len(before), len(now)) > LONGEST_CUE_WORDS:
        return 0
    sizes = range(min(len(before), len(now)), 0, -1)
    return next((n for n in sizes if before[-n:] == now[:n]), 0)


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
    for text, kind, first, end in _parts(cue.text):
        said_s = None
        while times and times[-1][0] < end:
            position, time_s = times.pop()
            if position <= first:  # else it is of a part of this word
                said_s = time_s
        shown = text if kind != "word" else _word(text)
        if shown is not None:
            pieces.append(Piece(shown, kind, said_s))
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
