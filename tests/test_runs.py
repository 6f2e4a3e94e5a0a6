from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reelscript.pipeline import numbered, processes, run_records
from reelscript.pipeline import runs as runs_module
from reelscript.pipeline import turns as turns_module
from reelscript.pipeline.errors import DataError, StorageError, UsageError
from reelscript.pipeline.numbered import claim, numbers
from reelscript.pipeline.processes import exists, this_process
from reelscript.pipeline.run_records import RUNS, RunRecord, alive, run_of, runs
from reelscript.pipeline.runs import KEPT, Run
from reelscript.pipeline.store import Store
from reelscript.pipeline.turns import TICKETS, turn
from tests.processes_made import dead_process

WAIT_S = 30.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "BEAT_S", 0.05)
    monkeypatch.setattr(run_records, "POLL_S", 0.02)
    monkeypatch.setattr(turns_module, "POLL_S", 0.02)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "work"))


def a_run(store: Store, verb: str = "build", **progress: Any) -> Run:
    return Run(store, verb, "reelscript build videos -o corpus", lambda: progress)


def record(number: int, **changed: Any) -> RunRecord:
    times = {"started_at": "2026-01-01T00:00:00+00:00", "at": "2026-01-01T00:00:02+00:00"}
    return RunRecord(
        **{"number": number, "verb": "build", "command": "c", **this_process(), **times, **changed}
    )


def stored(store: Store, *records: RunRecord) -> None:
    for r in records:
        store.put(f"{RUNS}/{r.number:06d}.json", r.to_json())


