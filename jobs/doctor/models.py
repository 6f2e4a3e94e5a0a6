"""Which Whisper models are on this machine; none is loaded, fetched or unpacked."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import socket
import sys
import time
import urllib.parse
import urllib.request
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any

from reelscript.jobs.doctor.asking import Said, started
from reelscript.jobs.doctor.finding import Answer
from reelscript.jobs.doctor.packages import module_file, pip_install
from reelscript.jobs.doctor.recognition import gpus_seen

FILES = ("model.bin", "config.json", "tokenizer.json", "vocabulary.*")


def model(ctranslate2: Future[Said], within_s: float) -> Answer:
    """Returns whether the model that a build here uses by default is here, or how it gets here.

    Only if it is not, the hub's host is asked for a connection.
    """
    from reelscript.transforms.whisper import MODEL_BY_DEVICE, download_mb

    until_s = time.monotonic() + within_s
    hub = _hub()
    if hub is None:
        return Answer("missing", "faster-whisper is not there", pip_install("reelscript[asr]"))
    if ctranslate2.result().late:
        return Answer("unknown", "depends on the GPU, and CTranslate2 gave no answer")
    name = MODEL_BY_DEVICE["cuda" if gpus_seen(ctranslate2) else "cpu"]
    carried, fetched = packaged(), cached(Path(hub.HF_HUB_CACHE))
    if name in fetched:
        return Answer("ok", f"{name}, which a build uses by default, is in the hub's cache")
    here = [*carried, *fetched]
    others = f"; here are {', '.join(here)}" if here else ""
    if _answers(hub, max(0.1, until_s - time.monotonic())):
        fetch = f"from faster_whisper import download_model; download_model({name!r})"
        found = f"{name} is not here: the first build fetches about {download_mb(name)} MB{others}"
        return Answer("warning", found, shlex.join([sys.executable, "-c", fetch]))
    found = f"{name} is not here, and the Hugging Face hub is not reached{others}"
    # A model for English alone cannot tell which language is spoken.
    able = [m for m in here if not m.endswith(".en") and not m.startswith("distil")]
    use = f"reelscript build SOURCES -o DIR --set transcribe.model={able[0]}" if able else None
    return Answer("missing", found, use or pip_install("reelscript[demo]"))


def packaged() -> list[str]:
    """Returns the models that installed packages carry."""
    from reelscript.transforms.whisper import PACKAGED

    there = importlib.util.find_spec
    return [n for n, p in PACKAGED.items() if all(there(module) for module, _ in p.folders)]


def cached(folder: Path) -> list[str]:
    """Returns the models that are whole in a cache of the hub, where faster-whisper takes them."""
    return [name for name, repository in repositories().items() if _whole(folder, repository)]


def repositories() -> dict[str, str]:
    """Returns the hub's repository of each model, as faster-whisper's source has them.

    Importing faster-whisper takes longer than all of doctor may.
    """
    source = module_file("faster_whisper", "utils.py")
    text = "" if source is None else source.read_text(encoding="utf-8")
    return dict(re.findall(r'"([\w.-]+)": "([\w.-]+/[\w.-]+)"', text))


def _whole(cache: Path, repository: str) -> bool:
    folder = cache / f"models--{repository.replace('/', '--')}"
    try:
        snapshot = folder / "snapshots" / (folder / "refs/main").read_text(encoding="utf-8")
        return all(any(p.is_file() for p in snapshot.glob(name)) for name in FILES)
    except (OSError, ValueError):
        return False


def _hub() -> Any:
    """Returns the settings of the hub's library, which know the environment; None without it."""
    try:
        return importlib.import_module("huggingface_hub.constants")
    except ImportError:
        return None


def _answers(hub: Any, within_s: float) -> bool:
    """Returns whether the host of the hub, or the proxy before it, takes a connection in time."""
    if hub.HF_HUB_OFFLINE:
        return False
    asked = started(partial(_connects, hub.ENDPOINT, within_s))  # a name server may not answer
    wait([asked], within_s)
    return asked.done() and asked.result()


def _connects(url: str, within_s: float) -> bool:
    endpoint = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(endpoint.scheme)
    if proxy and not urllib.request.proxy_bypass(endpoint.hostname or ""):
        endpoint = urllib.parse.urlsplit(proxy)
    port = endpoint.port or {"http": 80}.get(endpoint.scheme, 443)
    try:
        with socket.create_connection((endpoint.hostname, port), timeout=within_s):
            return True
    except OSError:
        return False
