"""The whole way from files to a corpus, with real speech recognition on the videos that ship."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reelscript.jobs import publish as publishing
from reelscript.jobs.build import build
from reelscript.jobs.config import load_config
from reelscript.jobs.progress import Progress
from reelscript.jobs.verify.corpus import verify
from reelscript.pipeline.errors import DamagedArtefact, UsageError
from reelscript.pipeline.ledger import ENCODED, MEASURED, Ledger
from reelscript.pipeline.stage import Timing
from reelscript.pipeline.store import Store
from reelscript.reading.corpus import open_corpus
from reelscript.schemas.videos import Videos
from tests.built import (
    EXAMPLES,
    MODELS,
    SHARED,
    built,
    copied,
    needs_models,
    needs_shared,
    outcomes,
    rows,
    shard_bytes,
)

pytestmark = needs_models


class Measured(Progress):
    """A progress that remembers which stages really ran."""

    def __init__(self) -> None:
        super().__init__(None)
        self.ran: set[str] = set()

    def measured(self, timing: Timing) -> None:
        """A stage has ended for a video."""
        if not timing.remembered:
            self.ran.add(timing.stage)
        super().measured(timing)

    def stages_run(self) -> set[str]:
        """Returns the stages of which at least one result was not remembered."""
        return self.ran


def test_build_explains_every_demo_video(demo_corpus: Path) -> None:
    found = outcomes(demo_corpus)
    assert found["garden.mp4"] == ("kept", None, None)
    assert found["table.mp4"] == ("kept", None, None)
    assert found["silent.mp4"] == ("rejected", "probe", "no_audio")
    assert found["harbour_es.mp4"] == ("rejected", "speech", "language")
    assert found["broken.mp4"][1:] == ("probe", "undecodable")
    assert len(found) == len(list(EXAMPLES.glob("*.mp4")))


def test_build_makes_a_corpus_without_fault(demo_corpus: Path) -> None:
    assert verify(str(demo_corpus)) == []


@needs_shared
def test_build_stands_up_to_the_check_from_outside(demo_corpus: Path) -> None:
    checker = SHARED / "tools" / "check_dataset.py"
    done = subprocess.run(
        [sys.executable, str(checker), str(demo_corpus), "--sources", "5"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_build_words_lie_where_they_are_spoken(demo_corpus: Path) -> None:
    """Against the times at which the generator of the demo videos put each sentence."""
    starts = [s["start_s"] for s in json.loads((EXAMPLES / "garden.json").read_text())["sentences"]]
    clips = [c for c in rows(demo_corpus, "clips") if c["outcome"] == "kept"]
    ids = {r["video_id"] for r in rows(demo_corpus, "videos") if r["url"] == "garden.mp4"}
    errors = [min(abs(c["start_s"] - s) for s in starts) for c in clips if c["video_id"] in ids]
    assert len(errors) >= 4
    assert np.median(errors) < 0.3


def test_build_again_measures_and_writes_nothing(demo_corpus: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (demo_corpus / "shards").iterdir()}
    made, progress = built(EXAMPLES, demo_corpus, workers=1)
    assert made.dataset["release"] == 0
    assert {p: p.stat().st_mtime_ns for p in (demo_corpus / "shards").iterdir()} == before
    assert (progress.known, progress.stages["encode"].done) == (2, 0)  # nobody was asked again
    assert verify(str(demo_corpus), media=False) == []


def test_build_of_changed_threshold_measures_nothing_and_equals_a_build_from_scratch(
    demo_corpus: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    shutil.copytree(f"{demo_corpus}.work", work)
    settings = ["quality.max_words_per_s=2.6", "passage.min_clips=2", "speech.min_share=0.1"]
    progress_of = {}
    for name, work_folder in (("again", work), ("scratch", tmp_path / "fresh")):
        progress_of[name] = Measured()
        config = load_config(None, [str(EXAMPLES)], [*MODELS, *settings, f"work={work_folder}"])
        build(out=tmp_path / name, config=config, progress=progress_of[name], workers=2)
    assert progress_of["again"].stages_run() & {"acquire", "transcribe", "speech"} == set()
    assert {"acquire", "transcribe", "speech"} <= progress_of["scratch"].stages_run()
    for table in ("videos", "clips", "samples"):
        assert rows(tmp_path / "again", table) == rows(tmp_path / "scratch", table)
    assert shard_bytes(tmp_path / "again") == shard_bytes(tmp_path / "scratch")
    rejected = [c["reason"] for c in rows(tmp_path / "again", "clips")]
    assert "high_words_per_s" in rejected


def test_build_with_one_and_two_workers_gives_the_same_bytes(
    demo_corpus: Path, tmp_path: Path
) -> None:
    built(EXAMPLES, tmp_path / "one", workers=1)
    for table in ("videos", "clips", "samples"):
        assert rows(tmp_path / "one", table) == rows(demo_corpus, table)
    assert shard_bytes(tmp_path / "one") == shard_bytes(demo_corpus)


def test_build_adds_and_removes_sources_by_releases(tmp_path: Path) -> None:
    folder, out = copied(["garden.mp4"], tmp_path / "videos"), tmp_path / "corpus"
    built(folder, out, workers=2)
    first = shard_bytes(out)
    copied(["table.mp4"], folder)
    made, _ = built(folder, out, workers=2)
    second = shard_bytes(out)
    assert made.dataset["release"] == 1
    assert {name: second[name] for name in first} == first
    assert all("-r001-" in name for name in second.keys() - first.keys())
    assert verify(str(out), media=False) == []
    (folder / "garden.mp4").unlink()
    built(folder, out, workers=2)
    third = shard_bytes(out)
    assert third.items() <= second.items()
    assert not third.keys() & first.keys()
    assert verify(str(out), media=False) == []


def test_build_crashed_before_the_commit_point_is_mended_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = copied(["garden.mp4"], tmp_path / "videos"), tmp_path / "corpus"
    built(folder, out, workers=1)
    copied(["table.mp4"], folder)
    put = Store.put

    def full(self: Store, name: str, data: bytes) -> None:
        if name == "dataset.json":
            raise OSError(28, "No space left on device")
        put(self, name, data)

    with monkeypatch.context() as patched:
        patched.setattr(publishing.Store, "put", full)
        with pytest.raises(OSError, match="No space left"):
            built(folder, out, workers=1)
    assert verify(str(out), media=False) != []
    built(folder, out, workers=1)
    assert verify(str(out), media=False) == []
    assert {v[0] for v in outcomes(out).values()} == {"kept"}


def test_build_of_hostile_names_escapes_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    names = [
        "<script>alert(1)<.mp4",
        "100% sure.mp4",
        "-rf --no-preserve.mp4",
        "Ünïcode 日本 \u202egnp.mp4",
        "line\nbreak \x1b[31m.mp4",
        "a..mp4",
        "a'b\"c;`id`$(id).mp4",
    ]
    for name in names:
        shutil.copyfile(EXAMPLES / "silent.mp4", folder / name)
    shutil.copyfile(EXAMPLES / "garden.mp4", folder / "{{7*7}}|pipe|.mp4")
    shutil.copyfile(EXAMPLES / "table.mp4", folder / os.fsdecode(b"no utf-8 \xe9\xff.mp4"))
    before = set(folder.rglob("*"))
    built(folder, tmp_path / "out", workers=2)
    assert len(rows(tmp_path / "out", "videos")) == len(names) + 2
    assert verify(str(tmp_path / "out"), media=False) == []
    assert set(tmp_path.iterdir()) == {folder, tmp_path / "out", tmp_path / "out.work"}
    assert set(folder.rglob("*")) == before
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script>alert" not in page
    assert page.count("<script") == page.count("</script>") == 4  # data, Plot, and our two
    assert "49" not in json.loads((tmp_path / "out" / "dataset.json").read_text())["name"]


def test_build_of_nothing_wanted_is_a_whole_empty_corpus(tmp_path: Path) -> None:
    made, _ = built(copied(["silent.mp4"], tmp_path / "videos"), tmp_path / "out", workers=1)
    assert made.dataset["shards"] == []
    assert not list((tmp_path / "out").rglob("*.tar"))
    assert rows(tmp_path / "out", "samples") == []
    assert verify(str(tmp_path / "out")) == []


def test_build_of_the_same_file_twice_keeps_the_first(tmp_path: Path) -> None:
    folder = copied(["garden.mp4"], tmp_path / "videos")
    shutil.copyfile(folder / "garden.mp4", folder / "later.mp4")
    built(folder, tmp_path / "out", workers=2)
    assert outcomes(tmp_path / "out") == {
        "garden.mp4": ("kept", None, None),
        "later.mp4": ("rejected", "dedup", "duplicate_content"),
    }
    assert verify(str(tmp_path / "out"), media=False) == []


def test_build_refuses_an_english_only_judge_of_languages(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"speech\.language_model"):
        build(EXAMPLES, out=tmp_path / "out", settings=["transcribe.model=tiny.en"])
    assert not (tmp_path / "out").exists()


def test_open_reads_what_was_built(demo_corpus: Path) -> None:
    corpus = open_corpus(str(demo_corpus))
    samples = list(corpus)
    assert len(samples) == len(rows(demo_corpus, "samples"))
    pictures = samples[0].frames(count=12)
    assert pictures.shape[0] == 12
    assert pictures.std() > 5  # a picture, not a blank


def test_build_killed_goes_on_as_if_nothing_had_happened(demo_corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    shutil.copytree(EXAMPLES, folder)
    settings = [item for setting in MODELS for item in ("--set", setting)]
    command = [sys.executable, "-m", "reelscript.jobs.cli", "build", str(folder), "--quiet"]
    for after_s in (2.0, 5.0):
        run = subprocess.Popen([*command, "-o", str(tmp_path / "out"), *settings])
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(after_s)
        run.kill()
        run.wait()
    built(folder, tmp_path / "out", workers=2)
    for table in ("videos", "clips", "samples"):
        assert rows(tmp_path / "out", table) == rows(demo_corpus, table)
    assert shard_bytes(tmp_path / "out") == shard_bytes(demo_corpus)
    assert not list((tmp_path / "out.work").glob("scratch-*"))


@pytest.mark.parametrize("piece", ["clips", "transcript", "passages", "encodings", "mp4"])
def test_build_makes_again_what_is_damaged_in_the_work_folder(
    demo_corpus: Path, tmp_path: Path, piece: str
) -> None:
    """Half a file, as after a power cut: at most one run says so, the next has mended it."""
    out, work = tmp_path / "out", tmp_path / "out.work"
    shutil.copytree(demo_corpus.with_name("corpus.work"), work)
    store = Store(str(work))
    rows_there = Ledger(store, ENCODED if piece in ("passages", "encodings", "mp4") else MEASURED)
    records = [v for v in Videos(rows_there.latest()) if v.outcome == "pending"]
    for video in records:
        sha256 = getattr(video, piece) if piece != "mp4" else ""
        if piece == "mp4":
            (first, *_) = json.loads(store.get(_object(str(video.encodings))))
            sha256 = first["mp4"]
        data = store.get(_object(sha256))
        store.put(_object(sha256), data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    for _ in range(3):
        with contextlib.suppress(DamagedArtefact):
            built(EXAMPLES, out, workers=1)
            break
    assert outcomes(out) == outcomes(demo_corpus)
    assert shard_bytes(out) == shard_bytes(demo_corpus)


def _object(sha256: str) -> str:
    return f"objects/{sha256[:2]}/{sha256}"
