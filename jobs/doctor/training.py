"""What networks need: the packages of the extra `train`, and a torch that fits the GPU."""

from __future__ import annotations

import importlib.util
import re
from concurrent.futures import Future
from pathlib import Path

from reelscript.jobs.doctor.asking import Said
from reelscript.jobs.doctor.finding import Answer
from reelscript.jobs.doctor.packages import extra, pip_install
from reelscript.jobs.doctor.recognition import gpus_listed, too_old


def torch(nvidia: Future[Said]) -> Answer:
    """Returns whether the packages for networks are there, and whether torch fits the GPU.

    Importing torch takes longer than all of doctor may, so what it says of itself is read.
    """
    there = extra("train")
    if there.state != "ok":
        return there
    cuda, listed = _cuda(), gpus_listed(nvidia)
    if not listed:
        return there
    if cuda is None:
        found = f"there is a GPU, but torch is built for the CPU alone; {there.found}"
        return Answer("warning", found, pip_install("--force-reinstall", "torch"))
    if older := too_old(listed, int(cuda.partition(".")[0])):
        return Answer("warning", f"torch is built for CUDA {cuda}{older}; {there.found}")
    return Answer("ok", f"for CUDA {cuda}; {there.found}")


def _cuda() -> str | None:
    """Returns the version of CUDA that torch is built for; None where for none."""
    spec = importlib.util.find_spec("torch")
    for folder in (spec.submodule_search_locations if spec is not None else None) or ():
        text = Path(folder, "version.py").read_text(encoding="utf-8")
        if found := re.search(r"^cuda\b[^=\n]*= *'([0-9]+\.[0-9]+)'", text, re.MULTILINE):
            return found[1]
    return None
