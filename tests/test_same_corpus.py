"""Every engine makes the same corpus of the demo videos, and goes on where another was killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.built import ROOT, needs_models
from tests.chaos import ENGINES, MOST_END_S
from tests.undisturbed import differences, left_over

pytestmark = [needs_models, pytest.mark.slow, pytest.mark.xdist_group("clusters")]

MOST_S = 300.0


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return tmp_path / "corpus"


@contextmanager
def building(corpus: Path, engine: str) -> Iterator[subprocess.Popen[str]]:
    """A build of the demo videos by the command line."""
    command = [sys.executable, "-m", "reelscript.jobs.cli", "build"]
    command += [str(ROOT / "examples" / "demo.yaml"), "-o", str(corpus), "--quiet"]
    with subprocess.Popen(
        [*command, "--workers", "2", "--max-failed", "1", *ENGINES[engine]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # if it is not through


def build(corpus: Path, engine: str) -> None:
    with building(corpus, engine) as process:
        said, _ = process.communicate(timeout=MOST_S)
    assert process.returncode == 0, said


def results(corpus: Path, stage: str) -> dict[Path, int]:
    """The results of a stage that the work folder remembers, each with what tells whether it was
    written again.
    """
    work = corpus.with_name(f"{corpus.name}.work")
    return {path: path.stat().st_ino for path in work.glob(f"results/{stage}/*/*.json")}


def begin(corpus: Path, engine: str, stage: str) -> dict[Path, int]:
    """Builds until a stage has a result, and kills the build, but nothing that it has started.

    Returns:
        The results of the stage.
    """
    with building(corpus, engine) as process:
        until = time.monotonic() + MOST_S
        while not results(corpus, stage) and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.02)
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert process.returncode == -9, "it was through before it could be killed"
    _, alive = psutil.wait_procs(below, timeout=MOST_END_S)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    assert not (corpus / "dataset.json").exists()
    return results(corpus, stage)


def check(corpus: Path, demo_corpus: Path) -> None:
    assert differences(demo_corpus, corpus, {}) == []
    assert left_over(corpus, corpus.with_name(f"{corpus.name}.work")) == []


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "local"])
def test_engine_makes_the_corpus_that_the_local_one_makes(
    demo_corpus: Path, corpus: Path, engine: str
) -> None:
    build(corpus, engine)
    check(corpus, demo_corpus)


def test_build_begun_on_beam_is_finished_by_the_local_engine(
    demo_corpus: Path, corpus: Path
) -> None:
    transcribed = begin(corpus, "beam-processes", "transcribe")
    build(corpus, "local")
    assert transcribed.items() <= results(corpus, "transcribe").items()
    check(corpus, demo_corpus)


def test_build_that_is_killed_on_two_engines_is_finished_by_a_third(
    demo_corpus: Path, corpus: Path
) -> None:
    looked_at = begin(corpus, "local", "glance")
    transcribed = begin(corpus, "ray", "transcribe")
    build(corpus, "beam")
    assert looked_at.items() <= results(corpus, "glance").items()
    assert transcribed.items() <= results(corpus, "transcribe").items()
    check(corpus, demo_corpus)
