"""Does memory stay flat over a long build?

    python benchmarks/memory.py [VIDEOS [DECODES]]        default: 100000 1000

Each question in a process of its own:
- videos: so many sources through the first phase of a build, with fakes for stages; listing,
  engine, ledger, store and progress are the real ones;
- decodes: so many small mp4s, no two alike, through acquire, probe, glance, encode in one worker.
Prints the resident MiB of the main process and of the largest worker at each tenth of the way (the
highest since the one before), and what each has grown by from the second fifth to the last.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import av
import numpy as np
import psutil

from reelscript.pipeline.stage import Live, Stage, Timing
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Passage, sample_key
from reelscript.schemas.video import Video

DEFAULTS = {"videos": 100_000, "decodes": 1_000}
LOOKS = 200
MIB = 1 << 20
FREE_ATOM_BYTES = 8 + 16


@dataclass(frozen=True)
class Look:
    """Resident memory when so many videos were through."""

    done: int
    main_mib: float
    worker_mib: float


@dataclass(frozen=True)
class ChooseAll(Stage):
    """Makes one passage of a whole video."""

    name: ClassVar[str] = "choose_all"
    reads: ClassVar[tuple[str, ...]] = ("duration_s",)
    writes: ClassVar[tuple[str, ...]] = ("passages",)

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""
        yield self._choose

    def _choose(self, video: Video, workspace: Workspace) -> Video:
        assert video.duration_s is not None
        passage = Passage(sample_key(video.video_id, 0.0), 0.0, video.duration_s, "train")
        return dataclasses.replace(video, passages=workspace.put_record([passage]))


def build(folder: Path, sources: str, stages: Sequence[Stage], workers: int) -> list[Look]:
    """Returns how large main process and workers were while they measured all sources."""
    from reelscript.jobs.measure import AtOnce, measure
    from reelscript.jobs.progress import Progress
    from reelscript.jobs.room import Room, Work
    from reelscript.jobs.runner import Runner
    from reelscript.jobs.sources.listing import list_sources
    from reelscript.pipeline.engines.local import LocalEngine
    from reelscript.pipeline.ledger import ENCODED, Ledger
    from reelscript.pipeline.store import Store

    looks: list[Look] = []

    class Watching(Progress):
        def measured(self, timing: Timing) -> None:
            super().measured(timing)
            done = self.stages[stages[-1].name].done
            if timing.stage == stages[-1].name and done % max(1, self.total // LOOKS) == 0:
                looks.append(look(done))

    store, scratch = Store(str(folder / "work")), folder / "scratch"
    workspace, engine = Workspace(store, scratch), LocalEngine(store, scratch, workers)
    runner = Runner(engine, workspace, Watching(None), Room(Work(), workspace))
    listed = list_sources([sources], folder)
    with Ledger(store) as ledger, Ledger(store, ENCODED) as encoded:
        measure(listed, stages, ledger, runner, AtOnce((), encoded))
        ended = ledger.latest(("outcome", "detail"))
    assert len(ended) == len(listed)
    assert set(ended["outcome"].to_pylist()) == {"pending"}, ended["detail"].unique()
    return looks


def look(done: int) -> Look:
    """Returns how large the processes are now."""
    this = psutil.Process()
    children = [c.memory_info().rss for c in this.children() if "spawn_main" in str(c.cmdline())]
    return Look(done, this.memory_info().rss / MIB, max(children, default=0) / MIB)


def videos(folder: Path, count: int) -> list[Look]:
    """Measures a list of URLs with fakes."""
    from reelscript.pipeline.testing import Counts, Waits

    with (folder / "list.txt").open("w") as file:
        for row in range(count):
            file.write(f"https://media.example.org/videos/{row % 997:03d}/clip_{row:07d}.mp4\n")
    return build(folder, str(folder / "list.txt"), [Counts(), Waits()], 2)


def decodes(folder: Path, count: int) -> list[Look]:
    """Decodes and encodes real mp4s."""
    from reelscript.transforms.acquire import Acquire
    from reelscript.transforms.encode import Encode
    from reelscript.transforms.glance import Glance
    from reelscript.transforms.probe import Probe

    sources = folder / "sources"
    sources.mkdir()
    data = small_mp4(folder / "one.mp4").read_bytes()
    for number in range(count):  # another file each time, as one would be remembered
        atom = FREE_ATOM_BYTES.to_bytes(4, "big") + b"free" + f"{number:016d}".encode()
        (sources / f"{number:06d}.mp4").write_bytes(data + atom)
    stages = [Acquire(), Probe(), Glance(), ChooseAll(), Encode(short_side_px=64)]
    return build(folder, str(sources), stages, 1)


def small_mp4(path: Path) -> Path:
    """Writes two seconds of moving picture and noise."""
    chance = np.random.default_rng(1)
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=Fraction(25), options={"preset": "ultrafast"})
        picture.width, picture.height, picture.pix_fmt = 128, 96, "yuv420p"
        sound = out.add_stream("aac", rate=16_000, layout="mono")
        for number in range(50):
            image = np.roll(np.arange(96 * 128 * 3, dtype=np.uint8).reshape(96, 128, 3), number, 1)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number
            out.mux(picture.encode(frame))
        noise = chance.integers(-3000, 3000, (1, 32_000), np.int16)
        heard = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
        heard.sample_rate, heard.pts = 16_000, 0
        out.mux([*sound.encode(heard), *sound.encode(None), *picture.encode(None)])
    return path


QUESTIONS: dict[str, Callable[[Path, int], list[Look]]] = {"videos": videos, "decodes": decodes}


def asked(question: str, count: int) -> list[Look]:
    """Returns what a process of its own saw that answered one question."""
    command = [sys.executable, __file__, "--answer", question, str(count)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [Look(**line) for line in json.loads(said.splitlines()[-1])]


def highest(looks: Sequence[Look], first: float, last: float) -> tuple[float, float]:
    """Returns how large main process and worker were at most between two shares of the way."""
    total = looks[-1].done
    among = [seen for seen in looks if first * total < seen.done <= last * total]
    return max(s.main_mib for s in among), max(s.worker_mib for s in among)


def growth(looks: Sequence[Look]) -> tuple[float, float]:
    """Returns what main process and worker have grown by from the second fifth to the last.

    A fifth of 100000 is as many rows as the ledger holds before it seals them.
    """
    early, late = highest(looks, 0.2, 0.4), highest(looks, 0.8, 1.0)
    return late[0] - early[0], late[1] - early[1]


def main() -> None:
    """Asks all questions."""
    counts = dict(zip(QUESTIONS, map(int, sys.argv[1:]), strict=False))
    for question, count in (DEFAULTS | counts).items():
        looks = asked(question, count)
        print(f"{count} {question}: resident MiB")
        for tenth in range(10):
            of_main, of_worker = highest(looks, tenth / 10, (tenth + 1) / 10)
            print(f"{tenth * 10 + 10:>4} %  main {of_main:6.1f}  worker {of_worker:6.1f}")
        print("grown: main {:+.1f}, worker {:+.1f}".format(*growth(looks)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--answer"]:
        with tempfile.TemporaryDirectory() as name:
            seen = QUESTIONS[sys.argv[2]](Path(name), int(sys.argv[3]))
        print(json.dumps([dataclasses.asdict(s) for s in seen]))
    else:
        main()
