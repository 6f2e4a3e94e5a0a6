"""How many cores a process may keep busy, by files of control groups as Linux writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reelscript.pipeline.cores import usable_cores
from reelscript.pipeline.engines.local import default_workers

V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu"


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def linux(root: Path, groups: str, **files: str) -> Path:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def v1(folder: str, quota_us: int, period_us: int = 100_000) -> dict[str, str]:
    return {
        f"{folder}/cpu.cfs_quota_us": f"{quota_us}\n",
        f"{folder}/cpu.cfs_period_us": f"{period_us}\n",
    }


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        # Version 2: a quota and a period, in microseconds.
        ("0::/\n", {f"{V2}/cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {f"{V2}/cpu.max": "150000 100000\n"}, 2),  # 1.5 cores
        ("0::/\n", {f"{V2}/cpu.max": "1000 100000\n"}, 1),
        ("0::/\n", {f"{V2}/cpu.max": "3200000 100000\n"}, 8),  # more than there are
        ("0::/\n", {f"{V2}/cpu.max": "max 100000\n"}, 8),
        ("0::/a/b\n", {f"{V2}/a/b/cpu.max": "max 1\n", f"{V2}/a/cpu.max": "3 1\n"}, 3),
        ("0::/a/b\n", {f"{V2}/a/b/cpu.max": "2 1\n", f"{V2}/a/cpu.max": "3 1\n"}, 2),
        ("0::/docker/0f1e\n", {f"{V2}/cpu.max": "4 1\n"}, 4),  # a container sees itself on top
        # Version 1: two files, and -1 for no quota.
        ("4:cpu,cpuacct:/a\n", v1(f"{V1}/a", 250_000), 3),
        ("4:cpu,cpuacct:/a\n", v1(f"{V1}/a", 50_000, 25_000), 2),
        ("4:cpu,cpuacct:/a\n", v1(f"{V1}/a", -1), 8),
        ("4:cpuset:/a\n3:memory:/a\n", v1(f"{V1}/a", 100_000), 8),  # not our group of CPU time
        ("1:cpu:/\n0::/\n", v1(V1, 500_000), 5),
        # What is not there or torn is no quota.
        ("", {}, 8),
        ("0::/\n", {f"{V2}/cpu.max": ""}, 8),
        ("0::/\n", {f"{V2}/cpu.max": "100000 0\n"}, 8),
        ("0::/\n", {f"{V2}/cpu.max": "1 2 3\n"}, 8),
        ("1:cpu:/\n", {f"{V1}/cpu.cfs_quota_us": "100000\n"}, 8),
        ("0::/../..\n", {"cpu.max": "100000 100000\n"}, 8),
    ],
)
def test_cores_are_those_that_a_container_leaves(
    tmp_path: Path, groups: str, files: dict[str, str], cores: int
) -> None:
    assert usable_cores(linux(tmp_path, groups, **files)) == cores


def test_cores_are_those_that_we_may_run_on_where_there_are_no_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert usable_cores(tmp_path) == 8
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path) == 1


def test_cores_of_this_machine_get_a_worker_each() -> None:
    assert 1 <= default_workers() == usable_cores() <= 8
