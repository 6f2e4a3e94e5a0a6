import contextlib
import dataclasses
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import psutil
import pytest

from reelscript.pipeline.engines import supervisor, watch
from reelscript.pipeline.engines.groups import Group, groups_of
from reelscript.pipeline.engines.limits import Limits, Used, share_of_memory, used_by
from reelscript.pipeline.engines.local import LocalEngine
from reelscript.pipeline.engines.suspects import Death, conviction
from reelscript.pipeline.errors import StorageError, UsageError
from reelscript.pipeline.stage import Stage, Timing
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import (
    BreaksAtOpening,
    BurnsCpu,
    CannotOpen,
    Counts,
    EatsMemory,
    FillsDisk,
    Hangs,
    Idles,
    KillsItsWorker,
    Leaks,
    OnGpu,
    Raises,
    RejectsEvery,
    StartsChild,
    Waits,
    noted,
    videos,
)
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from tests.engines_made import Heard, attempts, gone, in_one_process, outcomes

ROOM_BYTES = 400 << 20


class Engine(Protocol):
    def __call__(self, workers: int = 1, gpus: int = 1, **limits: float) -> LocalEngine: ...


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    def made(workers: int = 1, gpus: int = 1, **limits: Any) -> LocalEngine:
        store, scratch = Store(str(tmp_path / "work")), tmp_path / "scratch"
        return LocalEngine(store, scratch, workers, gpus, Limits(**{"poll_s": 0.05, **limits}))

    yield made
    assert multiprocessing.active_children() == []  # no test leaves a process behind


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "log")


def ran(
    engine: LocalEngine, stages: Sequence[Stage], given: list[Video], heard: Heard | None = None
) -> list[Video]:
    """The videos after the stages, in the order in which they were given; each of them once."""
    found = list(engine.run(stages, given, heard or Heard()))
    assert sorted(v.video_id for v in found) == sorted(v.video_id for v in given)
    by_id = {v.video_id: v for v in found}
    return [by_id[v.video_id] for v in given]


@pytest.mark.parametrize("workers", [1, 3])
def test_local_engine_gives_what_a_plain_loop_gives(
    engine: Engine, tmp_path: Path, workers: int
) -> None:
    stages = [Waits(), RejectsEvery(nth=3), Raises(kind="http_404"), Counts()]
    given = videos(14, 4, 7)
    found = ran(engine(workers), stages, given)
    assert found == in_one_process(stages, given, tmp_path)
    assert Counter(v.outcome for v in found) == {"pending": 7, "rejected": 5, "failed": 2}


def test_local_engine_passes_groups_on_between_cpu_and_gpu(engine: Engine, tmp_path: Path) -> None:
    stages = [Waits(), OnGpu(), RejectsEvery(nth=3), Counts()]
    given = videos(8)
    assert ran(engine(2), stages, given) == in_one_process(stages, given, tmp_path)


def test_local_engine_with_nothing_to_do_starts_nothing(engine: Engine) -> None:
    heard = Heard()
    assert ran(engine(2), [Waits()], [], heard) == []
    assert heard.begun == []


def test_local_engine_leaves_ended_videos_as_they_are(engine: Engine) -> None:
    ended = [v.ended("rejected", "acquire", "duplicate_source") for v in videos(2)]
    assert ran(engine(), [Waits(), Counts()], ended) == ended


def test_local_engine_tells_of_every_stage(engine: Engine) -> None:
    heard, given = Heard(), videos(4, 2)
    ran(engine(2), [Waits(), Raises(), Counts()], given, heard)
    expected = {(v.video_id, s) for v in given for s in ("waits", "raises", "counts")}
    expected.remove((given[2].video_id, "counts"))
    assert set(heard.begun) == expected
    assert Counter((t.video_id, t.stage) for t in heard.timings) == Counter(expected)
    assert {t.outcome for t in heard.timings} == {"pending", "failed"}


def test_local_engine_takes_videos_as_it_needs_them(engine: Engine) -> None:
    """A list of millions is not read at once."""
    taken: list[Video] = []

    def source() -> Iterator[Video]:
        for video in videos(200):
            taken.append(video)
            yield video

    running = engine(1).run([Waits()], source(), Heard())
    next(running)
    assert len(taken) < 20
    assert isinstance(running, Generator)
    running.close()


