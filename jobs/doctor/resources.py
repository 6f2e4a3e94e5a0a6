"""Cores, memory and disk: what a build may use here."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from reelscript.jobs.doctor.finding import Answer

WORKER_BYTES = 2 << 30  # Whisper small in int8 takes 1.5 GB (faster-whisper's README)
LOW_BYTES = 10_000_000_000  # ours: a model takes up to 3 GB, an hour of video often 1 GB
LOW_TEMPORARY_BYTES = 1_000_000_000  # for excerpts of --dry-run and frames of features
BUILD = "reelscript build SOURCES -o DIR"


def cores_and_memory(root: Path = Path("/")) -> Answer:
    """Returns whether a worker a core has memory enough, and cores of its own.

    Args:
        root: where /proc and /sys are.
    """
    from reelscript.pipeline.engines.limits import SHARE_OF_MEMORY, share_of_memory
    from reelscript.pipeline.engines.local import default_workers

    workers, usable_bytes = default_workers(), share_of_memory(1, root)
    found = f"{workers} cores, {_gb(usable_bytes / SHARE_OF_MEMORY)} of memory"
    cores = _quota(root)
    fitting = min(workers, usable_bytes // WORKER_BYTES, round(cores) if cores else workers)
    if fitting >= workers:
        return Answer("ok", f"{found}: {workers} workers")
    held = f", held to the time of {cores:g}" if cores is not None and cores < workers else ""
    found = f"{found}{held}: fewer workers than cores are better"
    return Answer("warning", found, f"{BUILD} --workers {max(1, fitting)}")


def _quota(root: Path) -> float | None:
    """Returns how many cores' time a container may use; None for no limit. See cgroups(7)."""
    try:
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # not there, or "max"
        return None


def disk(folder: str) -> Answer:
    """Returns whether a folder and that for temporary files can be written and have room."""
    try:
        temporary = Path(tempfile.gettempdir())
    except FileNotFoundError:
        return Answer("missing", "no folder for temporary files can be written", "export TMPDIR=~")
    said, mend, seen = [], None, set[int]()
    places = [(temporary, LOW_TEMPORARY_BYTES, "export TMPDIR=/a/larger/disk")]
    if "://" not in folder:
        corpus = _existing(Path(folder).absolute())
        places = [(corpus, LOW_BYTES, f"{BUILD} --set work.keep=none"), *places]
    for place, low_bytes, relief in places:
        if not os.access(place, os.W_OK | os.X_OK):
            return Answer("missing", f"{place} cannot be written")
        if (device := place.stat().st_dev) in seen:
            continue
        seen.add(device)
        free_bytes = shutil.disk_usage(place).free
        said.append(f"{_gb(free_bytes)} free in {place}")
        if free_bytes < low_bytes and mend is None:
            said[-1] += f", which is less than {_gb(low_bytes)}"
            mend = relief
    return Answer("warning" if mend else "ok", ", ".join(said), mend)


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
