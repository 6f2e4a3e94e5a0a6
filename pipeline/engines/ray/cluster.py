"""A Ray cluster as a run uses it: what of it is free, and whether its nodes can take part.

Whatever is wrong with it is found before anything starts, and said in one sentence: Ray itself
waits for ever where an actor has no room.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reelscript.pipeline.engines.ray.pools import Share
from reelscript.pipeline.errors import ReelscriptError, UsageError
from reelscript.pipeline.store import Store
from reelscript.schemas.text import one_line

SETTLE_S = 60.0  # for the actors of an earlier run to end, on a busy machine
SETTLE_ALL_S = 15.0  # where all that is free is asked for: others may keep some for hours
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
            self._ask_nodes(_looks_around(), __version__, shared_url(store), name, text)
        finally:
            store.delete(name)

    def check_sees(self, file: Path) -> None:
        """Looks from every node whether it has a file that this machine has.

        Raises:
            UsageError: one has it not.
        """
        self._ask_nodes(_looks_for(), str(file))

    def _ask_nodes(self, look: Callable[..., str | None], *arguments: object) -> None:
        """Calls a function on every node. Raises UsageError where it names a fault."""
        task, nodes = self.ray.remote(num_cpus=0, max_retries=2)(look), self._nodes()
        asked = [
            task.options(label_selector={"ray.io/node-id": node["NodeID"]}).remote(*arguments)
            for node in nodes
        ]
        done, _ = self.ray.wait(asked, num_returns=len(asked), timeout=PROBE_S)
        for node, answer in zip(nodes, asked, strict=True):
            where = f"the node {node['NodeManagerAddress']} of the Ray cluster"
            if answer not in done:
                raise UsageError(f"{where} did not start a process within {PROBE_S:.0f} s")
            try:
                fault = self.ray.get(answer)
            except self.ray.exceptions.RayError as error:  # another Python, or it is gone
                fault = f"cannot take part: {_last_line(error)}"
            if fault is not None:
                raise UsageError(f"{where} {fault}")

    @contextmanager
    def spoken(self) -> Iterator[None]:
        """Says in one sentence what Ray raises within: its head is out of reach, mostly."""
        try:
            yield
        except self.ray.exceptions.RayError as error:
            raise ReelscriptError(
                f"the Ray cluster ended the run: {_last_line(error)}: what was finished is saved, "
                "and the same command goes on"
            ) from error


def _last_line(error: Exception) -> str:
    """Returns what an error of Ray says, without the pages before it."""
    lines = str(error).strip().splitlines() or [""]
    return one_line(f"{type(error).__name__}: {lines[-1]}", 300)


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


def _looks_for() -> Callable[[str], str | None]:
    """Returns what looks for a file on a node."""

    def look(path: str) -> str | None:
        from pathlib import Path

        if Path(path).is_file():
            return None
        return (
            f"does not have the source {path}: local files must lie on every node under the same "
            "path, or be named by URLs"
        )

    return look
