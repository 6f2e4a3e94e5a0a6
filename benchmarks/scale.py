"""How long and how much memory does it take to start, to resume and to plan?

python benchmarks/scale.py [ROWS ...]        default: 10000 100000 1000000

For each number of rows, each in a process of its own:
- start: from a list of URLs (.txt) to the first source in a worker's hands, nothing known before;
- resume: the same with every hundredth row still to be measured, the last one of the list among
  them;
- plan: which sample goes into which shard, from nothing and with all shards standing already.
Sources and stages are fakes that only wait; store, ledger, engine and planner are the real ones.
Peak memory is that of the main process; workers hold one video each.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

DEFAULT_ROWS = (10_000, 100_000, 1_000_000)
UNFINISHED_EVERY = 100
SAMPLE_BYTES, TARGET_BYTES = 3_000_000, 512_000_000
MIB = 1 << 20


class FirstHeard(BaseException):
    """A worker has begun: the clock stops."""


def write_list(path: Path, rows: int) -> None:
    """Writes a list of URLs."""
    with path.open("w") as file:
        for row in range(rows):
            file.write(f"https://media.example.org/videos/{row % 997:03d}/clip_{row:07d}.mp4\n")


def fill_ledger(folder: Path) -> None:
    """Writes the ledger of a build that was stopped when 99 of 100 sources were measured."""
    import dataclasses

    from reelscript.jobs.measure import chain_of
    from reelscript.jobs.sources.listing import list_sources
    from reelscript.pipeline.ledger import Ledger, Row
    from reelscript.pipeline.store import Store
    from reelscript.pipeline.testing import Waits

    chain, cpu_s = chain_of([Waits()]), {"waits": 0.1234}
    digests = dict.fromkeys(("source_sha256", "media", "transcript"), "0123456789abcdef" * 4)
    with Ledger(Store(str(folder / "work"))) as ledger:
        for number, video in enumerate(list_sources(str(folder / "list.txt"), folder)):
            if number % UNFINISHED_EVERY != UNFINISHED_EVERY - 1:
                facts = {"duration_s": number % 600 + 0.5, "words": number % 997, **digests}
                ledger.add(Row(chain, dataclasses.replace(video, **facts), cpu_s))
        ledger.compact()


def start(folder: Path, _rows: int) -> None:
    """Lists the sources, looks them up in the ledger and begins to measure."""
    from reelscript.jobs.measure import AtOnce, measure
    from reelscript.jobs.progress import Progress
    from reelscript.jobs.room import Room, Work
    from reelscript.jobs.runner import Runner
    from reelscript.jobs.sources.listing import list_sources
    from reelscript.pipeline.engines.local import LocalEngine
    from reelscript.pipeline.ledger import ENCODED, Ledger
    from reelscript.pipeline.store import Store
    from reelscript.pipeline.testing import Waits
    from reelscript.pipeline.workspace import Workspace
    from reelscript.schemas.video import Video

    class Stops(Progress):
        def started(self, _video: Video, _stage: str) -> None:
            raise FirstHeard

    store = Store(str(folder / "work"))
    workspace = Workspace(store, folder / "scratch")
    engine = LocalEngine(store, folder / "scratch", 2)
    runner = Runner(engine, workspace, Stops(None), Room(Work(), workspace))
    listed = list_sources(str(folder / "list.txt"), folder)
    with Ledger(store) as ledger, Ledger(store, ENCODED) as encoded:
        try:
            measure(listed, [Waits()], ledger, runner, AtOnce((), encoded))
        except FirstHeard:
            return
    raise AssertionError("nothing was begun")


def plan(_folder: Path, rows: int) -> None:
    """Plans the shards of as many samples, and plans them again as they stand."""
    from reelscript.pipeline.plan import Planned, PreviousShard, plan_shards

    samples = [
        Planned(f"x_{row:016x}-000001000", f"x_{row:016x}", "train", SAMPLE_BYTES, f"{row:064x}")
        for row in range(rows)
    ]
    digests = {s.key: s.digest for s in samples}
    plans = plan_shards(samples, [], TARGET_BYTES, 0)
    standing = [
        PreviousShard(p.name, p.split, tuple((key, digests[key]) for key in p.keys)) for p in plans
    ]
    assert all(p.kept for p in plan_shards(samples, standing, TARGET_BYTES, 1))


QUESTIONS: dict[str, Callable[[Path, int], None]] = {"start": start, "resume": start, "plan": plan}


def answer(question: str, folder: Path, rows: int) -> None:
    """Prints seconds and peak MiB of one question, asked in this process."""
    since, cpu_since = time.perf_counter(), time.process_time()
    QUESTIONS[question](folder, rows)
    wall_s, cpu_s = time.perf_counter() - since, time.process_time() - cpu_since
    peak_mib = _peak_bytes() / MIB
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "peak_mib": peak_mib}))


def _peak_bytes() -> int:
    """Returns the most memory that this program has held.

    On Linux ru_maxrss counts what the process held before it became this program, too.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Asks all questions at all sizes."""
    print(f"{'rows':>9}  {'':7} {'wall s':>7} {'CPU s':>7} {'peak MiB':>9}")
    for rows in [int(text) for text in sys.argv[1:]] or DEFAULT_ROWS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_list(folder / "list.txt", rows)
            for question in QUESTIONS:
                if question == "resume":
                    fill_ledger(folder)
                command = [sys.executable, __file__, "--answer", question, name, str(rows)]
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found = json.loads(said.splitlines()[-1])
                print(
                    f"{rows:>9}  {question:7} {found['wall_s']:>7.2f} {found['cpu_s']:>7.2f} "
                    f"{found['peak_mib']:>9.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--answer"]:
        answer(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
