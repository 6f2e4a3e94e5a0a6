"""What a worker may use of a machine's memory, against made-up control groups."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from reelscript.pipeline.engines import limits
from reelscript.pipeline.engines.limits import share_of_memory

GIB = 1 << 30
UNLIMITED_V1 = 0x7FFF_FFFF_FFFF_F000
V1, V2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=100 * GIB)
    monkeypatch.setattr(limits.psutil, "virtual_memory", lambda: memory)


def made(root: Path, groups: str, files: dict[str, object]) -> Path:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


@pytest.mark.parametrize(
    ("groups", "files", "total_gib"),
    [
        ("0::/", {f"{V2}/memory.max": 10 * GIB}, 10),
        ("0::/", {f"{V2}/memory.max": "max"}, 100),
        ("0::/", {f"{V2}/memory.max": 1000 * GIB}, 100),
        ("0::/a/b", {f"{V2}/a/memory.max": 20 * GIB, f"{V2}/a/b/memory.max": "max"}, 20),
        ("0::/a/b", {f"{V2}/a/memory.max": 20 * GIB, f"{V2}/a/b/memory.max": 30 * GIB}, 20),
        ("0::/a", {f"{V2}/b/memory.max": GIB, f"{V2}/a/memory.max": 30 * GIB}, 30),
        ("0::/../../b", {f"{V2}/memory.max": 10 * GIB, "sys/memory.max": GIB}, 10),
        ("4:memory:/x/y", {f"{V1}/x/y/memory.limit_in_bytes": 10 * GIB}, 10),
        ("4:cpu,memory:/x", {f"{V1}/x/memory.limit_in_bytes": 10 * GIB}, 10),
        ("4:memory:/docker/77", {f"{V1}/memory.limit_in_bytes": 10 * GIB}, 10),  # a container
        ("4:memory:/x", {f"{V1}/x/memory.limit_in_bytes": UNLIMITED_V1}, 100),
        ("1:cpu:/x\n0::/", {f"{V1}/x/memory.limit_in_bytes": GIB}, 100),
        ("0::/a", {f"{V2}/a/memory.max": ""}, 100),
        ("nonsense\n\n0::/a", {f"{V2}/a/memory.max": 10 * GIB}, 10),
        ("0::/a", {}, 100),
    ],
)
def test_limits_know_what_a_container_may_use(
    tmp_path: Path, groups: str, files: dict[str, object], total_gib: int
) -> None:
    root = made(tmp_path, groups, files)
    assert share_of_memory(1, root) == int(0.7 * total_gib * GIB)


def test_limits_without_control_groups_are_of_the_machine(tmp_path: Path) -> None:
    assert share_of_memory(1, tmp_path) == int(70 * GIB)
    (tmp_path / "proc" / "self" / "cgroup").mkdir(parents=True)
    assert share_of_memory(1, tmp_path) == int(70 * GIB)


@pytest.mark.parametrize(
    ("total_gib", "workers", "share_gib"),
    [(100, 7, 10.0), (100, 100, 4.0), (10, 1, 7.0), (10, 8, 4.0), (4, 1, 2.8), (4, 8, 2.8)],
)
def test_limits_share_what_is_there_and_no_more(
    tmp_path: Path, total_gib: int, workers: int, share_gib: float
) -> None:
    root = made(tmp_path, "0::/", {f"{V2}/memory.max": total_gib * GIB})
    assert share_of_memory(workers, root) == pytest.approx(share_gib * GIB, abs=1)
