"""Kills a build again and again, and compares what it ends with to one that was left alone.

    python -m tests.chaos VIDEOS... [--engine ray] [--kills 30] [--seed 1] [--publish]

The sources are the given files and folders and four poison files (`tests.poison`). At random
moments a worker, the build, all its processes at once, Ctrl-C or SIGTERM; each time the same
command goes on. In the end tables and shards must be those of the undisturbed build, poison and
nothing else may have failed, no finished transcription may have been begun again, and at no moment
may a reader have seen a broken corpus. With --publish releases are cut from what is finished, at
times beside a running build, and their readers must still read them in the end.

The undisturbed build is one of the local engine, whichever is disturbed. On Ray, and where Beam has
processes of its own, an actor dies too: a process between the build and a worker. With
`--engine mixed` each start draws another engine.

A video whose worker dies three times, twice of them while it is alone, is convicted, and rightly
so: a worker is killed at most twice in a run, and at most once while there is no other.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import psutil

from reelscript.pipeline.engines.beam.stations import HARNESS
from reelscript.reading.corpus import Corpus, open_corpus
from tests.built import MODELS
from tests.poison import LOG, READY, write_poison
from tests.undisturbed import Members, differences, faults_of_format, left_over, members

ROOT = Path(__file__).parents[1]
BEAM = "--engine=beam"
ENGINES: dict[str, tuple[str, ...]] = {
    "local": (),
    "ray": ("--engine=ray", "--engine-option=object_store_bytes=100000000"),
    "beam": (BEAM,),
    "beam-processes": (BEAM, "--engine-option=direct_running_mode=multi_processing"),
    "beam-loopback": (
        *(BEAM, "--engine-option=runner=PortableRunner", "--engine-option=job_endpoint=embed"),
        "--engine-option=environment_type=LOOPBACK",
    ),
}
MIXED = "mixed"
OF_WORKERS = {"worker": signal.SIGKILL, "worker segv": signal.SIGSEGV}
ACTOR = "actor"
OF_RAY = ("ray::MapWorker", "ray::FlatMap", "ray::Feed")  # others are of Ray itself: it ends
OF_BUILDS = {
    "build": (signal.SIGKILL, -signal.SIGKILL),
    "machine": (signal.SIGKILL, -signal.SIGKILL),
    "interrupt": (signal.SIGINT, 130),
    "terminate": (signal.SIGTERM, 130),
}
"""The signal, and the exit code that must follow."""
ENDS_WITH_ACTOR = {"beam-processes": 1}
"""Engines that try nothing again when an actor is gone, and the exit code that must follow."""
SIGNALS = {mode: number for mode, (number, _) in OF_BUILDS.items()}
THROUGH = "reelscript verify"  # a build says last how it can be checked
MOST_KILLS_OF_WORKERS = 2  # in one run
LATE = 0.7  # after this share of the kills they come while something is published
PUBLISHING_S = 0.2  # less than that takes
NOTHING_TO_DO_S = 2.5  # about so long a build takes that is through
# For a build that was interrupted to end, and for orphans to die. Beam's own processes look 130 s
# for a driver that was killed before they had found it.
MOST_END_S = 200.0
MOST_RUN_S = 3600.0


@dataclass(frozen=True)
class Run:
    """A command line that was started, the file that gets what it says, and its engine."""

    process: subprocess.Popen[bytes]
    said: Path
    engine: str = "local"

    def goes_on(self, for_s: float) -> bool:
        """Waits, and returns whether it is not over even then."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(for_s)
        return self.process.poll() is None


