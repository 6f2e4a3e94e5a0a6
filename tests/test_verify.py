"""verify finds no fault in a whole corpus, and every fault that is put into one."""

from __future__ import annotations

import importlib.util
import shutil
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from reelscript.jobs.verify.corpus import verify
from reelscript.jobs.verify.media import top_boxes
from reelscript.pipeline.store import Store
from reelscript.schemas.tables import SAMPLES

from .corpus_broken import BREAKS, OURS, SHARD, not_faststart, txt_differs
from .corpus_made import edit_dataset, edit_rows, make_corpus, replace_table

CHECKER = Path(__file__).parents[2] / "shared" / "tools" / "check_dataset.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("made") / "corpus")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "corpus"))


def test_verify_finds_no_fault_in_a_whole_corpus(made: Path) -> None:
    assert verify(made) == []
    url = f"memory://{uuid.uuid4().hex}"
    for path in made.rglob("*"):
        if path.is_file():
            Store(url).put(path.relative_to(made).as_posix(), path.read_bytes())
    assert verify(url) == []


@pytest.mark.parametrize("name", [*BREAKS, *OURS])
def test_verify_finds_what_is_broken_and_says_it_in_a_printable_sentence(
    name: str, folder: Path
) -> None:
    words, breaking = (BREAKS | OURS)[name]
    breaking(folder)
    faults = verify(folder)
    assert any(words in fault for fault in faults), faults
    assert all(fault.isprintable() and len(fault) <= 300 for fault in faults)
    assert not any("Traceback" in fault for fault in faults)


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_dataset", CHECKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def faults_of(checker: ModuleType, folder: Path) -> list[str]:
    faults: Any = checker.Faults()
    with faults.reading(str(folder)):
        checker.check(folder, True, None, faults)
    return [str(fault) for fault in faults]


@pytest.mark.skipif(not CHECKER.exists(), reason="the outside checker is not beside this checkout")
def test_verify_and_the_outside_checker_agree_on_a_whole_corpus(
    made: Path, checker: ModuleType
) -> None:
    assert faults_of(checker, made) == verify(made) == []


@pytest.mark.skipif(not CHECKER.exists(), reason="the outside checker is not beside this checkout")
@pytest.mark.parametrize("name", BREAKS)
def test_verify_and_the_outside_checker_both_find_what_is_broken(
    name: str, folder: Path, checker: ModuleType
) -> None:
    BREAKS[name][1](folder)
    assert faults_of(checker, folder)
    assert verify(folder)


def test_verify_without_media_decodes_nothing_but_checks_the_rest(folder: Path) -> None:
    not_faststart(folder)
    assert verify(folder, media=False) == []
    txt_differs(folder)
    assert verify(folder, media=False)


def test_verify_takes_a_corpus_that_keeps_nothing(folder: Path) -> None:
    shutil.rmtree(folder / "shards")

    def reject(rows: list[dict[str, Any]]) -> None:
        for video in rows:
            if video["outcome"] == "kept":
                video.update(outcome="rejected", stage="encode", reason="x")
            video.update(clips_rejected=video["clips_kept"] + video["clips_rejected"], clips_kept=0)

    edit_rows(folder, "videos", reject)
    lost = {"outcome": "rejected", "reason": "video_failed", "sample_key": None}
    edit_rows(folder, "clips", lambda rows: [r.update(lost) for r in rows])
    replace_table(folder, "samples", SAMPLES.empty_table())
    counts = {"kept": 0, "rejected": 5, "clips_kept": 0, "samples": 0}
    edit_dataset(folder, lambda info: info.update(shards=[], counts=info["counts"] | counts))
    edit_dataset(folder, lambda info: info["hours"].update(kept=0))
    assert verify(folder) == []


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"format": "reelscript/1"}']
)
def test_verify_of_any_rubbish_ends_in_sentences(folder: Path, content: bytes) -> None:
    for name in ("dataset.json", "stats.json", "videos.parquet", f"shards/{SHARD}"):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        faults = verify(folder)
        assert all(fault.isprintable() for fault in faults)
        assert faults or (name == "stats.json" and content.startswith(b"{"))
        (folder / name).write_bytes(before)


def test_verify_reads_the_boxes_of_an_mp4() -> None:
    box = (16).to_bytes(4) + b"ftyp" + bytes(8)
    large = (1).to_bytes(4) + b"free" + (24).to_bytes(8) + bytes(8)
    to_the_end = bytes(4) + b"mdat" + b"anything"
    assert list(top_boxes(box + large + to_the_end)) == ["ftyp", "free", "mdat"]
    assert list(top_boxes(b"")) == []
    assert list(top_boxes((4).to_bytes(4) + b"evil" * 9)) == ["evil"]
