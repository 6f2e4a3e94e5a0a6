"""Several videos at once: what is computed jointly, and what follows if that goes wrong."""

import dataclasses
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import hypothesis
import pytest
from hypothesis import strategies as st

from reelscript.pipeline.engines.batch import Way
from reelscript.pipeline.engines.groups import MOST_AT_ONCE, groups_of
from reelscript.pipeline.engines.limits import Limits
from reelscript.pipeline.engines.local import LocalEngine
from reelscript.pipeline.engines.opened import Stages
from reelscript.pipeline.engines.station import Station
from reelscript.pipeline.engines.suspects import Task
from reelscript.pipeline.engines.waiting import ENOUGH_MEDIA_S, Waiting
from reelscript.pipeline.engines.watched import Worker
from reelscript.pipeline.errors import DamagedArtefact, UsageError
from reelscript.pipeline.stage import Stage
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import Counts, OnGpu, RejectsEvery, Waits, noted, videos
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from tests.engines_made import SPENT_S, Heard, Joins, attempts, batches, in_one_process, outcomes

CRASHED, FINE = ("failed", "crashed"), ("pending", None)


class Run(Protocol):
    def __call__(
        self, stages: Sequence[Stage], given: list[Video], heard: Heard | None = None, **limits: Any
    ) -> list[Video]: ...