def test_local_engine_opens_a_stage_once_a_worker(engine: Engine, log: str) -> None:
    ran(engine(2), [Waits(log=log, wait_s=0.05), Counts(log=log)], videos(12))
    opened = Counter((stage, pid) for what, stage, pid in noted(log) if what == "open")
    measured = Counter(what for what, _, _ in noted(log) if what != "open")
    assert set(opened.values()) == {1}
    assert len({pid for _, pid in opened}) <= 2
    assert set(measured.values()) == {2}
    assert str(os.getpid()) not in {pid for _, pid in opened}


def test_local_engine_keeps_gpu_stages_to_a_pool_of_their_own(engine: Engine, log: str) -> None:
    stages = [Waits(log=log), OnGpu(log=log), Counts(log=log)]
    found = ran(engine(2, gpus=1), stages, videos(8))
    assert all(v.windows == 1 and v.frames and v.words for v in found)
    pids: dict[str, set[str]] = {}
    for _, stage, pid in noted(log):
        pids.setdefault(stage, set()).add(pid)
    assert len(pids["on_gpu"]) == 1
    assert not pids["on_gpu"] & (pids["waits"] | pids["counts"])
    assert len(pids["waits"] | pids["counts"]) <= 2


def test_local_engine_fuses_stages_that_need_the_same() -> None:
    first, second, third, fourth = Waits(), Counts(), OnGpu(), Raises()
    assert groups_of([first, second, third, fourth]) == [
        Group(0, 3, "cpu", (first, second)),
        Group(1, 3, "gpu", (third,)),
        Group(2, 3, "cpu", (fourth,)),
    ]


# Death.


@pytest.mark.parametrize("workers", [1, 3])
def test_local_engine_convicts_only_what_kills_its_worker(
    engine: Engine, log: str, workers: int
) -> None:
    heard, given = Heard(), videos(8, 3)
    found = ran(engine(workers), [Waits(), KillsItsWorker(log=log), Counts()], given, heard)
    poison = found.pop(3)
    assert (poison.outcome, poison.stage, poison.reason) == (
        "failed",
        "kills_its_worker",
        "crashed",
    )
    assert "SIGKILL" in str(poison.detail)
    assert outcomes(found) == [("pending", None)] * 7
    assert all(v.words for v in found)
    assert attempts(log, poison) == 3  # once, and twice alone
    assert heard.deaths == [(poison.video_id, "kills_its_worker", "signal SIGKILL")] * 2
    assert [t.outcome for t in heard.timings if t.video_id == poison.video_id] == [
        *["pending"] * sum(s == "waits" for i, s in heard.begun if i == poison.video_id),
        "failed",
    ]


def test_local_engine_survives_many_deaths(engine: Engine) -> None:
    found = ran(engine(2), [KillsItsWorker(), OnGpu()], videos(5, 0, 2, 4))
    crashed, fine = ("failed", "crashed"), ("pending", None)
    assert outcomes(found) == [crashed, fine, crashed, fine, crashed]


def test_local_engine_does_not_blame_a_video_whose_worker_was_killed_from_outside(
    engine: Engine,
) -> None:
    """The out-of-memory killer picks whom it likes: the second try, alone, goes well."""

    class Kills(Heard):
        def started(self, video: Video, stage: str) -> None:
            if video.video_id == "v001" and not self.begun:
                self.begun.append((video.video_id, stage))
                for child in multiprocessing.active_children():
                    child.kill()

    found = ran(engine(2), [Waits(wait_s=0.1), Counts()], videos(5), Kills())
    assert outcomes(found) == [("pending", None)] * 5


def test_local_engine_replaces_a_worker_that_died_while_idle(engine: Engine) -> None:
    running = engine(1).run([Waits()], videos(4), Heard())
    first = next(running)
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
    rest = list(running)
    assert sorted(v.video_id for v in [first, *rest]) == ["v000", "v001", "v002", "v003"]
    assert outcomes(rest) == [("pending", None)] * 3


def test_local_engine_lets_a_suspect_go_that_passes_when_it_is_alone(
    engine: Engine, log: str
) -> None:
    """Twice killed, once of these alone: that is not enough."""
    heard, given = Heard(), videos(4, 1)
    found = ran(engine(2), [KillsItsWorker(times=2, log=log), Counts()], given, heard)
    assert outcomes(found) == [("pending", None)] * 4
    assert attempts(log, given[1]) == 3
    assert len(heard.deaths) == 2


