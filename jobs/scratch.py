"""The scratch folder of a build: what videos need between their stages, on this machine's disk."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from reelscript.pipeline.attempts import storing
from reelscript.pipeline.store import Store


@contextmanager
def scratch_folder(work: Store) -> Iterator[Path]:
    """Gives a scratch folder for the time of a build, and removes the files of dead builds."""
    root = work.local_root
    owner = f"scratch-{socket.gethostname()}"
    if root is not None:
        with storing(f"make the folder {root}", root):
            root.mkdir(parents=True, exist_ok=True)
        for left in root.glob(f"{glob.escape(owner)}-*-*"):
            pid = left.name.split("-")[-2]
            if pid.isdecimal() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(left, ignore_errors=True)
    work.sweep()
    place = root or Path(tempfile.gettempdir())
    with storing(f"make a scratch folder in {place}", place):
        folder = Path(tempfile.mkdtemp(prefix=f"{owner}-{os.getpid()}-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