@pytest.fixture(params=["local", "station"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    """Runs stages and returns the videos in the order in which they were given."""

    def run(
        stages: Sequence[Stage], given: list[Video], heard: Heard | None = None, **limits: Any
    ) -> list[Video]:
        heard, bounds = heard or Heard(), Limits(**{"poll_s": 0.05, **limits})
        if request.param == "station":
            (group,) = groups_of(stages)
            with Station(group, str(tmp_path / "work"), f"run-{tmp_path.name}", 1, bounds) as one:
                ended = one.run(given)
            for each in ended:
                each.tell(heard)
            return [each.video for each in ended]
        engine = LocalEngine(Store(str(tmp_path / "work")), tmp_path / "scratch", 1, limits=bounds)
        found = list(engine.run(stages, given, heard))
        assert sorted(v.video_id for v in found) == sorted(v.video_id for v in given)
        by_id = {v.video_id: v for v in found}
        return [by_id[v.video_id] for v in given]

    yield run
    assert multiprocessing.active_children() == []


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "log")


@pytest.mark.parametrize("on_gpu", [False, True])
def test_batches_give_what_videos_alone_give(
    run: Run, tmp_path: Path, log: str, on_gpu: bool
) -> None:
    stages: list[Stage] = [Joins(log=log, at_once=4, on_gpu=on_gpu)]
    if not on_gpu:
        stages = [RejectsEvery(nth=3), *stages, Counts(factor=2)]
    given, heard = videos(14), Heard()
    assert run(stages, given, heard) == in_one_process(
        [dataclasses.replace(s, log="") for s in stages],  # type: ignore[type-var]
        given,
        tmp_path,
    )
    found = batches(log)
    assert found
    assert max(len(batch) for batch in found) <= 4
    done = Counter((t.video_id, t.stage) for t in heard.timings)
    assert set(done.values()) == {1}
    assert len(done) == 14 if on_gpu else 14 + 9 + 9


def test_batches_hold_only_what_is_not_remembered(run: Run, log: str) -> None:
    given = videos(9)
    run([Joins()], given[3:6])
    run([Joins(log=log, at_once=9)], given)
    joined = [i for batch in batches(log) for i in batch]
    alone = [what for what, *_ in noted(log) if what != "open" and "+" not in what]
    assert sorted([*joined, *alone]) == [v.video_id for v in given[:3] + given[6:]]


def test_batches_of_one_are_not_joined(run: Run, log: str) -> None:
    """Nobody waits for a batch to be full."""
    assert outcomes(run([Joins(log=log, at_once=8)], videos(1))) == [FINE]
    assert batches(log) == []


def test_batches_that_raise_cost_nothing_but_time(run: Run, log: str) -> None:
    heard, given = Heard(), videos(8, 2)
    found = run([Joins(log=log, jointly="raise")], given, heard)
    assert outcomes(found) == [FINE] * 8
    assert heard.deaths == []
    assert all(v.words == len(v.url) for v in found)
    assert attempts(log, given[2]) == 1
    traces = {t.video_id: t.trace for t in heard.timings if t.trace}
    together = next(batch for batch in batches(log) if given[2].video_id in batch)
    assert sorted(traces) == sorted(together)  # for --debug
    assert all("the batch is too large" in str(trace) for trace in traces.values())


def test_batches_that_kill_leave_nobody_to_blame_where_each_passes_alone(
    run: Run, log: str
) -> None:
    heard, given = Heard(), videos(8, 2)
    found = run([Joins(log=log, jointly="kill")], given, heard)
    assert outcomes(found) == [FINE] * 8
    together = next(batch for batch in batches(log) if given[2].video_id in batch)
    assert sorted(heard.deaths) == [(i, "joins", "signal SIGKILL") for i in sorted(together)]
    assert [attempts(log, v) for v in given if v.video_id in together] == [1] * len(together)


def test_batches_convict_only_what_kills_alone(run: Run, log: str) -> None:
    heard, given = Heard(), videos(8, 2)
    found = run([Waits(), Joins(log=log, jointly="kill", alone="kill")], given, heard)
    assert outcomes(found) == [CRASHED if n == 2 else FINE for n in range(8)]
    assert attempts(log, given[2]) == 2
    assert [t.outcome for t in heard.timings if t.stage == "joins"].count("failed") == 1


def test_batches_that_hang_are_stopped_and_count_against_nobody(run: Run, log: str) -> None:
    """What is stopped jointly may be another's doing: it takes two times alone as well."""
    given = [dataclasses.replace(v, duration_s=60.0) for v in videos(4, 1)]
    given[1] = dataclasses.replace(given[1], duration_s=None)
    joins = Joins(log=log, jointly="hang", alone="hang")
    limits: dict[str, Any] = {"wall_base_s": 1.0, "wall_per_media_s": 0.01, "cpu_base_s": 0.5}
    found = run([joins], given, **limits, cpu_per_media_s=0.01)
    assert outcomes(found) == [("failed", "timed_out") if n == 1 else FINE for n in range(4)]
    assert attempts(log, given[1]) == 2


# Inside a worker.


class Faulty(Joins):
    """Damages, or refuses, what it is asked to join."""

    def key(self, video: Video) -> str:
        if "broken" in video.url:
            raise ValueError("no key")
        return super().key(video)


def walked(way: Way, given: Sequence[Video]) -> list[Video]:
    return sorted(way.walk(given), key=lambda video: video.video_id)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")


def test_batches_leave_out_a_video_whose_inputs_are_broken(workspace: Workspace, log: str) -> None:
    given = videos(4)
    given[1] = dataclasses.replace(given[1], url="broken")
    found = walked(Way((Faulty(log=log),), Stages(), workspace, lambda _: None), given)
    assert outcomes(found) == [FINE, ("failed", "error"), FINE, FINE]
    assert batches(log) == [["v000", "v002", "v003"]]


def test_batches_are_joined_by_each_stage_as_it_asks(workspace: Workspace, tmp_path: Path) -> None:
    logs = [str(tmp_path / name) for name in "ab"]
    pair, triple = Joins(log=logs[0], at_once=2), Joins(log=logs[1], at_once=3, marker="none")
    walked(Way((pair, triple), Stages(), workspace, lambda _: None), videos(5))
    assert batches(logs[0]) == [["v000", "v001"], ["v002", "v003"]]
    assert batches(logs[1]) == [["v000", "v001", "v002"], ["v003", "v004"]]


def test_batches_make_a_damaged_artefact_again_for_its_video_only(
    workspace: Workspace, log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = iter([True])

    def act(self: Joins, video: Video) -> None:
        if next(damaged, False):
            raise DamagedArtefact("gone")

    monkeypatch.setattr(Joins, "act", act)
    monkeypatch.setattr(Joins, "together", Stage.together)
    found = walked(Way((Joins(log=log),), Stages(), workspace, lambda _: None), videos(4, 1))
    assert outcomes(found) == [FINE] * 4
    assert [attempts(log, v) for v in found] == [1, 2, 1, 1]


def test_batches_share_what_their_joint_step_took(workspace: Workspace) -> None:
    said: list[Any] = []
    way = Way((Joins(wait_s=0.4), Counts()), Stages(), workspace, said.append)
    walked(way, videos(4))
    timings = [value for what, value in said if what == "timing" and value.stage == "joins"]
    assert sum(t.wall_s for t in timings) >= 0.4
    assert all(t.wall_s >= 0.1 for t in timings)
    assert all(t.cpu_s >= SPENT_S for t in timings)


def test_batches_remember_what_their_joint_step_cost(workspace: Workspace) -> None:
    said: list[Any] = []
    given = videos(3)
    for _ in range(2):
        walked(Way((Joins(),), Stages(), workspace, said.append), given)
    timings = [value for what, value in said if what == "timing"]
    assert [t.remembered for t in timings] == [False] * 3 + [True] * 3
    assert [t.cpu_s for t in timings[:3]] == [t.cpu_s for t in timings[3:]]


def test_batches_pass_on_what_ends_a_build(workspace: Workspace) -> None:
    class NoModel(Joins):
        def key(self, video: Video) -> str:  # noqa: ARG002
            raise UsageError("there is no such model")

    with pytest.raises(UsageError, match="no such model"):
        walked(Way((NoModel(),), Stages(), workspace, lambda _: None), videos(2))


# Who gets how many.


def test_batches_hold_no_more_than_a_pipe_takes() -> None:
    (group,) = groups_of([Waits(), Joins(at_once=1000)])
    assert group.videos_at_once == MOST_AT_ONCE
    assert groups_of([Waits(), Counts()])[0].videos_at_once == 1
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    ours.send([b"x" * 4096] * MOST_AT_ONCE)  # returns, though nobody reads
    ours.close()
    theirs.close()


@hypothesis.given(st.integers(0, 40), st.integers(1, 8), st.integers(1, 6))
def test_batches_are_shared_out_among_idle_workers(many: int, at_once: int, workers: int) -> None:
    waiting = Waiting(groups_of([Joins(at_once=at_once)]), {"cpu": workers, "gpu": 1})
    for video in videos(many):
        waiting.add(0, video)
    sizes = [len(waiting.batch(0, left)) for left in range(workers, 0, -1)]
    assert sum(sizes) == min(many, workers * at_once)
    assert max(sizes) - min(sizes) <= 1


@hypothesis.given(st.lists(st.none() | st.floats(0.1, 2000), max_size=12), st.integers(1, 5))
def test_batches_are_of_short_videos(lengths: list[float | None], at_once: int) -> None:
    """A batch has no video more than it needs to have enough to do."""
    waiting, taken = Waiting(groups_of([Joins(at_once=at_once)]), {"cpu": 1, "gpu": 1}), []
    for video, length in zip(videos(len(lengths)), lengths, strict=True):
        waiting.add(0, dataclasses.replace(video, duration_s=length))
    while batch := waiting.full_batch(0):
        found = [task.video.duration_s or 0.0 for task in batch]
        assert sum(found[:-1]) < ENOUGH_MEDIA_S
        assert len(batch) == at_once or sum(found) >= ENOUGH_MEDIA_S
        taken += batch
    rest = waiting.batch(0, 1)
    assert len(rest) < at_once or not rest
    assert [task.video.duration_s for task in taken + rest] == lengths


def test_batches_may_use_what_their_videos_may_use_together() -> None:
    lengths = (5.0, None, 7.0)
    given = [dataclasses.replace(v, duration_s=lengths[n]) for n, v in enumerate(videos(3))]
    worker = Worker("gpu", cast(Any, None), cast(Any, None), None, None, 0)
    worker.tasks = {video.video_id: Task(0, video) for video in given}
    worker.enter(given, "joins")
    assert (worker.media_s, worker.stage) == (12.0, "joins")
    worker.enter(given[2:], "joins")
    assert worker.media_s == 7.0


def test_gpu_worker_has_its_next_videos_before_it_asks(tmp_path: Path, log: str) -> None:
    """It goes on while nobody looks after it, as when a build writes down what has ended."""
    engine = LocalEngine(Store(str(tmp_path / "work")), tmp_path / "scratch", 1)
    running = engine.run([OnGpu(log=log, wait_s=0.2)], videos(8), Heard())
    next(running)
    before, until = len(noted(log)), time.monotonic() + 60
    while len(noted(log)) == before:  # the supervisor stands still
        assert time.monotonic() < until
        time.sleep(0.05)
    assert len(list(running)) == 7