def test_local_engine_tries_suspects_alone(engine: Engine, log: str) -> None:
    """At the second and third death of a video no other worker lives."""
    living: list[int] = []

    class Looks(Heard):
        def started(self, video: Video, stage: str) -> None:
            super().started(video, stage)
            if self.deaths and stage == Idles.name:  # it cannot have died before we look
                living.append(len(multiprocessing.active_children()))

    ran(engine(3), [Idles(wait_s=0.5), KillsItsWorker()], videos(6, 0), Looks())
    assert living[-2:] == [1, 1]


def test_local_engine_does_not_pile_up_suspects(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "MOST_SUSPECTS", 2)
    taken: list[Video] = []

    def source() -> Iterator[Video]:
        for video in videos(12, *range(12)):
            taken.append(video)
            yield video

    running = engine(1).run([KillsItsWorker()], source(), Heard())
    first = next(running)
    assert first.reason == "crashed"
    assert len(taken) <= 5  # two suspects, and what stood before the one worker
    assert isinstance(running, Generator)
    running.close()


@pytest.mark.parametrize("stage", [Hangs(), Hangs(locked=True)])
def test_local_engine_tells_a_hang_from_work(engine: Engine, log: str, stage: Hangs) -> None:
    poison, *others = videos(4, 0)
    long = [dataclasses.replace(v, duration_s=600.0) for v in others]
    hurried = engine(2, cpu_base_s=0.5, cpu_per_media_s=1.0, wall_base_s=1.0, wall_per_media_s=1.0)
    stages = [dataclasses.replace(stage, log=log), Counts()]
    found = ran(hurried, stages, [poison, *long])
    assert outcomes(found) == [("failed", "timed_out"), *[("pending", None)] * 3]
    assert found[0].stage == "hangs"
    assert "more than 1 s; --retry-failed timed_out tries it again" in str(found[0].detail)
    assert attempts(log, poison) == 2  # once, and once alone


@pytest.mark.parametrize("stage", [BurnsCpu(), StartsChild(burns=True)], ids=lambda s: s.name)
def test_local_engine_bounds_the_cpu_seconds_of_a_stage(
    engine: Engine, log: str, stage: Stage
) -> None:
    """Of a program that the stage starts, too."""
    heard, (poison, *others) = Heard(), videos(4, 0)
    long = [dataclasses.replace(v, duration_s=600.0) for v in others]
    stages = [dataclasses.replace(stage, log=log), Counts()]  # type: ignore[type-var]
    found = ran(engine(2, cpu_base_s=0.3, cpu_per_media_s=1.0), stages, [poison, *long], heard)
    assert outcomes(found) == [("failed", "cpu_limit"), *[("pending", None)] * 3]
    assert str(found[0].detail).startswith("its worker was stopped twice, the last time for ")
    assert "more than 0 CPU-s" in str(found[0].detail)
    assert attempts(log, poison) == 2
    assert len(heard.deaths) == 1
    (timing,) = (t for t in heard.timings if t.video_id == poison.video_id)
    assert timing.cpu_s > 0.3


@dataclass(frozen=True)
class TellsLength(Waits):
    """Measures how long a video is, as probe does."""

    seconds: float = 0.0

    name: ClassVar[str] = "tells_length"
    writes: ClassVar[tuple[str, ...]] = ("duration_s",)

    def _live(self, video: Video, workspace: Workspace) -> Video:
        return dataclasses.replace(super()._live(video, workspace), duration_s=self.seconds)


def test_local_engine_counts_seconds_of_media_as_soon_as_a_stage_has_measured_them(
    engine: Engine,
) -> None:
    class Sees(Heard):
        def started(self, video: Video, stage: str) -> None:
            self.begun.append((stage, str(video.duration_s)))

    heard = Sees()
    ran(engine(), [TellsLength(seconds=9.5), Counts()], videos(1), heard)
    assert heard.begun == [("tells_length", "None"), ("counts", "9.5")]


def test_local_engine_ends_what_a_stage_has_started(engine: Engine, log: str) -> None:
    hurried = engine(1, cpu_base_s=0.5, wall_base_s=1.0)
    (found,) = ran(hurried, [StartsChild(log=log)], videos(1, 0))
    assert found.reason == "timed_out"
    children = [int(w.partition(":")[2]) for w, _, _ in noted(log) if w.startswith("child:")]
    assert children
    assert gone(children)


def test_local_engine_bounds_the_memory_that_a_stage_asks_for(engine: Engine) -> None:
    small = engine(2, memory_bytes=ROOM_BYTES)
    found = ran(small, [EatsMemory(most_bytes=4 * ROOM_BYTES), Counts()], videos(4, 1))
    assert outcomes(found) == [
        ("pending", None),
        ("failed", "out_of_memory"),
        *[("pending", None)] * 2,
    ]
    assert "more memory than one worker may have" in str(found[1].detail)


