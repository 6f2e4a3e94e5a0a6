"""Which Whisper models are on this machine; none is loaded, fetched or unpacked."""

from __future__ import annotations

import importlib
import importlib.util
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
from reelscript.jobs.doctor.packages import pip_install
from reelscript.jobs.doctor.recognition import gpus_seen


def model(own: Future[Said], ctranslate2: Future[Said], within_s: float) -> Answer:
    """Returns whether the model that a build here uses by default is here, or how it gets here.

    Only if it is not, the hub's host is asked for a connection.

    Args:
        own: the models that builds use by default, by device.
        ctranslate2: whether there is a GPU.
        within_s: how long all that may take.
    """
    from reelscript.transforms.whisper import download_mb

    until_s = time.monotonic() + within_s
    hub, defaults = _hub(), own.result().facts()
    if hub is None:
        return Answer("missing", "faster-whisper is not there", pip_install("reelscript[asr]"))
    if defaults is None:
        return Answer("warning", "not known while reelscript cannot be imported")
    name = str(defaults["cuda" if gpus_seen(ctranslate2) else "cpu"])
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
    able = [m for m in here if not m.endswith(".en")]
    if able:  # a model for English alone cannot tell which language is spoken
        use = f"reelscript build SOURCES -o DIR --set {shlex.quote(f'transcribe.model={able[0]}')}"
        return Answer("warning", found, use)
    return Answer("missing", found, pip_install("reelscript[demo]"))


def packaged() -> list[str]:
    """Returns the models that installed packages carry."""
    from reelscript.transforms.whisper import PACKAGED

    there = importlib.util.find_spec
    return [n for n, p in PACKAGED.items() if all(there(module) for module, _ in p.folders)]


def cached(folder: Path) -> list[str]:
    """Returns the models in a cache of the hub, of anybody's `faster-whisper-NAME`."""
    found = folder.glob("models--*--faster-whisper-*/snapshots/*/model.bin")
    whole = {p.parents[2].name for p in found if p.is_file()}
    return sorted(name.partition("--faster-whisper-")[2] for name in whole)


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
