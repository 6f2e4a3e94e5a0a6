"""A group of stages on a node: children that die, stations that are killed, who is alone."""

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import psutil
import pytest

from reelscript.pipeline.engines.groups import Group, groups_of
from reelscript.pipeline.engines.limits import Limits
from reelscript.pipeline.engines.station import Station
from reelscript.pipeline.engines.supervisor import Stopped
from reelscript.pipeline.errors import StorageError, UsageError
from reelscript.pipeline.stage import Stage
from reelscript.pipeline.testing import (
    CannotOpen,
    Counts,
    FillsDisk,
    Hangs,
    KillsItsWorker,
    OnGpu,
    Raises,
    RejectsEvery,
    Waits,
    noted,
    videos,
)
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from tests.engines_made import Heard, Joins, attempts, gone, in_one_process, outcomes

CRASHED, FINE = ("failed", "crashed"), ("pending", None)


class Stations(Protocol):
    def __call__(self, stages: Sequence[Stage], workers: int = 1, **more: Any) -> Station: ...


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary folders lie, for this process and those that it starts."""
    place = tmp_path / "node"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield place
    monkeypatch.undo()
    tempfile.tempdir = None


@pytest.fixture
def station(tmp_path: Path, place: Path) -> Iterator[Stations]:
    """Stations of one run; in the end they are closed, and nothing is left of them."""
    made: list[Station] = []

    def station_of(stages: Sequence[Stage], workers: int = 1, **more: Any) -> Station:
        (group,) = groups_of(stages)
        limits = Limits(**{"poll_s": 0.05, **more.pop("limits", {})})
        url = str(tmp_path / "work")
        made.append(Station(group, url, "run-1", workers, limits, **more))
        return made[-1]

    yield station_of
    for one in made:
        one.close()
    assert multiprocessing.active_children() == []
    assert list(place.iterdir()) == []


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "log")


@pytest.mark.parametrize("workers", [1, 3])
def test_station_gives_what_a_plain_loop_gives(
    station: Stations, tmp_path: Path, workers: int
) -> None:
    stages = [Waits(), RejectsEvery(nth=3), Raises(kind="http_404"), Counts()]
    given = videos(12, 4, 7)
    given[5] = given[5].ended("rejected", "acquire", "duplicate_source")
    ended = station(stages, workers).run(given)
    assert [e.video for e in ended] == in_one_process(stages, given, tmp_path)
    assert ended[5].timings == ()
    assert [t.stage for t in ended[1].timings] == [s.name for s in stages]


def test_station_keeps_its_processes_and_what_they_have_open(station: Stations, log: str) -> None:
    one = station([Waits(log=log), Counts(log=log)], 2)
    for _ in range(3):
        one.run(videos(4))
    assert len({pid for what, _, pid in noted(log)}) <= 2
    opened = [(stage, pid) for what, stage, pid in noted(log) if what == "open"]
    assert len(opened) == len(set(opened))


def test_station_runs_nothing_where_there_is_nothing_to_do(station: Stations, log: str) -> None:
    over = [v.ended("failed", "probe", "error") for v in videos(2)]
    one = station([Waits(log=log)])
    assert one.run([]) == []
    assert [e.video for e in one.run(over)] == over
    assert noted(log) == []


def test_station_convicts_only_what_kills_its_worker(station: Stations, log: str) -> None:
    given = videos(6, 2)
    ended = station([Waits(), KillsItsWorker(log=log), Counts()], 2).run(given)
    assert outcomes([e.video for e in ended]) == [FINE, FINE, CRASHED, FINE, FINE, FINE]
    assert attempts(log, given[2]) == 3  # once, and twice alone
    assert ended[2].suspected == (("kills_its_worker", "signal SIGKILL"),) * 2
    assert all(e.suspected == () for e in ended if e is not ended[2])


@dataclass(frozen=True)
class KillsForAnother(KillsItsWorker):
    """Does early what another stage would do."""

    name: ClassVar[str] = "kills_for_another"
    answers = "speech"


def test_station_names_the_stage_for_which_another_works(station: Stations) -> None:
    ended = station([Waits(), KillsForAnother()], 2).run(videos(3, 1))
    assert outcomes([e.video for e in ended]) == [FINE, CRASHED, FINE]
    assert ended[1].video.stage == "speech"
    assert {stage for stage, _ in ended[1].suspected} == {"speech"}


def test_station_runs_a_video_once_that_it_is_given_twice(station: Stations, log: str) -> None:
    """In somebody's pipeline anything may come twice; here into one batch."""
    one, other = videos(2)
    found = station([Joins(at_once=4, log=log)]).run([one, other, one])
    assert [e.video.video_id for e in found] == [one.video_id, other.video_id, one.video_id]
    assert all(outcomes([e.video]) == [FINE] for e in found)