def test_local_engine_blames_nobody_for_what_a_worker_has_leaked(engine: Engine) -> None:
    """It has no memory left for any video; a fresh worker has."""
    leaks = Leaks(leaked_bytes=ROOM_BYTES // 4)
    small = engine(1, memory_bytes=ROOM_BYTES)
    found = ran(small, [leaks, Counts()], videos(9))
    assert outcomes(found) == [("pending", None)] * 9


def test_local_engine_kills_a_worker_that_outgrows_the_machine(engine: Engine, log: str) -> None:
    """Memory of the kind that no limit of the system counts."""
    small, given = engine(2, memory_bytes=ROOM_BYTES), videos(4, 1)
    eats = EatsMemory(most_bytes=ROOM_BYTES + (64 << 20), shared=True, log=log)
    found = ran(small, [eats, Counts()], given)
    assert outcomes(found) == [
        ("pending", None),
        ("failed", "out_of_memory"),
        *[("pending", None)] * 2,
    ]
    assert "more memory than one worker may have" in str(found[1].detail)
    assert attempts(log, given[1]) == 2


def test_local_engine_looks_at_its_workers_once_a_poll(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Collection[int]] = []

    def counted(pids: Collection[int]) -> dict[int, Used]:
        looks.append(pids)
        return used_by(pids)

    monkeypatch.setattr(watch, "used_by", counted)
    heard, since = Heard(), time.monotonic()
    ran(engine(2, poll_s=0.2), [Waits(), Counts(), RejectsEvery(nth=2)], videos(300), heard)
    assert len(heard.begun) == 900
    assert len(looks) <= (time.monotonic() - since) / 0.2 + 1


# Whose fault it is.

SEGV, CPU, MEMORY = (
    ("signal SIGSEGV", None),
    ("900 CPU-s, at most 300", "cpu_limit"),
    (
        "5000 MiB, at most 4096",
        "out_of_memory",
    ),
)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ([(SEGV, False)], None),
        ([(SEGV, False), (SEGV, False)], None),  # in company it may be somebody else's doing
        ([(SEGV, False), (SEGV, True)], None),
        ([(SEGV, False), (SEGV, True), (SEGV, True)], "crashed"),
        ([(SEGV, True), (SEGV, True)], "crashed"),
        ([(CPU, False)], None),
        ([(CPU, False), (CPU, True)], "cpu_limit"),
        ([(CPU, False), (MEMORY, True)], "out_of_memory"),
        ([(SEGV, False), (CPU, True)], None),
        ([(CPU, False), (SEGV, True)], None),
        ([(SEGV, False), (SEGV, True), (CPU, True)], None),
        ([(SEGV, False), (SEGV, True), (CPU, True), (SEGV, True)], "crashed"),
        ([(SEGV, False), (SEGV, True), (CPU, True), (CPU, True)], "cpu_limit"),
    ],
)
def test_suspects_are_convicted_by_what_was_seen(
    seen: list[tuple[tuple[str, str | None], bool]], reason: str | None
) -> None:
    convicted = conviction([Death(what, stopped, alone) for (what, stopped), alone in seen])
    assert (None if convicted is None else convicted[0]) == reason
    if convicted is not None:
        assert seen[-1][0][0] in convicted[1]


@pytest.mark.parametrize(
    ("cpu_s", "wall_s", "memory_bytes", "duration_s", "said"),
    [
        (11.0, 0.0, 0, None, ("cpu_limit", "more than 10 CPU-s")),
        (9.0, 19.0, 99 << 20, None, None),
        (29.0, 59.0, 0, 10.0, None),
        (31.0, 0.0, 0, 10.0, ("cpu_limit", "more than 30 CPU-s")),
        (0.0, 61.0, 0, 10.0, ("timed_out", "more than 60 s")),
        (99.0, 99.0, 101 << 20, 10.0, ("out_of_memory", "more memory than one worker may have")),
    ],
)
def test_limits_grow_with_the_length_of_the_video(
    cpu_s: float,
    wall_s: float,
    memory_bytes: int,
    duration_s: float | None,
    said: tuple[str, str] | None,
) -> None:
    limits = Limits(cpu_base_s=10, cpu_per_media_s=2, wall_base_s=20, wall_per_media_s=4)
    assert limits.exceeded(Used(cpu_s, memory_bytes), wall_s, 100 << 20, duration_s) == said
    assert limits.exceeded(Used(0.0, memory_bytes), 0.0, None, duration_s) is None


