"""Windows of a corpus: each once an epoch, equal steps on all ranks, exact resume."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reelscript
from reelscript.pipeline.errors import DataError, UsageError
from reelscript.reading.ahead import ahead
from reelscript.reading.order import epoch_order, positions_of_step, steps_left
from reelscript.reading.windows import Windows

from .corpus_made import edit_dataset, edit_rows
from .windows_made import Made, second_clips, uneven, write_corpus

SMALL = {"frames": 4, "px": 16}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return uneven(tmp_path_factory.mktemp("windows") / "corpus")


def windows(folder: Path, **changes: Any) -> Windows:
    return reelscript.open(folder).windows(**(SMALL | changes))


def keys(steps: Iterable[Any]) -> list[str]:
    """The keys of steps, batches or not, in order."""
    found: list[str] = []
    for step in steps:
        found += step["key"] if isinstance(step["key"], list) else [step["key"]]
    return found


def same(one: Any, two: Any) -> bool:
    """Whether two steps are equal in every bit."""
    return (
        one.keys() == two.keys()
        and all(
            np.array_equal(one[name], two[name]) if isinstance(one[name], np.ndarray) else True
            for name in one
        )
        and all(one[name] == two[name] for name in ("key", "text", "state"))
    )


def test_windows_each_comes_once_an_epoch(corpus: Path) -> None:
    read = windows(corpus, k=4)
    found = keys(read)
    assert len(read) == len(found) == 23
    assert Counter(found) == Counter(reelscript.open(corpus).samples["key"].to_pylist())


def test_windows_step_holds_what_is_documented(corpus: Path) -> None:
    step = next(iter(windows(corpus)))
    assert step["frames"].shape == (4, 16, 16, 3)
    assert step["frames"].dtype == np.uint8
    assert step["text"] == ["clip 0", "clip 1", "clip 2", "clip 3"]
    assert step["segments_s"].tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]
    assert (np.floor(step["times_s"]) == [0, 1, 2, 3]).all()  # one frame in each clip
    batch = next(iter(windows(corpus, batch_size=3)))
    assert batch["frames"].shape == (3, 4, 16, 16, 3)
    assert batch["segments_s"].shape == (3, 4, 2)
    assert batch["window"].shape == (3,)
    assert [len(texts) for texts in batch["text"]] == [4, 4, 4]
    assert batch["faults"] == []


def test_windows_epochs_differ_and_repeat(corpus: Path) -> None:
    read = windows(corpus)
    first, second = keys(read), keys(read)
    assert first != second
    assert sorted(first) == sorted(second)
    again = windows(corpus)
    again.set_epoch(1)
    assert keys(again) == second
    assert keys(windows(corpus, seed=1)) != first


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("equal", ["drop", "pad"])
def test_windows_three_ranks_and_five_uneven_shards(
    corpus: Path, equal: str, batch_size: int | None
) -> None:
    ranks = [
        windows(corpus, rank=rank, world=3, equal=equal, batch_size=batch_size) for rank in range(3)
    ]
    read = [keys(each) for each in ranks]
    per_step = 3 * (batch_size or 1)
    steps = 23 // per_step if equal == "drop" else -(-23 // per_step)
    assert [len(each) for each in ranks] == [steps] * 3
    assert [len(found) for found in read] == [steps * (batch_size or 1)] * 3
    counted = Counter(key for found in read for key in found)
    assert set(counted.values()) <= ({1} if equal == "drop" else {1, 2})
    assert counted.total() == steps * per_step
    if equal == "pad":
        assert len(counted) == 23


def test_windows_ranks_together_see_what_one_sees(corpus: Path) -> None:
    alone = list(windows(corpus, batch_size=6))
    pair = [list(windows(corpus, batch_size=3, rank=rank, world=2)) for rank in range(2)]
    for whole, one, two in zip(alone, *pair, strict=True):
        assert whole["key"] == one["key"] + two["key"]
        assert (whole["frames"] == np.concatenate([one["frames"], two["frames"]])).all()


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("stop", [0, 1, 4, 10, 11])
def test_windows_resumed_give_the_same_steps(
    corpus: Path, stop: int, batch_size: int | None
) -> None:
    whole = windows(corpus, batch_size=batch_size, rank=1, world=2)
    uncut = [*whole, *whole]  # two epochs
    cut = windows(corpus, batch_size=batch_size, rank=1, world=2)
    steps = []
    for step in cut:
        if len(steps) == min(stop, len(cut) - 1):
            break
        steps.append(step)
        state = json.loads(json.dumps(cut.state_dict()))
    if not steps:
        state = windows(corpus, batch_size=batch_size, rank=1, world=2).state_dict()
    on = windows(corpus, batch_size=batch_size, rank=1, world=2)
    on.load_state_dict(state)
    steps += [*on, *on]
    assert len(steps) == len(uncut)
    assert all(same(one, two) for one, two in zip(steps, uncut, strict=True))


def test_windows_resumed_with_other_ranks_see_each_once(corpus: Path) -> None:
    whole = keys(windows(corpus))
    first = [windows(corpus, rank=rank, world=4) for rank in range(4)]
    read = []
    for rank in first:
        steps = iter(rank)
        read += keys([next(steps), next(steps)])
    on = windows(corpus)
    on.load_state_dict(first[0].state_dict())
    assert Counter([*read, *keys(on)]) == Counter(whole)


def test_windows_state_of_other_windows_is_refused(corpus: Path) -> None:
    state = windows(corpus).state_dict()
    windows(corpus, world=2, batch_size=2, on_fault="skip").load_state_dict(state)
    for change in ({"seed": 1}, {"k": 2}, {"shuffle": False}, {"block_shards": 2}):
        with pytest.raises(UsageError, match="other settings"):
            windows(corpus, **change).load_state_dict(state)


def test_windows_without_chance_are_in_order_and_always_the_same(corpus: Path) -> None:
    read = windows(corpus, random=False, shuffle=False)
    first, second = list(read), list(read)
    assert keys(first) == reelscript.open(corpus).samples["key"].to_pylist()
    assert all(
        (one["frames"] == two["frames"]).all() for one, two in zip(first, second, strict=True)
    )
    assert first[0]["times_s"].tolist() == [0.5, 1.5, 2.5, 3.5]


def test_windows_are_read_from_memory_with_read_ahead(corpus: Path, tmp_path: Path) -> None:
    from .test_corpus import in_memory

    there = reelscript.open(in_memory(corpus)).windows(**SMALL, read_ahead=3)
    assert [step["key"] for step in there] == keys(windows(corpus))


@pytest.mark.parametrize("depth", [0, 1, 3, 50])
def test_windows_read_ahead_is_bounded_and_in_order(depth: int) -> None:
    begun: list[int] = []

    def fetch(number: int) -> int:
        begun.append(number)
        if number == 7:
            raise ValueError("seven")
        return number * number

    for place, (number, fetched) in enumerate(ahead(fetch, range(20), depth)):
        assert number == place
        assert len(begun) <= place + depth + 1
        if number == 7:
            with pytest.raises(ValueError, match="seven"):
                fetched()
        else:
            assert fetched() == number * number


def test_windows_of_no_split_of_that_name(corpus: Path) -> None:
    with pytest.raises(DataError, match=r"no sample of the split 'test': it has \['train'\]"):
        windows(corpus, split="test")


def test_windows_too_few_for_a_step_are_told(corpus: Path) -> None:
    read = windows(corpus, batch_size=24)
    assert len(read) == 0
    with pytest.raises(DataError, match="23 windows are too few for a step of 24"):
        next(iter(read))
    assert len(list(windows(corpus, batch_size=24, equal="pad"))) == 1


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"frams": 3}, "did you mean 'frames'?"),
        ({"frames": 5}, "multiple of k"),
        ({"rank": 2}, "expected 0 to 0"),
        ({"crop": "clever"}, "clean or official"),
        ({"stride": 5}, "1 to k"),
        ({"rule": "official", "stride": 1}, "of the rule clips"),
        ({"rule": "words"}, "clips or official"),
        ({"batch_size": 0}, "1 or more"),
        ({"seed": -1}, "0 or more"),
        ({"max_faults": 2}, "a share"),
        ({"k": 0}, "1 or more"),
    ],
)
def test_windows_wrong_settings_are_named(corpus: Path, setting: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        windows(corpus, **setting)


def test_windows_counts_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    folder = uneven(tmp_path / "a", [2, 2])
    edit_dataset(folder, lambda info: info["shards"][1].update(samples=3))
    with pytest.raises(DataError, match=r"train-000001.tar has 3 samples in dataset.json and 2"):
        windows(folder)
    folder = uneven(tmp_path / "b", [2, 2])
    edit_rows(folder, "clips", lambda rows: rows.pop())
    with pytest.raises(DataError, match=r"3 kept clips of the sample x_1_1, .* says 4"):
        len(windows(folder))


def test_windows_of_both_splits(tmp_path: Path) -> None:
    samples = [
        Made("x_a", 4.0, second_clips(4), "train-000000.tar"),
        Made("x_b", 4.0, second_clips(4), "val-000000.tar", split="val"),
    ]
    folder = write_corpus(tmp_path / "corpus", samples)
    assert keys(windows(folder)) == ["x_a"]
    assert keys(windows(folder, split="val")) == ["x_b"]
    assert sorted(keys(windows(folder, split=None))) == ["x_a", "x_b"]


@settings(max_examples=60, deadline=None)
@given(
    shards=st.lists(st.integers(0, 6), max_size=60),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 5),
    block=st.integers(1, 4),
)
def test_windows_order_reads_few_shards_at_a_time(
    shards: list[int], seed: int, epoch: int, block: int
) -> None:
    order = epoch_order(np.array(shards, np.int64), seed, epoch, block)
    assert sorted(order.tolist()) == list(range(len(shards)))
    read, seen = [shards[number] for number in order], list[set[int]]()
    for shard in read:  # greedily: a block is left for good
        if not seen or (shard not in seen[-1] and len(seen[-1]) == block):
            seen.append(set())
        seen[-1].add(shard)
    assert sum(len(held) for held in seen) == len(set(shards))


@settings(max_examples=100, deadline=None)
@given(
    windows=st.integers(1, 60),
    start=st.integers(0, 60),
    world=st.integers(1, 5),
    batch=st.integers(1, 5),
    pad=st.booleans(),
)
def test_windows_ranks_share_what_is_left(
    windows: int, start: int, world: int, batch: int, pad: bool
) -> None:
    position = min(start, windows)
    steps = steps_left(windows, position, world * batch, pad)
    read = [
        place
        for step in range(steps)
        for rank in range(world)
        for place in positions_of_step(position, step, rank, world, batch, windows)
    ]
    left = list(range(position, windows))
    if pad:
        assert read[: len(left)] == left
        assert len(read) - len(left) < world * batch
    else:
        assert read == left[: len(read)]
        assert len(left) - len(read) < world * batch
