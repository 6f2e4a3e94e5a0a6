"""Windows of a corpus: what TVTSv2 is trained on, K transcripts and T frames of one passage each.

```python
windows = reelscript.open("corpus").windows(k=4, batch_size=16, rank=rank, world=world)
loader = torch.utils.data.DataLoader(windows, batch_size=None, num_workers=4)
```
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow.compute as pc

from reelscript.pipeline.errors import DataError, UsageError
from reelscript.pipeline.store import Store
from reelscript.reading.ahead import ahead
from reelscript.reading.crops import CROPS
from reelscript.reading.faults import Damaged, check_share
from reelscript.reading.frames import closest, on_display, pictures
from reelscript.reading.members import Members
from reelscript.reading.order import Purpose, generator
from reelscript.reading.plan import Fetched, Plan
from reelscript.reading.rules import Clips, Official, Place, Rule
from reelscript.reading.sample_json import sample_json, word_starts_ms
from reelscript.reading.settings import StreamSettings
from reelscript.reading.silences import Silences, silences_of
from reelscript.reading.stream import Step, Stream
from reelscript.schemas.text import digest, one_line

if TYPE_CHECKING:
    from reelscript.reading.corpus import Corpus

RULES = ("clips", "official")


@dataclass(frozen=True, kw_only=True)
class WindowSettings(StreamSettings):
    """Which windows of a corpus are read, and how.

    Attributes:
        k: segments of a window, each with its own text.
        rule: "clips" or "official" (`rules.py`).
        stride: of the rule "clips": clips from one window to the next; None: k, no overlap.
        split: "train" or "val"; None: both.
        cache: a folder, local or at any fsspec URL, that remembers what the rule "official" has to
            find out from the json members; None: it is found out each time.
    """

    k: int = 4
    rule: Literal["clips", "official"] = "clips"
    stride: int | None = None
    split: str | None = "train"
    cache: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rule not in RULES:
            raise UsageError(f"rule is {self.rule!r}: expected {' or '.join(RULES)}")
        if self.k < 1:
            raise UsageError(f"k is {self.k}: expected 1 or more")
        if self.stride is not None and (self.rule != "clips" or not 1 <= self.stride <= self.k):
            raise UsageError(f"stride is {self.stride}: expected 1 to k, of the rule clips")
        if self.rule == "clips" and self.frames % self.k:
            raise UsageError(f"frames is {self.frames}: expected a multiple of k, {self.k}")


class Windows(Stream):
    """Windows of a corpus.

    Each is a dict; of a batch arrays are stacked, and everything else is in lists:

    | name | holds |
    |---|---|
    | `key` | the key of its sample |
    | `window` | its number in the epoch, which no other has |
    | `text` | K strings |
    | `frames` | uint8 (T, px, px, 3), RGB |
    | `times_s` | float64 (T,): when they are, from the start of the mp4 |
    | `segments_s` | float64 (K, 2): from and to when each segment is |
    | `state` | of a step: what `load_state_dict` takes to go on behind it |
    | `faults` | of a step: damaged samples in whose place others stand in it |

    Args:
        corpus: that is read.
        settings: how.

    Raises:
        DataError: the tables of the corpus contradict each other.
    """

    settings: WindowSettings

    def __init__(self, corpus: Corpus, settings: WindowSettings) -> None:
        samples, split = corpus.samples, settings.split
        rows = samples if split is None else samples.filter(pc.equal(samples["split"], split))
        if not len(rows):
            held = sorted(set(samples["split"].to_pylist()))
            raise DataError(
                f"{one_line(corpus.store.url)} has no sample of the split {split!r}: it has {held}"
            )
        _check_counts(corpus)
        wanted = ["key", "shard", "clips", "duration_s"]
        for member in ("mp4", "json", "frames"):  # an older corpus has no frames members
            wanted += [f"{member}_{what}" for what in ("offset", "size", "sha256")]
        there = [name for name in wanted if name in rows.column_names]
        super().__init__(corpus.store, rows.select(there), settings)
        self._corpus = corpus

    def __repr__(self) -> str:
        return f"<Windows of {one_line(self.store.url)!r}: {len(self)} steps of {self.settings}>"

    @cached_property
    def identity(self) -> str:
        """A digest of what decides which windows there are in which order."""
        s = self.settings
        drawn = [s.split, s.rule, s.k, s.stride, s.random, s.shuffle, s.seed, s.block_shards]
        return digest([_data_of(self._corpus), drawn])

    def _drawn(self, epoch: int) -> Plan:
        settings = self.settings
        places = generator(settings.seed, Purpose.PLACES, epoch) if settings.random else None
        drawn = self._rule.drawn(places)
        return Plan(drawn.samples, drawn.places, self._order(drawn.samples, epoch), drawn.refused)

    def _members(self, store: Store) -> Members:
        return Members(store)

    def _wanted(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return "json", "mp4" if row.get("frames_offset") is None else "frames"

    def _made(self, fetched: Fetched, numbers: np.random.Generator | None) -> Step:
        row, (meta, data) = fetched.row, fetched.members
        settings = self.settings
        clips = sample_json(meta, row)["clips"]
        parts = self._rule.segments(clips, Place(*fetched.place))
        if not all(part.text.strip() for part in parts):
            said = f"{row['key']}.json has an empty text, which clips.parquet does not know of"
            raise Damaged(said, "not_a_sample", row["key"], row["shard"])
        times_s = self._rule.times_s(parts, settings.frames, numbers)
        square = CROPS[settings.crop].square(settings.px, numbers)
        pick = on_display if row.get("frames_offset") is None else closest
        try:
            frames = pictures(data, lambda stamps_s: pick(stamps_s, times_s), square.cutter())
        except DataError as error:
            said = f"{row['key']} in {one_line(row['shard'])}: {error}"
            raise Damaged(said, "undecodable", row["key"], row["shard"]) from error
        return {
            "key": row["key"],
            "text": [part.text for part in parts],
            "frames": frames,
            "times_s": np.array(times_s),
            "segments_s": np.array([(part.start_s, part.end_s) for part in parts]),
        }

    @cached_property
    def _rule(self) -> Rule:
        settings = self.settings
        clips = self._rows["clips"].to_numpy()
        if settings.rule == "clips":
            return Clips(settings.k, settings.stride or settings.k, clips, self._empty_clips())
        durations_ms = np.round(self._rows["duration_s"].to_numpy() * 1000).astype(np.int64)
        return Official(settings.k, durations_ms, self._silences())

    def _empty_clips(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Returns for all clips of the samples, in order, whether they have no text."""
        wanted = ["sample_key", "clip_index", "text", "outcome"]
        clips = self._corpus.columns("clips", wanted)
        clips = clips.filter(pc.equal(clips["outcome"], "kept"))
        of = pc.index_in(clips["sample_key"], value_set=self._rows["key"].combine_chunks())
        clips = clips.append_column("of", of).filter(pc.is_valid(of))
        clips = clips.sort_by([("of", "ascending"), ("clip_index", "ascending")])
        found = np.bincount(clips["of"].to_numpy(), minlength=len(self._rows))
        wrong = np.flatnonzero(found != self._rows["clips"].to_numpy())
        if len(wrong):
            row = self._row(int(wrong[0]))
            raise DataError(
                f"clips.parquet has {found[wrong[0]]} kept clips of the sample {row['key']}, "
                f"samples.parquet says {row['clips']}: run `reelscript verify`"
            )
        lengths = pc.utf8_length(pc.utf8_trim_whitespace(clips["text"]))
        empty: np.ndarray[Any, np.dtype[np.bool_]] = lengths.to_numpy() == 0
        return empty

    def _silences(self) -> Silences:
        """Returns where no word begins, remembered or from all json members, read once."""
        if self.settings.cache is None:
            return silences_of(self._words())
        cache = Store(self.settings.cache)
        name = f"silences-1-{digest([_data_of(self._corpus), self.settings.split])}.npz"
        try:
            return Silences.from_bytes(cache.get(name))
        except (FileNotFoundError, ValueError):
            found = silences_of(self._words())
            cache.put(name, found.to_bytes())
            return found

    def _words(self) -> Iterator[list[int] | None]:
        """Yields for each sample when its words begin; None: its json is damaged, and is skipped.

        Raises:
            Damaged: a json is damaged, and `on_fault` is "raise".
            TooManyFaults: more than the share `max_faults` is.
        """
        members, total = self._members(Store(self.store.url)), len(self._rows)
        faults = Counter[str]()

        def read(sample: int) -> tuple[dict[str, Any], bytes]:
            row = self._row(sample)
            return row, members.read(row, ("json",))[0]

        for _, fetched in ahead(read, range(total), self._depth):
            try:
                row, data = fetched()
                yield word_starts_ms(sample_json(data, row)["clips"])
            except Damaged as error:
                if self.settings.on_fault == "raise":
                    raise
                faults[error.kind] += 1
                check_share(faults.total(), total, self.settings.max_faults, str(error))
                yield None


def _data_of(corpus: Corpus) -> Any:
    """Returns what tells this data from any other."""
    tables = corpus.info.get("tables")
    sha256 = tables.get("samples") if isinstance(tables, dict) else None
    return sha256 or corpus.info.get("shards")


def _check_counts(corpus: Corpus) -> None:
    """Raises DataError where samples.parquet has other samples in a shard than dataset.json."""
    counted = corpus.samples["shard"].value_counts().to_pylist()
    found = {entry["values"]: entry["counts"] for entry in counted}
    stated = {entry["name"]: entry["samples"] for entry in corpus.info.get("shards", [])}
    for shard in sorted({*found, *stated}):
        if found.get(shard, 0) != stated.get(shard, 0):
            raise DataError(
                f"shards/{one_line(shard)} has {stated.get(shard, 0)} samples in dataset.json and "
                f"{found.get(shard, 0)} in samples.parquet: run `reelscript verify`"
            )