def test_limits_have_their_safety_net_below_them() -> None:
    with pytest.raises(ValueError, match="must lie above"):
        Limits(wall_base_s=299.0)
    assert share_of_memory(10**6) == 4 << 30


# The end of a run.


def test_local_engine_stops_where_the_machine_is_at_fault(engine: Engine) -> None:
    with pytest.raises(UsageError, match="there is no model 'none' on this machine"):
        ran(engine(2), [Waits(), CannotOpen()], videos(5))


def test_local_engine_stops_when_nobody_listens_any_more(engine: Engine) -> None:
    running = engine(2).run([Waits(wait_s=0.02), Hangs()], videos(6, 5), Heard())
    next(running)
    assert isinstance(running, Generator)
    running.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_local_engine_stops_where_a_disk_is_full(engine: Engine, workers: int) -> None:
    with pytest.raises(StorageError, match=r"cannot write /scratch/v001_poison/part: the disk is"):
        ran(engine(workers), [Waits(), FillsDisk()], videos(5, 1))


def test_local_engine_blames_no_video_for_a_stage_that_cannot_be_opened(engine: Engine) -> None:
    said = "the stage breaks_at_opening cannot be opened on this machine: RuntimeError: the library"
    with pytest.raises(UsageError, match=said):
        ran(engine(2), [BreaksAtOpening(), Counts()], videos(5))
    with pytest.raises(StorageError, match="cannot write /models/base: the disk is full"):
        ran(engine(2), [BreaksAtOpening(full_disk=True)], videos(5))


def test_local_engine_gives_up_a_stage_that_kills_its_workers_as_it_is_opened(
    engine: Engine, log: str
) -> None:
    heard = Heard()
    said = "stage breaks_at_opening cannot be opened on this machine: .* 3 times .* signal SIGKILL"
    with pytest.raises(UsageError, match=said):
        ran(engine(1), [Waits(), BreaksAtOpening(kills=99, log=log)], videos(9), heard)
    assert len(noted(log)) == 3
    assert heard.deaths == []


def test_local_engine_tries_again_to_open_a_stage(engine: Engine, log: str) -> None:
    heard = Heard()
    found = ran(engine(1), [Waits(), BreaksAtOpening(kills=2, log=log)], videos(4), heard)
    assert outcomes(found) == [("pending", None)] * 4
    assert heard.deaths == []


@dataclass(frozen=True)
class EndsWorkers(Waits):
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return os._exit, (3,)


def test_local_engine_gives_up_where_no_worker_starts(engine: Engine) -> None:
    heard = Heard()
    with pytest.raises(UsageError, match=r"end as they start, 3 times in a row.* exit status 3"):
        ran(engine(2), [EndsWorkers()], videos(9), heard)
    assert heard.deaths == []


# Room.


class Door:
    """Open for so many videos at first, and again when all of these have ended."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken: list[Video] = []
        self.ended = 0

    def open(self) -> bool:
        return len(self.taken) - self.ended < self.room

    def stuck(self) -> None:
        raise StorageError(f"no room: {self.ended} have ended")

    def source(self, given: list[Video]) -> Iterator[Video]:
        for video in given:
            self.taken.append(video)
            yield video


def test_local_engine_takes_no_video_while_there_is_no_room(engine: Engine) -> None:
    door, given = Door(3), videos(20, 5)
    found = []
    for video in engine(2).run([KillsItsWorker(), OnGpu()], door.source(given), Heard(), door):
        assert len(door.taken) - door.ended <= 3
        door.ended += 1
        found.append(video)
    assert sorted(v.video_id for v in found) == [v.video_id for v in given]


def test_local_engine_is_not_stuck_where_no_video_is_left(engine: Engine) -> None:
    door, found = Door(3), deque[Video]()
    found.extend(engine(2).run([Waits()], door.source(videos(3)), Heard(), door))
    assert len(found) == 3


def test_local_engine_says_that_it_is_stuck_once_all_in_work_has_ended(engine: Engine) -> None:
    door, found = Door(3), deque[Video]()  # what has ended is never let go
    running = engine(2).run([KillsItsWorker()], door.source(videos(9, 1)), Heard(), door)
    with pytest.raises(StorageError, match="no room: 0 have ended"):
        found.extend(running)
    assert sorted(v.video_id for v in found) == ["v000", "v001_poison", "v002"]


def test_local_engine_keeps_nothing_of_what_is_done(engine: Engine) -> None:
    """However many videos there are, the records that are alive are those in work."""

    def source() -> Iterator[Video]:
        for n in range(1200):
            yield from videos(1) if n % 500 else videos(1, 0)

    def counted() -> int:  # isinstance would ask lazy objects of other packages for their class
        return sum(type(o) is Video for o in gc.get_objects())

    alive, before = [], counted()
    stages = [Waits(), KillsItsWorker()]
    for n, _ in enumerate(engine(2).run(stages, source(), Mute())):
        if n % 200 == 0:
            alive.append(counted() - before)
    assert n == 1199
    assert max(alive) < 50


class Mute(Heard):
    """Remembers nothing."""

    def started(self, video: Video, stage: str) -> None: ...

    def measured(self, timing: Timing) -> None: ...

    def suspected(self, video: Video, stage: str, died: str) -> None: ...


# The end of the supervisor.

SCRIPT = """
import os
import signal
import sys
import time
from pathlib import Path
from reelscript.pipeline.engines.local import LocalEngine
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import *

