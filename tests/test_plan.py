"""The shard plan: every sample once, and little moves when little changes."""

from __future__ import annotations

import hashlib
import random
import statistics
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.pipeline.errors import DataError
from reelscript.pipeline.plan import (
    MOST_SHARE,
    Planned,
    PreviousShard,
    ShardPlan,
    members_digest,
    plan_shards,
    previous_shards,
    shard_name,
)

TARGET = 1000


def planned(
    video: int, start: int, size: int = 100, split: str = "train", text: str = "a"
) -> Planned:
    video_id = f"x_{video}"
    return Planned(f"{video_id}-{start:09d}", video_id, split, size, text)


@st.composite
def corpora(draw: st.DrawFn) -> list[Planned]:
    """Up to 30 videos, each in one split, of 1 to 4 samples: tiny, or larger than a shard."""
    found = []
    for video in draw(st.lists(st.integers(0, 60), unique=True, max_size=30)):
        split = "val" if video % 7 == 0 else "train"
        sizes = draw(st.lists(st.integers(1, 2500), min_size=1, max_size=4))
        found += [planned(video, n, size, split) for n, size in enumerate(sizes)]
    return found


def as_previous(plans: Iterable[ShardPlan], samples: Sequence[Planned]) -> list[PreviousShard]:
    digests = {s.key: s.digest for s in samples}
    return [PreviousShard(p.name, p.split, tuple((k, digests[k]) for k in p.keys)) for p in plans]


def check_whole(plans: Sequence[ShardPlan], samples: Sequence[Planned]) -> None:
    by_key = {s.key: s for s in samples}
    assert sorted(key for plan in plans for key in plan.keys) == sorted(by_key)
    assert len({plan.name for plan in plans}) == len(plans)
    for plan in plans:
        assert plan.keys
        assert {by_key[key].split for key in plan.keys} == {plan.split}
        assert plan.name.startswith(f"{plan.split}-")


@given(corpora(), st.randoms())
def test_plan_holds_every_sample_once_whatever_their_order(
    samples: list[Planned], rng: random.Random
) -> None:
    plans = plan_shards(samples, [], TARGET, 0)
    check_whole(plans, samples)
    shuffled = rng.sample(samples, len(samples))
    assert plan_shards(shuffled, [], TARGET, 0) == plans
    names = [plan.name for plan in plans if plan.split == "train"]
    assert names == [f"train-{n:06d}.tar" for n in range(len(names))]


@given(corpora())
def test_plan_never_exceeds_the_greatest_size_nor_splits_a_video_below_it(
    samples: list[Planned],
) -> None:
    plans = plan_shards(samples, [], TARGET, 0)
    by_key = {s.key: s for s in samples}
    for plan in plans:
        size = sum(by_key[key].bytes for key in plan.keys)
        assert size <= MOST_SHARE * TARGET or len(plan.keys) == 1
    for video_id in {s.video_id for s in samples}:
        own = {s.key for s in samples if s.video_id == video_id}
        shards = [plan for plan in plans if own & set(plan.keys)]
        assert len(shards) == 1 or sum(by_key[k].bytes for k in own) > MOST_SHARE * TARGET


@given(corpora())
def test_plan_puts_videos_in_the_order_of_their_hash_and_samples_in_that_of_their_key(
    samples: list[Planned],
) -> None:
    by_key = {s.key: s for s in samples}
    for split in ("train", "val"):
        plans = [p for p in plan_shards(samples, [], TARGET, 0) if p.split == split]
        keys = [key for plan in plans for key in plan.keys]
        in_order = sorted(
            keys, key=lambda k: (hashlib.sha256(by_key[k].video_id.encode()).hexdigest(), k)
        )
        assert keys == in_order


@given(corpora())
def test_plan_again_keeps_every_shard(samples: list[Planned]) -> None:
    first = plan_shards(samples, [], TARGET, 0)
    again = plan_shards(samples, as_previous(first, samples), TARGET, 1)
    assert all(plan.kept for plan in again)
    assert {(p.name, p.keys) for p in again} == {(p.name, p.keys) for p in first}


@given(corpora(), st.data())
@settings(max_examples=200)
def test_plan_of_later_releases_touches_only_shards_that_changed(
    samples: list[Planned], data: st.DataObject
) -> None:
    """Any number of releases of removals, additions and changed contents."""
    plans = plan_shards(samples, [], TARGET, 0)
    ever = {
        plan.name: tuple((k, s.digest) for k in plan.keys for s in samples if s.key == k)
        for plan in plans
    }
    for release in (1, 2):
        before, previous = samples, as_previous(plans, samples)
        lost = data.draw(st.sets(st.sampled_from(before)) if before else st.just(set()))
        changed = data.draw(
            st.sets(st.sampled_from(before), max_size=2) if before else st.just(set())
        )
        added = [
            planned(100 * release + n, 0, 300, "train") for n in range(data.draw(st.integers(0, 9)))
        ]
        samples = [s for s in before if s not in lost and s not in changed] + added
        samples += [
            planned(int(s.video_id[2:]), int(s.key[-9:]), s.bytes, s.split, f"r{release}")
            for s in changed
        ]
        plans = plan_shards(samples, previous, TARGET, release)
        check_whole(plans, samples)
        digests = {s.key: s.digest for s in samples}
        untouched = {p.name for p in previous if all(digests.get(k) == d for k, d in p.samples)}
        assert {p.name for p in plans if p.kept} == untouched
        for plan in plans:
            now = tuple((key, digests[key]) for key in plan.keys)
            assert ever.setdefault(plan.name, now) == now  # a name is never given to other bytes
            assert plan.kept or f"-r{release:03d}-" in plan.name


