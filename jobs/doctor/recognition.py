"""Speech recognition: its packages, and the GPU that it would use."""

from __future__ import annotations

import os
import shlex
import sysconfig
from concurrent.futures import Future
from pathlib import Path

from reelscript.jobs.doctor.asking import Said, said, said_by_python
from reelscript.jobs.doctor.finding import Answer, State
from reelscript.jobs.doctor.packages import extra, module_file, pip_install, version

CUBLAS = "libcublas.so.12"  # what CTranslate2 4.8 loads when a model goes to a GPU; no cuDNN
CUBLAS_PACKAGE = "nvidia-cublas-cu12"
LOOK = """
import ctypes, json, sys, ctranslate2
gpus, lacking = ctranslate2.get_cuda_device_count(), None
if gpus:
    try:
        ctypes.CDLL(sys.argv[1])
    except OSError as error:
        lacking = str(error)
print(json.dumps({"gpus": gpus, "lacking": lacking}))
"""


def ask_ctranslate2(within_s: float) -> Said:
    """Returns how many GPUs CTranslate2 sees, and whether it can load what it needs on one."""
    return said_by_python(LOOK, within_s, CUBLAS)


def ask_nvidia(within_s: float) -> Said:
    """Returns the GPUs of NVIDIA's driver, a line each: name, driver version."""
    query = ["--query-gpu=name,driver_version", "--format=csv,noheader"]
    return said(["nvidia-smi", *query], within_s)


def packages(ctranslate2: Future[Said]) -> Answer:
    """Returns whether the packages of speech recognition are there and load."""
    there = extra("asr")
    if there.state != "ok":
        return there
    told = ctranslate2.result()
    if told.facts() is None:
        return told.broken("importing CTranslate2", pip_install("--force-reinstall", "ctranslate2"))
    if module_file("langdetect", "profiles/en") is None:
        again = pip_install("--force-reinstall", "langdetect")
        return Answer("missing", "langdetect lacks its language profiles", again)
    return Answer("ok", f"{there.found}, ctranslate2 {version('ctranslate2')}")


def gpu(ctranslate2: Future[Said], nvidia: Future[Said]) -> Answer:
    """Returns whether there is a GPU, and whether speech recognition would work on it.

    A build uses a GPU that CTranslate2 sees; if a library is missing it fails there.
    """
    seen, listed = gpus_seen(ctranslate2), gpus_listed(nvidia)
    names = "; ".join(listed)
    if seen:
        gpus, lacking = names or f"{seen} GPUs", (ctranslate2.result().facts() or {}).get("lacking")
        if lacking is None:
            return Answer("ok", f"{gpus}; {CUBLAS} loads")
        return Answer("missing", f"{gpus}, but a build fails on it: {lacking}", _cublas())
    if not listed:
        told = nvidia.result()
        if told.fault is None or told.fault.startswith("cannot be run"):
            return Answer("absent", "none; builds run on the CPU")
        state: State = "unknown" if told.late else "warning"
        return Answer(state, f"nvidia-smi {told.why}; builds run on the CPU")
    if ctranslate2.result().facts() is None:
        return Answer("unknown", f"{names}; CTranslate2 cannot be asked whether it sees that")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        found = f"{names}, hidden by CUDA_VISIBLE_DEVICES={hidden!r}; builds run on the CPU"
        return Answer("warning", found, "unset CUDA_VISIBLE_DEVICES")
    return Answer("warning", f"{names}, but CTranslate2 sees none; builds run on the CPU")


def gpus_seen(ctranslate2: Future[Said]) -> int:
    """Returns how many GPUs CTranslate2 sees; 0 where it cannot be asked."""
    count = (ctranslate2.result().facts() or {}).get("gpus")
    return count if isinstance(count, int) else 0


def gpus_listed(nvidia: Future[Said]) -> list[str]:
    """Returns name and driver of each GPU that nvidia-smi lists."""
    told = nvidia.result()
    rows = told.text.splitlines() if told.fault is None else []
    return [row.strip().replace(",", ", driver") for row in rows if "," in row]


def _cublas() -> str:
    """Returns the command line that makes cuBLAS of CUDA 12 loadable."""
    folder = str(Path(sysconfig.get_path("purelib"), "nvidia", "cublas", "lib"))
    export = f"export LD_LIBRARY_PATH={shlex.quote(folder)}:$LD_LIBRARY_PATH"
    return export if version(CUBLAS_PACKAGE) else f"{pip_install(CUBLAS_PACKAGE)} && {export}"
