"""A corpus read back: tables, samples by one ranged read each, frames; by us and by others."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.jobs.show import show_sample, show_video
from reelscript.pipeline.errors import DataError, UsageError
from reelscript.pipeline.store import Store
from reelscript.reading.corpus import Corpus, nearest_key, open_corpus
from reelscript.reading.frames import evenly, frames_at

from .corpus_made import (
    FPS,
    HEIGHT_PX,
    LEVELS,
    WIDTH_PX,
    edit_dataset,
    edit_rows,
    make_corpus,
    make_mp4,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("made") / "corpus")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "corpus"))


def in_memory(folder: Path) -> str:
    """Copies a corpus to a folder in memory and returns its URL."""
    url = f"memory://{uuid.uuid4().hex}"
    for path in folder.rglob("*"):
        if path.is_file():
            Store(url).put(path.relative_to(folder).as_posix(), path.read_bytes())
    return url


@pytest.mark.parametrize("where", ["file", "path", "memory"])
def test_corpus_gives_its_tables_and_samples_wherever_it_lies(where: str, made: Path) -> None:
    urls = {"file": f"file://{made}", "path": str(made), "memory": in_memory(made)}
    corpus = open_corpus(urls[where])
    assert (len(corpus.videos), len(corpus.clips), len(corpus)) == (6, 11, 4)
    keys = [sample.key for sample in corpus]
    assert sorted(keys) == [
        "x_one-000002000",
        "x_one-000005000",
        "x_two-000000000",
        "x_val-000000500",
    ]
    for sample in corpus:
        assert corpus[sample.key].mp4 == sample.mp4
        assert sample.meta["key"] == sample.key in corpus
        assert sample.text == " ".join(clip["text"] for clip in sample.clips)
        assert hashlib.sha256(sample.mp4).hexdigest() == sample.row["mp4_sha256"]
    assert corpus["x_one-000005000"].text == "clip 3 speaks clip 4 speaks"


def test_corpus_reads_an_mp4_with_one_ranged_read_and_nothing_before_it_is_asked_for(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def spy(name: str) -> None:
        real = getattr(Store, name)

        def spied(self: Store, *args: Any) -> Any:
            asked.append((name, args[0]))
            return real(self, *args)

        monkeypatch.setattr(Store, name, spied)

    for name in ("get", "get_range", "open_read"):
        spy(name)
    corpus = open_corpus(made)
    assert asked == [("get", "dataset.json")]
    sample = corpus["x_two-000000000"]
    assert asked[1:] == [("get", "samples.parquet")]
    asked.clear()
    assert len(sample.mp4) == sample.row["mp4_size"]
    assert asked == [("get_range", f"shards/{sample.row['shard']}")]


def test_corpus_tables_may_be_folders_of_part_files(folder: Path) -> None:
    table = pq.read_table(folder / "samples.parquet")
    edit_dataset(folder, lambda info: info.pop("tables"))
    (folder / "samples.parquet").unlink()
    (folder / "samples.parquet").mkdir()
    for n in range(len(table)):
        pq.write_table(table.slice(n, 1), folder / "samples.parquet" / f"part-{n}.parquet")
    assert open_corpus(folder).samples.equals(table)


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b"{", b'{"format": NaN}', b'{"format": "x/9"}']
)
def test_corpus_that_is_none_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(DataError, match=r"no corpus|not JSON|reads 'reelscript/1'") as caught:
        open_corpus(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no corpus"):
        open_corpus(tmp_path / "nowhere")


def test_corpus_names_the_nearest_key_of_a_wrong_one(made: Path) -> None:
    corpus = open_corpus(made)
    with pytest.raises(DataError, match="'x_one-000002000'"):
        corpus["x_one-000002001"]
    with pytest.raises(DataError) as caught:
        corpus["\x1b[2J\n\u202e"]
    assert str(caught.value).isprintable()
    assert Corpus(corpus.store, {}).__contains__("x_one-000002000")


def test_corpus_finds_the_nearest_of_many_keys_without_comparing_all() -> None:
    keys = [f"x_{n:06d}-000000000" for n in range(50_000)]
    assert nearest_key("x_012345-00000000", keys) == "x_012345-000000000"
    assert nearest_key("a", keys) in keys
    assert nearest_key("a", []) is None


def test_corpus_refuses_damaged_and_missing_files(folder: Path) -> None:
    sample = open_corpus(folder)["x_two-000000000"]
    shard = folder / "shards" / sample.row["shard"]
    data = bytearray(shard.read_bytes())
    data[sample.row["mp4_offset"] + 100] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DataError, match="sha256"):
        _ = sample.mp4
    shard.unlink()
    with pytest.raises(DataError, match="missing"):
        _ = sample.mp4
    (folder / "clips.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="damaged, or being published"):
        _ = open_corpus(folder).clips
    edit_dataset(folder, lambda info: info.pop("tables"))
    with pytest.raises(DataError, match="cannot be read"):
        _ = open_corpus(folder).clips
    (folder / "clips.parquet").unlink()
    with pytest.raises(DataError, match="missing"):
        _ = open_corpus(folder).clips


def test_corpus_index_cannot_lead_out_of_its_folder(folder: Path) -> None:
    (folder.parent / "secret").write_bytes(b"s" * 99_999)
    edit_rows(folder, "samples", lambda rows: [r.update(shard="../../secret") for r in rows])
    with pytest.raises(DataError, match="outside"):
        _ = next(iter(open_corpus(folder))).mp4


def number_of(frame: np.ndarray[Any, Any]) -> int:
    """Returns the number that a frame of `make_mp4` tells by its grey (limited range)."""
    return round((float(frame.mean()) * 219 / 255) / LEVELS)


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("mp4") / "a.mp4"
    make_mp4(path, frames=35)
    return path.read_bytes()


@given(st.lists(st.floats(0, 4.0), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_frames_are_those_on_display_at_the_times_in_any_order(
    mp4: bytes, times_s: list[float]
) -> None:
    frames = frames_at(mp4, times_s)
    assert frames.shape == (len(times_s), HEIGHT_PX, WIDTH_PX, 3)
    expected = [min(34, int((t + 0.0005) * FPS + 1e-9)) for t in times_s]
    assert [number_of(frame) for frame in frames] == expected


def test_frames_are_the_middles_of_equal_parts_unless_times_are_given(made: Path) -> None:
    assert evenly(4, 2.0) == [0.25, 0.75, 1.25, 1.75]
    sample = open_corpus(made)["x_two-000000000"]  # 2 s, 20 frames
    assert [number_of(frame) for frame in sample.frames(4)] == [2, 7, 12, 17]
    assert sample.frames().shape == (12, HEIGHT_PX, WIDTH_PX, 3)
    scaled = sample.frames(times_s=[1.9, 0.0, 2.1], size=(32, 20))
    assert scaled.dtype == np.uint8
    assert scaled.shape == (3, 32, 20, 3)
    assert [number_of(frame) for frame in scaled] == [19, 0, 19]


@pytest.mark.parametrize(
    "asked",
    [
        {"count": 0},
        {"count": 3, "times_s": [0.0]},
        {"times_s": []},
        {"times_s": [-0.1]},
        {"times_s": [float("nan")]},
        {"times_s": [99.0]},
        {"size": (0, 10)},
    ],
)
def test_frames_refuse_what_cannot_be_asked_for(made: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        open_corpus(made)["x_two-000000000"].frames(**asked)


@pytest.mark.parametrize("content", [b"", b"no video", b"\0" * 4096])
def test_frames_of_what_is_no_mp4_are_refused(content: bytes) -> None:
    with pytest.raises(DataError):
        frames_at(content, [0.0])


@pytest.mark.filterwarnings("ignore")
def test_corpus_is_what_webdataset_reads(made: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    corpus = open_corpus(made)
    shards = sorted(str(path) for path in (made / "shards").glob("*.tar"))
    read = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))
    assert [item["__key__"] for item in read] == [sample.key for sample in corpus]
    for item, sample in zip(read, corpus, strict=True):
        assert item["mp4"] == sample.mp4
        assert json.loads(item["json"]) == sample.meta
        assert item["txt"].decode() == sample.text
        assert {k for k in item if not k.startswith("__")} == {"mp4", "json", "txt"}


FORMAT_PAGE = Path(__file__).parents[1] / "docs" / "shard-format.md"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("imported", ["reelscript", "webdataset", "tarfile", "datasets"])
def test_corpus_is_read_as_the_page_on_its_format_shows(
    imported: str, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(imported)
    blocks = re.findall(r"```python\n(.*?)```", FORMAT_PAGE.read_text("utf-8"), re.DOTALL)
    block = next(block for block in blocks if f"import {imported}\n" in block)
    monkeypatch.chdir(made.parent)
    exec(compile(block, str(FORMAT_PAGE), "exec"), {})
    assert "x_one" in capsys.readouterr().out or imported == "datasets"


def test_page_on_the_format_shows_a_json_that_has_every_field(made: Path) -> None:
    text = FORMAT_PAGE.read_text("utf-8")
    shown = json.loads(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0])
    meta = next(iter(open_corpus(made))).meta
    assert shown.keys() == meta.keys()
    assert shown["scores"].keys() == meta["scores"].keys()
    assert shown["clips"][0].keys() == meta["clips"][0].keys()
    assert shown["clips"][0]["words"][0].keys() == meta["clips"][0]["words"][0].keys()


def test_show_tells_text_words_scores_and_provenance_of_a_sample(made: Path) -> None:
    shown = show_sample(open_corpus(made), "x_two-000000000")
    meta = open_corpus(made)["x_two-000000000"].meta
    for part in (
        "clip 0 speaks clip 1 speaks",
        "speaks 1.67 0.9",
        "x_two.mp4",
        meta["source_sha256"],
    ):
        assert part in shown
    assert "words_per_s 3" in shown
    assert "made-by-hand 1" in shown
    assert "licence     unknown" in shown
    assert all(line.isprintable() for line in shown.split("\n"))  # the title holds escapes


def test_show_leaves_out_probabilities_that_captions_do_not_have(made: Path) -> None:
    key = "x_two-000000000"
    sample = open_corpus(made)[key]
    sample.meta["clips"][0]["words"][0]["probability"] = None
    corpus: Any = {key: sample}
    word = sample.meta["clips"][0]["words"][0]
    assert f"{word['word'].strip()} {word['start_s']:.2f} | " in show_sample(corpus, key)


def test_show_tells_every_passage_and_every_rejected_clip_of_a_video(made: Path) -> None:
    corpus = open_corpus(made)
    shown = show_video(corpus, "x_one")
    order = ["x_one: kept", "sample x_one-000002000: 2.000 to 4.000 s, 2 clips", "clip 1 3.000"]
    order += [
        "not in the corpus: 4.000 to 5.000 s",
        "clip 2 4.000 to 5.000 s: rejected for too_fast",
    ]
    order += ["sample x_one-000005000", "clip 4 6.000 to 7.000 s: kept"]
    places = [shown.index(part) for part in order]
    assert places == sorted(places)
    assert "x_mute: rejected by probe: no_audio" in show_video(corpus, "x_mute")
    assert "no clip was cut" in show_video(corpus, "x_mute")
    with pytest.raises(DataError, match="'x_one'"):
        show_video(corpus, "x_onee")
    shown = show_video(corpus, "x_two")
    assert all(line.isprintable() for line in shown.split("\n"))
