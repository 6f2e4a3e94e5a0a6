"""Samples and shards: times that keep their order, tars that are always the same."""

from __future__ import annotations

import hashlib
import io
import json
import math
import tarfile
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.pipeline.errors import DataError, StorageError
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Clip, Passage, sample_key
from reelscript.schemas.sample import Encoding, SampleJson
from reelscript.schemas.tables import SAMPLES
from reelscript.schemas.transcript import Word
from reelscript.transforms.sample import SampleParts, sample_json, sample_parts
from reelscript.transforms.shard import Shard, write_shard, write_table
from reelscript.transforms.tar_writer import TarWriter, tar_header

from .corpus_made import SCORES, TRANSCRIPT, made_clips, made_video, words_of

VIDEO = made_video("x_a")


def encoding(key: str, duration_s: float, mp4: str = "0" * 64, size: int = 3) -> Encoding:
    return Encoding(key, mp4, size, 64, 48, 10.0, round(duration_s * 10), duration_s, True)


def passage_of(clips: list[Clip], video_id: str = "x_a", split: str = "train") -> Passage:
    start_s, end_s = clips[0].start_s, clips[-1].end_s
    indices = [clip.clip_index for clip in clips]
    return Passage(sample_key(video_id, start_s), start_s, end_s, split, indices)


def json_of(clips: list[Clip], words: list[Word], **facts: Any) -> SampleJson:
    passage = passage_of(clips)
    video = made_video("x_a", **facts)
    made = encoding(passage.key, passage.duration_s)
    return sample_json(video, passage, clips, words, made, TRANSCRIPT)


@st.composite
def spoken(draw: st.DrawFn) -> tuple[list[Clip], list[Word]]:
    """Clips and words at any times that are in order, down to fractions of a millisecond."""
    at_s = draw(st.floats(0, 1e5))
    clips: list[Clip] = []
    words: list[Word] = []
    for index in range(draw(st.integers(1, 4))):
        at_s += draw(st.sampled_from([0.0, 0.0004, 1.0]))
        start_s, first = at_s, len(words)
        for _ in range(draw(st.integers(1, 4))):
            length_s = draw(st.floats(0.0006, 2.0))
            # Aligners leave words that reach a little over the clip's edge: they are held within.
            words.append(Word(" w", at_s - draw(st.floats(0, 0.02)), at_s + length_s, 0.5, 0))
            at_s += length_s
        at_s = max(at_s, start_s + 0.01)
        clips.append(Clip(index, start_s, at_s, "w" * 1, first, len(words), True, SCORES))
    return clips, words


@given(spoken())
def test_sample_times_stay_in_order_disjoint_and_within_their_clip(
    said: tuple[list[Clip], list[Word]],
) -> None:
    clips, words = said
    meta = json_of(clips, words)
    last_s = 0.0
    for clip, source in zip(meta["clips"], clips, strict=True):
        assert last_s <= clip["start_s"] < clip["end_s"]
        last_s = clip["end_s"]
        assert math.isclose(
            meta["start_s"] + clip["start_s"], round(source.start_s, 3), abs_tol=1e-6
        )
        assert math.isclose(meta["start_s"] + clip["end_s"], round(source.end_s, 3), abs_tol=1e-6)
        word_s = clip["start_s"]
        for word in clip["words"]:
            assert word_s <= word["start_s"] <= word["end_s"] <= clip["end_s"]
            word_s = word["start_s"]
            assert word["start_s"] == round(word["start_s"], 3)
    assert sum(len(clip["words"]) for clip in meta["clips"]) == len(words)


def test_sample_words_are_those_of_its_clips_and_times_count_from_the_mp4() -> None:
    clips = made_clips(5, 2.0)
    words = words_of(clips)
    parts = sample_parts(
        VIDEO, passage_of(clips[3:]), clips, words, encoding("x_a-000005000", 2.0), TRANSCRIPT
    )
    assert parts.text == "clip 3 speaks clip 4 speaks"
    assert [(c["start_s"], c["end_s"], c["text"]) for c in parts.meta["clips"]] == [
        (0.0, 1.0, "clip 3 speaks"),
        (1.0, 2.0, "clip 4 speaks"),
    ]
    assert [w["word"] for w in parts.meta["clips"][1]["words"]] == [" clip", " 4", " speaks"]
    assert parts.meta["clips"][0]["words"][1]["start_s"] == 0.333
    assert parts.meta["transcript"]["engine"] == "made-by-hand 1"


def test_sample_text_has_no_space_between_clips_where_the_language_has_none() -> None:
    clips = [replace(clip, text="你好") for clip in made_clips(2)]
    for language, text in (("zh", "你好你好"), ("yue", "你好你好"), ("ko", "你好 你好")):
        video = made_video("x_a", language=language)
        words, made = words_of(made_clips(2)), encoding("x_a-000000000", 2.0)
        parts = sample_parts(video, passage_of(clips), clips, words, made, TRANSCRIPT)
        assert parts.text == text


