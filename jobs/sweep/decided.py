"""What is kept at one point of a sweep: the decision of a build, over what was measured.

```
Decider(corpus)       decides as the corpus was built; refuses it if that is not what stands
  .chosen(config)     decides again about those videos that other thresholds touch
  .count(chosen)      what that comes to
```
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reelscript.jobs.config import Config
from reelscript.jobs.sweep.early import Mask, changed_stages, judged_again
from reelscript.jobs.sweep.lengths import Lengths
from reelscript.jobs.sweep.measured import LEAN, Corpus
from reelscript.jobs.sweep.reproduced import check_reproduced
from reelscript.pipeline.decide import Decision, beyond, decide
from reelscript.pipeline.rules import DUPLICATE_CONTENT, Dedup, Quality, rules_of
from reelscript.schemas.clip import Passage
from reelscript.schemas.videos import Videos

Passages = dict[str, list[Passage]]
"""By video."""


@dataclass(frozen=True)
class Chosen:
    """What would be published: passages, and the rows of the videos of which nobody knows."""

    passages: Passages
    unknown: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Kept:
    """What that comes to.

    `ms` is of the samples' mp4s: whole milliseconds add up to the same in any order.
    """

    videos: int
    clips: int
    samples: int
    ms: int


class Decider:
    """Decides about one corpus again and again.

    Attributes:
        corpus: as it was measured.
        standing: what is kept of it.
    """

    def __init__(self, corpus: Corpus) -> None:
        """Decides as the corpus was built, once.

        Raises:
            DataError: its own settings do not give what stands in its tables.
        """
        self.corpus = corpus
        ids = corpus.videos.column("video_id")
        self._rows = {video_id: row for row, video_id in enumerate(ids.to_pylist())}
        self._sha256: list[str | None] = corpus.videos.column("source_sha256").to_pylist()
        place = pc.index_in(corpus.clips["video_id"], value_set=ids.combine_chunks())
        self._video_of: NDArray[np.int32] = place.to_numpy()
        self._lengths = Lengths(corpus)
        decision = self._decision(corpus.config, self._none())
        check_reproduced(corpus, decision, self._lengths, self._rows)
        reasons = decision.videos.column("reason")
        twins: Mask = pc.fill_null(pc.equal(reasons, DUPLICATE_CONTENT), False).to_numpy()
        self._twins = twins
        self._decided: Passages = decision.passages
        self.standing = self.count(self.chosen(corpus.config))

    def chosen(self, config: Config) -> Chosen:
        """Returns what would be published with other thresholds.

        A video that failed when it was encoded fails again, unless it has other passages: then
        nobody knows. Neither does anybody of one that a video which is unknown might be the first
        of the same bytes of.
        """
        out, let_in = judged_again(self.corpus.videos, changed_stages(config, self.corpus.config))
        found: Passages = {}
        unknown = set(np.flatnonzero(let_in).tolist())
        first = self._first_of_bytes(unknown) if config.dedup.same_bytes else {}
        for video_id, passages in self._passages(config, out).items():
            row = self._rows[video_id]
            failed = video_id in self.corpus.unencoded
            if self._lengths.of(row, ()) is None:
                continue
            if failed and passages == self._decided.get(video_id):
                continue
            if failed or first.get(self._sha256[row], row) < row:
                unknown.add(row)
            else:
                found[video_id] = passages
        return Chosen(found, frozenset(unknown))

    def count(self, chosen: Chosen) -> Kept:
        """Returns what a choice comes to."""
        clips = samples = total_ms = 0
        for video_id, passages in chosen.passages.items():
            samples += len(passages)
            clips += sum(len(passage.clips) for passage in passages)
            total_ms += sum(self._lengths.of(self._rows[video_id], passages) or ())
        return Kept(len(chosen.passages), clips, samples, total_ms)

    def _passages(self, config: Config, out: Mask) -> Passages:
        """Returns the passages that are decided on, without the videos that are out."""
        base = self.corpus.config
        if out.any() or (config.dedup, config.passage) != (base.dedup, base.passage):
            return self._decision(config, out).passages
        touched = self._touched(config.quality) & ~self._twins
        if not touched.any():
            return self._decided
        videos = Videos(self.corpus.videos.table.select(LEAN).filter(pa.array(touched)))
        clips = self.corpus.clips.filter(pa.array(touched[self._video_of]))
        again = _decided(config, Dedup(same_bytes=False), videos, clips).passages
        ids = set(videos.column("video_id").to_pylist())
        kept = {video_id: p for video_id, p in self._decided.items() if video_id not in ids}
        return kept | again

    def _touched(self, quality: Quality) -> Mask:
        """Returns which videos have a score that other thresholds judge otherwise."""
        touched = self._none()
        for old, new in zip(rules_of(self.corpus.config.quality), rules_of(quality), strict=True):
            if old.limit == new.limit:
                continue
            table = self.corpus.videos.table if old.of_video else self.corpus.clips
            otherwise = beyond(table[old.score], old) != beyond(table[old.score], new)
            touched[otherwise if old.of_video else self._video_of[otherwise]] = True
        return touched

    def _decision(self, config: Config, out: Mask) -> Decision:
        """Returns the decision about all videos but those that are out."""
        table = self.corpus.videos.table.select(LEAN)
        for name, text in (("outcome", "rejected"), ("stage", "early"), ("reason", "early")):
            column = pc.if_else(pa.array(out), text, table[name])
            table = table.set_column(LEAN.index(name), name, column)
        return _decided(config, config.dedup, Videos(table), self.corpus.clips)

    def _first_of_bytes(self, rows: set[int]) -> dict[str | None, int]:
        """Returns for each digest of a source the first of some videos that has it."""
        first: dict[str | None, int] = {}
        for row in sorted(rows):
            if self._sha256[row] is not None:
                first.setdefault(self._sha256[row], row)
        return first

    def _none(self) -> Mask:
        return np.zeros(len(self._sha256), np.bool_)


def _decided(config: Config, dedup: Dedup, videos: Videos, clips: pa.Table) -> Decision:
    # A split follows from the source alone, and nothing here depends on it.
    return decide(videos, clips, config.quality, dedup, config.passage, lambda _: "train")
