"""Beam runs the same stages as a plain loop does, to the same records, however it is run."""

# mypy: disallow-untyped-calls=False

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.pipeline.engines.beam import engine as on_beam
from reelscript.pipeline.engines.beam.results import Results, heard
from reelscript.pipeline.engines.beam.running import Processes, Running
from reelscript.pipeline.engines.beam.stations import HARNESS, Stations, StationsOf, join
from reelscript.pipeline.engines.ended import Ended
from reelscript.pipeline.engines.groups import groups_of
from reelscript.pipeline.engines.limits import Limits
from reelscript.pipeline.engines.supervisor import Stopped
from reelscript.pipeline.errors import ReelscriptError, StorageError, UsageError
from reelscript.pipeline.stage import Stage, apply
from reelscript.pipeline.store import Store, sha256_of_file
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
from tests.beam_made import MODES, PROGRAM_VIDEOS, KillsBeam, beam_engine
from tests.engines_made import Heard

ROOT = Path(__file__).parents[1]
QUICK = ["in_memory", "multi_threading"]
EVERY = [*QUICK, *(pytest.param(m, marks=pytest.mark.slow) for m in MODES if m not in QUICK)]


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """No test leaves a process, or an object that was only passed on."""
    yield
    assert multiprocessing.active_children() == []
    assert [p for p in tmp_path.glob("**/passing/**/*") if p.is_file()] == []


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "log")


def plain_loop(stages: Sequence[Stage], given: list[Video], folder: Path) -> list[Video]:
    """What an engine must come to."""
    workspace = Workspace(Store(f"memory://{uuid.uuid4().hex}"), folder)
    found = []
    with ExitStack() as stack:
        live = {stage: stack.enter_context(stage.open()) for stage in stages}
        for video in given:
            for stage in stages:
                if video.pending:
                    video, _ = apply(stage, live[stage], video, workspace)
            found.append(video)
    return found


def ran(
    work: Path,
    mode: str,
    stages: Sequence[Stage],
    given: list[Video],
    listener: Heard | None = None,
    workers: int = 2,
    **limits: float,
) -> list[Video]:
    """The videos after the stages, in the order in which they were given; each of them once."""
    engine = beam_engine(work, MODES[mode], workers, **limits)
    found = list(engine.run(stages, given, listener or Heard()))
    assert sorted(v.video_id for v in found) == sorted(v.video_id for v in given)
    by_id = {v.video_id: v for v in found}
    return [by_id[v.video_id] for v in given]


# Records.


@pytest.mark.parametrize("mode", EVERY)
def test_beam_engine_gives_what_a_plain_loop_gives(work: Path, tmp_path: Path, mode: str) -> None:
    stages = [Waits(), RejectsEvery(nth=3), Raises(kind="http_404"), Counts()]
    given = videos(14, 4, 7)
    given[1] = given[1].ended("rejected", "acquire", "duplicate_source")
    listener = Heard()
    found = ran(work, mode, stages, given, listener)
    assert found == plain_loop(stages, given, tmp_path)
    assert Counter(v.outcome for v in found) == {"pending": 6, "rejected": 6, "failed": 2}
    assert Counter(timing.stage for timing in listener.timings) == {
        "waits": 13,
        "rejects_every": 13,
        "raises": 8,
        "counts": 6,
    }
    assert Counter(listener.begun) == Counter((t.video_id, t.stage) for t in listener.timings)


def test_beam_engine_passes_groups_on_between_cpu_and_gpu(
    work: Path, tmp_path: Path, log: str
) -> None:
    stages = [Waits(log=log), OnGpu(log=log), RejectsEvery(nth=3), Counts(log=log)]
    given = videos(8)
    assert ran(work, "in_memory", stages, given) == plain_loop(
        [Waits(), OnGpu(), RejectsEvery(nth=3), Counts()], given, tmp_path
    )
    pids: dict[str, set[str]] = {}
    for _, stage, pid in noted(log):
        pids.setdefault(stage, set()).add(pid)
    assert len(pids["on_gpu"]) == 1
    assert not pids["on_gpu"] & (pids["waits"] | pids["counts"])


