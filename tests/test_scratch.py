"""Scratch folders: those of dead runs go, whoever's machine it was, and no other one does."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reelscript.jobs import scratch
from reelscript.jobs.scratch import scratch_folder
from reelscript.pipeline import run_records
from reelscript.pipeline.processes import this_process
from reelscript.pipeline.run_records import RUNS, RunRecord
from reelscript.pipeline.runs import Run
from reelscript.pipeline.store import Store
from tests.processes_made import dead_process


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    real = run_records.alive
    monkeypatch.setattr(run_records, "POLL_S", 0.02)
    monkeypatch.setattr(scratch, "alive", lambda store, records: real(store, records, watch_s=0.5))


@pytest.fixture
def work(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "work"))


def stored(work: Store, number: int, **changed: Any) -> RunRecord:
    who = {**this_process(), "started_at": "", "command": "c", "verb": "publish"}
    record = RunRecord(**{"number": number, **who, **changed})
    work.put(f"{RUNS}/{number:06d}.json", record.to_json())
    return record


def folder(work: Store, name: str) -> Path:
    made = Path(work.url) / name
    made.mkdir(parents=True)
    (made / "sound.npy").touch()
    return made


def left_by_a_run(work: Store) -> set[str]:
    """The scratch folders that are there while a run has its own, but for that one."""
    with Run(work, "publish", "c", dict) as run, scratch_folder(work, run) as mine:
        assert mine.name.startswith(f"scratch-{run.number:06d}-")
        names = {path.name for path in Path(work.url).glob("scratch-*")}
        assert mine.name in names
    assert not mine.exists()
    return names - {mine.name}


@pytest.fixture
def elsewhere(work: Store) -> Iterator[int]:
    """A run on another machine, of the same host name and pid, that beats."""
    over = threading.Event()
    record = stored(work, 3, machine="another 1")

    def beats() -> None:
        beat = 0
        while not over.wait(0.02):
            beat += 1
            work.put(f"{RUNS}/000003.json", replace(record, beat=beat).to_json())

    thread = threading.Thread(target=beats)
    thread.start()
    yield 3
    over.set()
    thread.join()


def test_scratch_of_runs_that_live_stays(work: Store, elsewhere: int) -> None:
    with Run(work, "publish", "c", dict) as other, scratch_folder(work, other) as theirs:
        far = folder(work, f"scratch-{elsewhere:06d}-abc")
        assert left_by_a_run(work) == {theirs.name, far.name}


def test_scratch_of_runs_that_are_over_goes(work: Store) -> None:
    stored(work, 1, ended="done")
    stored(work, 2, **dead_process())
    stored(work, 4, machine="another 1")  # as a restarted container, or a machine that is gone
    stored(work, 5)  # this process, which runs no such run: a container's pid and birth again
    work.put(f"{RUNS}/000006.json", b"{")
    for number in (*range(1, 7), 77):  # of 3 and 77 there is no record
        folder(work, f"scratch-{number:06d}-abc")
    assert left_by_a_run(work) == set()


def test_scratch_of_version_0_1_goes_where_it_is_surely_ours(
    work: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "node")
    gone, us = dead_process()["pid"], os.getpid()
    stay = [
        *(f"scratch-node-1-{gone}-x", f"scratch-node-{us}-x", f"scratch-nod-{gone}-x"),
        *(f"scratch-mynode-{gone}-x", "scratch-node-x-y", "scratch-x", "scratch-12-x"),
    ]
    for name in [*stay, f"scratch-node-{gone}-x"]:
        folder(work, name)
    assert left_by_a_run(work) == set(stay)


def test_scratch_of_a_work_folder_elsewhere_lies_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch.tempfile, "gettempdir", lambda: str(tmp_path))
    other = tmp_path / "scratch-000009-x"  # of another work folder, perhaps
    other.mkdir()
    work = Store(f"memory://{tmp_path.name}-scratch")
    with Run(work, "publish", "c", dict) as run, scratch_folder(work, run) as mine:
        assert mine.parent == tmp_path
        dead = [mine.with_name(mine.name.replace(f"{run.number:06d}", n)) for n in ("000077", "12")]
        for path in dead:
            path.mkdir()
        with Run(work, "publish", "c", dict) as second, scratch_folder(work, second) as theirs:
            assert {*tmp_path.iterdir()} == {other, mine, dead[1], theirs}
    assert {*tmp_path.iterdir()} == {other, dead[1]}
