"""A release of what is finished, while the rest is still to come."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reelscript.jobs import cli
from reelscript.jobs.build import build
from reelscript.jobs.command_line import without_retry
from reelscript.jobs.progress import Progress
from reelscript.jobs.verify.corpus import verify
from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.stage import Timing
from reelscript.reading.corpus import open_corpus
from tests.built import EXAMPLES, MODELS, ROOT, built, needs_models, outcomes, rows, shard_bytes

pytestmark = needs_models

PENDING = ("failed", "acquire", "pending")
SETTINGS = [word for setting in MODELS for word in ("--set", setting)]


class Stops(Progress):
    """A progress at which somebody presses Ctrl-C after so many videos."""

    def __init__(self, after: int) -> None:
        super().__init__(None)
        self.left = after

    def measured(self, timing: Timing) -> None:
        """A stage has ended for a video."""
        super().measured(timing)
        self.left -= timing.outcome in ("rejected", "failed") or timing.stage == "score"
        if self.left <= 0:
            raise KeyboardInterrupt


def listing(folder: Path, names: list[str]) -> Path:
    """A list of demo videos; in any order it is the same source that has the same id."""
    path = folder / "list.txt"
    path.write_text("".join(f"{name}\n" for name in names))
    return path


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for path in EXAMPLES.glob("*.mp4"):
        os.link(path, folder / path.name)
    return folder


def test_publish_cuts_a_release_of_what_is_finished(
    videos: Path, tmp_path: Path, demo_corpus: Path
) -> None:
    """Then the rest comes, and the corpus is as if it had been built in one go."""
    out, names = tmp_path / "out", sorted(p.name for p in videos.iterdir())
    whole = listing(videos, names)
    with pytest.raises(KeyboardInterrupt):
        build(whole, out=out, settings=MODELS, workers=1, progress=Stops(after=3))
    made, _ = built(whole, out, publish_only=True)
    first = outcomes(out)
    assert made.exit_code == 0
    assert made.failed_share == 0.0
    assert len(first) == len(names)
    assert PENDING in first.values()
    assert verify(str(out)) == []
    held = open_corpus(out)
    samples = {sample.key: sample.mp4 for sample in held}
    made, _ = built(whole, out, workers=2)
    assert outcomes(out) == outcomes(demo_corpus)
    for table in ("videos", "clips"):
        assert rows(out, table) == rows(demo_corpus, table)
    assert {s.key: s.mp4 for s in open_corpus(out)} == {
        s.key: s.mp4 for s in open_corpus(demo_corpus)
    }
    assert {s.key: s.mp4 for s in held} == samples
    assert {s.key: s.mp4 for s in open_corpus(out, release=0)} == samples
    assert verify(str(out)) == []


def test_publish_of_nothing_finished_is_a_whole_empty_corpus(videos: Path, tmp_path: Path) -> None:
    made, _ = built(videos, tmp_path / "out", publish_only=True)
    assert made.dataset["shards"] == []
    assert set(outcomes(tmp_path / "out").values()) == {PENDING}
    assert verify(str(tmp_path / "out")) == []


@pytest.fixture
def running(videos: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A build of the demo videos in a process of its own, that has measured something."""
    command = [sys.executable, "-m", "reelscript.jobs.cli", "build", str(videos), "--quiet"]
    run = subprocess.Popen(
        [*command, "-o", str(tmp_path / "out"), "--workers", "1", *SETTINGS],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while run.poll() is None and not list((tmp_path / "out.work").glob("ledger/*.jsonl")):
        time.sleep(0.05)
    yield run
    with contextlib.suppress(ProcessLookupError):
        run.kill()
    run.communicate()


def test_publish_works_beside_a_running_build(
    running: subprocess.Popen[str], videos: Path, tmp_path: Path, demo_corpus: Path
) -> None:
    out = tmp_path / "out"
    os.kill(running.pid, signal.SIGSTOP)  # so that it is still at it
    built(videos, out, publish_only=True)
    assert verify(str(out)) == []
    assert PENDING in outcomes(out).values()
    with pytest.raises(UsageError, match=f"process {running.pid}"):
        built(videos, out)
    os.kill(running.pid, signal.SIGCONT)
    said, _ = running.communicate(timeout=120)
    assert running.returncode == 0, said
    assert outcomes(out) == outcomes(demo_corpus)
    assert verify(str(out)) == []


def test_build_that_is_told_to_end_saves_its_work(
    running: subprocess.Popen[str], videos: Path, tmp_path: Path, demo_corpus: Path
) -> None:
    running.send_signal(signal.SIGTERM)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert said.strip() == (
        "reelscript: interrupted; what was finished is saved, the same command goes on"
    )
    assert not list((tmp_path / "out.work").glob("scratch-*"))
    built(videos, tmp_path / "out", workers=2)
    assert shard_bytes(tmp_path / "out") == shard_bytes(demo_corpus)


class Acquired(Progress):
    """A progress that counts which sources were looked for."""

    def __init__(self) -> None:
        super().__init__(None)
        self.count = 0

    def measured(self, timing: Timing) -> None:
        """A stage has ended for a video."""
        super().measured(timing)
        self.count += timing.stage == "acquire"


def test_build_retries_only_what_it_is_asked_to(tmp_path: Path) -> None:
    path, out = tmp_path / "list.txt", tmp_path / "out"
    path.write_text("never.mp4\nnot at all.mp4\n")

    def acquired(retry_failed: str | None) -> int:
        progress = Acquired()
        build(path, out=out, settings=MODELS, retry_failed=retry_failed, progress=progress)
        return progress.count

    assert [acquired(reason) for reason in (None, None, "http_404", "not_found", "all")] == [
        *(2, 0, 0, 2, 2)
    ]
    assert set(outcomes(out).values()) == {("failed", "acquire", "not_found")}
    with pytest.raises(UsageError, match="not_fuond: nothing fails for that; did you mean 'not_f"):
        acquired("not_fuond")


def test_cli_dry_run_estimates_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], videos: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    out = str(tmp_path / "out")
    cli.cli.main(
        ["build", str(videos), "-o", out, "--quiet", "--dry-run", *SETTINGS], standalone_mode=False
    )
    said = capsys.readouterr().out
    assert "hours of source" in said
    assert "transcribe" in said
    assert "Nothing was written" in said
    assert sorted(tmp_path.rglob("*")) == before


def test_cli_status_tells_how_to_go_on(
    capsys: pytest.CaptureFixture[str], videos: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "o ut")
    arguments = ["build", str(videos), "-o", out, "--quiet", "--publish", "--retry-failed", "all"]
    with pytest.raises(SystemExit) as ended:
        cli.main([*arguments, *SETTINGS])
    assert ended.value.code == 0
    capsys.readouterr()
    cli.main(["status", out])
    assert (
        f"reelscript build {videos} -o '{out}' --quiet --publish --set" in capsys.readouterr().out
    )
    cli.main(["status", out, "--json"])
    assert json.loads(capsys.readouterr().out)["state"] == "done"


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["build", "v", "--retry-failed", "all"], ["build", "v"]),
        (["build", "--retry-failed=all", "v"], ["build", "v"]),
        (["build", "v", "--retry-failed", "-o", "x"], ["build", "v", "-o", "x"]),
        (["build", "v", "--retry-failed"], ["build", "v"]),
        (["build", "v", "-o", "x"], ["build", "v", "-o", "x"]),
    ],
)
def test_cli_command_that_goes_on_retries_nothing(words: list[str], kept: list[str]) -> None:
    assert without_retry(words) == kept
