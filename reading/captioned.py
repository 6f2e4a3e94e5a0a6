"""Captioned clips, each a short video with one caption, from tars as those of WebVid are kept.

```python
clips = open_captioned("webvid/*.tar", batch_size=16, rank=rank, world=world)
loader = torch.utils.data.DataLoader(clips, batch_size=None, num_workers=4)
```

A clip is KEY.mp4 with KEY.txt, or with KEY.json that has a `caption`. Frames are spread over the
whole clip, one in each of T equal intervals: a drawn one, or that in the middle (arXiv 2305.14173,
the released code, which never picks the last frame of an interval; here any may be).
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import fsspec
import numpy as np

from reelscript.pipeline.errors import DataError
from reelscript.pipeline.store import Store
from reelscript.reading.crops import CROPS
from reelscript.reading.faults import Damaged
from reelscript.reading.frames import pictures
from reelscript.reading.members import Members
from reelscript.reading.plan import Fetched, Plan
from reelscript.reading.settings import StreamSettings, settings_of
from reelscript.reading.stream import Step, Stream
from reelscript.reading.tables import no_json
from reelscript.reading.tar_index import index_of
from reelscript.schemas.text import digest, one_line
from reelscript.schemas.video import Seconds


@dataclass(frozen=True, kw_only=True)
class CaptionedSettings(StreamSettings):
    """How captioned clips are read.

    Attributes:
        cache: a folder, local or at any fsspec URL, that remembers what lies where in the tars;
            None: their headers are read each time.
    """

    cache: str | None = None


def open_captioned(tars: str | os.PathLike[str], **settings: Any) -> Captioned:
    """Returns the captioned clips of tars. Reads their headers, no data.

    Args:
        tars: a folder, or a folder and a pattern of file names: `webvid`, `s3://a/b/train-*.tar`.
        settings: fields of CaptionedSettings.

    Raises:
        DataError: there is no tar, or one is broken.
        UsageError: there is no such setting, or not with this value.
    """
    place = os.fspath(tars)
    folder, _, last = place.rpartition("/")
    if "*" in last or last.endswith(".tar"):
        store, pattern = Store(folder or "."), last
    else:
        store, pattern = Store(place), "*.tar"
    names = sorted(name for name in _names(store) if fnmatch.fnmatchcase(name, pattern))
    if not names:
        raise DataError(f"there is no tar at {one_line(place)}")
    return Captioned(store, names, settings_of(CaptionedSettings, settings))


class Captioned(Stream):
    """Captioned clips; the steps are those of `Windows`, with one text and one segment each.

    Args:
        store: the folder of the tars.
        tars: their names.
        settings: how they are read.
    """

    settings: CaptionedSettings

    def __init__(self, store: Store, tars: Sequence[str], settings: CaptionedSettings) -> None:
        index = index_of(store, tars, settings.cache)
        super().__init__(store, index.rows, settings)
        self._refused = index.refused

    @cached_property
    def identity(self) -> str:
        """A digest of what decides which clips there are in which order."""
        s, rows = self.settings, self._rows
        data = hashlib.sha256()
        for name in ("key", "shard", "mp4_offset"):
            data.update(repr(rows[name].to_pylist()).encode())
        return digest([data.hexdigest(), [s.shuffle, s.seed, s.block_shards]])

    def _drawn(self, epoch: int) -> Plan:
        samples = np.arange(len(self._rows))
        places = np.empty((len(samples), 0), np.int64)
        return Plan(samples, places, self._order(samples, epoch), self._refused)

    def _members(self, store: Store) -> Members:
        return Members(store, folders=("",))

    def _wanted(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return row["caption"], "mp4"

    def _made(self, fetched: Fetched, numbers: np.random.Generator | None) -> Step:
        row, (caption, mp4) = fetched.row, fetched.members
        text, settings, times_s = _caption(row, caption), self.settings, list[Seconds]()
        square = CROPS[settings.crop].square(settings.px, numbers)

        def choose(stamps_s: Sequence[Seconds]) -> list[int]:
            chosen = one_in_each(len(stamps_s), settings.frames, numbers)
            times_s.extend(stamps_s[number] for number in [0, *chosen, -1])
            return chosen

        try:
            frames = pictures(mp4, choose, square.cutter(), entries=False)
        except DataError as error:
            said = f"{one_line(row['key'])} in {one_line(row['shard'])}: {error}"
            raise Damaged(said, "undecodable", row["key"], row["shard"]) from error
        return {
            "key": row["key"],
            "text": [text],
            "frames": frames,
            "times_s": np.array(times_s[1:-1]),
            "segments_s": np.array([(times_s[0], times_s[-1])]),
        }


def one_in_each(total: int, count: int, numbers: np.random.Generator | None) -> list[int]:
    """Returns the number of a frame in each of `count` equal intervals of a video, ascending.

    It is drawn, or the middle one without `numbers`. Of a video of fewer frames some repeat.
    """
    shares = np.full(count, 0.5) if numbers is None else numbers.random(count)
    places = (np.arange(count) + shares) * total / count
    return [min(int(place), total - 1) for place in places]


def _names(store: Store) -> list[str]:
    """Returns the names of what lies in a folder itself."""
    files, root = fsspec.core.url_to_fs(store.url)
    try:
        return [path.rpartition("/")[2] for path in files.ls(root, detail=False)]
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"there is no folder {one_line(store.url)}") from None


def _caption(row: dict[str, Any], data: bytes) -> str:
    """Returns a caption as one line. Raises Damaged where there is none."""
    try:
        text = data.decode() if row["caption"] == "txt" else _of_json(data)
    except (ValueError, RecursionError):
        text = ""
    text = " ".join(text.split())
    if not text:
        said = f"{one_line(row['key'])} in {one_line(row['shard'])} has no caption"
        raise Damaged(said, "no_caption", row["key"], row["shard"])
    return text


def _of_json(data: bytes) -> str:
    found = json.loads(data, parse_constant=no_json)
    caption = found.get("caption") if isinstance(found, dict) else None
    return caption if isinstance(caption, str) else ""
