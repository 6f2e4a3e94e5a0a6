"""The scratch folder of a build: what videos need between their stages, on this machine's disk.

It is named after its run, `scratch-000007-x1y2z3`. So it is the run's record that tells, on this
machine and on others, whether somebody still needs it. Where the work folder is none of this
machine, it lies among temporary files, and a digest of that folder's URL stands in its name too.
"""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reelscript.pipeline.attempts import storing
from reelscript.pipeline.run_records import alive, run_of
from reelscript.pipeline.runs import Run
from reelscript.pipeline.store import Store
from reelscript.schemas.text import digest

OF_RUN = re.compile(r"([0-9]{6,12})-[^-]+")
OF_HOST = re.compile(r"(.+)-([0-9]{1,9})-[^-]+")  # as version 0.1 named them


@contextmanager
def scratch_folder(work: Store, run: Run) -> Iterator[Path]:
    """Gives a scratch folder for the time of a run, and removes the files of dead runs.

    Args:
        work: the work folder.
        run: entered, so that nobody takes its folder for a dead one's.
    """
    place, begins = work.local_root, "scratch-"
    if place is None:
        place, begins = Path(tempfile.gettempdir()), f"scratch-{digest(work.url)[:12]}-"
    for left in _left_over(place, begins, work):
        shutil.rmtree(left, ignore_errors=True)
    work.sweep()
    with storing(f"make a scratch folder in {place}", place):
        folder = Path(tempfile.mkdtemp(prefix=f"{begins}{run.number:06d}-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _left_over(place: Path, begins: str, work: Store) -> list[Path]:
    """Returns the scratch folders that nobody needs, of those of which the names begin so.

    The folders are listed before the records are read: a run has its record before its folder.
    """
    folders = {f: f.name.removeprefix(begins) for f in place.glob(f"{begins}*")}
    owners = {f: int(found[1]) for f, of in folders.items() if (found := OF_RUN.fullmatch(of))}
    records = [r for number in sorted({*owners.values()}) if (r := run_of(work, number))]
    living = {r.number for r, lives in zip(records, alive(work, records), strict=True) if lives}
    dead = [folder for folder, number in owners.items() if number not in living]
    return dead + [f for f, of in folders.items() if f not in owners and _is_of_dead_process(of)]


def _is_of_dead_process(of: str) -> bool:
    import psutil

    found = OF_HOST.fullmatch(of)
    here = found is not None and found[1] == socket.gethostname()
    return found is not None and here and not psutil.pid_exists(int(found[2]))
