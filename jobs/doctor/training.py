"""What networks need: the packages of the extra `train`, and a torch that fits the GPU."""

from __future__ import annotations

import re
from concurrent.futures import Future

from reelscript.jobs.doctor.asking import Said
from reelscript.jobs.doctor.finding import Answer
from reelscript.jobs.doctor.packages import extra, module_file, pip_install
from reelscript.jobs.doctor.recognition import gpus_listed


def torch(nvidia: Future[Said]) -> Answer:
    """Returns whether the packages for networks are there, and whether torch fits the GPU.

    Importing torch takes longer than all of doctor may, so what it says of itself is read.
    """
    there, source = extra("train"), module_file("torch", "version.py")
    if there.state != "ok" or source is None:
        return there
    text = source.read_text(encoding="utf-8")
    if cuda := re.search(r"^cuda\b[^=\n]*= *'([0-9.]+)'", text, re.MULTILINE):
        return Answer("ok", f"for CUDA {cuda[1]}; {there.found}")
    if not gpus_listed(nvidia):
        return there
    found = f"there is a GPU, but torch is built for the CPU alone; {there.found}"
    return Answer("warning", found, pip_install("--force-reinstall", "torch"))
