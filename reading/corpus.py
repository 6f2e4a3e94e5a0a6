"""A corpus as a reader sees it: tables, samples, frames; read when they are asked for."""

from __future__ import annotations

import difflib
import json
import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reelscript.pipeline.errors import DataError, UsageError
from reelscript.pipeline.store import Store
from reelscript.reading.frames import evenly, frames_at
from reelscript.reading.members import Members
from reelscript.reading.releases import read_newest, release_folder, release_of, releases_in
from reelscript.reading.settings import settings_of
from reelscript.reading.tables import no_json, read_dataset_json, read_table
from reelscript.schemas.sample import SampleClip, SampleJson
from reelscript.schemas.text import one_line
from reelscript.schemas.video import Seconds

if TYPE_CHECKING:
    from reelscript.reading.windows import Windows

BATCH_ROWS = 1024  # of a table, turned into Python objects at a time
MOST_COMPARED = 2000  # keys that a wrong one is compared with
PAST_END_S = 0.25  # a clip's end may lie behind the last frame by this: rounding, audio padding


def open_corpus(url_or_path: str | os.PathLike[str], release: int | None = None) -> Corpus:
    """Returns the corpus that stands in a folder, local or at any fsspec URL.

    It stays as it was opened: a release that is published later changes nothing of it.

    Args:
        url_or_path: the folder.
        release: the number of an older release, which is opened in place of the newest.

    Raises:
        DataError: there is no corpus or no such release, or it is not of the format that this
            version reads.
    """
    store = Store(os.fspath(url_or_path))
    info = read_newest(store)
    newest = release_of(info)
    if release is None or release == newest:
        return Corpus(store, info)
    there = releases_in(store, newest)
    if release not in there:
        known = ", ".join(str(number) for number in sorted({*there, newest}))
        where = one_line(store.url)
        raise DataError(f"there is no release {release!r} in {where}: there is {known}")
    folder = release_folder(release)
    return Corpus(store, read_dataset_json(store, folder), folder)