def test_plan_rewrites_a_shard_that_lost_a_sample_with_those_that_remain() -> None:
    samples = [planned(n, 0, 100) for n in range(30)]
    first = plan_shards(samples, [], TARGET, 0)
    gone = first[1].keys[0]
    left = [s for s in samples if s.key != gone]
    plans = plan_shards(left, as_previous(first, samples), TARGET, 1)
    new = [plan for plan in plans if not plan.kept]
    assert [(plan.name, plan.keys) for plan in new] == [
        ("train-r001-000000.tar", first[1].keys[1:])
    ]
    assert [plan.name for plan in plans if plan.kept] == [p.name for p in first if p != first[1]]


def test_plan_drops_a_shard_of_which_nothing_is_wanted() -> None:
    samples = [planned(n, 0, 600) for n in range(9)]
    first = plan_shards(samples, [], TARGET, 0)
    left = [s for s in samples if s.key not in first[0].keys]
    plans = plan_shards(left, as_previous(first, samples), TARGET, 1)
    assert [plan.name for plan in plans] == [plan.name for plan in first[1:]]
    assert plan_shards([], as_previous(first, samples), TARGET, 1) == []


def test_plan_moves_a_sample_whose_split_changed() -> None:
    train = [planned(n, 0, 100) for n in range(5)]
    first = plan_shards(train, [], TARGET, 0)
    mixed = [*train[1:], planned(0, 0, 100, "val")]
    plans = plan_shards(mixed, as_previous(first, train), TARGET, 1)
    check_whole(plans, mixed)
    assert {p.split: len(p.keys) for p in plans} == {"train": 4, "val": 1}


def test_plan_refuses_what_would_lose_or_overwrite() -> None:
    sample, other = planned(1, 0), planned(2, 0)
    standing = [PreviousShard("train-r001-000000.tar", "train", ((sample.key, "other bytes"),))]
    with pytest.raises(DataError, match="twice"):
        plan_shards([sample, sample], [], TARGET, 0)
    with pytest.raises(DataError, match="raise the release"):
        plan_shards([sample, other], standing, TARGET, 1)
    with pytest.raises(DataError, match="'test' is no split"):
        plan_shards([planned(1, 0, split="test")], [], TARGET, 0)


def test_plan_reads_previous_shards_from_rows_in_any_order() -> None:
    rows = [
        {"key": key, "shard": shard, "split": "train", "mp4_offset": offset}
        | {f"{member}_sha256": member + key for member in ("mp4", "json", "txt")}
        for key, shard, offset in (("c", "t1", 512), ("b", "t0", 9000), ("a", "t0", 512))
    ]
    digest = {k: members_digest(f"mp4{k}", f"json{k}", f"txt{k}") for k in "abc"}
    assert len(set(digest.values())) == 3
    assert previous_shards(rows) == [
        PreviousShard("t0", "train", (("a", digest["a"]), ("b", digest["b"]))),
        PreviousShard("t1", "train", (("c", digest["c"]),)),
    ]
    assert shard_name("val", 7, 0) == "val-000007.tar"
    assert shard_name("train", 7, 12) == "train-r012-000007.tar"


def many(rng: random.Random, count: int) -> list[Planned]:
    """Videos with sizes as real ones have: most are small, a few are large."""
    sizes = (max(1, round(rng.lognormvariate(3.0, 1.0))) for _ in range(count))
    return [planned(rng.randrange(10**9), 0, size) for size in sizes]


def test_plan_of_2000_videos_changes_at_most_2_shards_a_video_on_average() -> None:
    rng = random.Random(1)
    samples = many(rng, 2000)
    before = {plan.keys for plan in plan_shards(samples, [], TARGET, 0)}
    removed, added = [], []
    for n in rng.sample(range(2000), 40):
        without = plan_shards(samples[:n] + samples[n + 1 :], [], TARGET, 0)
        removed.append(len({plan.keys for plan in without} - before))
        more = plan_shards([*samples, *many(rng, 1)], [], TARGET, 0)
        added.append(len({plan.keys for plan in more} - before))
    assert len(before) > 40
    assert statistics.mean(removed) <= 2
    assert statistics.mean(added) <= 2


def test_plan_makes_shards_of_the_size_that_its_docstring_states() -> None:
    samples = many(random.Random(2), 20_000)
    by_key = {s.key: s.bytes for s in samples}
    sizes = [sum(by_key[k] for k in p.keys) / TARGET for p in plan_shards(samples, [], TARGET, 0)]
    assert 0.85 <= statistics.mean(sizes) <= 1.0
    assert max(sizes) <= MOST_SHARE
    assert sum(size < 0.5 for size in sizes) <= 0.02 * len(sizes)