def eventually(what: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def elsewhere(number: int, **changed: Any) -> RunRecord:
    return record(number, host="far", machine="far 1", pid=os.getpid(), **changed)


@pytest.fixture
def beating(store: Store) -> Iterator[Callable[[RunRecord], None]]:
    """Starts a run on another machine: its object changes as if somebody wrote it."""
    over, threads = threading.Event(), []

    def beats(r: RunRecord) -> None:
        while not over.wait(0.02):
            r = dataclasses.replace(r, beat=r.beat + 1)
            stored(store, r)

    def start(r: RunRecord) -> None:
        stored(store, r)
        threads.append(threading.Thread(target=beats, args=(r,)))
        threads[-1].start()

    yield start
    over.set()
    for thread in threads:
        thread.join()


# What a run tells.


def test_run_tells_what_it_does_while_it_runs_and_how_it_ended(store: Store) -> None:
    with a_run(store, phase="measure", total=7) as run:
        assert run.number == 1
        eventually(lambda: run_of(store, 1).beat > 1)  # type: ignore[union-attr]
        (told,) = runs(store)
        assert (told.verb, told.ended, told.pid) == ("build", None, os.getpid())
        assert told.progress == {"phase": "measure", "total": 7}
        assert datetime.fromisoformat(told.at).tzinfo == UTC
        assert alive(store, [told]) == [True]
    (told,) = runs(store)
    assert told.ended == "done"
    assert told.command == "reelscript build videos -o corpus"
    assert alive(store, [told]) == [False]


@pytest.mark.parametrize(
    ("error", "ended", "said"),
    [
        (KeyboardInterrupt(), "interrupted", None),
        (DataError("no\nway"), "stopped", "no way"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "stopped", None),
        (ValueError("\x1b[2Jodd"), "broke", "ValueError: [2Jodd"),
    ],
)
def test_run_tells_why_it_ended(
    store: Store, error: BaseException, ended: str, said: str | None
) -> None:
    with pytest.raises(type(error)), a_run(store):
        raise error
    (told,) = runs(store)
    assert told.ended == ended
    assert told.said == (said or ("No space left on device: /x" if ended == "stopped" else None))


def test_run_counts_on(store: Store) -> None:
    for n in range(1, 4):
        with a_run(store) as run:
            assert run.number == n
    assert [r.number for r in runs(store)] == [1, 2, 3]


def test_run_removes_the_objects_of_old_runs_that_have_ended(store: Store) -> None:
    stored(store, *(record(n, ended="done") for n in range(1, 30)))
    stored(store, record(5, verb="publish"))  # runs: this process
    run_records.OPEN.add((store.url, 5))
    store.put(f"{RUNS}/000004.json", b"damaged")
    with a_run(store):
        pass
    run_records.OPEN.discard((store.url, 5))
    assert numbers(store, RUNS) == [5, *range(30 - KEPT + 1, 31)]


@pytest.mark.parametrize("broken", ["put", "snapshot", "plain"])
def test_run_goes_on_where_its_beat_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """A full disk, or a fault in what is told, is not the build's; later beats get through."""
    fails = threading.Event()
    put, tries = Store.put, []

    def failing(self: Store, name: str, data: bytes) -> None:
        if fails.is_set() and broken == "put":
            tries.append(name)
            raise OSError(errno.ENOSPC, "No space left on device")
        put(self, name, data)

    def snapshot() -> dict[str, Any]:
        if fails.is_set() and broken != "put":
            tries.append("")
            if broken == "plain":
                return {"phase": object()}
            raise RuntimeError("dictionary changed size during iteration")
        return {"phase": "measure"}

    monkeypatch.setattr(Store, "put", failing)
    with Run(store, "build", "c", snapshot):
        eventually(lambda: runs(store)[0].progress == {"phase": "measure"})
        fails.set()
        eventually(lambda: len(tries) > 3)
        fails.clear()
        beat = runs(store)[0].beat
        eventually(lambda: runs(store)[0].beat > beat + 1)
        assert runs(store)[0].progress == {"phase": "measure"}
    assert runs(store)[0].ended == "done"


def test_run_that_could_not_write_its_end_is_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process may live on, as a notebook does."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with a_run(store):
        monkeypatch.setattr(Store, "put", full)
    monkeypatch.undo()
    assert runs(store)[0].ended is None
    assert alive(store, runs(store)) == [False]
    with a_run(store) as run:
        assert run.number == 2


def hostile(progress: bytes) -> bytes:
    """The record of a dead run, with something in it that breaks those who read or write it."""
    data = json.dumps(json.loads(record(1, **dead_process()).to_json()) | {"progress": {"x": "?"}})
    return data.encode().replace(b'"?"', progress)


DAMAGED = [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"number": "1"}', b"[" * 100_000]
HOSTILE = {
    **{name: name.encode() for name in ("NaN", "Infinity", "-Infinity", "1e999")},
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep to copy": b"[" * 600 + b"]" * 600,
    "long number": b"1" * 5000,
}


@pytest.mark.parametrize("progress", HOSTILE.values(), ids=HOSTILE)
def test_run_record_that_cannot_be_written_again_is_none(store: Store, progress: bytes) -> None:
    store.put(f"{RUNS}/000001.json", hostile(b"1"))
    assert len(runs(store)) == 1
    store.put(f"{RUNS}/000001.json", hostile(progress))
    assert runs(store) == []
    with a_run(store) as run:
        assert run.number == 2


def test_run_says_nothing_that_its_readers_refuse(store: Store) -> None:
    with a_run(store, rate=float("nan")):
        eventually(lambda: runs(store)[0].beat > 1)
        assert runs(store)[0].progress == {}


@pytest.mark.parametrize("data", DAMAGED)
def test_run_record_that_is_damaged_is_none(store: Store, data: bytes) -> None:
    store.put(f"{RUNS}/000001.json", data)
    assert runs(store) == []
    with a_run(store) as run:
        assert run.number == 2


@pytest.mark.parametrize(
    "change",
    [
        *({"pid": "1"}, {"host": 1}, {"progress": []}, {"ended": 3}, {"number": 2}, {"beat": None}),
        *({"ended": 0}, {"ended": False}, {"ended": []}, {"said": {}}, {"number": True}),
    ],
)
def test_run_record_with_a_wrong_type_is_none(store: Store, change: dict[str, Any]) -> None:
    data = json.loads(record(1).to_json()) | change
    store.put(f"{RUNS}/000001.json", json.dumps(data).encode())
    assert runs(store) == []


def test_run_record_of_a_later_version_is_read(store: Store) -> None:
    data = json.loads(record(1).to_json()) | {"colour": "red"}
    store.put(f"{RUNS}/000001.json", json.dumps(data).encode())
    assert runs(store) == [record(1)]


# Who is alive.


def test_process_is_known_by_pid_and_birth() -> None:
    me, dead = this_process(), dead_process()
    assert exists(me["pid"], me["born"])
    assert me["machine"] == dead["machine"]
    assert not exists(dead["pid"], dead["born"])
    assert not exists(me["pid"], dead["born"])  # the number was used again
    assert not exists(-1, "1")
    assert not exists(1 << 40, "1")


def test_process_that_is_dead_but_not_reaped_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    born = processes._born(child.pid)
    assert born is not None
    assert exists(child.pid, born)
    child.kill()
    eventually(lambda: not exists(child.pid, born))
    child.wait()
    child.stdin.close()  # type: ignore[union-attr]


def test_run_on_another_machine_is_alive_if_it_beats(
    store: Store, beating: Callable[[RunRecord], None]
) -> None:
    beating(elsewhere(1, beat=10))
    stored(store, elsewhere(2, beat=10), elsewhere(3, ended="done"))
    watched = [elsewhere(1, beat=10), elsewhere(2, beat=10), elsewhere(3, ended="done")]
    assert alive(store, [*watched, elsewhere(9)], watch_s=0.3) == [True, False, False, False]


def test_run_is_judged_without_a_wall_clock(
    store: Store, beating: Callable[[RunRecord], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Jumps(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(1980 + next(years), 1, 1, tzinfo=tz)

    years = iter(range(10, 1000, 7))
    monkeypatch.setattr(runs_module, "datetime", Jumps)
    monkeypatch.setattr(time, "time", lambda: -1e9 * next(years))
    beating(elsewhere(1, verb="publish", at="1970-01-01T00:00:00+00:00"))
    stored(store, elsewhere(2, at="2999-01-01T00:00:00+00:00"))
    assert alive(store, runs(store), watch_s=0.3) == [True, False]
    stored(store, elsewhere(2, ended="died"))
    with a_run(store) as run, turn(store, run):
        assert alive(store, [run_of(store, 3)]) == [True]  # type: ignore[list-item]
        with pytest.raises(UsageError), a_run(store):
            pass


# One build at a time.


def test_build_is_refused_while_another_runs(store: Store) -> None:
    with a_run(store, phase="measure") as first:
        eventually(lambda: bool(runs(store)[0].progress))
        with pytest.raises(UsageError) as refused, a_run(store):
            pass
        said = str(refused.value)
        for part in (store.url, first.record.host, str(os.getpid()), first.record.started_at):
            assert part in said
        assert "'measure'" in said
        assert said.endswith("give this build another work folder and another -o")
        assert "\n" not in said
        assert run_of(store, 2).ended == "refused"  # type: ignore[union-attr]
        with a_run(store, "publish"), a_run(store, "publish"):
            pass
    with a_run(store):
        pass


def test_build_begins_while_others_publish(store: Store) -> None:
    with a_run(store, "publish"), a_run(store):
        pass


def test_build_takes_over_from_dead_runs_and_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"phase": "measure"}
    stored(store, elsewhere(1, progress=told), record(2, progress=told, **dead_process()))
    stored(store, record(3, ended="stopped", progress=told))
    monkeypatch.setattr(runs_module, "alive", lambda s, r: alive(s, r, watch_s=0.1))
    with a_run(store):
        assert [r.ended for r in runs(store)] == ["died", "died", "stopped", None]
        assert [r.progress for r in runs(store)][:3] == [{}, {}, told]


def test_build_on_another_machine_is_in_the_way(
    store: Store, beating: Callable[[RunRecord], None]
) -> None:
    beating(elsewhere(1))
    with pytest.raises(UsageError, match="on far, process"), a_run(store):
        pass


STARTS = """
import sys, time
from pathlib import Path
from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.runs import Run
from reelscript.pipeline.store import Store
folder, name = Path(sys.argv[1]), sys.argv[2]
(folder / f"ready-{name}").touch()
while not (folder / "go").exists():
    pass
try:
    with Run(Store(str(folder / "work")), "build", "c", dict) as run:
        (folder / f"ended-{name}").write_text(f"ran {run.number}")
        while not (folder / "stop").exists():
            time.sleep(0.01)
except UsageError as error:
    (folder / f"ended-{name}").write_text(f"refused {error}")
"""


def test_build_of_several_that_start_at_once_goes_on_alone(tmp_path: Path) -> None:
    names = "abcd"
    started = [
        subprocess.Popen([sys.executable, "-c", STARTS, str(tmp_path), name]) for name in names
    ]
    eventually(lambda: len(list(tmp_path.glob("ready-*"))) == len(names))
    (tmp_path / "go").touch()
    eventually(lambda: sum(bool(p.read_text()) for p in tmp_path.glob("ended-*")) == len(names))
    (tmp_path / "stop").touch()
    assert [p.wait() for p in started] == [0] * len(names)
    ended = sorted(p.read_text().split()[0] for p in tmp_path.glob("ended-*"))
    assert ended == ["ran", *["refused"] * (len(names) - 1)]
    lowest = min(runs(Store(str(tmp_path / "work"))), key=lambda r: r.number)
    assert lowest.ended == "done"


def test_number_that_was_used_before_is_given_back(store: Store) -> None:
    """Between looking and storing, runs came and went, and old objects were removed."""
    seen = iter([[], [KEPT + 1], [KEPT + 1], [KEPT + 1, KEPT + 2]])
    real = numbered.numbers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numbered, "numbers", lambda *_: next(seen))
        stored(store, record(KEPT + 1, ended="done"))
        assert claim(store, RUNS, lambda n: b"%d" % n, gap=KEPT) == KEPT + 2
    assert real(store, RUNS) == [KEPT + 1, KEPT + 2]


def test_numbers_are_claimed_by_one_each(store: Store) -> None:
    claimed: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: claimed.extend(
                claim(store, RUNS, lambda n: b"%d" % n, gap=KEPT) for _ in range(5)
            )
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == list(range(1, 21))


# Turns.

PUBLISHES = """
import os, sys, time
from pathlib import Path
from reelscript.pipeline import run_records, turns
from reelscript.pipeline.runs import Run
from reelscript.pipeline.store import Store
run_records.POLL_S = turns.POLL_S = 0.02
folder, name = Path(sys.argv[1]), sys.argv[2]
def note(what):
    with (folder / "log").open("a") as file:
        file.write(f"{what} {name}\\n")
store = Store(str(folder / "work"))
with Run(store, "publish", "c", dict) as run:
    for _ in range(1 if name == "killed" else 4):
        with turns.turn(store, run) as check:
            note("begin")
            if name == "killed":
                time.sleep(60)
            time.sleep(0.01)
            check()
            note("end")
"""


def test_turns_do_not_overlap_and_outlive_who_is_killed_in_one(tmp_path: Path) -> None:
    def publishes(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", PUBLISHES, str(tmp_path), name])

    log = tmp_path / "log"
    killed = publishes("killed")
    eventually(log.exists)
    others = [publishes(name) for name in "abcd"]
    store = Store(str(tmp_path / "work"))
    eventually(lambda: len(numbers(store, TICKETS)) == 5)
    assert log.read_text() == "begin killed\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert [p.wait(WAIT_S) for p in others] == [0] * 4
    lines = [line.split() for line in log.read_text().splitlines()][1:]
    assert [what for what, _ in lines] == ["begin", "end"] * 16
    assert all(a[1] == b[1] for a, b in zip(lines[::2], lines[1::2], strict=True))
    assert numbers(store, TICKETS) == []


def test_turn_waits_for_lower_tickets_of_runs_that_are_alive(store: Store) -> None:
    entered = threading.Event()
    with a_run(store, "publish") as first, a_run(store, "publish") as second:

        def waits() -> None:
            with turn(store, second):
                entered.set()

        with turn(store, first):
            thread = threading.Thread(target=waits)
            thread.start()
            eventually(lambda: len(numbers(store, TICKETS)) == 2)
            assert not entered.wait(0.2)
        assert entered.wait(WAIT_S)
        thread.join()
    assert numbers(store, TICKETS) == []


@pytest.mark.parametrize("ticket", [b"{", b"[]", b'{"run": 99}', b'{"run": "1"}', b'{"run": 1}'])
def test_turn_removes_tickets_that_nobody_holds(store: Store, ticket: bytes) -> None:
    stored(store, record(1, **dead_process()))
    store.put(f"{TICKETS}/000003.json", ticket)
    with a_run(store, "publish") as run, turn(store, run):
        assert numbers(store, TICKETS) == [4]


def test_turn_gives_an_old_number_back(store: Store) -> None:
    """x looked when nobody was there; y came in and is inside; then x stores its ticket."""
    with a_run(store, "publish") as inside, a_run(store, "publish") as late:
        store.put(f"{TICKETS}/000001.json", b"{}")
        entered = threading.Event()
        with turn(store, inside) as check:
            assert numbers(store, TICKETS) == [2]
            seen: Iterator[list[int]] = iter([[]])
            real = numbered.numbers

            def waits() -> None:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(numbered, "numbers", lambda *a: next(seen, None) or real(*a))
                    with turn(store, late):
                        entered.set()

            thread = threading.Thread(target=waits)
            thread.start()
            eventually(lambda: numbers(store, TICKETS) == [2, 3])
            assert not entered.wait(0.2)
            check()
        assert entered.wait(WAIT_S)
        thread.join()


def test_turn_ends_where_another_machine_took_this_run_for_dead(store: Store) -> None:
    with a_run(store, "publish") as run, turn(store, run) as check:
        check()
        store.delete(f"{TICKETS}/000001.json")
        with pytest.raises(StorageError, match="took this one for dead"):
            check()
