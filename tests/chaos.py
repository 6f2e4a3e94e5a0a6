"""Kills a build again and again, and compares what it ends with to one that was left alone.

    python -m tests.chaos VIDEOS... [--kills 30] [--seed 1] [--keep FOLDER] [--set A.B=VALUE]

The sources are the given files and folders and four poison files (`tests.poison`). At random
moments a worker, the build, all its processes at once, or Ctrl-C: each time the same command goes
on. In the end tables and shards must be those of the undisturbed build, poison and nothing else may
have failed, and no finished transcription may have been done again.

A worker is killed at most twice in a run: a video whose worker dies three times, twice of them
while it is alone, is convicted, and rightly so.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import psutil

from tests.built import MODELS, outcomes, rows, shard_bytes
from tests.poison import PoisonedConfig, write_poison

MOST_KILLS_OF_WORKERS = 2  # in one run
MODES = ("worker", "worker", "build", "machine", "interrupt")
LIMITS = {"memory_bytes": 3 << 30, "cpu_base_s": 20.0, "wall_base_s": 30.0, "poll_s": 0.2}
MOST_RUN_S = 600.0


@dataclass
class Report:
    """What a driver has done and found.

    Attributes:
        kills: how often each mode of death was used.
        faults: in words; none where all is well.
        transcribed: how often each source was transcribed from nothing.
    """

    kills: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    transcribed: dict[str, int] = field(default_factory=dict)


def build_once(sources: str, out: str, settings: Sequence[str]) -> int:
    """Builds with the poisoned config and small limits; runs in a process of its own."""
    from reelscript.jobs import build as module
    from reelscript.jobs.config import load_config
    from reelscript.pipeline.engines.limits import Limits

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    engine = functools.partial(module.LocalEngine, limits=Limits(**LIMITS))
    module.LocalEngine = engine  # type: ignore[assignment, misc]
    config = load_config(None, [sources], [*MODELS, *settings])
    poisoned = PoisonedConfig(
        **{name: getattr(config, name) for name in config.__slots__}
        if hasattr(config, "__slots__")
        else vars(config)
    )
    try:
        module.build(config=poisoned, out=out, workers=2, max_failed=1.0)
    except KeyboardInterrupt:
        return 130
    return 0


def chaos(sources: Path, out: Path, kills: int, seed: int, settings: Sequence[str] = ()) -> Report:
    """Builds `sources` into `out` with so many kills, and then to its end."""
    chance, report = random.Random(seed), Report()
    while sum(report.kills.values()) < kills:
        run = _start(sources, out, settings)
        _disturb(run, chance, report, kills)
    run = _start(sources, out, settings)
    if run.wait(MOST_RUN_S) != 0:
        report.faults.append(f"the last, undisturbed run ended with {run.returncode}")
    return report


def _start(sources: Path, out: Path, settings: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.chaos", "--build", str(sources), str(out), *settings]
    return subprocess.Popen(command, start_new_session=True, cwd=Path(__file__).parents[1])


def _disturb(
    run: subprocess.Popen[bytes], chance: random.Random, report: Report, kills: int
) -> None:
    """Lets a run go on for a random time, kills, and again, until it has ended."""
    of_workers = 0
    while sum(report.kills.values()) < kills:
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(chance.uniform(0.3, 6.0))
            return  # finished in spite of all; the next one finds nothing to do and ends at once
        mode = chance.choice(MODES)
        if mode == "worker":
            if of_workers == MOST_KILLS_OF_WORKERS or not _kill_worker(run.pid, chance):
                continue
            of_workers += 1
        elif mode == "interrupt":
            os.kill(run.pid, signal.SIGINT)
        elif mode == "build":
            os.kill(run.pid, signal.SIGKILL)
        else:
            for process in [*psutil.Process(run.pid).children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            os.kill(run.pid, signal.SIGKILL)
        report.kills[mode] = report.kills.get(mode, 0) + 1
        if mode != "worker":
            run.wait(MOST_RUN_S)
            return


def _kill_worker(pid: int, chance: random.Random) -> bool:
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(pid).children()
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        if workers:
            chance.choice(workers).kill()
            return True
    return False


def compare(calm: Path, disturbed: Path, poison: dict[str, str]) -> list[str]:
    """Returns in words how a corpus differs from the undisturbed one; and what else is wrong."""
    faults = []
    for table in ("videos", "clips", "samples"):
        if rows(calm, table) != rows(disturbed, table):
            faults.append(f"{table}.parquet differs")
    if shard_bytes(calm) != shard_bytes(disturbed):
        faults.append("the shards differ")
    failed = {url: found[2] for url, found in outcomes(disturbed).items() if found[0] == "failed"}
    expected = poison | {
        url: found[2] or "" for url, found in outcomes(calm).items() if found[0] == "failed"
    }
    if failed != expected or not set(poison) <= set(failed):
        faults.append(f"failed are {failed}, expected {expected}")
    left = [str(p.name) for p in disturbed.with_name(f"{disturbed.name}.work").glob("scratch-*")]
    if left:
        faults.append(f"scratch is left over: {left}")
    return faults


def copied(given: Sequence[Path], folder: Path) -> Path:
    """Returns a folder with the given videos, under names of their own, for poison to be added."""
    folder.mkdir(parents=True)
    for path in given:
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copyfile(path, folder / path.name)
    return folder


@click.command()
@click.argument("videos", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--kills", default=30, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Work here and leave everything.")
@click.option("--set", "settings", multiple=True, metavar="A.B=VALUE")
def main(
    videos: tuple[Path, ...], kills: int, seed: int, keep: Path | None, settings: tuple[str, ...]
) -> None:
    """Kills a build of VIDEOS again and again; exit code 1 where that changed anything."""
    with tempfile.TemporaryDirectory() as name:
        place = keep or Path(name)
        sources = copied(videos, place / "videos")
        poison = write_poison(sources)
        since = time.monotonic()
        calm = chaos(sources, place / "calm", 0, seed, settings)
        click.echo(f"undisturbed: {time.monotonic() - since:.0f} s")
        report = chaos(sources, place / "disturbed", kills, seed, settings)
        faults = [*calm.faults, *report.faults]
        faults += compare(place / "calm", place / "disturbed", poison)
        click.echo(f"{kills} kills {report.kills} in {time.monotonic() - since:.0f} s in all")
        for fault in faults:
            click.echo(f"FAULT {fault}")
        click.echo(f"{len(faults)} faults")
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--build"]:
        raise SystemExit(build_once(sys.argv[2], sys.argv[3], sys.argv[4:]))
    main()