@dataclass
class Chaos:
    """A build that is disturbed.

    Attributes:
        sources: folder with videos and poison.
        out: the corpus folder; logs lie beside it.
        seed: of all that is random.
        most_s: a kill comes at most so long after the start of a run, or after the last kill.
        publish: whether releases are cut in between.
        engine: a name of `ENGINES`, or `MIXED`.
        kills: how often each mode of death was used.
        counts: of what else was done.
        faults: in words; none where all is well.
    """

    sources: Path
    out: Path
    seed: int = 1
    most_s: float = 10.0
    publish: bool = False
    engine: str = "local"
    kills: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.work = self.out.with_name(f"{self.out.name}.work")
        self._log = self.out.with_name("log")
        self._log.touch()
        self._temporary = self.out.with_name("tmp")
        self._temporary.mkdir(exist_ok=True)
        self._started = 0
        self._noted = 0  # lines of it that were looked at
        self._chance = random.Random(self.seed)
        self._through = False
        self._modes: list[str] = []  # to come
        self._stood: dict[str, tuple[int, int]] = {}
        self._readers: dict[int, tuple[Corpus, Members]] = {}

    def build(self, kills: int = 0) -> None:
        """Builds with so many kills, and then to the end."""
        while self.kills.total() < kills:
            self._disturb(kills)
        self._end(self._start("build"), "nothing", 0, MOST_RUN_S)
        self._look()
        for fault in left_over(self.out, self.work, self._temporary):
            self._fault(fault)
        for release, (corpus, found) in self._readers.items():
            if not found == members(corpus) == members(open_corpus(self.out, release)):
                self._fault(f"release {release} no longer reads as when it was cut")
        self.counts["releases"] = len(self._readers)
        self.counts["transcribed"] = len(self._stood)

    def _disturb(self, kills: int) -> None:
        """Starts a run, and kills until it has ended."""
        cut = self.publish and self._lucky(0.3)
        run, beside = self._start("build", *["--publish"] * cut), None
        mode, code, workers_left, alone_left = "nothing", 0, MOST_KILLS_OF_WORKERS, 1
        if run.engine != "local" and self._lucky(0.8):
            self._until_at_work(run)
        while code == 0 and self.kills.total() < kills:
            if self._lucky(0.3):
                run.goes_on(self._chance.uniform(0.0, 5.0))
                self._look()
            if self.publish and not cut and beside is None and self._lucky(0.4):
                beside = self._start("build", "--publish")
            if not self._moment(run, late=self.kills.total() >= LATE * kills):
                self._through |= not cut
                break
            workers = _below(run.process.pid, _is_worker) if workers_left else []
            actors = _below(run.process.pid, _is_actor)
            alone = len(workers) < 2
            mode = self._next_mode(bool(workers) and (alone_left > 0 or not alone), bool(actors))
            if mode in OF_WORKERS:
                with contextlib.suppress(psutil.Error):
                    self._chance.choice(workers).send_signal(OF_WORKERS[mode])
                workers_left, alone_left = workers_left - 1, alone_left - alone
            self.kills[mode] += 1
            self.counts["kills while publishing"] += bool(self._tickets())
            if mode in OF_BUILDS:
                code = OF_BUILDS[mode][1]
                self._kill(run, mode)
            elif mode == ACTOR:
                code = ENDS_WITH_ACTOR.get(run.engine, 0)
                with contextlib.suppress(psutil.Error):
                    self._chance.choice(actors).kill()
        self._end(run, mode, code, MOST_END_S if code else MOST_RUN_S)
        if beside is not None:
            self._end(beside, mode, code if mode == "machine" else 0, MOST_RUN_S)
        self._after_death()

    # One run.

    def _start(self, *verb: str) -> Run:
        self.counts[" ".join(verb)] += 1
        self._started += 1
        said = self.out.with_name(f"said-{self._started:04d}")
        command = [sys.executable, "-c", "from tests.poison import main; main()", *verb]
        engine = self.engine
        if verb[0] == "build":
            if engine == MIXED:
                engine = self._chance.choice(list(ENGINES))
            settings = [part for setting in MODELS for part in ("--set", setting)]
            command += [str(self.sources), "--workers", "2", "--max-failed", "1", *settings]
            command += [*ENGINES[engine], "-o"]
            self.counts[f"on {engine}"] += 1
        with said.open("wb") as file:
            process = subprocess.Popen(
                [*command, str(self.out)],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
                preexec_fn=_heed_interrupts,
                cwd=ROOT,
            )
        return Run(process, said, engine)

    def _environment(self) -> dict[str, str]:
        """Returns variables by which our processes are known, and that keep what they leave here.

        (Ray has sockets among its temporary files, of which the paths must be short.)
        """
        ours = {LOG: str(self._log), "TMPDIR": str(self._temporary)}
        return {**os.environ, **ours, "RAY_TMPDIR": tempfile.gettempdir()}

    def _until_at_work(self, run: Run) -> None:
        """Waits for a first worker: what takes longest to start would else never come to work."""
        while run.goes_on(0.2) and not self._tickets():
            if _below(run.process.pid, _is_worker):
                return

    def _moment(self, run: Run, late: bool) -> bool:
        """Waits for a random moment, and returns whether the run is not over by then.

        Publishing is short: once it has begun, the moment comes while it lasts.
        """
        most_s = NOTHING_TO_DO_S if self._through else self.most_s
        wait_s = MOST_RUN_S if late and not self._through else self._chance.uniform(0.3, most_s)
        until, before = time.monotonic() + wait_s, self._tickets()
        while self._tickets() <= before:
            if not run.goes_on(0.02) or time.monotonic() > until:
                return run.goes_on(0.0)
        return run.goes_on(self._chance.uniform(0.0, PUBLISHING_S))

    def _next_mode(self, of_workers: bool, of_actors: bool = False) -> str:
        """Returns a mode that is possible; each comes about equally often."""
        possible = {*OF_BUILDS, *(OF_WORKERS if of_workers else ()), *([ACTOR] * of_actors)}
        if not possible & set(self._modes):
            more = [m for m in (*OF_WORKERS, ACTOR, *OF_BUILDS) if m not in self._modes]
            self._chance.shuffle(more)
            self._modes += more
        mode = next(mode for mode in self._modes if mode in possible)
        self._modes.remove(mode)
        return mode

    def _kill(self, run: Run, mode: str) -> None:
        if mode == "machine":
            every = self._processes()
            for number in (signal.SIGSTOP, signal.SIGKILL):  # so that nobody sees another die
                for process in every:
                    with contextlib.suppress(psutil.Error):
                        process.send_signal(number)
        elif mode == "interrupt":  # as a terminal does
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.process.pid, signal.SIGINT)
        else:
            run.process.send_signal(SIGNALS[mode])

    def _end(self, run: Run, mode: str, expected: int, most_s: float) -> None:
        """Waits for the end of a run, and looks at how it ended."""
        if run.goes_on(most_s):
            self._fault(f"still runs {most_s:.0f} s after {mode}: {run.said}")
            self._kill(run, "machine")
        code, said = run.process.wait(), run.said.read_text(errors="replace")
        if f"{READY} {run.process.pid}" not in self._log.read_text().splitlines():
            return  # Python was still starting
        if code == -SIGNALS.get(mode, 0) and THROUGH in said:
            return  # Python was about to end
        if code not in (0, expected):  # 0: it was through already
            self._fault(f"exit code {code}, not {expected}, after {mode}: {said[-800:]}")
        if "Traceback" in said:
            self._fault(f"a traceback after {mode}: {said[-3000:]}")

    def _after_death(self) -> None:
        """Looks at what a dead run has left."""
        until = time.monotonic() + MOST_END_S
        while (left := self._processes()) and time.monotonic() < until:
            time.sleep(0.05)
        if left:
            self._fault(f"these processes are left: {left}")
        self._look()
        if self._lucky(0.3):
            before = _files(self.out.parent)
            self._status()
            if _files(self.out.parent) != before:
                self._fault("status has written something")

    def _look(self) -> None:
        """Looks, as a reader of the corpus and of the log, also while a build runs."""
        noted, lines = self._noted, self._log.read_text().splitlines()
        self._noted = len(lines)
        if again := sorted(set(lines[noted:]) & self._stood.keys()):
            self._fault(f"finished transcriptions are begun again: {again}")
        stands = {p.stem: _inode(p) for p in self.work.glob("results/transcribe/*/*.json")}
        if not self._stood.items() <= stands.items():
            self._fault("finished transcriptions are written again, or gone")
        self._stood = stands
        self.counts["transcriptions begun"] += sum(
            not line.startswith(READY) for line in lines[noted:]
        )
        if (self.out / "dataset.json").exists():
            try:
                corpus = open_corpus(self.out)
                found = members(corpus)
                self._readers.setdefault(corpus.info["release"], (corpus, found))
            except Exception as error:
                self._fault(f"the corpus cannot be read: {error!r}")
        if self._lucky(0.1):
            self._status()

    def _status(self) -> None:
        if list(self.work.glob("ledger/runs/*.json")):
            run = self._start("status", "--json")
            self._end(run, "asking for the status", 0, MOST_END_S)
            if run.process.returncode == 0:
                json.loads(run.said.read_bytes())

    def _processes(self) -> list[psutil.Process]:
        """Returns all processes of this build, also those whose parents are gone."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(LOG) == str(self._log):
                    found.append(process)
        return found

    def _tickets(self) -> set[Path]:
        return set(self.work.glob("ledger/publishing/*"))

    def _lucky(self, share: float) -> bool:
        return self._chance.random() < share

    def _fault(self, said: str) -> None:
        self.faults.append(f"{self.out.parent.name}, after {self.kills.total()} kills: {said}")


def _heed_interrupts() -> None:
    """Undoes that a shell lets its jobs in the background ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _below(pid: int, wanted: Callable[[Sequence[str]], bool]) -> list[psutil.Process]:
    """Returns the processes below one of which the command line is a wanted one."""
    found = []
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if wanted(process.cmdline()):
                    found.append(process)
    return found


