"""What tests of Beam need of a module: stages and a program that processes of Beam can import.

python -m tests.beam_made WORK LOG direct_running_mode=multi_processing
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psutil

from reelscript.pipeline.engines.beam.engine import BeamEngine
from reelscript.pipeline.engines.limits import Limits
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import Fake, Waits, noted, videos
from reelscript.schemas.video import Video
from tests.engines_made import Heard

PROGRAM_VIDEOS = 12
MODES: dict[str, dict[str, str]] = {
    "in_memory": {},
    "multi_threading": {"direct_running_mode": "multi_threading"},
    "loopback": {
        "runner": "PortableRunner",
        "job_endpoint": "embed",
        "environment_type": "LOOPBACK",
    },
    "multi_processing": {"direct_running_mode": "multi_processing"},
}


def beam_engine(
    work: Path | str, options: Mapping[str, str] = {}, workers: int = 2, **limits: float
) -> BeamEngine:
    """An engine that looks at its workers often."""
    quick = Limits(**{"poll_s": 0.1, **limits})  # type: ignore[arg-type]
    return BeamEngine(Store(str(work)), workers, limits=quick, options=options)


@dataclass(frozen=True)
class KillsBeam(Fake):
    """Kills the worker process of Beam that it runs below, once a log, as a full machine does."""

    name: ClassVar[str] = "kills_beam"

    def act(self, video: Video) -> None:
        if sum(what == video.video_id for what, *_ in noted(self.log)) == 1:
            os.kill(psutil.Process().ppid(), signal.SIGKILL)
            time.sleep(60.0)


def main() -> None:
    """Runs a slow stage, and prints the videos as they finish."""
    work, log, *given = sys.argv[1:]
    options = dict(option.split("=", 1) for option in given)
    stages = [Waits(wait_s=0.5, log=log)]
    running = beam_engine(work, options).run(stages, videos(PROGRAM_VIDEOS), Heard())
    try:
        with contextlib.closing(running):  # type: ignore[type-var]
            for video in running:
                print(video.video_id, flush=True)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
