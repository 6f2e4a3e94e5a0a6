"""A PTransform that applies stages to videos, for your own Beam pipelines and for `engine.py`.

```python
import apache_beam as beam
from reelscript.pipeline.engines.beam.transform import ApplyStages

videos | ApplyStages(stages, work="s3://bucket/corpus.work") | beam.Map(lambda v: v.outcome)
```

Stages that stand together and need the same resources are one group, and one step of the pipeline:

```
PCollection of Video --> [group 0, CPU] --Reshuffle--> [group 1, GPU] --Reshuffle--> [2] --> Video
                              |                             |
worker process           n stations                    one a GPU        shared by all its threads
                              |                             |
                          a child each                 a child each     runs the stages; may die
```
"""

# mypy: disallow-untyped-calls=False
from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from pathlib import Path
from typing import Any

import apache_beam as beam  # noqa: TID253 - who imports this module builds a pipeline
from apache_beam.metrics.metric import Metrics  # noqa: TID253
from apache_beam.pvalue import PCollection  # noqa: TID253
from apache_beam.utils.windowed_value import WindowedValue  # noqa: TID253

from reelscript.pipeline.engines.beam.results import Results, Teller
from reelscript.pipeline.engines.beam.stations import Stations, StationsOf, join, leave
from reelscript.pipeline.engines.ended import Ended
from reelscript.pipeline.engines.groups import groups_of
from reelscript.pipeline.engines.limits import MIN_WORKER_BYTES, Limits
from reelscript.pipeline.engines.supervisor import Stopped
from reelscript.pipeline.errors import ReelscriptError, StorageError, UsageError
from reelscript.pipeline.stage import Stage
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video

NAMESPACE = "reelscript"
HARNESS_BYTES = 1 << 30  # for Beam itself
ANY_GPU = "type:nvidia-l4;count:1;install-nvidia-driver"
LOOK_S = 1.0


