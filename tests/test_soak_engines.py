"""All of the shared media through every engine, and from a bucket into a bucket: one corpus."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from reelscript.pipeline.store import Store
from reelscript.reading.corpus import open_corpus
from tests.built import MODELS, ROOT, SHARED, needs_models, needs_shared, rows
from tests.chaos import ENGINES, MIXED, compared
from tests.s3_made import Bucket
from tests.undisturbed import differences, faults_of_format, left_over

pytestmark = [pytest.mark.soak, needs_models, needs_shared]

MEDIA = SHARED / "media"
SETTINGS = [part for setting in MODELS for part in ("--set", setting)]
MOST_S = 1800.0
KILLS = 8


def build(sources: str, out: str, engine: str = "local") -> None:
    command = [sys.executable, "-m", "reelscript.jobs.cli", "build", sources, "-o", out, "--quiet"]
    run = subprocess.run(
        [*command, "--workers", "2", "--max-failed", "1", *SETTINGS, *ENGINES[engine]],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=MOST_S,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the local engine makes of the shared media. Do not change it."""
    corpus = tmp_path_factory.mktemp("calm") / "corpus"
    build(str(MEDIA), str(corpus))
    return corpus


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "local"])
def test_soak_of_an_engine_makes_the_same_corpus(calm: Path, tmp_path: Path, engine: str) -> None:
    corpus = tmp_path / "corpus"
    build(str(MEDIA), str(corpus), engine)
    assert differences(calm, corpus, {}) == []
    assert faults_of_format(corpus, calm) == []
    assert left_over(corpus, tmp_path / "corpus.work") == []


def test_soak_from_a_bucket_into_a_bucket(calm: Path, s3: Bucket, tmp_path: Path) -> None:
    videos = Store(s3.url("videos"))
    for path in sorted(path for path in MEDIA.rglob("*") if path.is_file()):
        videos.put_file(str(path.relative_to(MEDIA)), path)
    corpora = []
    for engine in ("local", "ray"):
        build(s3.url("videos"), s3.url(engine), engine)
        corpora.append(s3.copied(engine, tmp_path))
        assert faults_of_format(corpora[-1]) == []
    assert differences(*corpora, {}) == []
    assert told(corpora[0], s3.url("videos") + "/") == told(calm, "")
    assert mp4s(corpora[0]) == mp4s(calm) != []


def told(corpus: Path, root: str) -> dict[str, tuple[str, str | None, str | None]]:
    """Returns how each source ended, by its path below a root."""
    return {
        row["url"].removeprefix(root): (row["outcome"], row["stage"], row["reason"])
        for row in rows(corpus, "videos")
    }


def mp4s(corpus: Path) -> list[str]:
    """Returns the sha256 of each mp4, sorted: sources in a bucket have other ids."""
    return sorted(hashlib.sha256(sample.mp4).hexdigest() for sample in open_corpus(corpus))


@pytest.mark.parametrize("engine", ["ray", "beam", MIXED])
def test_soak_of_kills_on_an_engine_changes_nothing(tmp_path: Path, engine: str) -> None:
    calm, chaos = compared([MEDIA], tmp_path, KILLS, seed=7, engine=engine)
    print(f"{dict(calm.counts)}\n{dict(chaos.counts)}\n{dict(chaos.kills)}")
    assert calm.faults == []
    assert chaos.faults == []
    assert chaos.kills.total() == KILLS
