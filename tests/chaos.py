"""Kills a build again and again, and compares what it ends with to one that was left alone.

    python -m tests.chaos VIDEOS... [--kills 30] [--seed 1] [--publish] [--keep FOLDER]

The sources are the given files and folders and four poison files (`tests.poison`). At random
moments a worker, the build, all its processes at once, Ctrl-C or SIGTERM; each time the same
command goes on. In the end tables and shards must be those of the undisturbed build, poison and
nothing else may have failed, no finished transcription may have been begun again, and at no moment
may a reader have seen a broken corpus. With --publish releases are cut from what is finished, at
times beside a running build, and their readers must still read them in the end.

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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import psutil

from reelscript.reading.corpus import Corpus, open_corpus
from tests import poison
from tests.built import MODELS
from tests.undisturbed import differences, faults_of_format, left_over, members

ROOT = Path(__file__).parents[1]
MODES = ("worker", "worker", "worker segv", "build", "machine", "interrupt", "terminate")
SIGNALS = {"build": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM}
MOST_KILLS_OF_WORKERS = 2  # in one run
LATE = 0.6  # after this share of the kills, every other one waits for the publishing
PUBLISHING_S = 0.6  # about so long
MOST_END_S = 60.0  # for a build to end that was interrupted, and for orphans to die
MOST_RUN_S = 1800.0


@dataclass
class Chaos:
    """A build that is disturbed.

    Attributes:
        sources: folder with videos and poison.
        out: the corpus folder; its logs lie beside it.
        seed: of all that is random.
        most_s: a kill comes at most so long after the one before it, or after the start.
        publish: whether releases are cut in between.
        settings: of the build.
        kills: how often each mode of death was used.
        faults: in words; none where all is well.
        counts: of what else was done.
    """

    sources: Path
    out: Path
    seed: int = 1
    most_s: float = 10.0
    publish: bool = False
    settings: Sequence[str] = ()
    kills: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.work = self.out.with_name(f"{self.out.name}.work")
        self.log = self.out.with_name("log")
        self.log.touch()
        self._said = self.out.with_name("said")
        self._chance = random.Random(self.seed)
        self._stood: dict[str, tuple[int, int]] = {}
        self._begun = 0
        self._readers: dict[int, tuple[Corpus, dict[str, tuple[str, str, str]]]] = {}

    def run(self, kills: int) -> None:
        """Builds with so many kills, and then to the end."""
        while self.kills.total() < kills:
            self._say_of(self._disturbed, kills)
        self._say_of(self._through, "build")
        self.faults += left_over(self.out, self.work)
        for release, (corpus, found) in self._readers.items():
            again = open_corpus(self.out, release)
            if not members(corpus) == members(again) == found:
                self.faults.append(f"release {release} no longer reads as when it was cut")
        self.counts["releases read"] = len(self._readers)
        self.counts["transcriptions begun"] = self._begun
        self.counts["transcribed"] = len(self._stood)

    def _say_of(self, act: Callable[[Any], None], what: Any) -> None:
        """Does it and adds to each fault how many kills there were before."""

    # Runs.

    def _start(self, verb: str, *options: str) -> subprocess.Popen[bytes]:
        """Starts a verb of the poisoned command line; what it says goes into a file of its own."""
        code = "from tests.poison import main; main()"
        self.counts[f"{verb} runs"] += 1
        said = self._said.with_name(f"said-{self.counts.total():04d}")
        return subprocess.Popen(
            [sys.executable, "-c", code, verb, *options],
            stdout=said.open("wb"),
            stderr=subprocess.STDOUT,
            env={**os.environ, poison.LOG: str(self.log)},
            start_new_session=True,
            cwd=ROOT,
        )