def _is_worker(command: Sequence[str]) -> bool:
    return "spawn_main" in " ".join(command)


def _is_actor(command: Sequence[str]) -> bool:
    """Whether it is an actor of Ray that works or feeds those that do, or a process of Beam."""
    return HARNESS in command or any(word.startswith(OF_RAY) for word in command[:1])


def _inode(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Returns what tells files from what was written later, but for the logs of this driver."""
    found = {path: _inode(path) for path in folder.rglob("*")}
    return {path: seen for path, seen in found.items() if path.parent != folder}


def copied(given: Sequence[Path], folder: Path) -> Path:
    """Returns a new folder with the given videos, for poison to be added."""
    folder.mkdir(parents=True)
    for path in given:
        if path.is_dir():
            shutil.copytree(path, folder, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, folder / path.name)
    return folder


def compared(
    videos: Sequence[Path],
    place: Path,
    kills: int,
    seed: int,
    publish: bool = False,
    engine: str = "local",
) -> tuple[Chaos, Chaos]:
    """Returns an undisturbed build of the videos and poison, and a disturbed one, with faults."""
    sources = copied(videos, place / "videos")
    reasons = write_poison(sources)
    calm = Chaos(sources, place / "calm" / "corpus")
    chaos = Chaos(sources, place / "chaos" / "corpus", seed, publish=publish, engine=engine)
    for build, count in ((calm, 0), (chaos, kills)):
        since = time.monotonic()
        build.build(count)
        build.counts["seconds"] = round(time.monotonic() - since)
        chaos.most_s = min(15.0, max(5.0, build.counts["seconds"] / 5))
    same = not publish
    if all((build.out / "dataset.json").exists() for build in (calm, chaos)):
        chaos.faults += differences(calm.out, chaos.out, reasons, same)
        chaos.faults += faults_of_format(chaos.out, calm.out if same else None)
    return calm, chaos


@click.command()
@click.argument("videos", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--engine", type=click.Choice([*ENGINES, MIXED]), default="local", show_default=True)
@click.option("--kills", default=30, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--publish", is_flag=True, help="Cut releases of what is finished in between.")
@click.option("--keep", type=click.Path(path_type=Path), help="Work here and leave everything.")
def main(
    videos: tuple[Path, ...], engine: str, kills: int, seed: int, publish: bool, keep: Path | None
) -> None:
    """Kills a build of VIDEOS again and again; exit code 1 where that changed anything."""
    with tempfile.TemporaryDirectory() as name:
        builds = compared(videos, keep or Path(name), kills, seed, publish, engine)
        for said, build in zip(("undisturbed", "disturbed"), builds, strict=True):
            click.echo(f"{said}: {dict(build.counts)}")
        faults = [fault for build in builds for fault in build.faults]
        click.echo(f"{kills} kills: {dict(builds[1].kills)}")
        for fault in faults:
            click.echo(f"FAULT {fault}")
        click.echo(f"{len(faults)} faults")
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
