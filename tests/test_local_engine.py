import contextlib
import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from reelscript.pipeline.engines import local
from reelscript.pipeline.engines.local import LocalEngine, chains_of
from reelscript.pipeline.engines.worker import Stages, run_chain
from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.stage import Stage, Timing
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import (
    CannotOpen,
    Counts,
    EatsMemory,
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

ROOM_BYTES = 400 << 20


class Engine(Protocol):
    def __call__(self, workers: int = 1, gpus: int = 1) -> LocalEngine: ...


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str]] = []
        self.timings: list[Timing] = []

    def started(self, video: Video, stage: str) -> None:
        self.begun.append((video.video_id, stage))

    def measured(self, timing: Timing) -> None:
        self.timings.append(timing)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(local, "POLL_S", 0.05)

    def made(workers: int = 1, gpus: int = 1) -> LocalEngine:
        return LocalEngine(Store(str(tmp_path / "work")), tmp_path / "scratch", workers, gpus)

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


def in_one_process(stages: Sequence[Stage], given: list[Video], folder: Path) -> list[Video]:
    """What an engine must come to, from a plain loop."""
    live = Stages()
    workspace = Workspace(Store(f"memory://{uuid.uuid4().hex}"), folder)
    try:
        return [run_chain(tuple(stages), v, live, workspace, lambda _: None) for v in given]
    finally:
        live.close()


def outcomes(found: list[Video]) -> list[tuple[str, str | None]]:
    return [(v.outcome, v.reason) for v in found]


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
    assert chains_of([first, second, third, fourth]) == [
        ("cpu", (first, second)),
        ("gpu", (third,)),
        ("cpu", (fourth,)),
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
    assert sum(what == poison.video_id for what, _, _ in noted(log)) == 2  # once, and once alone
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


def test_local_engine_tells_a_hang_from_work(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "STAGE_BASE_S", 1.0)
    monkeypatch.setattr(local, "STAGE_PER_MEDIA_S", 1.0)
    poison, *others = videos(4, 0)
    long = [dataclasses.replace(v, duration_s=600.0) for v in others]
    found = ran(engine(2), [Hangs(), Counts()], [poison, *long])
    assert outcomes(found) == [("failed", "timed_out"), *[("pending", None)] * 3]
    assert found[0].stage == "hangs"


def test_local_engine_bounds_the_memory_that_a_stage_asks_for(engine: Engine) -> None:
    small = engine(2)
    small.max_memory_bytes = ROOM_BYTES
    found = ran(small, [EatsMemory(most_bytes=4 * ROOM_BYTES), Counts()], videos(4, 1))
    assert outcomes(found) == [
        ("pending", None),
        ("failed", "out_of_memory"),
        *[("pending", None)] * 2,
    ]
    assert "MemoryError" in str(found[1].detail)


def test_local_engine_kills_a_worker_that_outgrows_the_machine(engine: Engine) -> None:
    """Memory of the kind that no limit of the system counts."""
    small = engine(2)
    small.max_memory_bytes = ROOM_BYTES
    eats = EatsMemory(most_bytes=ROOM_BYTES + (64 << 20), shared=True)
    found = ran(small, [eats, Counts()], videos(4, 1))
    assert outcomes(found) == [
        ("pending", None),
        ("failed", "out_of_memory"),
        *[("pending", None)] * 2,
    ]


# The end of a run.


def test_local_engine_stops_where_the_machine_is_at_fault(engine: Engine) -> None:
    with pytest.raises(UsageError, match="there is no model 'none' on this machine"):
        ran(engine(2), [Waits(), CannotOpen()], videos(5))


def test_local_engine_stops_when_nobody_listens_any_more(engine: Engine) -> None:
    running = engine(2).run([Waits(wait_s=0.02), Hangs()], videos(6, 5), Heard())
    next(running)
    assert isinstance(running, Generator)
    running.close()


SCRIPT = """
import signal
import sys
from pathlib import Path
from reelscript.pipeline.engines.local import LocalEngine
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import Hangs, videos

class Tells:
    def started(self, video, stage):
        print(video.video_id, flush=True)
    def measured(self, timing):
        pass

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    folder = Path(sys.argv[1])
    engine = LocalEngine(Store(str(folder / "work")), folder / "scratch", 2)
    try:
        list(engine.run([Hangs()], videos(2, 0, 1), Tells()))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A run of two stages that hang, in a process group of its own; and its workers."""
    (tmp_path / "run.py").write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "run.py"), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        assert {run.stdout.readline().strip() for _ in range(2)} == {"v000_poison", "v001_poison"}
        workers = psutil.Process(run.pid).children(recursive=True)
        assert len(workers) >= 2
        yield run, workers
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)


def test_local_engine_interrupted_leaves_no_process(
    hanging: tuple[subprocess.Popen[str], list[psutil.Process]],
) -> None:
    """Ctrl-C in a terminal goes to all of them at once; no one says a word."""
    run, workers = hanging
    os.killpg(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=30)
    assert (run.returncode, said) == (130, "")
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