class Tells:
    def started(self, video, stage):
        print(video.video_id, flush=True)
    def measured(self, timing):
        pass
    def suspected(self, video, stage, died):
        pass

if __name__ != "__main__" and sys.argv[3:] == ["slowly"]:  # in a worker, before all else
    os.write(1, b"starting\\n")  # in one piece: two of them write
    time.sleep(2)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    folder = Path(sys.argv[1])
    stage = eval(sys.argv[2])
    engine = LocalEngine(Store(str(folder / "work")), folder / "scratch", 2)
    print("begins", flush=True)
    try:
        list(engine.run([stage], videos(2, 0, 1), Tells()))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@contextlib.contextmanager
def hanging(folder: Path, stage: Stage, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A run with two workers, in a process group of its own, which begins just now."""
    (folder / "run.py").write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(folder / "run.py"), str(folder), repr(stage), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline().strip() == "begins"
        yield run
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)


def below(run: subprocess.Popen[str], least: int) -> list[int]:
    """The processes that a run has started, and they themselves, once there are so many."""
    until = time.monotonic() + 20
    while len(found := psutil.Process(run.pid).children(recursive=True)) < least:
        assert time.monotonic() < until
        time.sleep(0.05)
    return [process.pid for process in found]


def test_local_engine_interrupted_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C in a terminal goes to all of them at once; no one says a word."""
    with hanging(tmp_path, Hangs()) as run:
        assert run.stdout is not None
        assert {run.stdout.readline().strip() for _ in range(2)} == {"v000_poison", "v001_poison"}
        workers = below(run, 2)
        os.killpg(run.pid, signal.SIGINT)
        _, said = run.communicate(timeout=30)
        assert (run.returncode, said) == (130, "")
        assert gone(workers)


def test_local_engine_interrupted_while_its_workers_start_says_nothing(tmp_path: Path) -> None:
    """Workers see no Ctrl-C from their first moment on: it is the supervisor who ends them."""
    with hanging(tmp_path, Hangs(), "slowly") as run:
        assert run.stdout is not None
        assert run.stdout.readline().strip() == "starting"
        for pid in below(run, 2):
            os.kill(pid, signal.SIGINT)
        while not run.stdout.readline().startswith("v00"):
            pass
        workers = below(run, 2)
        os.killpg(run.pid, signal.SIGINT)
        _, said = run.communicate(timeout=30)
        assert (run.returncode, said) == (130, "")
        assert gone(workers)


@pytest.mark.parametrize(
    ("stage", "processes", "end"),
    [(Hangs(locked=True), 2, signal.SIGKILL), (StartsChild(), 4, signal.SIGTERM)],
)
def test_local_engine_killed_leaves_no_process(
    tmp_path: Path, stage: Stage, processes: int, end: int
) -> None:
    """Workers die with their supervisor, wherever they are, and so does what they have started."""
    log = str(tmp_path / "log")
    stage = dataclasses.replace(stage, log=log)  # type: ignore[type-var]
    with hanging(tmp_path, stage) as run:
        assert run.stdout is not None
        assert {run.stdout.readline().strip() for _ in range(2)} == {"v000_poison", "v001_poison"}
        until = time.monotonic() + 20
        while len(noted(log)) < 2 + processes:  # two openings, then what they are at
            assert time.monotonic() < until
            time.sleep(0.05)
        left = below(run, processes)
        run.send_signal(end)
        run.wait()
        assert gone(left)
