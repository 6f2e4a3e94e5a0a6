"""How this process comes to be connected to a Ray cluster, and what it says where it cannot.

Ray's own words are kept out of the terminal, and its ways to end a process are undone or told.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from reelscript.pipeline.cores import usable_cores
from reelscript.pipeline.engines.leash import one_thread
from reelscript.pipeline.engines.ray.cluster import Cluster
from reelscript.pipeline.errors import UsageError
from reelscript.schemas.text import one_line

OBJECT_STORE_BYTES = 200_000_000  # of our own cluster: rows are small, and few are on their way
KNOCK_S = 10.0
LAST_WORDS = (
    "reelscript: the build was ended from outside, as Ray does when the head of its cluster or its "
    "part on this machine is gone: what was finished is saved, and the same command goes on"
)


@contextmanager
def joined(
    address: str | None, cpus: int | None, gpus: int, object_store_bytes: int
) -> Iterator[Cluster]:
    """Gives a cluster: the one this process is connected to, the one at an address, or our own.

    Our own is private to this process, and ends with the context.

    Args:
        address: "auto" or "host:port" of one that this machine is a node of; None: our own.
        cpus: of our own; None: as many as this machine has cores.
        gpus: of our own.
        object_store_bytes: of our own.

    Raises:
        UsageError: Ray is not installed, or there is no cluster.
    """
    if address is not None and "://" in address:
        raise UsageError(
            f"{address}: Ray Client and the addresses of dashboards cannot be used: run the "
            "command on a machine of the cluster, with address=auto"
        )
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError(
            f"--engine ray needs {error.name}, which is not installed: "
            "pip install 'reelscript[ray]'"
        ) from error
    _hush()
    if ray.is_initialized():
        yield Cluster(ray, own=False)
        return
    own: dict[str, Any] = {
        "address": "local",  # without it Ray joins whatever cluster runs on this machine
        "num_cpus": cpus or usable_cores(),
        "num_gpus": gpus,
        "object_store_memory": object_store_bytes,
        "include_dashboard": False,
    }
    asked = own if address is None else {"address": address}
    failures = (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError)
    try:
        # What its nodes say of actors that die it prints even where nothing is to be printed.
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
        with _own_sigterm(), one_thread(), _native_words_dropped():  # else Ray sets it for good
            if address is not None:
                _knock(ray, address)
            ray.init(**asked, logging_level=logging.ERROR, log_to_driver=False)
    except failures as error:
        what = "no Ray cluster can be started" if address is None else f"{address}: no Ray cluster"
        said = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{what}: {one_line(said)}") from error
    try:
        with _last_words():
            yield Cluster(ray, own=address is None)
    finally:
        with _own_sigterm():
            ray.shutdown()


def _hush() -> None:
    """Keeps Ray's own words out of the terminal; its files have them."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of a change
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    for name in ("ray", "ray.data"):
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.ERROR) if name == "ray" else logger.level)
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setLevel(logging.CRITICAL + 1)


def _knock(ray: Any, address: str) -> None:
    """Raises OSError where nobody listens, RayError where it is no Ray: Ray would try for minutes.

    It itself ends the process then, without a word.
    """
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()
        ray._raylet.GcsClient(address=address)


@contextmanager
def _last_words() -> Iterator[None]:
    """Has a sentence said if this process is ended within: native code of Ray does that, silently.

    A shell waits for the end of a pipe that only we hold; whoever leaves here tells it to be still.
    """
    script = f"read -r _ || echo {shlex.quote(LAST_WORDS)} >&2"
    shell = subprocess.Popen(
        ["/bin/sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in a terminal goes to us alone
    )
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            shell.communicate(b"\n")


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keeps what this process does at SIGTERM, in whose place Ray puts its own way.

    Raises:
        KeyboardInterrupt: one came while that was Ray's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as ended:
        if ended.code == signal.SIGTERM:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _native_words_dropped() -> Iterator[None]:
    """Drops what native code says on standard error: there Ray says how quiet it will be."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
