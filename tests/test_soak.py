"""What takes minutes: thirty kills, a hundred thousand videos, a thousand decodes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.built import EXAMPLES, ROOT, SHARED, needs_models
from tests.chaos import compared

pytestmark = pytest.mark.soak

KILLS = 30
MEDIA = SHARED / "media" if (SHARED / "media").is_dir() else EXAMPLES


@pytest.fixture(scope="module")
def memory() -> ModuleType:
    """The benchmark of that name."""
    spec = importlib.util.spec_from_file_location(
        "memory_benchmark", ROOT / "benchmarks" / "memory.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@needs_models
def test_soak_of_thirty_kills_changes_nothing(tmp_path: Path) -> None:
    calm, chaos = compared([MEDIA], tmp_path, KILLS, seed=11)
    print(f"{dict(calm.counts)}\n{dict(chaos.counts)}\n{dict(chaos.kills)}")
    assert calm.faults == []
    assert chaos.faults == []
    assert chaos.kills.total() == KILLS
    assert len(chaos.kills) >= 4


def test_soak_of_100000_videos_needs_no_more_memory_as_it_goes(memory: ModuleType) -> None:
    main_mib, worker_mib = memory.growth(memory.asked("videos", 100_000))
    print(f"grown: main {main_mib:+.1f} MiB, worker {worker_mib:+.1f} MiB")
    assert main_mib < 20
    assert worker_mib < 10


def test_soak_of_1000_decodes_needs_no_more_memory_as_it_goes(memory: ModuleType) -> None:
    main_mib, worker_mib = memory.growth(memory.asked("decodes", 1_000))
    print(f"grown: main {main_mib:+.1f} MiB, worker {worker_mib:+.1f} MiB")
    assert main_mib < 20
    assert worker_mib < 30
