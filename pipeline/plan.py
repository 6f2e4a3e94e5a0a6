"""Which sample goes into which shard: decided by content, so that little moves at a change.

A video's place follows the sha256 of its id, and so does whether a shard ends after it. Neither
depends on what else is in the corpus. This is content-defined chunking (LBFS: Muthitacharoen, Chen
and Mazieres, SOSP 2001, section 3.1; with a least and a greatest size as there and in FastCDC: Xia
et al., USENIX ATC 2016, section 3), with videos in the place of bytes: where a video is added or
removed, the cuts fall elsewhere for one or two shards and then fall as before.

```
by sha256(id):  c  a  f  |  e  b  |  d  g  h        | a cut, which the video before it decides
x is added:     c  a  f  |  e  x  b  |  d  g  h     one shard is new, the others are the same
```
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from reelscript.pipeline.errors import DataError

SPLITS = ("train", "val")
SHARD_NAME = re.compile(r"(train|val)(-r\d{3,})?-\d{6,}\.tar")
"""What `shard_name` gives."""
LEAST_SHARE, MOST_SHARE = 0.5, 2.0  # of target_bytes


@dataclass(frozen=True, slots=True)
class Planned:
    """A sample that is wanted: whose it is, how large its members are, and what is in them."""

    key: str
    video_id: str
    split: str
    bytes: int
    digest: str  # members_digest


@dataclass(frozen=True, slots=True)
class PreviousShard:
    """A shard that stands already: its samples as (key, digest), in the tar's order."""

    name: str
    split: str
    samples: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """A shard that shall stand. `kept`: it stands under this name and stays byte for byte."""

    name: str
    split: str
    keys: tuple[str, ...]
    kept: bool


def members_digest(
    mp4_sha256: str, json_sha256: str, txt_sha256: str, frames_sha256: str | None = None
) -> str:
    """Returns the digest of a sample's contents, from the sha256 (hex) of each of its members."""
    all_sha256 = (mp4_sha256, json_sha256, txt_sha256, frames_sha256)
    return hashlib.sha256(" ".join(filter(None, all_sha256)).encode()).hexdigest()


def previous_shards(rows: Iterable[Mapping[str, Any]]) -> list[PreviousShard]:
    """Returns the shards that rows of `samples.parquet` describe, samples in the tar's order."""
    in_order = sorted(rows, key=lambda row: (row["shard"], row["mp4_offset"]))
    shards = []
    for name, group in groupby(in_order, key=lambda row: str(row["shard"])):
        held = list(group)
        samples = tuple((str(row["key"]), _digest_of(row)) for row in held)
        shards.append(PreviousShard(name, str(held[0]["split"]), samples))
    return shards


def _digest_of(row: Mapping[str, Any]) -> str:
    """Returns the members_digest of a row; those of older releases say nothing of frames."""
    named = (row["mp4_sha256"], row["json_sha256"], row["txt_sha256"])
    return members_digest(*named, row.get("frames_sha256"))


def plan_shards(
    samples: Sequence[Planned], previous: Sequence[PreviousShard], target_bytes: int, release: int
) -> list[ShardPlan]:
    """Returns every shard of the corpus, none empty: those that stay, then those to write.

    Where nothing stood before, each split is cut afresh. A shard ends after a video if a hash of
    that video's id, as a number in 0..1, lies below its bytes / (target - least), once the shard
    holds `least`, half the target; and before a video that would bring it above twice the target.
    So beyond the least size a cut comes per `target / 2` bytes on average, and the mean size is
    near the target but below it: T/2 + T/2 (1 - e^-3) = 0.975 T for many small videos by that
    exponential law, about 0.93 T for a few dozen to a shard; the last shard of a split may be of
    any size. A video lies in one shard, unless it alone exceeds twice the target; then its samples
    are cut by the same rule, with keys in the place of ids.

    Where shards stand already, a shard of which every sample is still wanted with the same contents
    stays. One that lost or changed samples is written anew with those of its keys that are wanted
    (cut by the rule above if they have grown beyond twice the target). All other samples, also new
    ones of a video that has a shard, make new shards by the rule above. What is written has names
    of this release, so that no name is given to other bytes.

    Args:
        samples: all wanted samples, in any order.
        previous: the shards of the corpus as it stands.
        target_bytes: about how many bytes of members a shard shall hold.
        release: 0 for the first build, then 1 + the highest seen: it names the new shards.

    Raises:
        DataError: a key or a shard name stands twice, a split is unknown, or a name of this release
            is taken.
    """
    wanted = {sample.key: sample for sample in samples}
    if len(wanted) < len(samples):
        twice = next(key for key, count in Counter(s.key for s in samples).items() if count > 1)
        raise DataError(f"the sample {twice!r} is planned twice")
    standing, again, left = _divide(wanted, previous)
    counts: Counter[str] = Counter()
    written = []
    for split in SPLITS:
        groups = [group for held in again for group in _regrouped(held, split, target_bytes)]
        groups += _cut([s for s in left if s.split == split], target_bytes)
        for group in groups:
            name = shard_name(split, counts[split], release)
            counts[split] += 1
            written.append(ShardPlan(name, split, tuple(s.key for s in group), kept=False))
    taken = {shard.name for shard in previous} & {plan.name for plan in written}
    if taken:
        raise DataError(
            f"release {release} would give {min(taken)} to other bytes: raise the release"
        )
    return standing + written