def test_beam_engine_measures_nothing_twice(work: Path, log: str) -> None:
    given, stages = videos(5), [Waits(log=log)]
    first = ran(work, "in_memory", stages, given)
    before = noted(log)
    listener = Heard()
    assert ran(work, "multi_threading", stages, given, listener) == first
    assert noted(log) == before
    assert all(timing.remembered for timing in listener.timings)


def test_beam_engine_with_nothing_to_do_starts_nothing(work: Path) -> None:
    assert ran(work, "in_memory", [Waits()], []) == []
    assert not work.exists()


def test_beam_engine_opens_a_stage_once_a_worker_whatever_threads_beam_has(
    work: Path, log: str
) -> None:
    ran(work, "multi_threading", [Waits(log=log, wait_s=0.05)], videos(12), workers=2)
    opened = [pid for what, _, pid in noted(log) if what == "open"]
    assert len(opened) == len(set(opened)) <= 2
    assert str(os.getpid()) not in opened


def test_beam_engine_tells_of_videos_while_others_are_still_in_work(work: Path, log: str) -> None:
    engine = beam_engine(work, workers=1)
    running = engine.run([Waits(log=log, wait_s=0.3)], videos(30), Heard())
    next(running)
    assert len(noted(log)) < 30
    assert isinstance(running, Generator)
    running.close()


# Waves.


class Narrow:
    """A gate that lets two videos through, until they have ended; at times it is stuck."""

    def __init__(self, most: int) -> None:
        self.most, self.in_work, self.widest, self.stuck_at = most, 0, 0, 0

    def counted(self, given: list[Video]) -> Iterator[Video]:
        for video in given:
            self.in_work += 1
            self.widest = max(self.widest, self.in_work)
            yield video

    def open(self) -> bool:
        return self.in_work < self.most

    def stuck(self) -> None:
        self.stuck_at += 1


@pytest.mark.parametrize(("most", "stuck"), [(2, 0), (0, 3)])
def test_beam_engine_takes_what_the_gate_lets_through(work: Path, most: int, stuck: int) -> None:
    gate, engine = Narrow(most), beam_engine(work)
    for _ in engine.run([Waits()], gate.counted(videos(3)), Heard(), gate):
        gate.in_work -= 1
    assert (gate.widest, gate.stuck_at) == (max(1, most), stuck)


def test_beam_engine_reads_no_more_of_a_list_than_a_wave(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_beam, "MOST_IN_A_WAVE", 4)
    gate = Narrow(100)
    engine = beam_engine(work)
    for _ in engine.run([Waits()], gate.counted(videos(9)), Heard(), gate):
        gate.in_work -= 1
    assert gate.widest <= 4


# What kills, hangs or breaks.


@pytest.mark.parametrize("mode", EVERY)
def test_beam_engine_convicts_only_what_kills_its_process(work: Path, mode: str) -> None:
    listener = Heard()
    found = ran(work, mode, [Waits(), KillsItsWorker()], videos(9, 4), listener)
    assert [n for n, video in enumerate(found) if not video.pending] == [4]
    assert (found[4].outcome, found[4].stage, found[4].reason) == (
        "failed",
        "kills_its_worker",
        "crashed",
    )
    assert {video_id for video_id, *_ in listener.deaths} == {found[4].video_id}


@pytest.mark.parametrize("mode", EVERY)
def test_beam_engine_stops_what_hangs(work: Path, mode: str) -> None:
    stages = [Waits(), Hangs(locked=True)]
    found = ran(work, mode, stages, videos(4, 2), cpu_base_s=1.0, wall_base_s=1.5)
    assert [(v.outcome, v.reason) for v in found] == [
        ("pending", None),
        ("pending", None),
        ("failed", "timed_out"),
        ("pending", None),
    ]


