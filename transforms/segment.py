"""Words to clips: cuts at sentence ends and pauses, never in a word, each word in just one clip.

The best set of cuts is found by dynamic programming over the words: each cut costs by where it
falls, each clip by how far its length is from the wanted one.

```
words   The ball rolls in.    It stops  (pause 0.9 s)  near a tree and      rolls on.
cuts                      ^-0.2 sentence end      ^0.2 pause        ^1 neither      ^-0.2
clips   [------ 3.4 s ----]  [--------------------------- 6.1 s --------------------]
```
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from reelscript.pipeline.errors import Reject
from reelscript.pipeline.stage import Live, Stage
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import SPACELESS_LANGUAGES, Segment
from reelscript.schemas.text import ms
from reelscript.schemas.transcript import Word
from reelscript.schemas.video import Seconds, Video

SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！", "।", "؟", "։", "።")
CLAUSE_ENDS = (",", ";", ":", "–", "—", "，", "、", "；", "：")
CLOSERS = "\"'”’»)]}」』"
CLAUSE_PAUSE_S = 0.25  # a clause ends there: small models write commas for full stops
FULL_PAUSE_S = 0.5  # a pause this long is as good as pauses get
COST_OF_MID_SENTENCE = 1.0  # of a cut with no pause and no sentence end
REWARD_OF_SENTENCE_END = 0.2  # of a cut there: clips are single sentences where the bounds allow it
PAUSE_RELIEF = 0.8  # of that cost, for a full pause
# Of a clip that cannot reach min_s, which is lost and ends a passage: fixed, and by what it lacks.
COST_OF_SHORT = (1.0, 2.0)
COST_OF_LENGTH = 0.15  # of a clip of twice or half the wanted length
COST_OF_SILENCE = 0.25  # of a second of silence inside a clip, beyond FREE_SILENCE_S of each pause
FREE_SILENCE_S = 1.0


@dataclass(frozen=True)
class SegmentWords(Stage):
    """Clips cut from a transcript.

    Attributes:
        min_s: shortest clip. A lone short utterance is widened into the silence around it, and
            marked as outside the bounds if that is not enough.
        max_s: longest clip.
        target_s: the length that clips are drawn to: YT-Temporal-1B's windows have 5 s, TVTS draws
            3, 4 or 5 s.
        max_pause_s: a longer silence always ends a clip.
        pad_before_s, pad_after_s: silence that belongs to a clip, where there is some: Silero hears
            a voice about 0.1 s late, and a last syllable fades.
        widen_s: how much silence on either side may be added to a clip that is too short.
    """

    min_s: Annotated[Seconds, Gt(0)] = 3.0
    max_s: Annotated[Seconds, Gt(0)] = 15.0
    target_s: Annotated[Seconds, Gt(0)] = 4.5
    max_pause_s: Annotated[Seconds, Gt(0)] = 5.0
    widen_s: Annotated[Seconds, Ge(0)] = 1.0
    pad_before_s: Annotated[Seconds, Ge(0)] = 0.2
    pad_after_s: Annotated[Seconds, Ge(0)] = 0.4

    name: ClassVar[str] = "segment"
    rejects: ClassVar[tuple[str, ...]] = ("no_clips",)
    reads: ClassVar[tuple[str, ...]] = ("aligned_words", "duration_s", "language")
    writes: ClassVar[tuple[str, ...]] = ("segments",)
    artefacts: ClassVar[tuple[str, ...]] = ("segments",)

    def __post_init__(self) -> None:
        if self.min_s > self.max_s:
            raise ValueError(
                f"segment.min_s ({self.min_s}) is larger than segment.max_s ({self.max_s})"
            )

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""

        def live(video: Video, workspace: Workspace) -> Video:
            words = workspace.get_records(Word, video.aligned_words)
            segments = self.cut(
                words, video.duration_s or 0.0, video.language not in SPACELESS_LANGUAGES
            )
            if not segments:
                raise Reject("no_clips", words=len(words))
            return replace(video, segments=workspace.put_record(segments))

        yield live

    def cut(self, words: Sequence[Word], duration_s: Seconds, spaced: bool) -> list[Segment]:
        """Returns the clips of aligned words: disjoint, in time order, each word in exactly one.

        Args:
            words: aligned words: with times, in order.
            duration_s: length of the video, which no clip passes.
            spaced: whether the language puts spaces between words; then a word without one goes on
                the word before.
        """
        ends = best_cuts(words, self, duration_s, spaced)
        segments: list[Segment] = []
        for first, end in pairwise([0, *ends]):
            free_from_s = segments[-1].end_s if segments else 0.0
            free_to_s = start_of(words[end]) if end < len(words) else duration_s
            segments.append(self._segment(words, first, end, free_from_s, free_to_s))
        return segments

    def _segment(
        self, words: Sequence[Word], first: int, end: int, free_from_s: Seconds, free_to_s: Seconds
    ) -> Segment:
        """Returns the clip of words[first:end], grown into free silence: its pads, and to min_s."""
        start_s, end_s = start_of(words[first]), end_of(words[end - 1])
        # In whole milliseconds on each side: rounded apart, two halves would be a longer clip.
        spare_s = math.floor(1000 * (self.max_s - (end_s - start_s)) / 2) / 1000
        end_s = ms(end_s + max(0.0, min(self.pad_after_s, (free_to_s - end_s) / 2, spare_s)))
        start_s = ms(start_s - max(0.0, min(self.pad_before_s, start_s - free_from_s, spare_s)))
        lack_s = max(0.0, self.min_s - (end_s - start_s))
        end_s += min(self.widen_s, max(0.0, free_to_s - end_s), lack_s)
        lack_s = max(0.0, self.min_s - (end_s - start_s))
        start_s -= min(self.widen_s, max(0.0, start_s - free_from_s), lack_s)
        within = self.min_s - 1e-9 <= end_s - start_s <= self.max_s + 1e-9
        return Segment(ms(start_s), ms(end_s), first, end, within)

    def room(self, words: Sequence[Word], first: int, end: int, duration_s: Seconds) -> Seconds:
        """Returns how far words[first:end] may grow: the silence after it, half of that before."""
        before_s = start_of(words[first]) - (end_of(words[first - 1]) if first else 0.0)
        after_s = (start_of(words[end]) if end < len(words) else duration_s) - end_of(
            words[end - 1]
        )
        return min(self.widen_s, max(0.0, before_s / 2)) + min(self.widen_s, max(0.0, after_s))


def start_of(word: Word) -> Seconds:
    """Returns when an aligned word starts."""
    assert word.start_s is not None, "the align stage gives every word a start"
    return word.start_s


def end_of(word: Word) -> Seconds:
    """Returns when an aligned word ends."""
    assert word.end_s is not None, "the align stage gives every word an end"
    return word.end_s


def cut_costs(words: Sequence[Word], spaced: bool) -> list[float]:
    """Returns what a cut after each word costs; infinite where the next "word" goes on this one."""
    costs = []
    for word, following in pairwise(words):
        said = word.word.rstrip().rstrip(CLOSERS)
        pause_s = max(0.0, start_of(following) - end_of(word))
        if spaced and not following.word[:1].isspace():
            costs.append(math.inf)
        elif said.endswith(SENTENCE_ENDS):
            costs.append(-REWARD_OF_SENTENCE_END)
        elif said.endswith(CLAUSE_ENDS) and pause_s >= CLAUSE_PAUSE_S:
            costs.append(0.0)
        else:
            relief = PAUSE_RELIEF * min(1.0, pause_s / FULL_PAUSE_S)
            costs.append(COST_OF_MID_SENTENCE * (1 - relief))
    return [*costs, 0.0]


def clip_cost(length_s: Seconds, room_s: Seconds, settings: SegmentWords) -> float:
    """Returns what a clip costs by its length: least at `target_s`, infinite above `max_s`.

    Args:
        length_s: from its first word to its last.
        room_s: the silence around it into which it may grow if it is too short.
        settings: the bounds.
    """
    if length_s > settings.max_s:
        return math.inf
    length_s = max(length_s, min(length_s + room_s, settings.min_s))
    fixed, by_lack = COST_OF_SHORT
    lack = 1 - length_s / settings.min_s
    short = fixed + by_lack * lack if lack > 1e-9 else 0.0
    return short + COST_OF_LENGTH * math.log2(max(length_s, 0.1) / settings.target_s) ** 2


def best_cuts(
    words: Sequence[Word], settings: SegmentWords, duration_s: Seconds, spaced: bool
) -> list[int]:
    """Returns the ends (exclusive word indices) of the clips of least total cost.

    A word that is by itself longer than `max_s`, or that goes on without end, forms a clip outside
    the bounds.
    """
    after = cut_costs(words, spaced)
    best = [0.0] + [math.inf] * len(words)  # best[j]: least cost of words[:j] cut whole
    start = [0] * (len(words) + 1)
    for end in range(1, len(words) + 1):
        fallback = (math.inf, end - 1)
        silence_cost = 0.0
        for first in range(end - 1, -1, -1):
            if first < end - 1:
                silence_s = _silence_s(words, first)
                if silence_s > settings.max_pause_s and math.isfinite(after[first]):
                    break
                silence_cost += COST_OF_SILENCE * max(0.0, silence_s - FREE_SILENCE_S)
            length_s = end_of(words[end - 1]) - start_of(words[first])
            room_s = (
                settings.room(words, first, end, duration_s) if length_s < settings.min_s else 0.0
            )
            cost = (
                best[first] + clip_cost(length_s, room_s, settings) + silence_cost + after[end - 1]
            )
            if cost < best[end]:
                best[end], start[end] = cost, first
            if length_s > settings.max_s and math.isfinite(best[first]):
                fallback = (best[first] + 1000.0 + after[end - 1], first)
                break
        if not math.isfinite(best[end]) and math.isfinite(fallback[0]):
            best[end], start[end] = fallback
    ends, at = [], len(words)
    while at:
        ends.append(at)
        at = start[at]
    return ends[::-1]


def _silence_s(words: Sequence[Word], index: int) -> Seconds:
    """Returns the silence between a word and the next one."""
    return start_of(words[index + 1]) - end_of(words[index])
