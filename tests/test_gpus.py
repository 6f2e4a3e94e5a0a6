"""Which GPU a worker sees. There is none here: a stage tells what its process was told."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from reelscript.pipeline.engines.gpus import own_gpus
from reelscript.pipeline.engines.limits import Limits
from reelscript.pipeline.engines.local import LocalEngine
from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import KillsItsWorker, OnGpu, Waits, videos
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from tests.engines_made import Heard

VISIBLE = "CUDA_VISIBLE_DEVICES"


@pytest.mark.parametrize(
    ("listed", "count", "found"),
    [
        (None, 3, ["0", "1", "2"]),
        ("4,6,7", 2, ["4", "6"]),
        (" GPU-8932f937 , MIG-1b2c", 2, ["GPU-8932f937", "MIG-1b2c"]),
        ("2,-1,3", 1, ["2"]),
        ("", 1, []),
        ("-1", 1, []),
        ("NoDevFiles", 1, ["NoDevFiles"]),
    ],
)
def test_gpus_are_those_that_are_listed(listed: str | None, count: int, found: list[str]) -> None:
    assert own_gpus(count, {} if listed is None else {VISIBLE: listed}) == found


@pytest.mark.parametrize("listed", ["3", "2,-1,3", "1,,2", ""])
def test_gpus_that_are_not_listed_are_not_to_be_had(listed: str) -> None:
    with pytest.raises(UsageError, match=r"2 GPUs are asked for, and CUDA_VISIBLE_DEVICES lists"):
        own_gpus(2, {VISIBLE: listed})


@dataclass(frozen=True)
class Sees(Waits):
    """Tells which GPU its process sees, and which process that is."""

    name: ClassVar[str] = "sees"
    writes: ClassVar[tuple[str, ...]] = ("container",)

    def _live(self, video: Video, workspace: Workspace) -> Video:
        super()._live(video, workspace)
        return dataclasses.replace(video, container=f"{os.environ.get(VISIBLE)} {os.getpid()}")


@dataclass(frozen=True)
class SeesOnGpu(Sees):
    """The same, on a GPU."""

    name: ClassVar[str] = "sees_on_gpu"
    writes: ClassVar[tuple[str, ...]] = ("video_codec",)
    resources = OnGpu.resources

    def _live(self, video: Video, workspace: Workspace) -> Video:
        return dataclasses.replace(video, video_codec=super()._live(video, workspace).container)


@dataclass(frozen=True)
class KillsOnGpu(KillsItsWorker):
    """Kills a GPU worker."""

    name: ClassVar[str] = "kills_on_gpu"
    resources = OnGpu.resources


def test_local_engine_shows_each_gpu_worker_a_gpu_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also to those that follow one that died."""
    monkeypatch.setenv(VISIBLE, "GPU-aa,3,GPU-bb")
    store, limits = Store(str(tmp_path / "work")), Limits(poll_s=0.05)
    engine = LocalEngine(store, tmp_path / "scratch", 1, 2, limits)
    stages = [Sees(), SeesOnGpu(wait_s=0.2), KillsOnGpu()]
    found = [v for v in engine.run(stages, videos(12, 1), Heard()) if v.pending]
    assert len(found) == 11
    seen = {str(v.video_codec) for v in found}
    assert {gpu for gpu, _ in map(str.split, seen)} == {"GPU-aa", "3"}
    pids = [pid for _, pid in map(str.split, seen)]
    assert len(pids) == len(set(pids))  # each has seen one
    assert {str(v.container).split()[0] for v in found} == {"GPU-aa,3,GPU-bb"}  # of CPU workers


def test_local_engine_refuses_more_gpus_than_are_listed_only_where_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, "0")
    engine = LocalEngine(Store(str(tmp_path / "work")), tmp_path / "scratch", 1, 2)
    assert len(list(engine.run([Waits()], videos(1), Heard()))) == 1
    with pytest.raises(UsageError, match="2 GPUs are asked for"):
        list(engine.run([OnGpu()], videos(1), Heard()))