def test_sample_scores_are_means_over_words_and_seconds() -> None:
    first = replace(SCORES, words=1, mean_word_probability=1.0, avg_logprob=-1.0, speech_share=1.0)
    other = replace(SCORES, words=3, mean_word_probability=0.5, avg_logprob=None, speech_share=0.25)
    clips = [
        Clip(0, 0.0, 1.0, "a", 0, 1, True, first),
        Clip(1, 1.0, 4.0, "b", 1, 2, True, replace(other, static_share=math.nan)),
    ]
    words = [Word(" a", 0.0, 1.0, math.nan, 0), Word(" b", 1.0, 2.0, 0.5, 0)]
    meta = json_of(clips, words)
    assert meta["scores"] == {
        "words": 4,
        "words_per_s": 1.0,
        "mean_word_probability": (1 * 1.0 + 3 * 0.5) / 4,
        "avg_logprob": -1.0,
        "speech_share": (1 * 1.0 + 3 * 0.25) / 4,
        "static_share": None,
    }
    assert meta["clips"][0]["words"][0]["probability"] is None
    json.dumps(meta, allow_nan=False)


def test_sample_refuses_what_it_cannot_state() -> None:
    clips = made_clips(2)
    words = words_of(clips)
    with pytest.raises(DataError, match="no sha256"):
        json_of(clips, words, source_sha256=None)
    with pytest.raises(DataError, match="without a time"):
        json_of(clips, [replace(words[0], start_s=None), *words[1:]])
    with pytest.raises(DataError, match="no words"):
        json_of([replace(clips[0], end_word=0), clips[1]], words)
    with pytest.raises(DataError, match="lacks words"):
        json_of(clips, words[:-1])
    passage = passage_of(clips)
    with pytest.raises(DataError, match="lacks some"):
        sample_json(VIDEO, passage, clips[:1], words, encoding(passage.key, 2.0), TRANSCRIPT)


def stored(
    workspace: Workspace, count: int = 3, split: str = "train", video_id: str = "x_a"
) -> list[SampleParts]:
    """Samples whose mp4s are any bytes: the writer does not look into them."""
    found = []
    for n in range(count):
        clips = made_clips(2, 10.0 * n)
        data = f"mp4 {n}".encode() * (200 * n + 1)
        passage = passage_of(clips, video_id, split)
        made = encoding(passage.key, 2.0, workspace.put(data), len(data))
        video = made_video(video_id, title="Zwölf \u202e </script>\n")
        found.append(sample_parts(video, passage, clips, words_of(clips), made, TRANSCRIPT))
    return found


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")


