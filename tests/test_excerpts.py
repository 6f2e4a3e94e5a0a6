"""Pieces of what was left out, as a build writes them beside its report."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from reelscript.jobs.excerpts import LONGEST_S, at_hand
from reelscript.jobs.runner import Runner
from reelscript.pipeline.stage import Stage
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.reading.frames import frames_at
from reelscript.schemas.video import Video
from reelscript.transforms.local_file import file_signature
from tests.built import EXAMPLES, built, needs_models, rows

pytestmark = [needs_models, pytest.mark.slow]

FASTEST = "quality.max_words_per_s=3.3"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("excerpts") / "videos"
    folder.mkdir()
    for name in ("garden.mp4", "harbour_es.mp4", "broken.mp4"):
        shutil.copyfile(EXAMPLES / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def corpus(sources: Path) -> Path:
    """A corpus with rejected clips, a rejected video and a broken one. Do not change it."""
    out = sources.parent / "corpus"
    built(sources, out, FASTEST)
    return out


def index(corpus: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((corpus / "report_media.json").read_text())
    return found


def duration_s(path: Path) -> float:
    with av.open(str(path)) as container:
        return float((container.duration or 0) / av.time_base)


def test_every_example_that_can_be_opened_has_a_piece(corpus: Path) -> None:
    stats = json.loads((corpus / "stats.json").read_text())
    broken = {row["video_id"] for row in rows(corpus, "videos") if row["duration_s"] is None}
    expected = {
        f"{e['video_id']}/{e.get('clip_index', '')}"
        for reason in stats["reasons"]
        for e in reason["examples"]
        if e["video_id"] not in broken
    }
    assert set(index(corpus)["rejected"]) == expected
    assert any(of.endswith("/") for of in expected)
    assert any(not of.endswith("/") for of in expected)


def test_pieces_hold_what_they_say(corpus: Path) -> None:
    clips = {(row["video_id"], row["clip_index"]): row for row in rows(corpus, "clips")}
    for piece in index(corpus)["rejected"].values():
        length_s = duration_s(corpus / "report_media" / piece["mp4"])
        assert length_s == pytest.approx(piece["end_s"] - piece["start_s"], abs=0.15)
        assert length_s <= LONGEST_S + 0.15
        if piece["clip_index"] is None:
            continue
        clip = clips[piece["video_id"], piece["clip_index"]]
        assert (piece["start_s"], piece["reason"]) == (clip["start_s"], clip["reason"])
        if clip["end_s"] - clip["start_s"] <= LONGEST_S:
            assert "".join(w["word"] for w in piece["words"]).split() == clip["text"].split()
        times = [t for w in piece["words"] for t in (w["start_s"], w["end_s"])]
        assert times == sorted(times)
        assert 0 <= times[0] <= times[-1] <= piece["end_s"] - piece["start_s"]


def test_pieces_show_their_part_of_the_source(corpus: Path, sources: Path) -> None:
    urls = {row["video_id"]: row["url"] for row in rows(corpus, "videos")}
    for piece in index(corpus)["rejected"].values():
        small = (corpus / "report_media" / piece["mp4"]).read_bytes()
        large = (sources / urls[piece["video_id"]]).read_bytes()
        middle_s = (piece["end_s"] - piece["start_s"]) / 2
        size = (90, 160)
        shown = frames_at(small, [middle_s], size)[0].astype(float)
        meant = frames_at(large, [piece["start_s"] + middle_s], size)[0].astype(float)
        other = frames_at(large, [piece["start_s"]], size)[0].astype(float)
        assert np.abs(shown - meant).mean() < 6
        assert np.abs(shown - meant).mean() < np.abs(shown - other).mean()


def test_kept_passages_are_those_of_the_shards(corpus: Path) -> None:
    samples = {row["key"]: row for row in rows(corpus, "samples")}
    kept = index(corpus)["kept"]
    assert {piece["video_id"] for piece in kept} == {row["video_id"] for row in samples.values()}
    for piece in kept:
        row = samples[piece["key"]]
        assert row["mp4_sha256"].startswith(piece["mp4"].removesuffix(".mp4"))
        assert " ".join(clip["text"] for clip in piece["clips"]) == row["text"]


class Phases:
    """Notes what a build runs, and may let the excerpts fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail: bool = False) -> None:
        self.run: list[str] = []
        runner_run = Runner.run

        def spied(
            runner: Runner, phase: str, stages: Sequence[Stage], todo: Any, known: int
        ) -> Iterator[tuple[Video, dict[str, float]]]:
            if len(todo):
                self.run.append(phase)
            if fail and phase == "excerpts":
                return iter([(v.ended("failed", "excerpt", "decode_failed"), {}) for v in todo])
            return runner_run(runner, phase, stages, todo, known)

        monkeypatch.setattr(Runner, "run", spied)


def test_pieces_are_made_once(corpus: Path, sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = index(corpus)["rejected"]
    other = sources.parent / "other"
    shutil.copytree(sources.parent / "corpus.work", sources.parent / "other.work")
    phases = Phases(monkeypatch)
    built(sources, other, FASTEST)
    assert "excerpts" not in phases.run
    assert index(other)["rejected"] == before
    for folder, remembered in ((corpus, False), (other, True)):
        costs = json.loads((folder / "stats.json").read_text())["costs"].values()
        assert [c["remembered"] for c in costs] == [c["videos"] * remembered for c in costs]
    files = [sorted(p.name for p in (c / "report_media").iterdir()) for c in (corpus, other)]
    assert files[0] == files[1]


def test_what_cannot_be_made_is_not_tried_again_and_spoils_nothing(
    corpus: Path, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "corpus.work"
    shutil.copytree(sources.parent / "corpus.work", work)
    for folder in ("excerpts_made", "excerpt"):
        shutil.rmtree(work / "results" / folder)
    phases = Phases(monkeypatch, fail=True)
    for name in ("corpus", "again"):
        built(sources, tmp_path / name, FASTEST, f"work.folder={work}")
        assert index(tmp_path / name)["rejected"] == {}
        assert rows(tmp_path / name, "clips") == rows(corpus, "clips")
    assert phases.run.count("excerpts") == 1


def test_only_the_bytes_that_were_measured_are_read(tmp_path: Path) -> None:
    workspace = Workspace(Store("memory://at-hand"), tmp_path)
    (tmp_path / "local.mp4").write_bytes(b"as measured")
    local = Video(video_id="a", url="local.mp4", location=str(tmp_path / "local.mp4"))
    local = dataclasses.replace(local, signature=file_signature(local.location))
    fetched = Video(video_id="b", url="http://h/x.mp4", location="http://h/x.mp4")
    fetched = dataclasses.replace(fetched, media=workspace.put(b"fetched"))

    assert at_hand(local, workspace)
    assert at_hand(fetched, workspace)
    (tmp_path / "local.mp4").write_bytes(b"replaced since")
    workspace.forget(str(fetched.media))
    assert not at_hand(local, workspace)
    assert not at_hand(fetched, workspace)