class ApplyStages(beam.PTransform["PCollection[Video]", "PCollection[Video]"]):
    """Applies stages to a PCollection of Video, and gives one of as many.

    Each video comes out after all stages, or after the first that rejected it or failed on it.
    Results are remembered in the work folder: what was measured once is not measured again,
    neither by a bundle that is tried again nor by the next pipeline. What a stage does to its
    process is a fact of one video (`failed(crashed)`), and no error of the pipeline.

    Its metrics, in the namespace `reelscript`: counters `outcome/<outcome>`, `reason/<stage>/
    <reason>`, `remembered/<stage>`, `died/<stage>`; distributions `wall_ms/<stage>`.

    Args:
        stages: what to apply, in order. Workers import them: they stand in a module.
        work: the work folder, a path or fsspec URL that all workers reach.
        workers: CPU processes for a worker process of Beam, which all of its threads share.
        gpus: of its machine, each of which gets one process.
        limits: what a stage may use for one video.
        hints: whether groups carry resource hints: memory, and `accelerator`.
        accelerator: what a group that needs a GPU asks for, as your runner understands it.
        results: tells a driver of results while the pipeline runs; None: nobody waits for them.

    Raises:
        UsageError: a stage cannot be opened on a worker. This and the next are errors of the
            pipeline: runners show them at the end of what they say.
        StorageError: a disk is full, or the work folder out of reach.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        work: str,
        workers: int = 1,
        gpus: int = 1,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        hints: bool = True,
        accelerator: str = ANY_GPU,
        results: Results | None = None,
    ) -> None:
        super().__init__()
        run_name = results.run_name if results else f"beam-{secrets.token_hex(8)}"
        self._groups = [
            StationsOf(group, work, run_name, workers, gpus, limits) for group in groups_of(stages)
        ]
        self._hinted = hints
        self._accelerator = accelerator
        self._results = results

    def expand(self, videos: PCollection[Video]) -> PCollection[Video]:
        """Returns the videos after all groups."""
        for of in self._groups:
            if of.group.number:
                videos |= f"Share out before {of.name}" >> beam.Reshuffle()
            step = beam.ParDo(_Apply(of, self._results)).with_output_types(Video)
            videos |= of.name >> step.with_resource_hints(**self._hints(of))
        return videos

    def _hints(self, of: StationsOf) -> dict[str, str]:
        if not self._hinted:
            return {}
        each = of.limits.memory_bytes or MIN_WORKER_BYTES
        hints = {"min_ram": f"{HARNESS_BYTES + of.count * each}B"}
        return hints | ({"accelerator": self._accelerator} if of.group.kind == "gpu" else {})


class _Apply(beam.DoFn):
    """Runs one group of stages: several videos of a bundle at once, each by a process.

    Where a driver waits for results, it is told of faults too, and a bundle whose results nobody
    wants any more ends without them: an error would make Beam print pages, or try it again.
    """

    def __init__(self, of: StationsOf, results: Results | None) -> None:
        self._of = of
        self._results = results
        self._stations: Stations | None = None

    def setup(self) -> None:
        """Joins the stations of this process."""
        try:
            self._stations = join(self._of)
        except (UsageError, StorageError) as error:
            self._give_up(error)

    def start_bundle(self) -> None:
        """Begins with nothing in hand."""
        self._waiting: list[WindowedValue] = []
        self._working: dict[Future[list[Ended]], list[WindowedValue]] = {}
        number = self._of.group.number
        self._teller = None if self._results is None else Teller(self._results, number)
        self._wanted = self._teller is None or self._teller.look()

    def process(
        self,
        video: Video,
        timestamp: Any = beam.DoFn.TimestampParam,
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[WindowedValue]:
        """Takes one video, and yields those that have ended since."""
        self._waiting.append(WindowedValue(video, timestamp, (window,)))
        if len(self._waiting) == self._of.group.videos_at_once:
            self._give()
        while len(self._working) > 2 * self._of.count:
            yield from self._ended()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Yields all others."""
        self._give()
        while self._working:
            yield from self._ended()
        if self._teller is not None:
            self._teller.flush()

    def teardown(self) -> None:
        """Leaves the stations; the last to leave closes them."""
        if self._stations is not None:
            leave(self._of)
            self._stations = None

    def _give(self) -> None:
        """Gives what waits to the stations."""
        if self._waiting and self._wanted:
            assert self._stations is not None  # else it could not be wanted
            future = self._stations.submit([one.value for one in self._waiting])
            self._working[future] = self._waiting
        self._waiting = []

    def _ended(self) -> Iterator[WindowedValue]:
        """Yields what has ended, after a while at the latest."""
        done, _ = wait(self._working, LOOK_S, FIRST_COMPLETED)
        self._wanted = self._teller is None or self._teller.look()
        for future in done if self._wanted else ():
            given = self._working.pop(future)
            try:
                ended = future.result()
            except (UsageError, StorageError) as error:
                self._give_up(error)
                break
            except (Stopped, CancelledError):  # the driver has closed the stations
                if self._results is None:
                    raise
                self._wanted = False
                break
            for one, its_end in zip(given, ended, strict=True):
                self._count(its_end)
                if self._teller is not None:
                    self._teller.add(its_end)
                else:
                    self._forget_passing(its_end.video)
                yield one.with_value(its_end.video)
        if not self._wanted:
            self._working.clear()

    def _forget_passing(self, video: Video) -> None:
        """Removes what groups have left for each other, once a video has ended: no driver does."""
        group = self._of.group
        if group.of > 1 and (group.number + 1 == group.of or not video.pending):
            nowhere = Path(tempfile.gettempdir())
            Workspace(Store(self._of.work), nowhere, passing=True).forget_passing(video)

    def _give_up(self, error: ReelscriptError) -> None:
        """Tells the driver why no more is to be done; raises it where there is none to be told."""
        self._wanted = False
        if self._results is None or not self._results.give_up(error):
            raise error

    def _count(self, ended: Ended) -> None:
        """Adds one video to the metrics."""
        for timing in ended.timings:
            wall_ms = Metrics.distribution(NAMESPACE, f"wall_ms/{timing.stage}")
            wall_ms.update(round(1000 * timing.wall_s))
            if timing.remembered:
                Metrics.counter(NAMESPACE, f"remembered/{timing.stage}").inc()
        for stage, _ in ended.suspected:
            Metrics.counter(NAMESPACE, f"died/{stage}").inc()
        if self._of.group.number + 1 == self._of.group.of:
            video = ended.video
            Metrics.counter(NAMESPACE, f"outcome/{video.outcome}").inc()
            if video.reason is not None:
                Metrics.counter(NAMESPACE, f"reason/{video.stage}/{video.reason}").inc()