@pytest.mark.parametrize("mode", EVERY)
def test_beam_engine_tells_in_one_sentence_what_the_machine_lacks(work: Path, mode: str) -> None:
    with pytest.raises(UsageError) as told:
        ran(work, mode, [Waits(wait_s=0.1), CannotOpen()], videos(20))
    assert str(told.value) == "there is no model 'none' on this machine"


@pytest.mark.parametrize("mode", QUICK)
def test_beam_engine_tells_in_one_sentence_that_a_disk_is_full(work: Path, mode: str) -> None:
    with pytest.raises(StorageError, match=r"No space left on device") as told:
        ran(work, mode, [Waits(), FillsDisk()], videos(6, 3))
    assert "\n" not in str(told.value)
    assert "while running" not in str(told.value)


def test_beam_engine_that_is_left_gives_up_what_is_in_work(work: Path, log: str) -> None:
    engine = beam_engine(work, workers=2)
    running = engine.run([Hangs(log=log)], videos(8, 5, 6), Heard())
    next(running)
    assert isinstance(running, Generator)
    running.close()  # as Ctrl-C does; the fixture looks for what is left


@pytest.mark.slow
def test_beam_engine_that_is_interrupted_saves_what_was_finished(work: Path, log: str) -> None:
    """Also with Beam's own processes: nothing is printed or left, and the next run goes on."""
    for mode in ("in_memory", "multi_processing"):
        options = [f"{name}={value}" for name, value in MODES[mode].items()]
        command = [sys.executable, "-m", "tests.beam_made", str(work / mode), log, *options]
        with subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as program:
            assert program.stdout is not None
            assert program.stdout.readline().startswith("v")
            below = psutil.Process(program.pid).children(recursive=True)
            os.killpg(program.pid, signal.SIGINT)  # as a terminal does: Beam's processes get it too
            _, said = program.communicate(timeout=60)
        assert program.returncode == 130
        assert said == ""
        gone, alive = psutil.wait_procs(below, timeout=10)
        assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
        assert len(gone) >= 2
        before = len(noted(log))
        ran(work / mode, "in_memory", [Waits(wait_s=0.5, log=log)], videos(PROGRAM_VIDEOS))
        measured = [what for what, *_ in noted(log)[before:] if what != "open"]
        assert 0 < len(measured) < PROGRAM_VIDEOS


@pytest.mark.slow
def test_beam_engine_says_so_if_a_process_of_beam_is_killed_and_the_next_run_finishes(
    work: Path, log: str
) -> None:
    given, stages = videos(8, 5), [Waits(), KillsBeam(log=log)]
    engine = beam_engine(work, MODES["multi_processing"])
    finished: list[Video] = []
    with pytest.raises(ReelscriptError, match=r"killed.*same command goes on"):
        finished.extend(engine.run(stages, given, Heard()))
    assert finished
    assert all(video.pending for video in ran(work, "multi_processing", stages, given))


def test_beam_engine_that_is_interrupted_knows_that_its_pipeline_goes_on() -> None:
    from apache_beam.options.pipeline_options import PipelineOptions

    ends = threading.Event()

    def build(_pipeline: Any) -> None:
        ends.wait()

    running = Running(build, PipelineOptions(["--runner=FnApiRunner"]))
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        running.wait(60.0)
    assert running.wait(0.01)
    ends.set()
    running.end()
    assert not running.wait(0.01)


# Stations of a process.


