"""Apache Beam as an engine: a pipeline a wave of videos, on whatever runner the options name.

```
driver    videos --wave--> names in the graph             ledger <-- ended videos, as they are told
                              |                                          ^
runner         read --Reshuffle--> ApplyStages (transform.py)            |
                                      |                                  |
store                       passing/results/<run>/ended/...  ------------'    (results.py)
```

A wave is what the gate lets through, at most `MOST_IN_A_WAVE` videos: a pipeline holds its rows in
memory, and cannot be given more once it runs.

The runner is `FnApiRunner` unless the options name another: the whole of Beam in this process, the
stages in `workers` children. (`DirectRunner` first tries to download a program, Prism.) It does one
step of a pipeline after the other, so CPU and GPU groups do not overlap there; runners that stream
rows from step to step overlap them. With `direct_running_mode=multi_processing` Beam has `workers`
processes of its own, each with one child; what they print is not shown. FnApiRunner tries nothing
again: if such a process is killed the run ends, and the same command goes on.

`runner=PortableRunner`, `job_endpoint=embed`, `environment_type=LOOPBACK` submits the pipeline over
Beam's portability API to a job server in this process. Options of other runners (Dataflow, Flink,
Spark) are passed on as they are; none of these has been tried. There each worker process of Beam
has one child, and how many there are is for the runner's options to say.
"""

# mypy: disallow-untyped-calls=False
from __future__ import annotations

import contextlib
import io
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reelscript.pipeline.engines.beam.results import Results
from reelscript.pipeline.engines.beam.running import LOG_LEVEL, RUNNER, Running, quiet
from reelscript.pipeline.engines.beam.stations import close_all
from reelscript.pipeline.engines.ended import Ended
from reelscript.pipeline.engines.groups import groups_of
from reelscript.pipeline.engines.limits import Limits
from reelscript.pipeline.engines.protocols import Gate, Listener
from reelscript.pipeline.errors import UsageError, nearest
from reelscript.pipeline.stage import Stage
from reelscript.pipeline.store import Store
from reelscript.schemas.text import one_line
from reelscript.schemas.video import Video

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

MOST_IN_A_WAVE = 10_000
POLL_REMOTE_S = 2.0  # a listing of a bucket costs money


