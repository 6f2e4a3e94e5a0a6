"""Speech recognition: its packages, and the GPU that it would use."""

from __future__ import annotations

import importlib.util
import os
import shlex
import sysconfig
from concurrent.futures import Future
from pathlib import Path

from reelscript.jobs.doctor.asking import Said, said, said_by_python
from reelscript.jobs.doctor.finding import Answer
from reelscript.jobs.doctor.packages import extra, pip_install, version

CUBLAS = "libcublas.so.12"  # what CTranslate2 4.8 loads when a model goes to a GPU; no cuDNN
CUBLAS_PACKAGE = "nvidia-cublas-cu12"
LEAST_DRIVER = {11: 450, 12: 525, 13: 580}  # by CUDA: NVIDIA, CUDA Compatibility, table 1
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
    spec = importlib.util.find_spec("langdetect")
    folders = spec.submodule_search_locations if spec is not None else None
    if not any(Path(folder, "profiles", "en").is_file() for folder in folders or ()):
        again = pip_install("--force-reinstall", "langdetect")
        return Answer("missing", "langdetect lacks its language profiles", again)
    return Answer("ok", f"{there.found}, ctranslate2 {version('ctranslate2')}")


def gpu(ctranslate2: Future[Said], nvidia: Future[Said]) -> Answer:
    """Returns whether there is a GPU, and whether speech recognition would work on it.

    A build uses a GPU that CTranslate2 sees; if a library is missing it fails there.
    """
    seen, listed = gpus_seen(ctranslate2), gpus_listed(nvidia)
    names = ", ".join(f"{name} (driver {driver})" for name, driver in listed)
    if seen:
        gpus, lacking = names or f"{seen} GPUs", (ctranslate2.result().facts() or {}).get("lacking")
        if lacking is None:
            return Answer("ok", f"{gpus}; {CUBLAS} loads")
        return Answer("missing", f"{gpus}, but a build fails on it: {lacking}", _cublas())
    if not listed:
        told = nvidia.result()
        if told.fault is None or told.fault.startswith("cannot be run"):
            return Answer("absent", "none; builds run on the CPU")
        return Answer("warning", f"nvidia-smi {told.why}; builds run on the CPU")
    if ctranslate2.result().facts() is None:
        return Answer("warning", f"{names}; CTranslate2 cannot be asked whether it sees that")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        found = f"{names}, hidden by CUDA_VISIBLE_DEVICES={hidden!r}; builds run on the CPU"
        return Answer("warning", found, "unset CUDA_VISIBLE_DEVICES")
    found = f"{names}, but CTranslate2 sees none; builds run on the CPU"
    return Answer("warning", f"{found}{too_old(listed, 12)}")


def gpus_seen(ctranslate2: Future[Said]) -> int:
    """Returns how many GPUs CTranslate2 sees; 0 where it cannot be asked."""
    count = (ctranslate2.result().facts() or {}).get("gpus")
    return count if isinstance(count, int) else 0


def gpus_listed(nvidia: Future[Said]) -> list[tuple[str, str]]:
    """Returns name and driver of each GPU that nvidia-smi lists."""
    told = nvidia.result()
    if told.fault is not None:
        return []
    rows = [line.rpartition(",") for line in told.text.splitlines() if "," in line]
    return [(name.strip(), driver.strip()) for name, _, driver in rows]


def too_old(listed: list[tuple[str, str]], cuda: int) -> str:
    """Returns a clause where the driver is older than a CUDA version asks for, else nothing."""
    least = LEAST_DRIVER.get(cuda, 0)
    majors = [driver.partition(".")[0] for _, driver in listed]
    if any(m.isdecimal() and int(m) < least for m in majors):
        return f"; CUDA {cuda} needs a driver of {least} or newer"
    return ""


def _cublas() -> str:
    """Returns the command line that makes cuBLAS of CUDA 12 loadable."""
    folder = str(Path(sysconfig.get_path("purelib"), "nvidia", "cublas", "lib"))
    export = f"export LD_LIBRARY_PATH={shlex.quote(folder)}:$LD_LIBRARY_PATH"
    return export if version(CUBLAS_PACKAGE) else f"{pip_install(CUBLAS_PACKAGE)} && {export}"