def test_beam_processes_that_start_others_are_not_taken_for_killed() -> None:
    """Between its fork and its exec a child has the command line of its parent."""
    forks = "import os; os.fork() or input() or os._exit(0); print(); os.wait(); print(); input()"
    found = Processes()
    with subprocess.Popen(
        [sys.executable, "-c", forks, HARNESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()  # both are there; then the child has ended
            found.look()
            process.stdin.write(b"\n")
            process.stdin.flush()
        killed_before = found.killed
    found.look()
    assert (killed_before, found.killed) == (False, True)


def test_beam_stations_close_though_one_waits_for_another(work: Path, log: str) -> None:
    """A suspect hangs alone: who comes then waits at the door, and is the first to be closed."""
    group = groups_of([KillsItsWorker(times=1, log=log), Hangs(log=log)])[0]
    stations = Stations(StationsOf(group, str(work), "run", 2, 1, Limits(poll_s=0.05)))
    first, suspect, other = videos(3, 1)
    assert stations.submit([first]).result()[0].video.pending
    hangs = stations.submit([suspect])
    while [suspect.video_id, "hangs"] not in [line[:2] for line in noted(log)]:
        assert not wait([hangs], timeout=0.05).done
    waits = stations.submit([other])
    stations.close()
    for future in (hangs, waits):
        assert isinstance(future.exception(), Stopped)
    with pytest.raises(RuntimeError, match="shutdown"):
        stations.submit([first])


# Options.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"direct_runing_mode": "in_memory"}, "did you mean 'direct_running_mode'"),
        ({"direct_running_mode": "threads"}, "invalid choice: 'threads'"),
        ({"direct_running_mode": "multi_processing"}, "a process a GPU"),
    ],
)
def test_beam_engine_refuses_options_that_are_wrong(
    work: Path, options: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        list(beam_engine(work, options).run([OnGpu()], videos(1), Heard()))


def test_beam_engine_names_a_runner_that_beam_does_not_have(work: Path) -> None:
    with pytest.raises(ReelscriptError, match="NoSuchRunner"):
        list(beam_engine(work, {"runner": "NoSuchRunner"}).run([Waits()], videos(1), Heard()))


def test_beam_engine_says_how_beam_is_installed(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    with pytest.raises(UsageError, match=r"pip install 'reelscript\[beam\]'"):
        list(beam_engine(work).run([Waits()], videos(1), Heard()))


# Results on their way.


def test_beam_results_of_a_bundle_that_is_tried_again_count_once(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = Results.tell

    def twice(self: Results, number: int, ended: Any) -> None:
        told = list(ended)
        tell(self, number, told)
        tell(self, number, told)

    monkeypatch.setattr(Results, "tell", twice)
    listener = Heard()
    ran(work, "in_memory", [Waits(), OnGpu(), Counts()], videos(5), listener)
    assert len(listener.timings) == 15


def test_beam_results_of_an_earlier_group_may_be_told_later(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runners that stream rows from group to group make it so; nothing that was told is lost."""
    arrived, held = Results.arrived, list[tuple[int, Ended]]()

    def late(self: Results) -> Iterator[tuple[int, Ended]]:
        held.extend(arrived(self))
        if len(held) == 3 * 4:
            yield from reversed(held)

    monkeypatch.setattr(Results, "arrived", late)
    listener = Heard()
    found = ran(work, "in_memory", [RejectsEvery(nth=4), OnGpu(), Counts()], videos(4), listener)
    assert [v.outcome for v in found] == ["rejected", "pending", "pending", "pending"]
    assert len(listener.timings) == 4 + 3 + 3


def test_beam_results_hold_what_was_given(tmp_path: Path) -> None:
    results = Results(Store(str(tmp_path)), "run")
    given = videos(1234)
    names = results.give(given)
    assert [v for name in names for v in results.given(name)] == given
    results.tell(1, [Ended(v) for v in given[:3]])
    assert list(results.arrived()) == [(1, Ended(v)) for v in given[:3]]
    assert list(results.arrived()) == []
    results.end()


@given(st.sampled_from([UsageError, StorageError]), st.text(min_size=1), st.integers(0, 2))
def test_beam_errors_of_ours_are_found_in_those_of_runners(
    kind: type[ReelscriptError], text: str, how: int
) -> None:
    sentence = " ".join(text.split()) or "x"
    where = f"{sentence} [while running 'cpu group 0: waits']"
    named = f"reelscript.pipeline.errors.{kind.__name__}: {where}"
    error = [kind(where), RuntimeError(f"Traceback:\n{named}\n"), RuntimeError(named)][how]
    found = heard(error)
    assert type(found) is kind
    assert str(found) == sentence
    assert heard(RuntimeError("Channel closed prematurely.")) is None


# The transform in a pipeline of one's own.


def fn_api_runner(build: Any) -> Any:
    """The result of a pipeline, which has ended."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    pipeline = beam.Pipeline("FnApiRunner", PipelineOptions([]))
    build(pipeline)
    result = pipeline.run()
    result.wait_until_finish()
    return result


def test_beam_transform_counts_what_becomes_of_videos(work: Path) -> None:
    import apache_beam as beam

    from reelscript.pipeline.engines.beam.transform import NAMESPACE, ApplyStages

    stages = [RejectsEvery(nth=3), OnGpu(), Raises(kind="http_404"), KillsItsWorker(marker="v007")]
    given = videos(9, 2, 5)

    def build(pipeline: Any) -> None:
        ended = pipeline | beam.Create(given) | ApplyStages(stages, str(work), workers=2)
        _ = ended | "Where" >> beam.Map(lambda v: (v.outcome, v.reason))

    found = fn_api_runner(build).metrics().query()
    counters = {c.key.metric.name: c.committed for c in found["counters"]}
    ours = {m.key.metric.namespace for m in found["counters"]}
    assert NAMESPACE in ours
    assert {name: n for name, n in counters.items() if name[:7] in ("outcome", "reason/")} == {
        "outcome/pending": 3,
        "outcome/rejected": 3,
        "outcome/failed": 3,
        "reason/rejects_every/nth": 3,
        "reason/raises/http_404": 2,
        "reason/kills_its_worker/crashed": 1,
    }
    assert counters["died/kills_its_worker"] >= 2
    walls = {d.key.metric.name: d.committed.count for d in found["distributions"]}
    assert walls["wall_ms/rejects_every"] == 9
    assert walls["wall_ms/on_gpu"] == 6


def test_beam_transform_keeps_times_and_windows(work: Path) -> None:
    import apache_beam as beam
    from apache_beam.testing.util import assert_that, equal_to
    from apache_beam.transforms.window import FixedWindows, TimestampedValue

    from reelscript.pipeline.engines.beam.transform import ApplyStages

    def stamped(
        video: Video, time: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> tuple[str, int, int]:
        return video.video_id, int(time), int(window.start)

    def build(pipeline: Any) -> None:
        seen = (
            pipeline
            | beam.Create(videos(6))
            | beam.Map(lambda v: TimestampedValue(v, 10 * v.position))
            | beam.WindowInto(FixedWindows(20))
            | ApplyStages([Waits(), OnGpu()], str(work))
            | "Seen" >> beam.Map(stamped)
        )
        expected = [(f"v{n:03d}", 10 * n, 20 * (n // 2)) for n in range(6)]
        assert_that(seen, equal_to(expected))

    fn_api_runner(build)


@dataclass(frozen=True)
class PassesOn(Waits):
    """Leaves a file for the groups that follow."""

    name: ClassVar[str] = "passes_on"
    writes: ClassVar[tuple[str, ...]] = ("container",)

    def _live(self, video: Video, workspace: Workspace) -> Video:
        path = workspace.scratch_of(video) / "sound"
        path.write_bytes(b"a sound")
        workspace.pass_on(video, "sound", path, sha256_of_file(path))
        return dataclasses.replace(video, container="mp4")


def test_beam_transform_leaves_nothing_of_what_passed_between_groups(work: Path) -> None:
    """`_nothing_is_left` looks; in a pipeline of somebody's own no driver would remove it."""
    import apache_beam as beam
    from apache_beam.testing.util import assert_that, equal_to

    from reelscript.pipeline.engines.beam.transform import ApplyStages

    stages = [PassesOn(), RejectsEvery(nth=2), OnGpu(), Counts()]

    def build(pipeline: Any) -> None:
        ended = pipeline | beam.Create(videos(4)) | ApplyStages(stages, str(work))
        outcomes = ended | "Outcome" >> beam.Map(lambda v: v.outcome)
        assert_that(outcomes, equal_to(["rejected", "pending"] * 2))

    fn_api_runner(build)


def test_beam_transform_asks_for_memory_and_a_gpu(work: Path) -> None:
    import apache_beam as beam

    from reelscript.pipeline.engines.beam.transform import ANY_GPU, ApplyStages

    pipeline = beam.Pipeline("FnApiRunner")
    limits = Limits(memory_bytes=5 << 30)
    stages = [Waits(), OnGpu()]
    _ = pipeline | beam.Create(videos(1)) | ApplyStages(stages, str(work), 3, limits=limits)
    environments = pipeline.to_runner_api().components.environments.values()
    hints = [dict(e.resource_hints) for e in environments if e.resource_hints]
    ram, gpu = "beam:resources:min_ram_bytes:v1", "beam:resources:accelerator:v1"
    found = sorted((int(h[ram]), h.get(gpu)) for h in hints)
    assert found == [(6 << 30, ANY_GPU.encode()), (16 << 30, None)]


def test_beam_transform_raises_what_a_machine_lacks(work: Path) -> None:
    import apache_beam as beam

    from reelscript.pipeline.engines.beam.transform import ApplyStages

    def build(pipeline: Any) -> None:
        _ = pipeline | beam.Create(videos(3)) | ApplyStages([CannotOpen()], str(work))

    with pytest.raises(Exception, match="there is no model 'none' on this machine"):
        fn_api_runner(build)


def test_beam_rows_are_small_and_a_graph_holds_none(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import apache_beam as beam
    from apache_beam.coders.coders import Coder
    from apache_beam.coders.typecoders import registry

    from reelscript.schemas.video import MAX_RECORD_BYTES

    sizes: list[int] = []
    run = beam.Pipeline.run

    def measured(self: Any, *arguments: Any) -> Any:
        sizes.append(self.to_runner_api().ByteSize())
        return run(self, *arguments)

    monkeypatch.setattr(beam.Pipeline, "run", measured)
    given = [v.ended("rejected", "acquire", "playlist") for v in videos(2000)]
    for some in (given[:1000], given):
        ran(work, "in_memory", [Waits()], some)
    assert sizes[1] - sizes[0] < 1000
    whole = Video(video_id="x" * 64, url="u" * 1000, location="l" * 1000, title="t" * 300)
    coder: Coder = registry.get_coder(Video)
    assert len(coder.encode(whole)) < MAX_RECORD_BYTES


def test_beam_processes_refuse_stages_of_a_script(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    monkeypatch.setattr(Waits, "__module__", "__main__")
    of = StationsOf(groups_of([Waits()])[0], str(work), "run", 1, 1, Limits())
    with pytest.raises(UsageError, match="the stage waits stands in a script"):
        join(of)


@pytest.mark.slow
def test_beam_example_describes_videos(tmp_path: Path) -> None:
    given = [str(ROOT / "examples/videos" / name) for name in ("garden.mp4", "broken.mp4")]
    command = [sys.executable, str(ROOT / "examples/beam_pipeline.py"), *given]
    command += ["--work", str(tmp_path), "--runner=FnApiRunner"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = sorted(done.stdout.splitlines())
    assert [line.split()[0] for line in lines] == ["broken.mp4:", "garden.mp4:"]
    assert "rejected by probe" in lines[0]
    assert "keyframes" in lines[1]
