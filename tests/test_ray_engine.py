"""The engine on Ray: every video once, whoever dies; and what is wrong is said in one sentence."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.pipeline.engines.ended import Ended
from reelscript.pipeline.engines.groups import groups_of
from reelscript.pipeline.engines.ray import cluster as ray_cluster
from reelscript.pipeline.engines.ray.cluster import Cluster
from reelscript.pipeline.engines.ray.engine import (
    MOST_A_PARCEL,
    OnTheirWay,
    RayEngine,
    _seen_by_all,
)
from reelscript.pipeline.engines.ray.job import Job, Lost
from reelscript.pipeline.engines.ray.joining import LAST_WORDS, _own_sigterm, joined
from reelscript.pipeline.engines.ray.pools import Share, pools_of
from reelscript.pipeline.engines.ray.rows import Feed, Row, Together, from_lines, lines_of, row_of
from reelscript.pipeline.errors import ReelscriptError, StorageError, UsageError
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import (
    CannotOpen,
    Counts,
    FillsDisk,
    KillsItsWorker,
    OnGpu,
    Raises,
    RejectsEvery,
    Waits,
    noted,
    videos,
)
from reelscript.schemas.video import Video
from tests.engines_made import Heard
from tests.poison import LIMITS, Decoder, write_poison
from tests.ray_made import actors, command, driver, engine, small_cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("clusters"),  # one at a time
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # of Ray's own use of itself
]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with small_cluster() as found:
        yield found


def outcomes(ended: list[Video]) -> dict[str, str]:
    found = {
        v.video_id: v.outcome if v.reason is None else f"{v.outcome}({v.reason})" for v in ended
    }
    assert len(found) == len(ended)
    return found


def test_cluster_tests_share_a_worker(request: pytest.FixtureRequest) -> None:
    """Two clusters that start at the same moment on one machine can take each other's ports."""
    if hasattr(request.config, "workerinput"):
        assert request.node.nodeid.endswith("@clusters")


def test_engine_runs_groups_and_tells_all(cluster: Cluster, tmp_path: Path) -> None:
    stages = [Counts(), RejectsEvery(nth=5), Raises(kind="broken"), OnGpu(), Waits()]
    told = Heard()

    ended = list(engine(tmp_path).run(stages, videos(23, 3), told))

    expected = {v.video_id: "pending" for v in videos(23, 3)}
    expected |= {v.video_id: "rejected(nth)" for v in videos(23, 3)[::5]}
    expected |= {"v003_poison": "failed(broken)"}
    assert outcomes(ended) == expected
    whole = next(v for v in ended if v.pending)
    assert (whole.words, whole.windows, whole.frames) == (len(whole.url), 1, len(whole.url))
    through = Counter(timing.stage for timing in told.timings)
    assert through == {"counts": 23, "rejects_every": 23, "raises": 18, "on_gpu": 17, "waits": 17}
    assert sorted(told.begun) == sorted((t.video_id, t.stage) for t in told.timings)


def test_engine_without_videos_ends(cluster: Cluster, tmp_path: Path) -> None:
    assert list(engine(tmp_path).run([Counts()], [], Heard())) == []