class BeamEngine:
    """Runs stages on a Beam runner.

    Args:
        store: the work folder; its URL is what the workers get, so all of them must reach it.
        workers: CPU worker processes, where Beam runs on this machine.
        gpus: GPU worker processes, where a stage needs a GPU.
        limits: what a stage may use for one video.
        options: pipeline options of Beam, by name, without dashes; "true" switches one on.
    """

    def __init__(
        self,
        store: Store,
        workers: int,
        gpus: int = 1,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        options: Mapping[str, str] = {},
    ) -> None:
        self.store = store
        self.workers = workers
        self.gpus = gpus
        self.limits = limits
        self.options = {"runner": RUNNER, **options}

    def run(
        self,
        stages: Sequence[Stage],
        videos: Iterable[Video],
        listener: Listener,
        gate: Gate | None = None,
    ) -> Iterator[Video]:
        """Yields each video once, as it finishes: after all stages or the first that ended it.

        Args:
            stages: what to run, in order; at least one.
            videos: taken wave by wave.
            listener: is told how it goes, when a group of stages has ended for a video.
            gate: while it is not open no further video is taken into a wave.

        Raises:
            UsageError: an option is wrong, or a stage cannot be opened on a worker.
            StorageError: a disk of ours is full, or the work folder out of reach.
            ReelscriptError: the runner ended the run.
        """
        source = iter(videos)
        while wave := _wave(source, gate):
            yield from self._through(stages, wave, listener)

    def _through(
        self, stages: Sequence[Stage], wave: Sequence[Video], listener: Listener
    ) -> Iterator[Video]:
        """Yields the videos of one wave as they finish."""
        results = Results(self.store, f"beam-{secrets.token_hex(8)}")
        options = self._pipeline_options(stages)
        last = len(groups_of(stages)) - 1
        told: dict[str, dict[int, Ended]] = {video.video_id: {} for video in wave}

        def finished() -> Iterator[Video]:
            for number, ended in results.arrived():
                groups = told.get(ended.video.video_id)
                if groups is None or number in groups:
                    continue  # of a bundle that was tried again
                ended.tell(listener)
                groups[number] = ended
                video = groups[max(groups)].video
                over = max(groups) == last or not video.pending
                if over and len(groups) == max(groups) + 1:  # groups before may tell later
                    del told[video.video_id]
                    yield video

        poll_s = self.limits.poll_s if self.store.local_root is not None else POLL_REMOTE_S
        results.begin()
        pipeline = Running(self._graph(stages, results, results.give(wave)), options)
        try:
            while pipeline.wait(poll_s):
                yield from finished()
                if told and (fault := results.fault() or pipeline.fault()) is not None:
                    raise fault
            yield from finished()
            if told:
                raise results.fault() or pipeline.fault() or results.lost()
        finally:
            results.unwanted()
            pipeline.end()
            close_all(results.run_name)
            results.end()

    def _graph(self, stages: Sequence[Stage], results: Results, names: Sequence[str]) -> Any:
        """Returns what builds the pipeline."""
        in_this_process = self._in_this_process()

        def built(pipeline: Any) -> None:
            import apache_beam as beam

            from reelscript.pipeline.engines.beam.transform import ApplyStages

            apply = ApplyStages(
                stages,
                self.store.url,
                self.workers if in_this_process else 1,
                self.gpus,
                self.limits,
                hints=self.options["runner"] != RUNNER,  # each would get workers of its own
                results=results,
            )
            rows = pipeline | "Names" >> beam.Create(names)
            rows |= "Read" >> beam.FlatMap(results.given).with_output_types(Video)
            _ = rows | "Share out" >> beam.Reshuffle() | apply

        return built

    # Options.

    def _in_this_process(self) -> bool:
        """Returns whether Beam's workers are threads of this process."""
        if self.options["runner"] == RUNNER:
            return self.options.get("direct_running_mode") != "multi_processing"
        return self.options.get("environment_type") == "LOOPBACK"

    def _pipeline_options(self, stages: Sequence[Stage]) -> PipelineOptions:
        """Returns the options as Beam has them. Raises UsageError where one is wrong."""
        options = _beam_options()
        given = {"default_sdk_harness_log_level": LOG_LEVEL, **self.options}
        if given["runner"] == RUNNER:
            known = options([]).get_all_options()
            for name in given:
                if name not in known:
                    raise UsageError(f"Beam has no option {name!r}; {nearest(name, known)}")
            in_memory = given.get("direct_running_mode", "in_memory") == "in_memory"
            given.setdefault("direct_num_workers", "1" if in_memory else str(self.workers))
            if not self._in_this_process() and any(g.kind == "gpu" for g in groups_of(stages)):
                raise UsageError(
                    "direct_running_mode=multi_processing would load a model into a GPU for each "
                    "process: leave it away, and Beam runs a process a GPU"
                )
        flags = [f"--{name}" if v == "true" else f"--{name}={v}" for name, v in given.items()]
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said), quiet():
                options(flags).get_all_options()
        except SystemExit:  # that of its command line parser
            raise UsageError(f"Beam: {one_line(said.getvalue().splitlines()[-1])}") from None
        return options(flags)


def _beam_options() -> type[PipelineOptions]:
    """Returns Beam's class of options. Raises UsageError where Beam is not installed."""
    try:
        with quiet():
            from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UsageError(
            f"the engine beam needs {error.name}, which is not installed: "
            "pip install 'reelscript[beam]'"
        ) from error
    return PipelineOptions


def _wave(source: Iterator[Video], gate: Gate | None) -> list[Video]:
    """Returns the videos of the next pipeline; none when there are no more."""
    wave: list[Video] = []
    while len(wave) < MOST_IN_A_WAVE and (gate is None or gate.open()):
        video = next(source, None)
        if video is None:
            return wave
        wave.append(video)
    if not wave and (video := next(source, None)) is not None:
        wave.append(video)
        if gate is not None:
            gate.stuck()
    return wave
