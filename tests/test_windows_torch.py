"""Windows in torch's DataLoader: the same steps for any number of workers; exact resume."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import reelscript
from reelscript.reading.faults import Damaged
from reelscript.reading.windows import Windows

from .test_windows_faults import damage
from .windows_made import uneven

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on few cores
SMALL: dict[str, Any] = {"frames": 4, "px": 16, "batch_size": 2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return uneven(tmp_path_factory.mktemp("torch") / "corpus", [5, 1, 3])


def loader(windows: Windows, workers: int, **options: Any) -> DataLoader[Any]:
    context = "fork" if workers else None  # so that workers need not import torch anew
    return DataLoader(
        windows, batch_size=None, num_workers=workers, multiprocessing_context=context, **options
    )


def same(one: Any, two: Any) -> bool:
    return bool(
        one["key"] == two["key"]
        and one["text"] == two["text"]
        and one["state"] == two["state"]
        and np.array_equal(np.asarray(one["frames"]), np.asarray(two["frames"]))
        and np.array_equal(np.asarray(one["times_s"]), np.asarray(two["times_s"]))
    )


def test_windows_are_a_torch_dataset(corpus: Path) -> None:
    windows = reelscript.open(corpus).windows(**SMALL)
    assert isinstance(windows, IterableDataset)
    assert len(loader(windows, 0)) == 4
    step = next(iter(loader(windows, 0)))
    assert step["frames"].dtype == torch.uint8
    assert step["frames"].shape == (2, 4, 16, 16, 3)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_windows_steps_do_not_depend_on_workers(corpus: Path, workers: int) -> None:
    alone = reelscript.open(corpus).windows(**SMALL)
    expected = [*alone, *alone]
    windows = reelscript.open(corpus).windows(**SMALL)
    found = []
    for _ in range(2):
        for step in loader(windows, workers):
            windows.received(step)
            found.append(step)
    assert len(found) == len(expected) == 8
    assert all(same(one, two) for one, two in zip(found, expected, strict=True))
    assert windows.state_dict() == alone.state_dict()


def test_windows_kept_workers_go_on_to_the_next_epoch(corpus: Path) -> None:
    alone = reelscript.open(corpus).windows(**SMALL)
    expected = [*alone, *alone]
    kept = loader(reelscript.open(corpus).windows(**SMALL), 2, persistent_workers=True)
    found = [*kept, *kept]
    assert all(same(one, two) for one, two in zip(found, expected, strict=True))


@pytest.mark.parametrize(("first", "then"), [(2, 2), (0, 3), (3, 0), (2, 3)])
def test_windows_resumed_between_workers_give_the_same_steps(
    corpus: Path, first: int, then: int
) -> None:
    alone = reelscript.open(corpus).windows(**SMALL)
    expected = [*alone, *alone]
    windows = reelscript.open(corpus).windows(**SMALL)
    steps: Iterator[Any] = iter(loader(windows, first))
    found = []
    for _ in range(2):
        step = next(steps)  # workers are further by now
        windows.received(step)
        found.append(step)
    state = windows.state_dict()
    assert state["position"] == 4
    on = reelscript.open(corpus).windows(**SMALL)
    on.load_state_dict(state)
    for _ in range(2):
        for step in loader(on, then):
            on.received(step)
            found.append(step)
    assert len(found) == len(expected)
    assert all(same(one, two) for one, two in zip(found, expected, strict=True))


def test_windows_faults_of_workers_reach_the_trainer(tmp_path: Path) -> None:
    folder = uneven(tmp_path / "corpus", [3, 3, 3])
    damage(folder, "wrong_sha256")
    windows = reelscript.open(folder).windows(**SMALL, on_fault="skip", max_faults=0.5)
    for step in loader(windows, 2):
        windows.received(step)
    assert windows.faults.total() == windows.faults["wrong_sha256"] > 0
    with pytest.raises(Damaged, match=r"x_1_1\.mp4"):
        list(loader(reelscript.open(folder).windows(**SMALL), 2))


def test_windows_are_read_without_torch(corpus: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import reelscript; "
        f"w = reelscript.open({str(corpus)!r}).windows(frames=4, px=16); "
        "print(len(list(w)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "9"