def shard_name(split: str, number: int, release: int) -> str:
    """Returns the name of a shard: `train-000000.tar`, or `train-r001-000000.tar` of release 1."""
    return (
        f"{split}-{number:06d}.tar" if release == 0 else f"{split}-r{release:03d}-{number:06d}.tar"
    )


def _divide(
    wanted: Mapping[str, Planned], previous: Sequence[PreviousShard]
) -> tuple[list[ShardPlan], list[list[Planned]], list[Planned]]:
    """Returns the shards that stay, what is left of the others, and the samples in no shard yet."""
    standing, again, placed = [], [], set[str]()
    unknown = {s.split for s in wanted.values()} - set(SPLITS)
    if unknown:
        raise DataError(f"{min(unknown)!r} is no split: {' or '.join(SPLITS)}")
    if len({shard.name for shard in previous}) < len(previous):
        raise DataError("a shard stands twice among the previous ones")
    for shard in sorted(previous, key=lambda s: (s.split, s.name)):
        found = [(wanted.get(key), digest) for key, digest in shard.samples]
        still = [
            s for s, _ in found if s is not None and s.split == shard.split and s.key not in placed
        ]
        if still and [(s.key, s.digest) for s in still] == list(shard.samples):
            standing.append(
                ShardPlan(shard.name, shard.split, tuple(s.key for s in still), kept=True)
            )
        elif still:
            again.append(still)
        placed.update(s.key for s in still)
    return standing, again, [s for s in wanted.values() if s.key not in placed]


def _regrouped(held: list[Planned], split: str, target_bytes: int) -> list[list[Planned]]:
    """Returns what is left of one shard: one group, or several if it has grown too large."""
    if held[0].split != split:
        return []
    if sum(s.bytes for s in held) > MOST_SHARE * target_bytes:
        return _cut(held, target_bytes)
    return [sorted(held, key=_place)]


def _cut(samples: Iterable[Planned], target_bytes: int) -> list[list[Planned]]:
    """Returns the samples of one split, ordered and cut into shards as `plan_shards` says."""
    least, most = LEAST_SHARE * target_bytes, MOST_SHARE * target_bytes
    shards: list[list[Planned]] = []
    shard: list[Planned] = []
    held = 0
    for name, unit in _units(sorted(samples, key=_place), most):
        size = sum(s.bytes for s in unit)
        if shard and held + size > most:
            shards.append(shard)
            shard, held = [], 0
        shard.extend(unit)
        held += size
        if held >= least and _uniform(name) < size / (target_bytes - least):
            shards.append(shard)
            shard, held = [], 0
    return [*shards, shard] if shard else shards


def _units(in_order: list[Planned], most: float) -> Iterator[tuple[str, list[Planned]]]:
    """Yields what is not cut (a video, or a sample of a huge one) with the name that is hashed."""
    for video_id, group in groupby(in_order, key=lambda s: s.video_id):
        video = list(group)
        if sum(s.bytes for s in video) <= most:
            yield video_id, video
        else:
            yield from ((s.key, [s]) for s in video)


def _place(sample: Planned) -> tuple[bytes, str]:
    """Returns what samples are ordered by: the hash of the video, then the key."""
    return hashlib.sha256(sample.video_id.encode()).digest(), sample.key


def _uniform(name: str) -> float:
    """Returns a number in 0 <= x < 1 that follows from a name, independent of its `_place`."""
    return int.from_bytes(hashlib.sha256(f"cut after {name}".encode()).digest()[:8]) / 2**64
