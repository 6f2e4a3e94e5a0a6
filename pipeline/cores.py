"""The CPU cores that this process may use: of those there are, what a container leaves it."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

from reelscript.pipeline.control_groups import control_groups


def usable_cores(root: Path = Path("/")) -> int:
    """Returns how many cores this process may keep busy: at least 1.

    A container's quota of CPU time counts as so many cores, rounded up: of 1.5 cores, two processes
    use all. See cpu.max of version 2 and cpu.cfs_quota_us of version 1 in Linux's documentation of
    control groups.

    Args:
        root: where /proc and /sys are.
    """
    here = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if here else os.cpu_count() or 1
    for folder in control_groups("cpu", root):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # not there, or no quota
            quota_us, period_us = _quota(folder)
            if quota_us > 0:  # version 1 says -1 for none
                cores = min(cores, math.ceil(quota_us / period_us))
    return cores


def _quota(folder: Path) -> tuple[int, int]:
    """Returns the microseconds of CPU time that a group may use in each period, and the period."""
    with contextlib.suppress(FileNotFoundError):
        quota_us, period_us = (folder / "cpu.max").read_text().split()
        return int(quota_us), int(period_us)  # no number: "max"
    quota = (folder / "cpu.cfs_quota_us").read_text()
    return int(quota), int((folder / "cpu.cfs_period_us").read_text())
