"""What a window is: K segments of one passage, each with its text, and T frames.

```
clips      | clip 3 | clip 4 |  clip 5  | clip 6 |    K clips as they were cut; T/K frames in each
             .  . .   . . .    .   . .    . .  .
official   |  s  |   |  s  |   |  s  |   |  s  |      s is 3, 4 or 5, a second between them;
             .    .   .   .     .   .     .   .       T frames over everything
```

`official` is the loader of TVTSv2 (arXiv 2305.14173, the released code): the text of a segment is
made of the words that begin strictly inside it. That loader takes empty transcripts as well, and
never picks the last frame of an interval: here a window with an empty transcript is refused and
counted, and any frame may be picked.
All times are seconds from the start of the sample's mp4.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reelscript.reading.order import Numbers
from reelscript.reading.sample_json import to_ms
from reelscript.reading.silences import Silences
from reelscript.schemas.sample import SampleClip
from reelscript.schemas.video import Seconds

SEGMENTS_MS = (3000, 4000, 5000)
SECOND_MS = 1000  # the gap, the least segment, and what the released loader leaves at the end


class Segment(NamedTuple):
    """A part of a window."""

    start_s: Seconds
    end_s: Seconds
    text: str


class Place(NamedTuple):
    """Where a window lies in its sample.

    Attributes:
        at: where it begins: the number of its first clip, or milliseconds.
        length_ms: of a segment; 0 where that differs.
    """

    at: int
    length_ms: int


@dataclass(frozen=True)
class Drawn:
    """The windows of an epoch, in the order of the index.

    Attributes:
        samples: (n,), the row of the sample of each.
        places: (n, 2), the `Place` of each.
        refused: what was not taken, by reason.
    """

    samples: Numbers
    places: Numbers
    refused: dict[str, int]


class Rule(ABC):
    """One way to have windows; what is drawn is in the middle where there are no `numbers`."""

    @abstractmethod
    def drawn(self, numbers: np.random.Generator | None) -> Drawn:
        """Returns the windows of an epoch."""

    @abstractmethod
    def segments(self, clips: Sequence[SampleClip], place: Place) -> list[Segment]:
        """Returns the segments of a window, from the clips of its sample."""

    @abstractmethod
    def times_s(
        self, parts: Sequence[Segment], frames: int, numbers: np.random.Generator | None
    ) -> list[Seconds]:
        """Returns when its frames are, ascending."""


@dataclass(frozen=True)
class Clips(Rule):
    """K consecutive clips of a passage.

    A passage of c clips gives 1 + (c - K) // stride windows. Which clips then are left over, first
    or last ones, is drawn, so that over the epochs all are seen; else they are the last ones.

    Attributes:
        k: clips of a window.
        stride: clips from one window to the next; K: no clip is in two.
        clips: (samples,), how many each sample has.
        empty: (clips,), which clips of all samples, in order, have no text.
    """

    k: int
    stride: int
    clips: Numbers
    empty: NDArray[np.bool_]

    def drawn(self, numbers: np.random.Generator | None) -> Drawn:
        """Returns the windows of an epoch."""
        room = self.clips - self.k
        given = np.where(room < 0, 0, 1 + room // self.stride)
        spare = np.where(room < 0, 0, room % self.stride)
        skipped = np.zeros_like(spare) if numbers is None else numbers.integers(0, spare + 1)
        samples, nth = _each(given)
        first = skipped[samples] + nth * self.stride
        empty_before = np.concatenate([[0], np.cumsum(self.empty)])  # (clips + 1,)
        place = (np.cumsum(self.clips) - self.clips)[samples] + first  # among all clips
        good = empty_before[place + self.k] == empty_before[place]
        refused = {
            "too_few_clips": int(np.sum(given == 0)),
            "empty_transcript": int(np.sum(~good)),
        }
        places = np.column_stack([first, np.zeros_like(first)])
        return Drawn(samples[good], places[good], refused)

    def segments(self, clips: Sequence[SampleClip], place: Place) -> list[Segment]:
        """Returns K clips."""
        return [
            Segment(clip["start_s"], clip["end_s"], clip["text"])
            for clip in clips[place.at : place.at + self.k]
        ]

    def times_s(
        self, parts: Sequence[Segment], frames: int, numbers: np.random.Generator | None
    ) -> list[Seconds]:
        """Returns a time in each of T/K equal parts of each clip."""
        each = frames // self.k
        return [
            time_s
            for part in parts
            for time_s in _one_in_each(part.start_s, part.end_s, each, numbers)
        ]


@dataclass(frozen=True)
class Official(Rule):
    """K segments of equal length with gaps of a second, anywhere in a passage.

    A passage is cut into as many equal parts as the longest window fits into, at least one, and
    each part gives one window: none overlap, and a long passage gives more than a short one. In its
    part a window is placed as the released loader does in a whole video: it counts whole seconds,
    leaves out the last one, and makes the segments shorter where the part is.

    Attributes:
        k: segments of a window.
        durations_ms: (samples,), of the mp4.
        silences: where no word begins.
    """

    k: int
    durations_ms: Numbers
    silences: Silences

    def drawn(self, numbers: np.random.Generator | None) -> Drawn:
        """Returns the windows of an epoch."""
        gaps_ms = SECOND_MS * (self.k - 1)
        longest_ms = self.k * max(SEGMENTS_MS) + gaps_ms
        given = np.maximum(1, self.durations_ms // (longest_ms + SECOND_MS))
        samples, nth = _each(given)
        part_ms = (self.durations_ms // given)[samples]
        whole_ms = part_ms // SECOND_MS * SECOND_MS
        if numbers is None:
            length_ms = np.full(len(samples), SEGMENTS_MS[1])
        else:
            length_ms = numbers.choice(np.asarray(SEGMENTS_MS), len(samples))
        room_ms = whole_ms - SECOND_MS - (self.k * length_ms + gaps_ms)
        most = np.maximum(room_ms, 0)
        if numbers is None:
            offset_ms = most // 2
        else:  # randint(0, room) + random()
            offset_ms = numbers.integers(0, most // SECOND_MS + 1) * SECOND_MS
            offset_ms += numbers.integers(0, SECOND_MS, len(samples))
        short = room_ms < 0
        offset_ms = np.where(short, 0, offset_ms)
        length_ms = np.where(short, (whole_ms - SECOND_MS - gaps_ms) // self.k, length_ms)
        return self._accepted(samples, nth * part_ms + offset_ms, length_ms)

    def _accepted(self, samples: Numbers, start_ms: Numbers, length_ms: Numbers) -> Drawn:
        """Returns the windows without those that are refused, each for the first reason."""
        unread = self.silences.unread[samples]
        short = ~unread & (length_ms < SECOND_MS)
        empty = np.zeros(len(samples), np.bool_)
        for i in range(self.k):
            begins_ms = start_ms + i * (length_ms + SECOND_MS)
            empty |= self.silences.cover(samples, begins_ms, begins_ms + length_ms)
        empty &= ~unread & ~short
        good = ~(unread | short | empty)
        reasons = {"unreadable": unread, "too_short": short, "empty_transcript": empty}
        refused = {name: int(np.sum(those)) for name, those in reasons.items()}
        return Drawn(samples[good], np.column_stack([start_ms, length_ms])[good], refused)

    def segments(self, clips: Sequence[SampleClip], place: Place) -> list[Segment]:
        """Returns K stretches, each with the words that begin strictly inside it."""
        words = [(to_ms(w["start_s"]), w["word"]) for clip in clips for w in clip["words"]]
        made = []
        for i in range(self.k):
            start_ms = place.at + i * (place.length_ms + SECOND_MS)
            end_ms = start_ms + place.length_ms
            text = "".join(word for begins, word in words if start_ms < begins < end_ms)
            made.append(Segment(start_ms / 1000, end_ms / 1000, text.strip()))
        return made

    def times_s(
        self, parts: Sequence[Segment], frames: int, numbers: np.random.Generator | None
    ) -> list[Seconds]:
        """Returns a time in each of T equal parts of the whole window, gaps and all."""
        return _one_in_each(parts[0].start_s, parts[-1].end_s, frames, numbers)


def _each(given: Numbers) -> tuple[Numbers, Numbers]:
    """Returns the sample of each window, and which one of that sample it is."""
    samples = np.repeat(np.arange(len(given)), given)
    return samples, np.arange(len(samples)) - np.repeat(np.cumsum(given) - given, given)


def _one_in_each(
    start_s: Seconds, end_s: Seconds, count: int, numbers: np.random.Generator | None
) -> list[Seconds]:
    """Returns a time in each of `count` equal parts of a stretch."""
    shares = np.full(count, 0.5) if numbers is None else numbers.random(count)
    return [float(t) for t in start_s + (end_s - start_s) * (np.arange(count) + shares) / count]