@pytest.mark.parametrize("where", ["file", "memory"])
def test_shard_repeats_byte_for_byte_and_its_rows_point_into_it(
    where: str, workspace: Workspace, tmp_path: Path
) -> None:
    store = Store(str(tmp_path / "out") if where == "file" else f"memory://{uuid.uuid4().hex}")
    parts = stored(workspace)
    shard = write_shard("train-000000.tar", iter(parts), workspace, store)
    data = store.get("shards/train-000000.tar")
    again = write_shard("train-000001.tar", stored(workspace), workspace, store)
    assert store.get("shards/train-000001.tar") == data
    assert again.entry == shard.entry | {"name": "train-000001.tar"}
    assert shard.entry == {
        "name": "train-000000.tar",
        "split": "train",
        "samples": 3,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    for row, part in zip(shard.rows.to_pylist(), parts, strict=True):
        contents = (workspace.get(part.mp4), *part.members())
        for member, content in zip(("mp4", "json", "txt"), contents, strict=True):
            offset, size = row[f"{member}_offset"], row[f"{member}_size"]
            assert data[offset : offset + size] == content
            assert row[f"{member}_sha256"] == hashlib.sha256(content).hexdigest()
        planned = part.planned()
        assert planned.bytes == sum(map(len, contents))
        assert (planned.key, planned.split) == (row["key"], row["split"])
    assert shard.rows.schema.equals(SAMPLES)
    assert shard.rows["text"].null_count == 0
    assert list(workspace.scratch.iterdir()) == []


def test_shard_is_what_tarfile_itself_would_write(workspace: Workspace, tmp_path: Path) -> None:
    parts = stored(workspace)
    store = Store(str(tmp_path / "out"))
    write_shard("train-000000.tar", parts, workspace, store)
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for part in parts:
            contents = (workspace.get(part.mp4), *part.members())
            for kind, content in zip(("mp4", "json", "txt"), contents, strict=True):
                info = tarfile.TarInfo(f"{part.meta['key']}.{kind}")
                info.size, info.mode, info.mtime = len(content), 0o644, 0
                tar.addfile(info, io.BytesIO(content))
    assert store.get("shards/train-000000.tar") == expected.getvalue()


def test_shard_digest_follows_every_member(workspace: Workspace) -> None:
    part = stored(workspace, 1)[0]
    meta = SampleJson(**{**part.meta, "license": "other"})
    others = [replace(part, mp4="1" * 64), replace(part, text="other"), replace(part, meta=meta)]
    assert len({p.planned().digest for p in [part, *others]}) == 4


def test_shard_that_cannot_be_written_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "out"))
    parts = stored(workspace)
    with pytest.raises(DataError, match="0 samples"):
        write_shard("train-000000.tar", [], workspace, store)
    with pytest.raises(DataError, match=r"train.*val"):
        write_shard("train-000000.tar", [*parts, *stored(workspace, 1, "val")], workspace, store)
    hostile = replace(parts[0], meta=SampleJson(**{**parts[0].meta, "key": "../../etc/x"}))
    with pytest.raises(DataError, match="no name for a member"):
        write_shard("train-000000.tar", [hostile], workspace, store)
    workspace.store.put(f"objects/{parts[1].mp4[:2]}/{parts[1].mp4}", b"damaged")
    with pytest.raises(DataError, match="damaged"):
        write_shard("train-000000.tar", parts, workspace, store)
    assert list(store.names("shards")) == []
    assert list(workspace.scratch.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_shard_on_a_full_scratch_disk_is_one_sentence(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = Path.open
    full = Path("/dev/full")
    monkeypatch.setattr(Path, "open", lambda p, *a: really(full if p.suffix == ".tar" else p, *a))
    with pytest.raises(StorageError, match=r"^cannot write .*the disk is full"):
        write_shard("train-000000.tar", stored(workspace), workspace, Store(str(tmp_path / "out")))
    assert list(Store(str(tmp_path / "out")).names("shards")) == []


@pytest.mark.parametrize(
    "name",
    [
        "a.b.mp4",
        "a/b.mp4",
        "../a.mp4",
        "a.exe",
        ".mp4",
        "a.mp4\n",
        "ä.mp4",
        "a.frames.txt",
        "a.mp4.frames",
        "a" * 97 + ".mp4",
    ],
)
def test_tar_writer_refuses_names_that_are_not_a_key_and_a_kind(name: str) -> None:
    with pytest.raises(DataError):
        tar_header(name, 1)


@given(st.lists(st.binary(max_size=2000), max_size=5))
def test_tar_writer_writes_what_tarfile_reads(contents: list[bytes]) -> None:
    file = io.BytesIO()
    tar_writer = TarWriter(file)
    offsets = [tar_writer.add(f"k{n}.txt", data) for n, data in enumerate(contents)]
    tar_writer.close()
    assert tar_writer.bytes == len(file.getvalue())
    assert tar_writer.bytes % 10240 == 0
    assert tar_writer.sha256 == hashlib.sha256(file.getvalue()).hexdigest()
    file.seek(0)
    with tarfile.open(fileobj=file) as tar:
        members = tar.getmembers()
        assert [m.offset_data for m in members] == offsets
        assert [tar.extractfile(m).read() for m in members] == contents  # type: ignore[union-attr]
        assert all((m.mtime, m.uid, m.gid, m.mode) == (0, 0, 0, 0o644) for m in members)


@pytest.mark.parametrize("size", [0, 8**11 - 1, 8**11, 10**12])
def test_tar_writer_states_sizes_beyond_8_gib(size: int) -> None:
    info = tarfile.TarInfo.frombuf(tar_header("k.mp4", size), "utf-8", "strict")
    assert (info.name, info.size, info.isreg()) == ("k.mp4", size, True)


def test_table_repeats_byte_for_byte_and_holds_no_nan(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    table = pa.table({"a": pa.array(["x", None] * 70_000), "b": pa.array([1.5, None] * 70_000)})
    chunked = pa.concat_tables([table.slice(0, 999), table.slice(999)])
    sha256 = write_table(store, "one.parquet", table)
    assert write_table(store, "two.parquet", chunked) == sha256
    assert hashlib.sha256(store.get("one.parquet")).hexdigest() == sha256
    assert pq.read_table(tmp_path / "one.parquet").equals(table)
    write_table(store, "none.parquet", SAMPLES.empty_table())
    assert pq.read_table(tmp_path / "none.parquet").schema.names == SAMPLES.names
    for value in (math.nan, math.inf):
        with pytest.raises(DataError, match="column b"):
            write_table(store, "bad.parquet", pa.table({"b": [0.0, value]}))
    assert not store.exists("bad.parquet")


def test_split_follows_the_channel_else_the_video_and_its_share_is_the_fraction() -> None:
    rule = Shard(val_fraction=0.1)
    videos = [made_video(f"x_{n}") for n in range(5000)]
    held_out = {v.video_id for v in videos if rule.split_of(v) == "val"}
    assert 0.08 < len(held_out) / 5000 < 0.12
    more = Shard(val_fraction=0.2)
    assert all(more.split_of(v) == "val" for v in videos if v.video_id in held_out)
    for n in range(50):
        found = {rule.split_of(made_video(f"x_{m}", channel=f"c {n}")) for m in range(9)}
        assert len(found) == 1
    assert {Shard(val_fraction=0).split_of(v) for v in videos} == {"train"}
    assert {Shard(val_fraction=1).split_of(v) for v in videos} == {"val"}
