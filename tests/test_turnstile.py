"""Who works on a node, and who is alone there: with real processes, which may be killed."""

import contextlib
import fcntl
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import pytest

from reelscript.pipeline.engines.turnstile import Turnstile
from reelscript.pipeline.errors import StorageError

FOR_EVER_S = 600.0


class Start(Protocol):
    def __call__(self, act: Callable[..., None], name: str, *more: float) -> BaseProcess: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts processes at the turnstile of a folder."""
    started: list[BaseProcess] = []

    def start_one(act: Callable[..., None], name: str, *more: float) -> BaseProcess:
        context: Any = multiprocessing.get_context("spawn")
        process: BaseProcess = context.Process(target=act, args=(tmp_path, name, *more))
        process.start()
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.join()


def note(folder: Path, line: str) -> None:
    with (folder / "log").open("a") as file:  # one short write: lines of processes do not mix
        file.write(f"{line}\n")


def lines(folder: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return (folder / "log").read_text().splitlines()
    return []


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def works(folder: Path, name: str, stays_s: float, turns: float = 1) -> None:
    turnstile = Turnstile(folder)
    for _ in range(int(turns)):
        with turnstile.working():
            note(folder, f"in {name}")
            left_by = time.monotonic() + stays_s
            while time.monotonic() < left_by and not (folder / f"end-{name}").exists():
                time.sleep(0.01)
            note(folder, f"out {name}")


def is_alone(folder: Path, name: str, stays_s: float, turns: float = 1) -> None:
    turnstile = Turnstile(folder)
    with turnstile.working():
        note(folder, f"in {name}")
        for _ in range(int(turns)):
            note(folder, f"out {name}")
            with turnstile.alone():
                note(folder, f"alone {name}")
                time.sleep(stays_s)
                note(folder, f"done {name}")
            note(folder, f"in {name}")
        note(folder, f"out {name}")


def door_is_held(folder: Path) -> bool:
    with (folder / "door").open("a") as door:
        try:
            fcntl.flock(door, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_turnstile_lets_several_work_at_once(tmp_path: Path, start: Start) -> None:
    for name in "abc":
        start(works, name, FOR_EVER_S)
    until(lambda: len(lines(tmp_path)) == 3)


def test_turnstile_leaves_whoever_is_alone_alone(tmp_path: Path, start: Start) -> None:
    running = [start(works, name, 0.02, 25) for name in "ab"]
    running += [start(is_alone, name, 0.05, 4) for name in "xy"]
    for process in running:
        process.join(60)
        assert process.exitcode == 0
    inside: set[str] = set()
    alone: list[str] = []
    for what, name in (line.split() for line in lines(tmp_path)):
        if what == "alone":
            assert not inside
            assert not alone
            alone.append(name)
        elif what == "done":
            alone.remove(name)
        elif what == "in":
            assert not alone
            inside.add(name)
        else:
            inside.remove(name)
    assert sum(line.startswith("alone") for line in lines(tmp_path)) == 8


def test_turnstile_starves_nobody(tmp_path: Path, start: Start) -> None:
    """Who comes after one who wants to be alone waits behind it, though the room is open."""
    start(works, "first", FOR_EVER_S)
    until(lambda: "in first" in lines(tmp_path))
    start(is_alone, "loner", 0.1)
    until(lambda: "out loner" in lines(tmp_path) and door_is_held(tmp_path))
    start(works, "late", FOR_EVER_S)
    time.sleep(0.5)
    assert lines(tmp_path)[-1] == "out loner"
    (tmp_path / "end-first").touch()
    until(lambda: "in late" in lines(tmp_path))
    told = [line for line in lines(tmp_path) if line not in ("in loner", "out loner")]
    assert told == ["in first", "out first", "alone loner", "done loner", "in late"]


@pytest.mark.parametrize("act", [works, is_alone])
def test_turnstile_is_free_once_its_holder_is_killed(
    tmp_path: Path, start: Start, act: Callable[..., None]
) -> None:
    holder = start(act, "dead", FOR_EVER_S)
    until(lambda: lines(tmp_path)[-1:] == [f"{'in' if act is works else 'alone'} dead"])
    waiting = start(is_alone, "other", 0.0)
    until(lambda: door_is_held(tmp_path))
    assert "alone other" not in lines(tmp_path)
    assert holder.pid is not None
    os.kill(holder.pid, 9)
    waiting.join(60)
    assert lines(tmp_path)[-1] == "out other"


def test_turnstile_keeps_stations_of_one_process_apart_too(tmp_path: Path) -> None:
    first, second = Turnstile(tmp_path), Turnstile(tmp_path)
    room = tmp_path / "room"
    with first.working(), second.working(), room.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_turnstile_that_is_gone_is_a_fault_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="lock"), Turnstile(tmp_path / "gone").working():
        pass


def test_turnstile_holds_nothing_after_an_error(tmp_path: Path) -> None:
    turnstile = Turnstile(tmp_path)
    with pytest.raises(KeyError), turnstile.working(), turnstile.alone():
        raise KeyError
    with turnstile.working(), turnstile.alone():
        pass
    assert not door_is_held(tmp_path)