def test_station_tells_a_listener_what_it_would_have_heard(station: Stations) -> None:
    heard, given = Heard(), videos(3, 1)
    for ended in station([Waits(), KillsItsWorker(), Counts()]).run(given):
        ended.tell(heard)
    assert heard.deaths == [(given[1].video_id, "kills_its_worker", "signal SIGKILL")] * 2
    assert set(heard.begun) == {(t.video_id, t.stage) for t in heard.timings}
    assert [t.stage for t in heard.timings if t.video_id == "v002"] == [
        *("waits", "kills_its_worker", "counts")
    ]
    last = [t for t in heard.timings if t.video_id == given[1].video_id][-1]
    assert (last.stage, last.outcome) == ("kills_its_worker", "failed")


def test_station_raises_what_is_no_fault_of_a_video(station: Stations) -> None:
    with pytest.raises(UsageError, match="there is no model 'none' on this machine"):
        station([Waits(), CannotOpen()]).run(videos(3))
    full = station([Waits(), FillsDisk()], 2)
    with pytest.raises(StorageError, match="the disk is full"):
        full.run(videos(5, 1))
    assert multiprocessing.active_children() == []
    assert outcomes([e.video for e in full.run(videos(2))]) == [FINE, FINE]  # there is room again


def test_station_bounds_what_a_stage_may_use(station: Stations) -> None:
    limits = {"cpu_base_s": 0.5, "wall_base_s": 1.0}
    (ended,) = station([Hangs()], limits=limits).run(videos(1, 0))
    assert ended.video.reason == "timed_out"


@dataclass(frozen=True)
class UsesScratch(Waits):
    """Leaves a file beside what other stages of its group leave."""

    name: ClassVar[str] = "uses_scratch"
    writes: ClassVar[tuple[str, ...]] = ("container",)

    def _live(self, video: Video, workspace: Workspace) -> Video:
        folder = workspace.scratch_of(video)
        (folder / "sound").touch()
        told = f"{folder} {workspace.passing} {os.environ.get('CUDA_VISIBLE_DEVICES')}"
        return dataclasses.replace(video, container=told)


def test_station_removes_what_a_video_had_in_scratch(station: Stations, place: Path) -> None:
    ended = station([UsesScratch(), RejectsEvery(nth=2)], 2).run(videos(4))
    folders = [Path(str(e.video.container).split()[0]) for e in ended]
    assert all(folder.is_relative_to(place) for folder in folders)
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize("of", [1, 3])
def test_station_says_whether_other_groups_are_elsewhere(tmp_path: Path, of: int) -> None:
    group = Group(0, of, "cpu", (UsesScratch(),))
    with Station(group, str(tmp_path / "work"), "run-1") as one:
        (ended,) = one.run(videos(1))
    assert str(ended.video.container).split()[1] == str(of > 1)


@dataclass(frozen=True)
class SeesGpu(UsesScratch):
    """Tells which GPU it sees."""

    name: ClassVar[str] = "sees_gpu"
    resources = OnGpu.resources


def test_station_gives_each_of_its_workers_a_gpu(station: Stations) -> None:
    ended = station([SeesGpu(), OnGpu(wait_s=0.2)], 2, gpus=["GPU-a", "3"]).run(videos(6))
    assert {str(e.video.container).split()[2] for e in ended} == {"GPU-a", "3"}


