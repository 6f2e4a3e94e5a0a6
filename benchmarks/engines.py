"""What does an engine cost a record, and does it keep a GPU busy?

    python benchmarks/engines.py [ROWS [ENGINE...]]      default: 10000, all; needs ray and beam

- a record: ROWS videos through one stage that does nothing and remembers nothing, with 2 workers.
  Milliseconds from the first result to the last, over the rows; and seconds until the first.
- busy: 300 videos through a stage that waits 0.2 s as if for a GPU, between two groups of CPU
  stages that wait 0.1 s each: the share of the time from the first result to the last in which the
  one in the middle was at work. FnApiRunner, which does one step after the other, is left out.
The work folder lies in memory if /dev/shm is there.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from reelscript.jobs.engines import Chosen
from reelscript.pipeline.stage import Stage, Timing
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import Idles, IdlesOnGpu, videos
from reelscript.schemas.video import Video

WORKERS = 2
WAITING, CPU_S, GPU_S = 300, 0.1, 0.2
BEAM = {
    "beam in_memory": ("direct_running_mode=in_memory",),
    "beam multi_processing": ("direct_running_mode=multi_processing",),
    "beam portable": (
        "runner=PortableRunner",
        "job_endpoint=embed",
        "environment_type=LOOPBACK",
    ),
}
ENGINES: dict[str, tuple[str, ...]] = {"local": (), "ray": (), **BEAM}


class Nobody:
    """Listens to nothing."""

    def started(self, video: Video, stage: str) -> None:
        """Nothing."""

    def measured(self, timing: Timing) -> None:
        """Nothing."""

    def suspected(self, video: Video, stage: str, died: str) -> None:
        """Nothing."""


def many(rows: int) -> Iterator[Video]:
    """Yields videos that are not there."""
    (one,) = videos(1)
    for number in range(rows):
        yield dataclasses.replace(one, video_id=f"v{number:07d}", position=number)


def run(engine: str, stages: Sequence[Stage], rows: int) -> tuple[float, float]:
    """Returns seconds until the first result, and from there to the last."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        chosen = Chosen.of(engine.split()[0], ENGINES[engine])
        store, scratch = Store(f"{folder}/work"), Path(folder, "scratch")
        with chosen.opened(store, scratch, WORKERS, 1) as opened:
            began_s = time.perf_counter()
            ended = opened.run(stages, many(rows), Nobody())
            next(iter(ended))
            first_s = time.perf_counter()
            count = 1 + sum(1 for _ in ended)
            last_s = time.perf_counter()
    assert count == rows
    return first_s - began_s, last_s - first_s


def main(rows: int, engines: Sequence[str]) -> None:
    """Prints a line for each engine."""
    for engine in engines:
        start_s, all_s = run(engine, [Idles()], rows)
        line = f"{engine:22} {1000 * all_s / rows:6.2f} ms a record, first after {start_s:5.1f} s"
        if engine not in BEAM:
            stages = [Idles(wait_s=CPU_S), IdlesOnGpu(wait_s=GPU_S), Idles(wait_s=CPU_S)]
            _, all_s = run(engine, stages, WAITING)
            line += f"; busy {(WAITING - 1) * GPU_S / all_s:.1%}"
        print(line, flush=True)


if __name__ == "__main__":
    asked = sys.argv[1:]
    main(int(asked[0]) if asked else 10_000, asked[1:] or list(ENGINES))