def test_engine_yields_while_others_are_in_work(cluster: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    running = engine(tmp_path / "work").run([Waits(log=str(log), wait_s=0.05)], videos(80), Heard())

    next(running)
    begun = len({i for i, *_ in noted(log) if i != "open"})
    running.close()  # type: ignore[attr-defined]

    assert begun < 40


@pytest.mark.parametrize(
    ("stage", "kind", "says"),
    [
        (CannotOpen(model="large"), UsageError, "there is no model 'large' on this machine"),
        (FillsDisk(), StorageError, "No space left"),
    ],
)
def test_engine_says_what_an_actor_raises_in_one_sentence(
    cluster: Cluster,
    tmp_path: Path,
    stage: CannotOpen | FillsDisk,
    kind: type[Exception],
    says: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(kind, match=says) as raised:
        list(engine(tmp_path).run([stage], videos(6, 0), Heard()))

    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_engine_convicts_only_what_kills(cluster: Cluster, tmp_path: Path) -> None:
    told = Heard()

    ended = outcomes(list(engine(tmp_path).run([KillsItsWorker(), OnGpu()], videos(12, 5), told)))

    assert ended.pop("v005_poison") == "failed(crashed)"
    assert set(ended.values()) == {"pending"}
    assert {i for i, *_ in told.deaths} <= {v.video_id for v in videos(12, 5)}


def test_engine_convicts_each_poison_for_what_it_does(cluster: Cluster, tmp_path: Path) -> None:
    expected = write_poison(tmp_path)
    (tmp_path / "good.mp4").write_bytes(b"good")
    files = [*expected, *(["good.mp4"] * 8)]
    asked = [
        Video(video_id=f"f{n}", url=name, location=str(tmp_path / name), source_sha256=f"{n:064x}")
        for n, name in enumerate(files)
    ]

    ended = list(engine(tmp_path / "work", limits=LIMITS).run([Decoder()], asked, Heard()))

    assert outcomes(ended) == {
        v.video_id: f"failed({expected[v.url]})" if v.url in expected else "pending" for v in asked
    }


def test_engine_blames_nobody_for_a_killed_actor(cluster: Cluster, tmp_path: Path) -> None:
    stages, told, ended = [Waits(wait_s=0.2)], Heard(), []

    for video in engine(tmp_path).run(stages, videos(40), told):
        ended.append(video)
        if len(ended) == 10:
            ours = {p.pid for p in psutil.Process().children(recursive=True)}
            os.kill(next(a.pid for a in actors() if a.pid in ours), signal.SIGKILL)

    assert outcomes(ended) == {v.video_id: "pending" for v in videos(40)}
    assert told.deaths == []


def test_engine_says_that_too_little_is_free(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "SETTLE_S", 0.5)
    with pytest.raises(UsageError, match=r"2 of its 2 CPUs free, and 9 are needed: .*--workers"):
        list(engine(tmp_path, workers=9).run([Counts()], videos(1), Heard()))


def test_engine_says_that_others_have_all(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = cluster.ray.remote(num_gpus=1, num_cpus=0)(Heard).remote()
    cluster.ray.get(other.__ray_ready__.remote())
    monkeypatch.setattr(ray_cluster, "SETTLE_S", 0.5)

    with pytest.raises(UsageError, match="0 of its 1 GPUs free"):
        list(engine(tmp_path).run([OnGpu()], videos(1), Heard()))

    cluster.ray.kill(other)


def test_engine_finds_a_node_that_does_not_see_the_store(cluster: Cluster) -> None:
    unshared = RayEngine(Store("memory://nobody-else-sees-this"), 1, 0)
    with pytest.raises(UsageError, match=r"the node .* does not see the work folder memory://"):
        list(unshared.run([Counts()], videos(1), Heard()))


def test_engine_finds_a_node_with_another_version(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reelscript.__version__", "99.1")
    with pytest.raises(UsageError, match=r"has reelscript [\d.]+, and the driver has 99.1"):
        list(engine(tmp_path).run([Counts()], videos(1), Heard()))


def test_probe_finds_a_node_without_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = ray_cluster._looks_around()
    monkeypatch.setitem(__import__("sys").modules, "reelscript", None)
    said = look("1.0", str(tmp_path), "probe", b"")
    assert said is not None
    assert said.startswith("cannot import reelscript 1.0, which every node needs")


def test_engine_finds_a_node_that_does_not_see_a_source(cluster: Cluster, tmp_path: Path) -> None:
    """A path that only the driver has: one of its open files."""
    (tmp_path / "film.mp4").write_bytes(b"a film")
    cluster = Cluster(cluster.ray, own=False)
    with (tmp_path / "film.mp4").open("rb") as file:
        os.dup2(file.fileno(), 777)
    unseen = [dataclasses.replace(v, location="/proc/self/fd/777") for v in videos(1)]
    nowhere, url = [dataclasses.replace(v, location=str(tmp_path)) for v in videos(1)], videos(1)
    try:
        with pytest.raises(UsageError, match=r"the node .* does not have the source /proc/self/fd"):
            list(_seen_by_all(cluster, url + nowhere + unseen))
    finally:
        os.close(777)
    seen = [dataclasses.replace(v, location=str(tmp_path / "film.mp4")) for v in videos(2)]
    given = [dataclasses.replace(url[0], location="https://a/" + "b" * 5000), *nowhere, *seen]
    assert list(_seen_by_all(cluster, given)) == given


def test_cluster_says_what_ray_raises_in_one_sentence(cluster: Cluster) -> None:
    def fails() -> None:
        raise ValueError("of another Python\nor so")

    with pytest.raises(UsageError, match=r"the node .* cannot take part: .*: or so$") as raised:
        cluster._ask_nodes(fails)
    assert "\n" not in str(raised.value)
    with pytest.raises(ReelscriptError, match=r"RpcError: no answer: .*goes on$"), cluster.spoken():
        raise cluster.ray.exceptions.RpcError("pages\nno answer", 4)


class OneAtATime:
    """A gate that is open while nothing is in work."""

    def __init__(self, raises: bool = False) -> None:
        self.in_work = 0
        self.raises = raises

    def open(self) -> bool:
        return self.in_work == 0 and not self.raises

    def stuck(self) -> None:
        if self.raises:
            raise StorageError("it is full")

    def counted(self, source: list[Video]) -> Iterator[Video]:
        for video in source:
            assert self.in_work == 0
            self.in_work += 1
            yield video


def test_engine_takes_only_while_the_gate_is_open(cluster: Cluster, tmp_path: Path) -> None:
    gate, ended = OneAtATime(), []
    for video in engine(tmp_path).run([OnGpu()], gate.counted(videos(5)), Heard(), gate):
        ended.append(video)
        gate.in_work -= 1
    assert len(outcomes(ended)) == 5


def test_engine_raises_what_a_stuck_gate_says(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="it is full"):
        list(engine(tmp_path).run([Counts()], videos(5), Heard(), OneAtATime(raises=True)))


# With a cluster of their own.


@pytest.mark.parametrize("workers", [4, 2])
def test_engine_finishes_when_a_node_is_lost(tmp_path: Path, workers: int) -> None:
    ended = driver("lose_a_node", tmp_path, workers)
    assert ended.stdout, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert sorted(found["ended"]) == [[v.video_id, "pending"] for v in videos(60)]
    assert found["suspects"] == []
    assert found["head_alive"]


def test_engine_ends_with_all_its_processes_at_ctrl_c(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = subprocess.Popen(
        command("be_interrupted", tmp_path),
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not noted(log):
        assert process.poll() is None
        time.sleep(0.1)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)

    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
    assert out == '"interrupted"\n'
    assert err == ""


def test_engine_says_that_there_is_no_cluster(tmp_path: Path) -> None:
    ended = driver("join_nobody", tmp_path)
    assert json.loads(ended.stdout.splitlines()[-1]).startswith("127.0.0.1:1: no Ray cluster")
    assert ended.stderr == ""


def test_engine_says_so_when_ray_ends_the_process(tmp_path: Path) -> None:
    ended = driver("lose_the_head", tmp_path)
    assert ended.returncode == 1
    assert ended.stderr == f"{LAST_WORDS}\n"


# Without any.


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "http://127.0.0.1:8265"])
def test_cluster_of_ray_client_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match=r"Ray Client .* address=auto$"), joined(address, 1, 0, 1):
        pass


def test_job_that_ray_ends_for_whatever_reason_is_lost() -> None:
    """A BrokenPipeError, for one, would end a command without a word; so would no row at all."""

    class Rows:
        def __init__(self, error: Exception | None) -> None:
            self.error = error

        def iter_internal_ref_bundles(self) -> Iterator[Any]:
            if self.error is not None:
                raise self.error
            yield from ()

    for error, says in (
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
        (None, "it has ended"),
    ):
        job = Job.__new__(Job)
        job._cluster, job._said = Cluster(None, own=True), queue.SimpleQueue()
        job._stream(Rows(error))
        with pytest.raises(Lost, match=says):
            job.next(0.0)


def test_sigterm_while_ray_starts_is_an_interrupt() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def starts() -> None:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt), _own_sigterm():
        starts()
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(SystemExit), _own_sigterm():
        sys.exit(3)


KINDS = {"cpu": Counts(), "gpu": OnGpu()}


@given(
    st.lists(st.sampled_from(["cpu", "gpu"]), min_size=1, max_size=7),
    st.integers(1, 200),
    st.integers(1, 16),
)
def test_pools_fit_into_what_a_run_has(kinds: list[str], cpus: int, gpus: int) -> None:
    groups = groups_of([KINDS[kind] for kind in kinds])
    pools = pools_of(groups, Share(cpus, gpus))
    assert len(pools) == len(groups)
    assert all(pool.actors >= 1 for pool in pools)
    assert sum(pool.actors * pool.cpus for pool in pools) <= cpus + 1e-6
    assert sum(pool.actors * pool.gpus for pool in pools) <= gpus + 1e-6


class SlowJob:
    """Takes up to three parcels."""

    def __init__(self) -> None:
        self.parcels: list[list[Ended]] = []

    @property
    def hungry(self) -> bool:
        return len(self.parcels) < 3

    def give(self, parcel: list[Ended]) -> None:
        assert 1 <= len(parcel) <= MOST_A_PARCEL
        self.parcels.append(parcel)


@given(
    st.integers(0, 300),
    st.lists(st.tuples(st.integers(0, 2), st.floats(0, 2), st.booleans()), max_size=60),
)
@settings(max_examples=50, deadline=None)
def test_way_gives_each_video_back_once(count: int, events: list[tuple[int, float, bool]]) -> None:
    job, way, back = SlowJob(), OnTheirWay(iter(videos(count)), None), []
    for which, each_s, lost in [*events, *[(0, 0.0, False)] * (4 * count)]:
        way.fill(job)  # type: ignore[arg-type]
        if lost:
            way.back()
            job.parcels.clear()
        elif job.parcels:
            parcel = job.parcels.pop(which % len(job.parcels))
            row = row_of(0, parcel[: len(parcel) // 2 + 1])
            row |= {"unbegun": lines_of(parcel[len(parcel) // 2 + 1 :]), "each_s": each_s}
            back += way.taken_back(row)
            assert way.taken_back(row) == []  # Ray may repeat itself
    way.fill(job)  # type: ignore[arg-type]
    assert way.finished
    assert sorted(e.video.video_id for e in back) == sorted(v.video_id for v in videos(count))


def test_rows_carry_what_was_told() -> None:
    told = [Ended(video, (), (("speech", "signal SIGSEGV"),)) for video in videos(3)]
    assert from_lines(lines_of(told)) == told
    assert from_lines("") == []


def test_feed_keeps_parcels_that_arrive_in_another_order() -> None:
    """Calls of an asynchronous actor overtake one another."""

    async def read() -> list[list[int | None]]:
        found = []
        for order in permutations(range(3)):
            feed = Feed()
            asked = [asyncio.create_task(feed.parcel(number)) for number in range(4)]
            for number in order:
                await feed.give(row_of(number, [Ended(video) for video in videos(number)]), [])
            rows = await asyncio.gather(*asked[:3])
            await feed.close(stop=False)
            assert await asked[3] is None
            found.append([row and len(from_lines(row["videos"])) for row in rows])
        return found

    assert asyncio.run(read()) == [[0, 1, 2]] * 6


def test_feed_gives_nothing_twice_of_what_is_finished() -> None:
    async def read() -> Row | None:
        feed = Feed()
        await feed.give(row_of(0, [Ended(video) for video in videos(2)]), [])
        await feed.give(row_of(1, []), [0])
        return await feed.parcel(0)

    assert asyncio.run(read()) == row_of(0, [])


def test_together_takes_along_all_that_wait() -> None:
    calls: list[int] = []
    first_begun, others_wait = threading.Event(), threading.Event()

    def run(items: object) -> list[Ended]:
        found = list(items)  # type: ignore[call-overload]
        calls.append(len(found))
        first_begun.set()
        assert others_wait.wait(30)
        return found

    together, found = Together(run, 4), {}

    def ask(video: Video) -> None:
        found[video.video_id] = together([Ended(video)])[0].video.video_id

    threads = [threading.Thread(target=ask, args=(video,)) for video in videos(9)]
    threads[0].start()
    assert first_begun.wait(30)
    for thread in threads[1:]:
        thread.start()
    while len(together._waiting) < 8:
        time.sleep(0.01)
    others_wait.set()
    for thread in threads:
        thread.join(30)

    assert found == {v.video_id: v.video_id for v in videos(9)}
    assert calls == [1, 4, 4]


def test_together_raises_for_all_of_a_call() -> None:
    def run(_: object) -> list[Ended]:
        raise UsageError("no model")

    with pytest.raises(UsageError, match="no model"):
        Together(run, 2)([Ended(video) for video in videos(3)])
