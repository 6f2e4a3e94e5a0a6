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
    """Returns whether a worker a core has memory enough, by /proc and /sys under `root`."""
    from reelscript.pipeline.cores import usable_cores
    from reelscript.pipeline.engines.limits import SHARE_OF_MEMORY, share_of_memory

    workers, usable_bytes = usable_cores(root), share_of_memory(1, root)
    there = max(workers, os.cpu_count() or 1)
    cores = f"{workers}" if workers == there else f"{workers} of {there}"
    found = f"{cores} cores, {_gb(usable_bytes / SHARE_OF_MEMORY)} of memory: {workers} workers"
    if usable_bytes < workers * WORKER_BYTES:
        return Answer("warning", f"{found}, more than fit")
    return Answer("ok", found)


def disk(folder: str) -> Answer:
    """Returns whether a folder and that for temporary files can be written and have room."""
    try:
        temporary = Path(tempfile.gettempdir())
    except FileNotFoundError:
        return Answer("missing", "no folder for temporary files can be written", "export TMPDIR=~")
    said, mend = [], None
    places = [(temporary, LOW_TEMPORARY_BYTES, "export TMPDIR=/a/larger/disk")]
    if "://" not in folder:
        absolute = Path(folder).absolute()
        corpus = next(place for place in (absolute, *absolute.parents) if place.exists())
        if not corpus.is_dir():
            return Answer("missing", f"{corpus} is a file, not a folder")
        places = [(corpus, LOW_BYTES, f"{BUILD} --set work.keep=none"), *places]
    for place, low_bytes, relief in places:
        if not os.access(place, os.W_OK | os.X_OK):
            return Answer("missing", f"{place} cannot be written")
        free_bytes = shutil.disk_usage(place).free
        said.append(f"{_gb(free_bytes)} free in {place}")
        if free_bytes < low_bytes and mend is None:
            said[-1] += f", which is less than {_gb(low_bytes)}"
            mend = relief
    return Answer("warning" if mend else "ok", ", ".join(said), mend)


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
