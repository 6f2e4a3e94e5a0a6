"""A Ray cluster: one of our own on this machine, or one that runs already.

Whatever is wrong with it is found before anything starts, and said in one sentence: Ray itself
waits for ever where an actor has no room.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from reelscript.pipeline.cores import usable_cores
from reelscript.pipeline.engines.leash import one_thread
from reelscript.pipeline.engines.ray.pools import Share
from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.store import Store
from reelscript.schemas.text import one_line

OBJECT_STORE_BYTES = 200_000_000  # of our own cluster: rows are small, and few are on their way
SETTLE_S = 60.0  # for the actors of an earlier run to end, on a busy machine
SETTLE_ALL_S = 15.0  # where all that is free is asked for: others may keep some for hours
KNOCK_S = 10.0
PROBE_S = 120.0  # for each node to start a process and look around


class Cluster:
    """A cluster that we are connected to.

    Args:
        ray: the package.
        own: it was started by us, for this build alone.
    """

    def __init__(self, ray: Any, own: bool) -> None:
        self.ray = ray
        self.own = own

    @property
    def here(self) -> dict[str, str]:
        """What selects the driver's node, for that which must not be lost with another."""
        return {"ray.io/node-id": self.ray.get_runtime_context().get_node_id()}

    def _nodes(self) -> list[dict[str, Any]]:
        """Returns those that are alive and have something to work with."""
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        return [n for n in nodes if n["Resources"].get("CPU") or n["Resources"].get("GPU")]

    def total(self, kind: str) -> int:
        """Returns the whole CPUs or GPUs ("CPU", "GPU") of all nodes that are alive."""
        return sum(int(node["Resources"].get(kind, 0)) for node in self._nodes())

    def free(self, kind: str) -> int:
        """Returns those that nobody claims."""
        return int(self.ray.available_resources().get(kind, 0))

    def claimed(self, kinds: Collection[str], cpus: int | None, gpus: int) -> Share:
        """Returns what a run gets: what is asked for, or all CPUs that are free.

        Args:
            kinds: of its groups.
            cpus: asked for; None: all that are free.
            gpus: asked for.

        Raises:
            UsageError: so much is not free.
        """
        return Share(
            self._claimed("CPU", cpus, "--workers") if "cpu" in kinds else 0,
            self._claimed("GPU", gpus, "--gpus") if "gpu" in kinds else 0,
        )

    def _claimed(self, what: str, asked: int | None, flag: str) -> int:
        total = self.total(what)
        least = total if asked is None else asked
        until = time.monotonic() + (SETTLE_ALL_S if asked is None else SETTLE_S)
        while (free := self.free(what)) < least <= total and time.monotonic() < until:
            time.sleep(0.2)
        needed = 1 if asked is None else asked
        if free < needed:
            raise UsageError(
                f"the Ray cluster has {free} of its {total} {what}s free, and {needed} "
                f"are needed: ask for fewer with {flag}, or wait until other jobs have ended"
            )
        return free if asked is None else asked

    def left_of(self, share: Share) -> Share:
        """Returns as much of a share as the cluster still has.

        Raises:
            UsageError: nothing.
        """
        left = Share(min(share.cpus, self.total("CPU")), min(share.gpus, self.total("GPU")))
        for was, now, what in ((share.cpus, left.cpus, "CPU"), (share.gpus, left.gpus, "GPU")):
            if was and not now:
                raise UsageError(
                    f"the Ray cluster has lost its last {what}: the same command goes on"
                )
        return left

    def check_nodes(self, store: Store) -> None:
        """Looks from every node whether it can take part.

        Raises:
            UsageError: one has not this version of reelscript, or does not see the store.
        """
        from reelscript import __version__

        name, text = f"passing/probe-{secrets.token_hex(8)}", secrets.token_bytes(16)
        store.put(name, text)
        try:
            look = self.ray.remote(num_cpus=0, max_retries=2)(_looks_around())
            nodes = self._nodes()
            asked = [
                look.options(label_selector={"ray.io/node-id": node["NodeID"]}).remote(
                    __version__, shared_url(store), name, text
                )
                for node in nodes
            ]
            done, _ = self.ray.wait(asked, num_returns=len(asked), timeout=PROBE_S)
            for node, answer in zip(nodes, asked, strict=True):
                where = f"the node {node['NodeManagerAddress']} of the Ray cluster"
                if answer not in done:
                    raise UsageError(f"{where} did not start a process within {PROBE_S:.0f} s")
                fault = self.ray.get(answer)
                if fault is not None:
                    raise UsageError(f"{where} {fault}")
        finally:
            store.delete(name)


def shared_url(store: Store) -> str:
    """Returns the store's URL as another node can use it: a local path is absolute."""
    return store.url if store.local_root is None else str(store.local_root)


def _looks_around() -> Callable[[str, str, str, bytes], str | None]:
    """Returns what looks around on a node; made here, so that it travels without our package."""

    def look(version: str, url: str, name: str, text: bytes) -> str | None:
        try:
            import reelscript
            from reelscript.pipeline.store import Store
        except ImportError as error:
            return f"cannot import reelscript {version}, which every node needs: {error}"
        if reelscript.__version__ != version:
            return f"has reelscript {reelscript.__version__}, and the driver has {version}"
        unseen = f"does not see the work folder {url}: it must lie where all nodes see it"
        try:
            return None if Store(url).get(name) == text else unseen
        except FileNotFoundError:
            return unseen
        except Exception as error:
            return f"{unseen} ({type(error).__name__}: {error})"

    return look


@contextmanager
def joined(
    address: str | None, cpus: int | None, gpus: int, object_store_bytes: int
) -> Iterator[Cluster]:
    """Gives a cluster: the one this process is connected to, the one at an address, or our own.

    Our own is private to this process, and ends with the context.

    Args:
        address: "auto", "host:port" or "ray://host:port" of one that runs; None: our own.
        cpus: of our own; None: as many as this machine has cores.
        gpus: of our own.
        object_store_bytes: of our own.

    Raises:
        UsageError: Ray is not installed, or there is no cluster.
    """
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
    try:
        if address is not None:
            _knock(address)
        # What its nodes say of actors that die it prints even where nothing is to be printed.
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
        with _own_sigterm(), one_thread(), _native_words_dropped():  # else Ray sets it for good
            ray.init(**asked, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        what = "no Ray cluster can be started" if address is None else f"{address}: no Ray cluster"
        said = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{what}: {one_line(said)}") from error
    try:
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


def _knock(address: str) -> None:
    """Raises OSError where nobody listens: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keeps what this process does at SIGTERM, in whose place Ray puts its own way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
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
