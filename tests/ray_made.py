"""A small Ray cluster for tests, and drivers that have one of their own.

    python -c "from tests.ray_made import lose_a_node; lose_a_node('FOLDER')"

Ray knows one cluster a process, so what needs another one runs as a program of its own.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from reelscript.pipeline.engines.limits import Limits
from reelscript.pipeline.engines.ray.cluster import Cluster
from reelscript.pipeline.engines.ray.engine import RayEngine
from reelscript.pipeline.engines.ray.joining import joined
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import Waits, videos
from tests.engines_made import Heard

ROOT = Path(__file__).parents[1]
WORKERS = 2
OBJECT_STORE_BYTES = 100_000_000
QUICK_TO_SAY = Limits(poll_s=0.1)


@contextlib.contextmanager
def small_cluster() -> Iterator[Cluster]:
    """Gives a cluster of two logical CPUs and one GPU that is none."""
    with joined(None, WORKERS, 1, OBJECT_STORE_BYTES) as cluster:
        yield cluster


def engine(folder: Path, workers: int | None = WORKERS, limits: Limits = QUICK_TO_SAY) -> RayEngine:
    """Returns an engine on the cluster that this process is connected to."""
    return RayEngine(Store(str(folder)), workers, 1, limits)


def actors() -> list[psutil.Process]:
    """Returns the processes on this machine that are actors of a pool."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "MapWorker" in "".join(process.cmdline()[:1]):
                found.append(process)
    return found


def driver(call: str, *arguments: object, timeout_s: float = 300.0) -> subprocess.CompletedProcess:
    """Runs a function of this file in a Python of its own, and returns how it ended."""
    return subprocess.run(
        command(call, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=timeout_s
    )


def command(call: str, *arguments: object) -> Sequence[str]:
    """Returns the command line that calls a function of this file."""
    listed = ", ".join(repr(str(a)) for a in arguments)
    return [sys.executable, "-c", f"from tests.ray_made import {call}; {call}({listed})"]


# What the programs do. The last line they print is what they found, as JSON.


def lose_a_node(folder: str, workers: str = "4") -> None:
    """Runs on two nodes of two CPUs, one of which is lost half-way."""
    from ray.cluster_utils import Cluster as Nodes

    memory = {"object_store_memory": OBJECT_STORE_BYTES}
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 2, **memory})
    other = nodes.add_node(num_cpus=2, **memory)
    log = Path(folder) / "log"
    stages = [Waits(log=str(log), wait_s=0.3)]
    told, ended = Heard(), []
    with RayEngine(
        Store(f"{folder}/work"), int(workers), 0, QUICK_TO_SAY, nodes.address, replaced_s=3.0
    ) as ray_engine:
        for video in ray_engine.run(stages, videos(60), told):
            ended.append((video.video_id, video.outcome))
            if len(ended) == 20:
                nodes.remove_node(other, allow_graceful=False)
    still_there = nodes.head_node.remaining_processes_alive()
    nodes.shutdown()
    print(json.dumps({"ended": ended, "suspects": told.deaths, "head_alive": still_there}))


def lose_the_head(folder: str) -> None:
    """Runs on a cluster of its own, of which what starts its actors is killed."""
    with RayEngine(
        Store(f"{folder}/work"), 1, 0, object_store_bytes=OBJECT_STORE_BYTES
    ) as ray_engine:
        for _ in ray_engine.run([Waits(wait_s=0.2)], videos(100), Heard()):
            for process in psutil.Process().children():
                if process.name() == "raylet":
                    process.kill()


def be_interrupted(folder: str) -> None:
    """Runs videos that take for ever, on a cluster of its own."""
    stages = [Waits(log=f"{folder}/log", wait_s=600.0)]
    with RayEngine(
        Store(f"{folder}/work"), 1, 0, object_store_bytes=OBJECT_STORE_BYTES
    ) as ray_engine:
        try:
            list(ray_engine.run(stages, videos(3), Heard()))
        except KeyboardInterrupt:
            print(json.dumps("interrupted"))


def join_nobody(folder: str) -> None:
    """Asks for a cluster where there is none."""
    from reelscript.pipeline.errors import UsageError

    try:
        list(RayEngine(Store(folder), 1, 0, address="127.0.0.1:1").run([Waits()], [], Heard()))
    except UsageError as error:
        print(json.dumps(str(error)))
