"""How often a site is asked, by all processes together."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.pipeline.errors import StageError, StorageError
from reelscript.transforms.web import manners_file
from reelscript.transforms.web.manners import (
    PRESETS,
    Manners,
    Rates,
    since_boot_s,
    site_of,
    site_of_url,
)

SPAWN = multiprocessing.get_context("spawn")
SITE = "a.example"
FAST = 3000.0  # a minute


@dataclass
class Clock:
    """A time that passes only by sleeping."""

    now_s: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now_s += seconds


def manners(
    folder: Path, clock: Clock | None = None, preset: str = "auto", **rates: Any
) -> Manners:
    clock = clock or Clock()
    return Manners(folder, "run", Rates(**rates), preset, clock, clock.sleep)


def files(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


# Sites and rates.


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("Example.ORG", "example.org"),
        ("example.org.", "example.org"),
        ("example.org:80", "example.org"),
        ("example.org:443", "example.org"),
        ("example.org:8080", "example.org:8080"),
        ("127.0.0.1:9", "127.0.0.1:9"),
        ("[::1]:9", "[::1]:9"),
        ("[::1]", "[::1]"),
        ("www.YouTube.com", "youtube"),
        ("youtu.be:443", "youtube"),
        ("m.youtube-nocookie.com.", "youtube"),
        ("rr3---sn-4g5e6nls.googlevideo.com", "youtube"),
        ("i.ytimg.com", "youtube"),
        ("notyoutube.com", "notyoutube.com"),
        ("youtube.com.evil.example", "youtube.com.evil.example"),
        ("[::1", "[::1"),
        ("a:b", "a:b"),
        ("", ""),
    ],
)
def test_manners_know_which_hosts_are_one_site(host: str, site: str) -> None:
    assert site_of(host) == site
    assert site_of_url(f"https://{host}/watch?v=1") == site or "[::1" in host
    if host and "[" not in host:
        assert site_of_url(f"http://me:pass@{host}/") == site


@given(st.text(max_size=30))
def test_manners_have_a_site_for_any_text(text: str) -> None:
    assert isinstance(site_of(text), str)
    assert isinstance(site_of_url(f"http://{text}"), str)


def test_manners_take_the_preset_at_youtube_and_the_users_word_before_it(tmp_path: Path) -> None:
    guest, token = PRESETS["youtube-guest"], PRESETS["youtube-token"]
    assert (guest.videos_per_hour, guest.sleep_s, token.videos_per_hour) == (300, (5, 10), 1000)
    for preset, rates in {
        "auto": guest,
        "none": Rates(),
        "youtube-guest": guest,
        "youtube-token": token,
    }.items():
        assert manners(tmp_path, preset=preset).rates_at("youtube") == rates
        assert manners(tmp_path, preset=preset).rates_at(SITE) == Rates()
    mine = manners(tmp_path, concurrent=7, sleep_s=(0, 0), requests_per_min=3)
    assert mine.rates_at("youtube") == replace(
        guest, concurrent=7, sleep_s=(0, 0), requests_per_min=3
    )
    with pytest.raises(ValueError, match=r"did you mean 'youtube-guest'"):
        manners(tmp_path, preset="youtube-gest")


@pytest.mark.parametrize(
    "rates",
    [
        {"requests_per_min": 0},
        {"bytes_per_min": -1.0},
        {"videos_per_hour": float("nan")},
        {"concurrent": 0},
        {"sleep_s": (3.0, 1.0)},
        {"sleep_s": (-1.0, 1.0)},
        {"blocked_after": 0},
    ],
)
def test_manners_refuse_rates_that_are_none(rates: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(rates))):
        Rates(**rates)


# Requests and bytes.


@settings(deadline=None, max_examples=12)
@given(rate=st.floats(1.0, 6000.0), busy=st.lists(st.floats(0.0, 0.9), min_size=1, max_size=8))
def test_manners_space_requests_evenly_whatever_each_takes(
    tmp_path_factory: pytest.TempPathFactory, rate: float, busy: list[float]
) -> None:
    clock = Clock()
    polite = manners(tmp_path_factory.mktemp("m"), clock, requests_per_min=rate)
    sent = []
    for n in range(60):
        for wait_s in polite.waits_s(SITE):
            clock.sleep(wait_s)
        sent.append(clock.now_s)
        clock.sleep(busy[n % len(busy)] * 60 / rate)  # the request itself
    gaps = [b - a for a, b in pairwise(sent)]
    assert gaps == pytest.approx([60 / rate] * 59, rel=1e-6)


def test_manners_let_no_requests_pile_up_in_a_pause(tmp_path: Path) -> None:
    clock = Clock()
    polite = manners(tmp_path, clock, requests_per_min=60)
    assert [polite.request_s(SITE) for _ in range(3)] == pytest.approx([0, 1, 2])
    clock.now_s += 100
    assert [polite.request_s(SITE) for _ in range(3)] == pytest.approx([0, 1, 2])
    assert polite.request_s("b.example") == 0


def test_manners_without_a_rate_never_wait(tmp_path: Path) -> None:
    polite = manners(tmp_path)
    assert [polite.request_s(SITE) for _ in range(3)] == [0, 0, 0]
    assert polite.received_s(SITE, 1 << 40) == 0


@settings(deadline=None, max_examples=12)
@given(
    pieces=st.lists(st.integers(1, 1 << 16), min_size=1, max_size=20),
    late_s=st.floats(0.0, 0.02),
)
def test_manners_hold_the_rate_of_bytes_within_five_percent(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[int], late_s: float
) -> None:
    clock, rate = Clock(), 60e6  # a million bytes a second
    polite = manners(tmp_path_factory.mktemp("m"), clock, bytes_per_min=rate)
    begin_s, came = clock.now_s, [(clock.now_s, 0)]
    for n in range(300):
        size = pieces[n % len(pieces)] + 30_000
        came.append((clock.now_s, size))
        clock.sleep(polite.received_s(SITE, size) + late_s * (n % 3 == 0))
    counted = sum(size for _, size in came)
    took_s = clock.now_s - begin_s
    assert counted / took_s <= rate / 60 * 1.05
    assert counted / took_s >= rate / 60 * 0.95
    for start in range(0, len(came), 40):
        inside = [size for at, size in came[start:] if at < came[start][0] + 5]
        assert sum(inside) <= 5 * rate / 60 * 1.05 + 96_000  # and the piece that is read at the end


# All processes of a machine.


@dataclass
class Remembering:
    """The clock of the machine; remembers what it said."""

    said_s: float = 0.0

    def __call__(self) -> float:
        self.said_s = since_boot_s()
        return self.said_s


def ask(folder: Path, pipe: Connection) -> None:
    """Sends requests; tells when each was due, and when it was sent."""
    clock = Remembering()
    polite = Manners(folder, "run", Rates(requests_per_min=FAST), clock=clock)
    sent: list[tuple[float, float]] = []
    for _ in range(50):
        wait_s = polite.request_s(SITE)
        due_s = clock.said_s + wait_s
        time.sleep(wait_s)
        sent.append((due_s, since_boot_s()))
    pipe.send(sent)


@contextlib.contextmanager
def running(target: Any, arguments: list[tuple[Any, ...]]) -> Iterator[list[Any]]:
    processes = [SPAWN.Process(target=target, args=args) for args in arguments]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join()


def test_manners_hold_the_rate_over_several_processes(tmp_path: Path) -> None:
    pipes = [SPAWN.Pipe(duplex=False) for _ in range(3)]
    with running(ask, [(tmp_path, sender) for _, sender in pipes]):
        asked = [receiver.recv() for receiver, _ in pipes]
    sent = sorted(moments for of_one in asked for moments in of_one)
    gaps = [b - a for (a, _), (b, _) in pairwise(sent)]
    assert len(sent) == 150
    assert min(gaps) >= 60 / FAST - 1e-6  # no two processes had the same moment
    assert all(at >= due - 1e-6 for due, at in sent)  # a busy machine sends late, never early


def take_and_die(folder: Path) -> None:
    """Is killed in the middle of a change."""

    def work(file: sqlite3.Connection) -> None:
        file.execute("update moments set at_s = at_s + 1e6")
        file.execute(
            "insert into refusals select 'run', value, 99, hex(randomblob(4000)) from"
            " (with recursive n(value) as (select 1 union all select value + 1 from n"
            " where value < 2000) select value from n)"
        )  # spills to the file
        os.kill(os.getpid(), signal.SIGKILL)

    manners_file.change(folder, work)


def test_manners_lose_nothing_where_a_process_is_killed_in_a_change(tmp_path: Path) -> None:
    clock = Clock()
    polite = manners(tmp_path, clock, requests_per_min=60, blocked_after=1)
    polite.request_s(SITE)
    polite.refused("b.example", "no")
    with running(take_and_die, [(tmp_path,)]) as (process,):
        process.join(20)
        assert process.exitcode == -signal.SIGKILL
    assert ".sqlite-journal" in files(tmp_path)  # it did die in the middle
    assert polite.request_s(SITE) == pytest.approx(1)
    assert polite.blocked("b.example") == "no"
    assert polite.blocked("1") is None
    assert ".damaged" not in files(tmp_path)


def take_and_stop(polite: Manners, pipe: Connection) -> None:
    with polite.video(SITE):
        pipe.send("in")
        time.sleep(60)


def test_manners_free_the_turn_of_a_process_that_was_killed(tmp_path: Path) -> None:
    polite = Manners(tmp_path, "run", Rates(concurrent=1))
    receiver, sender = SPAWN.Pipe(duplex=False)
    with running(take_and_stop, [(polite, sender)]) as (process,):
        assert receiver.recv() == "in"
        with pytest.raises(StageError, match="others are before"), polite.video(SITE, 0.0):
            pass
        process.kill()
        process.join()
        with polite.video(SITE, 0.0):
            pass


def test_manners_can_travel_to_another_process(tmp_path: Path) -> None:
    polite = Manners(tmp_path, "run", Rates(sleep_s=(1, 2)), "none")
    again = pickle.loads(pickle.dumps(polite))
    assert again == polite
    again.refused(SITE, "x")
    assert again.clock() <= since_boot_s()


def test_manners_serve_threads_as_they_serve_processes(tmp_path: Path) -> None:
    polite = manners(tmp_path, requests_per_min=60)
    waits: list[float] = []
    threads = [
        threading.Thread(target=lambda: waits.extend(polite.request_s(SITE) for _ in range(20)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == pytest.approx(range(80))


# Turns.


def test_manners_begin_so_many_videos_an_hour(tmp_path: Path) -> None:
    clock = Clock()
    polite = manners(tmp_path, clock, videos_per_hour=300)
    begun = []
    for _ in range(30):
        with polite.video(SITE):
            begun.append(clock.now_s)
            clock.sleep(random.uniform(0, 11))
    gaps = [b - a for a, b in pairwise(begun)]
    assert gaps == pytest.approx([12.0] * 29)


def test_manners_pause_between_videos(tmp_path: Path) -> None:
    clock = Clock()
    polite = manners(tmp_path, clock, sleep_s=(5, 10))
    gaps = []
    for _ in range(40):
        ended_s = clock.now_s
        with polite.video(SITE):
            gaps.append(clock.now_s - ended_s)
            clock.sleep(20)
    assert gaps[0] == 0
    assert all(5 <= gap <= 10 for gap in gaps[1:])
    assert max(gaps[1:]) - min(gaps[1:]) > 2  # drawn at random
    with polite.video("b.example"):
        assert clock.slept[-1] == 20  # another site waits for nothing


def test_manners_let_so_many_videos_be_in_work_at_once(tmp_path: Path) -> None:
    clock = Clock()
    polite = manners(tmp_path, clock, concurrent=2)
    with polite.video(SITE), polite.video("b.example"):
        with polite.video(SITE):
            begun_s = clock.now_s
            with pytest.raises(StageError, match=f"^{SITE}: others") as caught:
                polite.video(SITE, 30).__enter__()
            assert caught.value.kind == "blocked"
            assert 30 <= clock.now_s - begun_s < 31
        with polite.video(SITE, 0):
            pass
    with pytest.raises(RuntimeError), polite.video(SITE):
        raise RuntimeError
    with polite.video(SITE, 0), polite.video(SITE, 0):
        pass


def test_manners_take_no_turn_that_comes_after_the_deadline(tmp_path: Path) -> None:
    clock = Clock()
    polite = manners(tmp_path, clock, videos_per_hour=60, concurrent=5)
    with polite.video(SITE):
        pass
    for _ in range(3):  # what was refused has taken neither moment nor slot
        with pytest.raises(StageError):
            polite.video(SITE, 30).__enter__()
    with polite.video(SITE, 61):
        assert clock.now_s == pytest.approx(1060)


def test_manners_stop_waiting_for_a_turn_once_the_site_is_blocked(tmp_path: Path) -> None:
    clock = Clock()
    polite = manners(tmp_path, clock, concurrent=1, blocked_after=1, videos_per_hour=1)
    told = replace(polite, sleep=lambda s: (clock.sleep(s), told.refused(SITE, "go away")))
    with (
        polite.video(SITE),
        pytest.raises(StageError, match=r"^go away$") as caught,
        told.video(SITE),
    ):
        pass
    assert caught.value.kind == "blocked"
    assert clock.now_s < 1002
    told = replace(told, run="another")
    with pytest.raises(StageError, match=r"^go away$"), told.video(SITE):
        pass  # it has a slot, waits for its moment, and hears of it there
    assert clock.now_s < 1003


# What a site says.


def test_manners_make_all_wait_as_long_as_a_site_asks(tmp_path: Path) -> None:
    clock = Clock()
    polite, other = (manners(tmp_path, clock, requests_per_min=60) for _ in range(2))
    polite.hold(SITE, 20)
    polite.hold(SITE, 10)  # never shorter
    assert [other.request_s(SITE) for _ in range(3)] == pytest.approx([20, 21, 22])
    assert other.request_s("b.example") == 0


def test_manners_line_up_again_where_a_hold_comes_while_they_wait(tmp_path: Path) -> None:
    clock = Clock()
    polite = manners(tmp_path, clock, requests_per_min=60)
    polite.request_s(SITE)
    waiting = polite.waits_s(SITE)
    clock.sleep(next(waiting))
    polite.hold(SITE, 100)
    clock.sleep(next(waiting))
    assert clock.now_s == pytest.approx(1101)
    assert list(waiting) == []


def test_manners_block_a_site_after_so_many_refusals_in_a_row(tmp_path: Path) -> None:
    polite = manners(tmp_path, blocked_after=3)
    for _ in range(3):
        polite.refused(SITE, "first")
        polite.refused(SITE, "second")
        assert polite.blocked(SITE) is None
        polite.answered(SITE)
    for n in range(3):
        assert polite.blocked(SITE) is None
        polite.refused(SITE, f"no\x1b[2J\n{n}")
    assert polite.blocked(SITE) == "no [2J 2"
    polite.answered(SITE)  # by somebody who had asked before
    assert polite.blocked(SITE)
    with pytest.raises(StageError) as caught:
        list(polite.waits_s(SITE))
    assert (caught.value.kind, caught.value.detail) == ("blocked", "no [2J 2")
    assert polite.blocked("b.example") is None
    assert replace(polite, run="next").blocked(SITE) is None


# The file.


@pytest.mark.parametrize("damage", ["garbage", "header", "tables", "column", "cut", "empty"])
def test_manners_put_a_damaged_file_aside(tmp_path: Path, damage: str) -> None:
    clock = Clock()
    polite = manners(tmp_path, clock, requests_per_min=60, concurrent=1)
    for n in range(200):
        polite.refused(f"{n}.example", "x" * 300)
    polite.request_s(SITE)
    (path,) = tmp_path.glob("*.sqlite")
    data = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(random.Random(1).randbytes(len(data)))
    elif damage == "header":
        path.write_bytes(b"x" * 100 + data[100:])
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        with contextlib.closing(sqlite3.connect(path)) as file:
            drop = "drop table moments" if damage == "tables" else "alter table slots drop born"
            file.execute(drop)
    path.with_name(f"{path.name}-journal").write_bytes(b"not a journal")
    with polite.video(SITE, 0):
        assert [polite.request_s(SITE) for _ in range(2)] == pytest.approx([0, 1])
    assert (".damaged" in files(tmp_path)) == (damage != "empty")
    assert polite.request_s(SITE) == pytest.approx(2)


def test_manners_put_a_damaged_file_aside_once_for_all_who_find_out(tmp_path: Path) -> None:
    polite = manners(tmp_path, requests_per_min=60)
    polite.request_s(SITE)
    (path,) = tmp_path.glob("*.sqlite")
    waits: list[float] = []
    for _ in range(5):
        path.write_bytes(b"damage" * 1000)
        threads = [
            threading.Thread(target=lambda: waits.append(polite.request_s(SITE))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(waits) == pytest.approx(range(4))
        waits.clear()


def test_manners_begin_anew_where_their_folder_was_removed(tmp_path: Path) -> None:
    polite = manners(tmp_path / "new" / "folder", requests_per_min=60)
    assert polite.request_s(SITE) == 0
    for path in (tmp_path / "new" / "folder").iterdir():
        path.unlink()
    (tmp_path / "new" / "folder").rmdir()
    assert polite.request_s(SITE) == 0


def test_manners_that_cannot_be_kept_are_no_fault_of_a_video(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file"):
        manners(tmp_path / "file" / "m").request_s(SITE)
    polite = manners(tmp_path / "m")
    polite.request_s(SITE)
    (path,) = (tmp_path / "m").glob("*.sqlite")
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match="sqlite"):
        polite.request_s(SITE)


def test_manners_keep_no_moments_that_are_past(tmp_path: Path) -> None:
    clock = Clock()
    polite = manners(tmp_path, clock, requests_per_min=60)
    for n in range(50):
        polite.request_s(f"{n}.example")
        clock.now_s += 0.5
    (path,) = tmp_path.glob("*.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as file:
        assert file.execute("select count(*) from moments").fetchone() == (2,)