def test_station_leaves_the_gpus_as_its_engine_has_set_them(
    station: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    (ended,) = station([SeesGpu()]).run(videos(1))
    assert str(ended.video.container).split()[2] == "5"


# Several stations on a node.


@dataclass(frozen=True)
class Notes(Waits):
    """Notes when it begins and ends a video; a marked one kills its worker in between."""

    name: ClassVar[str] = "notes"

    def _live(self, video: Video, workspace: Workspace) -> Video:  # noqa: ARG002
        self._note(f"begin:{video.video_id}")
        time.sleep(self.wait_s)
        self._note(f"end:{video.video_id}")
        if self.marker in video.video_id:
            os.kill(os.getpid(), signal.SIGKILL)
        return dataclasses.replace(video, frames=1)


def test_station_tries_a_suspect_alone_on_its_node(station: Stations, log: str) -> None:
    """While a suspect of one station is tried, no other of the run works there."""
    poison, through = videos(1, 0), threading.Event()
    others = [dataclasses.replace(v, video_id=f"other-{v.video_id}") for v in videos(3)]
    one, other = station([Notes(log=log, wait_s=0.3)]), station([Notes(log=log, wait_s=0.05)], 2)
    found: list[tuple[str, str | None]] = []

    def keep_working() -> None:
        while not through.is_set():
            found.extend(outcomes([e.video for e in other.run(fresh(others, len(found)))]))

    at_work = threading.Thread(target=keep_working)
    at_work.start()
    (ended,) = one.run(poison)
    through.set()
    at_work.join()
    assert ended.video.reason == "crashed"
    assert set(found) == {FINE}
    inside, suspect, attempts = set[str](), False, 0
    for what, _, _ in noted(log):
        act, _, video_id = what.partition(":")
        if video_id == poison[0].video_id:
            suspect = act == "begin"
            attempts += suspect
            assert not (suspect and inside and attempts > 1)  # the first time it is in company
        elif act == "begin":
            assert not (suspect and attempts > 1)
            inside.add(video_id)
        elif act == "end":
            inside.discard(video_id)
    assert attempts == 3


def fresh(given: list[Video], number: int) -> list[Video]:
    """The same videos by other names, so that nothing is remembered."""
    return [dataclasses.replace(v, url=f"{number}-{v.url}") for v in given]


SCRIPT = """
import sys
from reelscript.pipeline.engines.groups import groups_of
from reelscript.pipeline.engines.station import Station
from reelscript.pipeline.testing import *

if __name__ == "__main__":
    folder, log = sys.argv[1:]
    (group,) = groups_of([Hangs(log=log)])
    Station(group, folder + "/work", "run-1", 2).run(videos(2, 0, 1))
"""


def test_station_killed_takes_its_processes_along(
    station: Stations, tmp_path: Path, place: Path, log: str
) -> None:
    """Another of the run goes on, and convicts nobody for it."""
    (tmp_path / "run.py").write_text(SCRIPT)
    with subprocess.Popen([sys.executable, tmp_path / "run.py", tmp_path, log]) as actor:
        until = time.monotonic() + 60
        while sum(what.startswith("v0") for what, *_ in noted(log)) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        below = [child.pid for child in psutil.Process(actor.pid).children(recursive=True)]
        actor.kill()
        actor.wait()
    assert len(below) >= 2
    assert gone(below)
    (node,) = place.iterdir()
    assert len(list(node.glob("station-*"))) == 1
    ended = station([Counts()]).run(videos(2, 0, 1))
    assert outcomes([e.video for e in ended]) == [FINE, FINE]
    assert len(list(node.glob("station-*"))) == 1  # its own


def test_station_closed_by_another_thread_stops(station: Stations, log: str) -> None:
    one = station([Hangs(log=log)])
    raised: list[type[BaseException]] = []

    def run() -> None:
        try:
            one.run(videos(1, 0))
        except Stopped as error:
            raised.append(type(error))

    running = threading.Thread(target=run)
    running.start()
    while len(noted(log)) < 2:  # an opening, and what it is at
        time.sleep(0.05)
    one.close()
    running.join(60)
    assert raised == [Stopped]
    with pytest.raises(Stopped):
        one.run(videos(1))


def test_station_does_not_begin_where_a_run_cannot_be_called_so(tmp_path: Path) -> None:
    (group,) = groups_of([Waits()])
    with pytest.raises(UsageError, match=r"cannot be called '\.\./x'"):
        Station(group, str(tmp_path / "work"), "../x")
