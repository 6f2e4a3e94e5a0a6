"""What a worker of a cluster does with one group of stages: the local engine's crew, on a node.

```
driver    engine of a cluster: moves rows
             |            |
node      Station      Station        an actor, a worker: it lives on when a stage kills its process
             |            |
          children     children       run the stages; a Supervisor watches them
```

The rules of `suspects.py` hold. A suspect is alone when no other station of the run works on the
node (`turnstile.py`). If a station itself is killed its children end with it, nobody is blamed, and
its engine gives the videos to another.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from reelscript.pipeline.cores import usable_cores
from reelscript.pipeline.engines.crew import Crew
from reelscript.pipeline.engines.ended import Ended
from reelscript.pipeline.engines.groups import Group
from reelscript.pipeline.engines.limits import Limits, share_of_memory
from reelscript.pipeline.engines.node_scratch import node_folder, station_folder
from reelscript.pipeline.engines.supervisor import Stopped, Supervisor
from reelscript.pipeline.engines.turnstile import Turnstile
from reelscript.pipeline.engines.worker import Orders
from reelscript.pipeline.stage import Timing
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video

if TYPE_CHECKING:
    from types import TracebackType


class Station:
    """Runs one group of stages for an engine, in processes of its own; `close` it at last.

    Its processes start with the first video and stay, with what their stages have opened. It is a
    context manager too. Threads that share it take turns.

    Args:
        group: what it runs.
        store_url: of the work folder.
        run_name: of letters, digits, `_` and `-`; the same for all stations of a run, and unique.
        workers: processes.
        limits: what a stage may use for one video. Where `memory_bytes` is None a CPU worker gets
            its share as if each core of the machine had one.
        gpus: names as in CUDA_VISIBLE_DEVICES, for the workers in turn; none: as the engine has
            set the environment.

    Raises:
        UsageError: the run cannot be called so.
        StorageError: there is no place for scratch.
    """

    def __init__(
        self,
        group: Group,
        store_url: str,
        run_name: str,
        workers: int = 1,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        gpus: Sequence[str] = (),
    ) -> None:
        self._turn = threading.RLock()
        self._supervisor: Supervisor | None = None
        self._closed = False
        self._limits = limits.for_stages(group.stages)
        memory_bytes = limits.memory_bytes or share_of_memory(max(workers, usable_cores()))
        with ExitStack() as held:
            node = held.enter_context(node_folder(run_name))
            scratch = held.enter_context(station_folder(node))
            self._turnstile = Turnstile(node)
            self._workspace = Workspace(Store(store_url), scratch)
            orders = Orders((group,), store_url, str(scratch), passing=group.of > 1)
            self._crew = Crew(orders, {group.kind: workers}, memory_bytes, gpus)
            held.callback(self._crew.dismiss)
            self._held = held.pop_all()

    def run(self, videos: Sequence[Video]) -> list[Ended]:
        """Returns what became of each video, in their order, once all have ended.

        Those that have ended before, rejected or failed, come back as they are. One that is given
        twice is run once.

        Raises:
            UsageError: a stage cannot be opened on this machine, or no worker can be started.
            StorageError: a disk of ours is full, or the store is out of reach.
            Stopped: it was closed meanwhile.
        """
        with self._turn:
            pending = {v.video_id: v for v in videos if v.outcome not in ("rejected", "failed")}
            ended = self._ended([*pending.values()]) if pending else {}
        return [ended.get(video.video_id) or Ended(video) for video in videos]

    def _ended(self, videos: Sequence[Video]) -> dict[str, Ended]:
        heard, ended = _Heard(), {}
        self._supervisor = Supervisor(self._crew, self._limits, heard, alone=self._turnstile.alone)
        if self._closed:
            raise Stopped
        try:
            with self._turnstile.working():
                for video in self._supervisor.run(iter(videos)):
                    ended[video.video_id] = heard.take(video)
        except BaseException:  # Ctrl-C too: what workers have in hand belongs to nobody now
            self._crew.dismiss()
            raise
        finally:
            for video in videos:
                self._workspace.forget_scratch(video)
        return ended

    def close(self) -> None:
        """Ends its processes and removes its scratch; what another thread runs is stopped."""
        self._closed = True
        if self._supervisor is not None:
            self._supervisor.stop()
        with self._turn:
            self._held.close()

    def __enter__(self) -> Station:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


class _Heard:
    """Listens to a supervisor and keeps what it tells, by video."""

    def __init__(self) -> None:
        self._timings: dict[str, list[Timing]] = {}
        self._suspected: dict[str, list[tuple[str, str]]] = {}

    def started(self, video: Video, stage: str) -> None:
        """A worker begins a stage on a video: that it ends there will be told."""

    def measured(self, timing: Timing) -> None:
        """A stage has ended for a video."""
        self._timings.setdefault(timing.video_id, []).append(timing)

    def suspected(self, video: Video, stage: str, died: str) -> None:
        """A worker died in a stage on a video."""
        self._suspected.setdefault(video.video_id, []).append((stage, died))

    def take(self, video: Video) -> Ended:
        """Returns what was told of a video that has ended."""
        timings = self._timings.pop(video.video_id, [])
        return Ended(video, tuple(timings), tuple(self._suspected.pop(video.video_id, [])))
