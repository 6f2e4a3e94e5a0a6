"""The members of samples, by ranged reads: no tar is ever streamed.

```
shard    | head | KEY.mp4 | head | KEY.json | head | KEY.txt | ...
                  <--------- one read --------->
```
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from reelscript.pipeline.errors import StorageError
from reelscript.pipeline.store import Store
from reelscript.reading.faults import Damaged
from reelscript.reading.releases import SHARD_FOLDERS
from reelscript.schemas.text import one_line

BRIDGED_BYTES = 1 << 16  # what lies between two members is read along: cheaper than to ask twice


class Members:
    """Reads members and compares them with the index.

    Args:
        store: the folder that the shards lie in or below.
        folders: where in it a shard is looked for, in this order.
    """

    def __init__(self, store: Store, folders: Sequence[str] = SHARD_FOLDERS) -> None:
        self._store = store
        self._folders = folders

    def read(self, row: Mapping[str, Any], kinds: Sequence[str]) -> list[bytes]:
        """Returns members of one sample, with one ranged read where they lie together.

        Args:
            row: `key` and `shard`; for each member its offset and size, its sha256 if it is known.
            kinds: which members: "mp4", "json", "txt", "frames".

        Raises:
            Damaged: the shard is missing or ends too early, or a sha256 differs.
            StorageError: the place itself cannot be read.
        """
        spans = [(int(row[f"{kind}_offset"]), int(row[f"{kind}_size"])) for kind in kinds]
        start, end = min(at for at, _ in spans), max(at + size for at, size in spans)
        if end - start > sum(size for _, size in spans) + BRIDGED_BYTES:
            parts = [self._range(row, at, at + size) for at, size in spans]
        else:
            whole = self._range(row, start, end)
            parts = [whole[at - start : at - start + size] for at, size in spans]
        for kind, part in zip(kinds, parts, strict=True):
            expected = row.get(f"{kind}_sha256")
            if expected is not None and hashlib.sha256(part).hexdigest() != expected:
                raise Damaged(
                    f"{row['key']}.{kind} in {self._named(row)} has not the sha256 of the index",
                    "wrong_sha256",
                    row["key"],
                    row["shard"],
                )
        return parts

    def _range(self, row: Mapping[str, Any], start: int, end: int) -> bytes:
        """Returns a part of a shard, which may have gone where those of older releases lie."""
        for folder in self._folders:
            name = f"{folder}/{row['shard']}" if folder else str(row["shard"])
            try:
                data = self._store.get_range(name, start, end - start)
            except FileNotFoundError:
                continue
            except StorageError:  # so some buckets answer to a range beyond the end
                if (self._store.size_or_none(name) or end) >= end:
                    raise
                data = b""
            if len(data) < end - start:
                raise Damaged(
                    f"{self._named(row)} ends before its sample {row['key']} does",
                    "truncated",
                    row["key"],
                    row["shard"],
                )
            return data
        raise Damaged(
            f"{one_line(self._store.url)}/{self._named(row)} is missing",
            "missing_shard",
            row["key"],
            row["shard"],
        )

    def _named(self, row: Mapping[str, Any]) -> str:
        folder = self._folders[0]
        return one_line(f"{folder}/{row['shard']}" if folder else str(row["shard"]))
