"""Training by several processes, and training that is killed.

Run as a program, this file does all of it in one folder: torch is loaded once and then forked.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from reelscript.jobs.pretrain.checkpoints import place_of, steps_of
from reelscript.jobs.pretrain.config import PretrainConfig
from tests.pretrain_made import WINDOWS, run, small

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
BOTH = small(data={"captions": "/made"}, optimisation={"clip_norm": 1.0})
UNEVEN = small(optimisation={"batch": 6, "epochs": 2, "steps": None})
LONG = small(optimisation={"steps": 16}, checkpoints={"every_steps": 2}, data={"captions": "/made"})
KILLS, LEAST_KILLS = 5, 3


def values(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [told for line in lines if "loss" in (told := json.loads(line))]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    place = folder / "checkpoints"
    return load_file(place_of(place, steps_of(place)[-1]) / "model.safetensors")


def assert_alike(one: Path, other: Path) -> None:
    """The same curves within what rounding does to them in a few steps, and the same weights."""
    first, second = values(one), values(other)
    assert [told["step"] for told in second] == [told["step"] for told in first] == [*range(1, 9)]
    for name in ("loss", "contrastive", "sorting", "captions", "gradient"):
        expected = [told[name] for told in first]
        assert [told[name] for told in second] == pytest.approx(expected, rel=1e-3), name
    made = weights(other)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(made[name], tensor, rtol=0.05, atol=2e-3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs of this file but those under torchrun."""
    folder = tmp_path_factory.mktemp("runs")
    command = [sys.executable, __file__, str(folder)]
    subprocess.run(command, env=os.environ | ENVIRONMENT, check=True, timeout=120)
    run(folder / "one", BOTH)
    return folder


@pytest.mark.slow
def test_two_processes_of_torchrun_train_as_one_with_the_same_batch(
    runs: Path, tmp_path: Path
) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    program = [str(ROOT / "tests" / "pretrain_made.py"), str(tmp_path / "two")]
    settings = ["data.captions=/made", "optimisation.clip_norm=1.0"]
    done = subprocess.run(
        [*torchrun, *program, *settings],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 8 of 8") == 1  # one of them speaks
    assert_alike(runs / "one", tmp_path / "two")


@pytest.mark.slow
def test_a_run_of_two_processes_is_stopped_as_one_and_one_goes_on(runs: Path) -> None:
    assert outcomes(runs / "stopped") == ["KeyboardInterrupt()"] * 2
    assert_alike(runs / "one", runs / "stopped")


@pytest.mark.slow
def test_three_processes_share_uneven_windows_and_end_together(runs: Path) -> None:
    """22 windows by 3 x 2 are 3 steps an epoch; the last 4 windows wait for another epoch."""
    assert WINDOWS % 6
    assert outcomes(runs / "three") == [""] * 3
    found = [(told["step"], told["epoch"]) for told in values(runs / "three")]
    assert found == list(zip(range(1, 7), [0, 0, 0, 1, 1, 1], strict=True))


@pytest.mark.slow
def test_what_all_processes_find_wrong_one_of_them_tells(runs: Path) -> None:
    first, second = outcomes(runs / "refused")
    assert "was begun with another config" in first
    assert second == "SystemExit(2)"


@pytest.mark.slow
def test_a_process_that_is_gone_ends_the_others_in_one_sentence(runs: Path) -> None:
    assert outcomes(runs / "left")[0].startswith("OtherProcessEnded('another process of this run")


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_weights(runs: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the killed one has: another number may round otherwise
    run(runs / "whole", LONG)
    torch.set_num_threads(threads)
    killed, whole = weights(runs / "killed"), weights(runs / "whole")
    assert killed.keys() == whole.keys()
    for name, tensor in whole.items():
        assert torch.equal(killed[name], tensor), name
    curves = [
        [(told["step"], told["loss"], told["gradient"]) for told in values(runs / name)]
        for name in ("killed", "whole")
    ]
    assert curves[0] == curves[1]
    records = sorted((runs / "killed" / "ledger" / "runs").iterdir())
    ended = [json.loads(record.read_bytes())["ended"] for record in records]
    assert ended[-1] == "done"
    assert ended.count("died") >= LEAST_KILLS


def outcomes(folder: Path) -> list[str]:
    """What each process of a group ended with; nothing where all went well."""
    files = sorted(folder.parent.glob(f"{folder.name}-ended-*"))
    return [file.read_text() for file in files]


def forked(act: Callable[[], object], ended: Path | None = None) -> int:
    """Does something in another process; returns its number."""
    child = os.fork()
    if child:
        return child
    said, code = "", 0
    try:
        act()
    except BaseException as error:
        said, code = repr(error), 1
    if ended is not None:
        ended.write_text(said)
    elif said:
        print(said, file=sys.stderr, flush=True)
    os._exit(code)


def group(
    world: int, folder: Path, config: PretrainConfig, told: Callable[[str], object] = len
) -> None:
    """A run of several processes, as torchrun would start them; `told` sees lines of process 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def of(rank: int) -> None:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world)}
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        run(folder, config, tell=told)

    ends = [folder.parent / f"{folder.name}-ended-{rank}" for rank in range(world)]
    children = [forked(lambda rank=rank: of(rank), end) for rank, end in enumerate(ends)]
    for child in children:
        os.waitpid(child, 0)


def kill_again_and_again(folder: Path, chance: random.Random) -> None:
    """A run that is killed at moments that are drawn, then left to end."""
    for attempt in range(KILLS + 1):
        child = forked(lambda: run(folder, LONG))
        begun, ended = steps_of(folder / "checkpoints"), (0, 0)
        if attempt < KILLS:
            while attempt % 2 and steps_of(folder / "checkpoints") == begun and ended == (0, 0):
                time.sleep(0.001)  # every other time not before a checkpoint
                ended = os.waitpid(child, os.WNOHANG)
            time.sleep(chance.uniform(0, 0.1))
            if ended == (0, 0):
                os.kill(child, signal.SIGKILL)
        if ended == (0, 0):
            os.waitpid(child, 0)


def main(folder: Path) -> None:
    """All runs but those under torchrun."""
    import torch._dynamo  # which optimisers load: once here, and not in each process

    torch.set_num_threads(1)

    def stop(line: str) -> None:
        if line.startswith("step 2 of"):
            os.kill(os.getpid(), signal.SIGTERM)

    def leave(line: str) -> None:
        if line.startswith("step 2 of"):
            os._exit(9)

    group(2, folder / "stopped", BOTH, stop)
    os.waitpid(forked(lambda: run(folder / "stopped", BOTH)), 0)
    group(3, folder / "three", UNEVEN)
    group(2, folder / "refused", small(optimisation={"steps": 1}))
    group(2, folder / "refused", small(optimisation={"steps": 2}))
    group(2, folder / "left", small(), leave)
    kill_again_and_again(folder / "killed", random.Random(0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