class Corpus:
    """A corpus: `.videos`, `.clips` and `.samples` are its tables; iterating it gives its samples.

    ```
    corpus = reelscript.open("corpus")
    sample = corpus["x_0123456789abcdef-000012345"]
    sample.text, sample.meta["url"], sample.frames(count=12).shape
    ```

    Attributes:
        store: where it lies.
        info: what stands in dataset.json.

    Args:
        store: where it lies.
        info: what stands in dataset.json.
        folder: where in it the tables are looked for first; else they are at the top, or in the
            folder of the release.
    """

    def __init__(self, store: Store, info: Mapping[str, Any], folder: str = "") -> None:
        self.store = store
        self.info = dict(info)
        self._folders = list(dict.fromkeys([folder, "", release_folder(release_of(info))]))

    def __repr__(self) -> str:
        return f"<Corpus {one_line(self.store.url)!r}: {len(self)} samples>"

    @cached_property
    def videos(self) -> pa.Table:
        """One row for every source, kept or not."""
        return self.columns("videos")

    @cached_property
    def clips(self) -> pa.Table:
        """One row for every clip that was cut, kept or not."""
        return self.columns("clips")

    @cached_property
    def samples(self) -> pa.Table:
        """One row for every sample: where it lies, times, language, text."""
        return self.columns("samples")

    def columns(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Returns some columns of a table, read anew: less memory where a table is large.

        Args:
            name: "videos", "clips" or "samples".
            columns: their names; None: all.
        """
        named = self.info.get("tables")
        expected = named.get(name) if isinstance(named, dict) else None
        return read_table(self.store, name, expected, self._folders, columns)

    def windows(self, k: int = 4, **settings: Any) -> Windows:
        """Returns windows of `k` transcripts and some frames each, to train on.

        Where torch is installed it is an IterableDataset for torch's DataLoader.

        Args:
            k: transcripts of a window.
            settings: fields of `reelscript.reading.windows.WindowSettings`.

        Raises:
            UsageError: there is no such setting, or not with this value.
            DataError: the split is empty, or the tables contradict each other.
        """
        from reelscript.reading.windows import Windows, WindowSettings

        return Windows(self, settings_of(WindowSettings, {"k": k} | settings))

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.samples["key"].to_pylist())}

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        """Yields every sample in the order of samples.parquet."""
        for batch in self.samples.to_batches(max_chunksize=BATCH_ROWS):
            for row in batch.to_pylist():
                yield Sample(self.store, row)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __getitem__(self, key: str) -> Sample:
        """Returns the sample of this key. Raises DataError where there is none."""
        row = self._rows.get(key)
        if row is None:
            near = nearest_key(str(key), list(self._rows))
            hint = f"the nearest key is {near!r}" if near else "it holds no samples"
            raise DataError(
                f"there is no sample {one_line(str(key), 120)!r} in "
                f"{one_line(self.store.url)}: {hint}"
            )
        return Sample(self.store, self.samples.slice(row, 1).to_pylist()[0])


class Sample:
    """One passage of one source video; its times count from the start of its mp4.

    Attributes:
        row: its row of samples.parquet.
        key: its name in the corpus.
        text: what is said in it.
    """

    def __init__(self, store: Store, row: Mapping[str, Any]) -> None:
        self._members = Members(store)
        self.row = dict(row)
        self.key: str = row["key"]
        self.text: str = row["text"]

    def __repr__(self) -> str:
        return f"<Sample {self.key}: {self.row['duration_s']} s, {one_line(self.text, 60)!r}>"

    @cached_property
    def meta(self) -> SampleJson:
        """What its json member holds."""
        try:
            found: SampleJson = json.loads(
                self._members.read(self.row, ("json",))[0], parse_constant=no_json
            )
        except (ValueError, RecursionError):
            raise DataError(f"{self.key}.json is not JSON: run `reelscript verify`") from None
        return found

    @property
    def mp4(self) -> bytes:
        """Its mp4, read anew at each call with one ranged read, and checked against its sha256."""
        return self._members.read(self.row, ("mp4",))[0]

    @property
    def clips(self) -> list[SampleClip]:
        """Its clips in time order, with words and scores."""
        return self.meta["clips"]

    def frames(
        self,
        count: int | None = None,
        times_s: Sequence[Seconds] | None = None,
        size: tuple[int, int] | None = None,
    ) -> NDArray[np.uint8]:
        """Returns frames as uint8 (T, H, W, 3), RGB; by default 12, evenly spread.

        Args:
            count: how many, in the middles of equal parts of the sample.
            times_s: or: the frames on display at these seconds from the start of the mp4.
            size: (height, width) in pixels to scale to; None: as stored.

        Raises:
            UsageError: both or wrong values are given.
            DataError: the mp4 is missing, damaged, or does not decode.
        """
        duration_s = float(self.row["duration_s"])
        if times_s is None:
            return frames_at(self.mp4, evenly(12 if count is None else count, duration_s), size)
        if count is not None:
            raise UsageError("frames takes count or times_s, not both")
        wanted = [float(t) for t in times_s]
        if not all(0 <= t <= duration_s + PAST_END_S for t in wanted):
            raise UsageError(
                f"{self.key} lasts {duration_s} s: times_s must lie in 0..{duration_s}"
            )
        return frames_at(self.mp4, wanted, size)


def nearest_key(key: str, keys: Sequence[str]) -> str | None:
    """Returns the key most like `key` (among many: of like beginning), or None if there is none."""
    if len(keys) > MOST_COMPARED:
        in_order = sorted(keys)
        place = bisect_left(in_order, key)
        keys = in_order[max(0, place - MOST_COMPARED // 2) :][:MOST_COMPARED]
    found = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)
    return found[0] if found else None
