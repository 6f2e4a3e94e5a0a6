"""Frames members: each frame is the one on display, no mp4 pays for them, verify knows them."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reelscript
from reelscript.jobs.config import config_from
from reelscript.jobs.show import show_sample
from reelscript.jobs.verify.corpus import verify
from reelscript.pipeline.errors import DamagedArtefact, UsageError
from reelscript.pipeline.plan import members_digest
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace, from_plain
from reelscript.schemas.clip import Passage
from reelscript.schemas.sample import Encoding
from reelscript.schemas.tables import SAMPLES
from reelscript.schemas.text import digest
from reelscript.schemas.video import Video
from reelscript.transforms.encode import Encode
from reelscript.transforms.frames_mp4 import frame_numbers, with_frames
from reelscript.transforms.shard import write_shard, write_table

from .built import needs_models, rows, shard_bytes
from .corpus_made import (
    FPS,
    HEIGHT_PX,
    WIDTH_PX,
    Members,
    edit_rows,
    edit_shard,
    make_corpus,
    make_mp4,
    replace_table,
)
from .encode_made import Bench, beep, constant, number_in, opened, top_boxes
from .keep_made import Server, kept_as, seeded, serving, sources_in
from .test_releases import OLD, Works, contents
from .test_shard import stored

NTSC = Fraction(30000, 1001)
ON = "encode.frames_per_s=2"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def encoded(bench: Bench, video: Video, stage: Encode) -> list[Encoding]:
    with stage.open() as live:
        return bench.workspace.get_records(Encoding, live(video, bench.workspace).encodings)


# What is in them.


@given(
    st.integers(1, 40),
    st.sampled_from([NTSC, Fraction(24000, 1001), Fraction(4), Fraction(25), Fraction(997, 991)]),
    st.fractions(Fraction(1, 10), 30, max_denominator=1001),
)
def test_frame_numbers_are_those_a_player_shows(frames: int, fps: Fraction, rate: Fraction) -> None:
    naive, at_s = [], Fraction(0)
    while at_s < frames / fps:
        naive.append(max(k for k in range(frames) if k / fps <= at_s))
        at_s += 1 / rate
    assert frame_numbers(frames, fps, rate) == naive


@pytest.mark.parametrize(
    ("source", "rate"),
    [(NTSC, 2.0), (NTSC, 30.0), (Fraction(25), 3.0), (Fraction(50), 0.3), (Fraction(5), 12.5)],
    ids=str,
)
def test_frames_member_shows_what_the_mp4_shows(
    bench: Bench, source: Fraction, rate: float
) -> None:
    path = constant(bench.folder / "source.mp4", source, 4.0, sound=beep(0.5, 0.6, 4.0))
    video = bench.video(path, (0.2, 1.5), (1.5, 3.9))
    outs = bench.encode(video)
    for out, made in zip(outs, encoded(bench, video, Encode(frames_per_s=rate)), strict=True):
        data = bench.workspace.get(str(made.frames_mp4))
        assert made.frames_mp4_bytes == len(data)
        assert replace(made, frames_mp4=None, frames_mp4_bytes=None) == out.encoding
        with opened(io.BytesIO(data)) as container:
            [stream] = container.streams
            frames = list(container.decode(stream))
            context = stream.codec_context
        exact, count = Fraction(str(rate)), len(frames)
        assert count - 1 < len(out.times) / out.fps * exact <= count  # ceil(duration * rate)
        assert [f.time for f in frames] == pytest.approx([i / rate for i in range(count)])
        due = [int(i * out.fps / exact) for i in range(count)]
        assert [number_in(f.to_ndarray()[: f.height]) for f in frames] == [
            out.numbers[k] for k in due
        ]
        assert all(f.key_frame for f in frames)
        assert (context.name, (context.width, context.height)) == ("h264", out.size)
        assert stream.average_rate == exact
        assert stream.sample_aspect_ratio in (None, 1)
        boxes = top_boxes(data)
        assert boxes.index("moov") < boxes.index("mdat")
        assert b" cabac=0 " in data  # tune fastdecode
        assert b" threads=1 " in data
        assert b"Lavf" not in data


@pytest.mark.parametrize("value", [0, -1, 0.05, 31, "many", ".nan"])
def test_frames_per_s_out_of_bounds_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=r"encode\.frames_per_s"):
        config_from({"encode": {"frames_per_s": value}}, "here")


# What they cost, and what is remembered.


def test_frames_are_made_from_the_mp4_alone_and_the_same_every_time(tmp_path: Path) -> None:
    path = constant(tmp_path / "source.mp4", NTSC, 3.0)
    found = []
    for name in "ab":
        (tmp_path / name).mkdir()
        bench = Bench(tmp_path / name)
        video = bench.video(path, (0.3, 1.4), (1.5, 2.7))
        plain = encoded(bench, video, Encode())
        path.rename(tmp_path / "gone")  # so no mp4 can be encoded again
        found.append(encoded(bench, video, Encode(frames_per_s=2)))
        assert [e.mp4 for e in found[-1]] == [e.mp4 for e in plain]
        assert encoded(bench, video, Encode()) == plain
        assert [p for p in bench.workspace.scratch.rglob("*") if p.is_file()] == []
        (tmp_path / "gone").rename(path)
    assert found[0] == found[1]
    assert found[0][0].frames_mp4 != found[0][1].frames_mp4


def test_frames_setting_leaves_the_keys_of_mp4s_as_they_were(bench: Bench) -> None:
    """So what was encoded before there were frames is found, and at once where none are wanted."""
    path = constant(bench.folder / "source.mp4", Fraction(25), 1.0)
    video = bench.video(path, (0.0, 1.0))
    off, two, three = Encode(), Encode(frames_per_s=2), Encode(frames_per_s=3)
    [passage] = bench.workspace.get_records(Passage, video.passages)
    assert "frames_per_s" not in off.settings()
    assert len({stage.key(video) for stage in (off, two, three)}) == 3
    inputs = [getattr(video, n) for n in off.reads if n not in ("passages", "proxy")]
    before = {n: v for n, v in asdict(off).items() if n != "frames_per_s"}
    key = digest(["encode", 1, before, inputs, passage.start_s, passage.end_s])
    assert {stage.passage_key(video, passage) for stage in (off, two, three)} == {key}


def test_frames_are_made_once_for_an_mp4_and_a_rate(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = constant(bench.folder / "source.mp4", Fraction(25), 1.0)
    video = bench.video(path, (0.0, 1.0))
    first = encoded(bench, video, Encode(frames_per_s=2))
    encoded(bench, video, Encode(frames_per_s=3))
    monkeypatch.setattr("reelscript.transforms.frames_mp4._made", lambda *_: pytest.fail("again"))
    assert encoded(bench, video, Encode(frames_per_s=2)) == first


def test_frames_that_were_lost_are_made_again(bench: Bench) -> None:
    path = constant(bench.folder / "source.mp4", Fraction(25), 1.0)
    video, stage = bench.video(path, (0.0, 1.0)), Encode(frames_per_s=2)
    first = encoded(bench, video, stage)
    facts = {"encodings": bench.workspace.put_record(first)}
    assert stage.still_there(facts, bench.workspace)
    path.unlink()
    bench.workspace.forget(str(first[0].frames_mp4))
    assert not stage.still_there(facts, bench.workspace)
    assert encoded(bench, video, stage) == first
    assert stage.still_there(facts, bench.workspace)


def test_frames_of_a_damaged_mp4_wait_until_it_is_made_again(bench: Bench) -> None:
    path = constant(bench.folder / "source.mp4", Fraction(25), 1.0)
    video = bench.video(path, (0.0, 1.0))
    [plain] = encoded(bench, video, Encode())
    bench.workspace.store.put(f"objects/{plain.mp4[:2]}/{plain.mp4}", b"damaged")
    with pytest.raises(DamagedArtefact):
        encoded(bench, video, Encode(frames_per_s=2))
    [made] = encoded(bench, video, Encode(frames_per_s=2))
    assert made.mp4 == plain.mp4
    assert bench.workspace.has(str(made.frames_mp4))


# Shards and releases.


def test_encodings_of_before_there_were_frames_are_read() -> None:
    new = Encoding("k-000000000", "0" * 64, 3, 64, 48, 10.0, 20, 2.0, True)
    old = {n: v for n, v in asdict(new).items() if not n.startswith("frames_mp4")}
    assert from_plain(Encoding, old) == new


def test_shard_holds_the_frames_behind_the_text(tmp_path: Path) -> None:
    workspace = Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")
    frames = b"frames" * 999
    first, second, third = stored(workspace)
    second = replace(second, frames_mp4=workspace.put(frames), frames_mp4_bytes=len(frames))
    shard = write_shard(
        "train-000000.tar", [first, second, third], workspace, Store(str(tmp_path / "out"))
    )
    data = (tmp_path / "out" / "shards" / "train-000000.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = [name.partition(".")[2] for name in tar.getnames()]
    three = ["mp4", "json", "txt"]
    assert names == [*three, *three, "frames.mp4", *three]
    one, two, _ = shard.rows.to_pylist()
    assert {one[f"frames_{what}"] for what in ("offset", "size", "sha256")} == {None}
    at = two["frames_offset"]
    assert data[at : at + two["frames_size"]] == frames
    assert two["frames_sha256"] == hashlib.sha256(frames).hexdigest()
    without = replace(second, frames_mp4=None, frames_mp4_bytes=0).planned()
    assert second.planned().bytes == without.bytes + len(frames)
    assert second.planned().digest != without.digest
    assert shard.rows.schema.equals(SAMPLES)


def test_members_digest_without_frames_is_that_of_before() -> None:
    before = hashlib.sha256(b"a b c").hexdigest()
    assert members_digest("a", "b", "c") == before
    assert members_digest("a", "b", "c", "d") != before


class WithFrames(Works):
    """Works in which the samples of version 1 have frames, beside the same mp4."""

    def _mp4(self, key: str, version: int) -> Encoding:
        plain = super()._mp4(key, 0)
        if version == 0:
            return plain
        frames = f"frames of {key}".encode() * 100
        return replace(plain, frames_mp4=self.workspace.put(frames), frames_mp4_bytes=len(frames))


def as_before_there_were_frames(url: str) -> None:
    """Takes the columns of frames out of a corpus, as older versions wrote it."""
    store = Store(url)
    for folder in ("", "releases/r000/"):
        info = json.loads(store.get(f"{folder}dataset.json"))
        table = reelscript.open(url).samples
        old = table.drop_columns([n for n in table.column_names if n.startswith("frames_")])
        info["tables"]["samples"] = write_table(store, f"{folder}samples.parquet", old)
        store.put(f"{folder}dataset.json", json.dumps(info, indent=2).encode() + b"\n")


def test_release_with_frames_writes_only_the_shards_that_get_some(tmp_path: Path) -> None:
    works, url = WithFrames(tmp_path), str(tmp_path / "corpus")
    first = works.publish(url, OLD)
    as_before_there_were_frames(url)
    before = contents(url)
    second = works.publish(url, OLD)  # new columns are news
    assert second["shards"] == first["shards"]
    third = works.publish(url, OLD | {"x_02": 1})
    names = [{e["name"] for e in info["shards"]} for info in (second, third)]
    assert len(names[0] & names[1]) == len(names[0]) - 1
    after = contents(url)
    for name in names[0]:
        where = "shards" if name in names[1] else "releases/shards"
        assert after[f"{where}/{name}"] == before[f"shards/{name}"]
    framed = {r["video_id"]: r["frames_size"] for r in reelscript.open(url).samples.to_pylist()}
    assert {v for v, size in framed.items() if size is not None} == {"x_02"}
    assert "frames_size" not in reelscript.open(url, release=0).samples.column_names
    assert works.publish(url, OLD | {"x_02": 1})["release"] == third["release"]
    fourth = works.publish(url, OLD)
    assert {r["frames_size"] for r in reelscript.open(url).samples.to_pylist()} == {None}
    assert fourth["release"] == 3


# Whole builds.


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(["garden.mp4", "table.mp4"]) as found:
        yield found


@needs_models
@pytest.mark.parametrize("keep", ["none", "proxy"])
def test_build_with_frames_fetches_and_encodes_nothing_again(
    keep: str, server: Server, demo_corpus: Path, tmp_path: Path
) -> None:
    work, out = seeded(tmp_path / f"{keep}.work", demo_corpus), tmp_path / keep
    listed = server.listed(tmp_path / "list.txt")
    kept_as(keep, listed, tmp_path)
    shards, mp4s = shard_bytes(out), {r["key"]: r["mp4_sha256"] for r in rows(out, "samples")}
    server.asked()
    made, ran = kept_as(keep, listed, tmp_path, ON)
    assert (made.dataset["release"], server.asked()) == (1, {})
    assert ran.stages_run() == {"encode"}
    found = rows(out, "samples")
    assert {r["key"]: r["mp4_sha256"] for r in found} == mp4s
    assert all(r["frames_size"] for r in found)
    assert verify(out) == []
    assert keep != "none" or sources_in(work, server) == set()
    steps = list(reelscript.open(out).windows(k=1, split=None, frames=2, px=32))
    assert len(steps) == sum(r["clips"] for r in found)
    if keep == "none":
        off, ran = kept_as(keep, listed, tmp_path)
        assert (off.dataset["release"], ran.stages_run()) == (2, set())
        assert list(shard_bytes(out).values()) == list(shards.values())


@needs_models
def test_build_makes_lost_frames_again(server: Server, demo_corpus: Path, tmp_path: Path) -> None:
    work, out = seeded(tmp_path / "none.work", demo_corpus), tmp_path / "none"
    listed = server.listed(tmp_path / "list.txt")
    kept_as("none", listed, tmp_path, ON)
    shards, row = shard_bytes(out), rows(out, "samples")[0]
    server.asked()
    name = row["frames_sha256"]
    (work / "objects" / name[:2] / name).unlink()
    shutil.rmtree(out)
    with pytest.raises(DamagedArtefact, match="the same command makes it again"):
        kept_as("none", listed, tmp_path, ON)
    kept_as("none", listed, tmp_path, ON)
    assert shard_bytes(out) == shards
    assert server.asked() == {}


# verify and show.


def frames_of(mp4: bytes, frames: int, folder: Path) -> bytes:
    """Returns the frames.mp4, 4 a second, of a made mp4."""
    workspace = Workspace(Store(str(folder / "work")), folder)
    seconds = frames / FPS
    held = Encoding("k", workspace.put(mp4), 1, WIDTH_PX, HEIGHT_PX, FPS, frames, seconds, True)
    return workspace.get(str(with_frames(held, Fraction(4), workspace, folder).frames_mp4))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of which the first sample of each shard has frames, 4 a second."""
    folder = tmp_path_factory.mktemp("made")
    corpus = make_corpus(folder / "corpus")
    for shard in sorted(path.name for path in (corpus / "shards").iterdir()):

        def add(members: Members) -> Members:
            (name, mp4), meta = members[0], json.loads(members[1][1])
            frames = frames_of(mp4, meta["frames"], folder)
            member = name.replace(".mp4", ".frames.mp4")
            return [*members[:3], (member, frames), *members[3:]]

        edit_shard(corpus, shard, add)
    return corpus


def first(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if row["frames_size"])


def swapped(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Returns a way to put other bytes into a frames.mp4; index and shard follow."""

    def breaking(folder: Path) -> None:
        row = first(pq.read_table(folder / "samples.parquet").to_pylist())
        name = f"{row['key']}.frames.mp4"
        edit_shard(
            folder, row["shard"], lambda m: [(n, change(d) if n == name else d) for n, d in m]
        )

    return breaking


def in_index(**values: Any) -> Callable[[Path], None]:
    return lambda folder: edit_rows(folder, "samples", lambda rows: first(rows).update(values))


def other_frames(frames: int) -> bytes:
    """Returns the frames.mp4 of another mp4 with so many frames."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "other.mp4"
        make_mp4(path, frames)
        return frames_of(path.read_bytes(), frames, Path(folder))


def taken_out(folder: Path) -> None:
    row = first(pq.read_table(folder / "samples.parquet").to_pylist())
    edit_shard(folder, row["shard"], lambda m: [x for x in m if not x[0].endswith(".frames.mp4")])


def whole_mp4(**form: Any) -> bytes:
    """Returns an mp4 that is no frames.mp4."""
    with TemporaryDirectory() as folder:
        make_mp4(Path(folder) / "other.mp4", **form)
        return (Path(folder) / "other.mp4").read_bytes()


NULL = {"frames_offset": None, "frames_size": None, "frames_sha256": None}
BREAKS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "not listed": ("of which the index says nothing", in_index(**NULL)),
    "taken out": ("frames.mp4: the tar has none", taken_out),
    "offset": ("the index says offset 7", in_index(frames_offset=7)),
    "size": ("the index says size 7", in_index(frames_size=7)),
    "sha256": ("frames.mp4 has not the sha256", in_index(frames_sha256="0" * 64)),
    "half listed": ("but not all", in_index(frames_sha256=None)),
    "not intra": ("frames that are not keyframes", swapped(lambda _: whole_mp4(sound=False))),
    "sound": ("h264 in video, audio", swapped(lambda _: whole_mp4())),
    "not faststart": ("frames.mp4 is not faststart", swapped(lambda _: whole_mp4(faststart=False))),
    "rubbish": ("frames.mp4 cannot be checked", swapped(lambda _: b"no mp4")),
    "too few": ("frames at 4 a second, 8 are due", swapped(lambda _: other_frames(frames=15))),
    "too many": ("frames at 4 a second, 8 are due", swapped(lambda _: other_frames(frames=21))),
}


def test_verify_finds_no_fault_in_a_corpus_with_frames(made: Path) -> None:
    rows = pq.read_table(made / "samples.parquet").to_pylist()
    assert {row["frames_size"] is None for row in rows} == {True, False}
    assert verify(made) == []
    steps = list(reelscript.open(made).windows(k=1, split=None, frames=2, px=32))
    assert len(steps) == 9


def test_verify_takes_a_corpus_of_before_there_were_frames(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus")
    table = pq.read_table(corpus / "samples.parquet")
    assert {table[name].null_count for name in NULL} == {4}
    replace_table(corpus, "samples", table.drop_columns(list(NULL)))
    assert verify(corpus) == []


@pytest.mark.parametrize("name", BREAKS)
def test_verify_finds_what_is_wrong_with_frames(name: str, made: Path, tmp_path: Path) -> None:
    words, breaking = BREAKS[name]
    folder = Path(shutil.copytree(made, tmp_path / "corpus"))
    breaking(folder)
    faults = verify(folder)
    assert any(words in fault for fault in faults), faults


def test_show_tells_of_frames_where_there_are_some(made: Path) -> None:
    corpus = reelscript.open(made)
    for row in corpus.samples.to_pylist():
        assert ("frames.mp4" in show_sample(corpus, row["key"])) == (row["frames_size"] is not None)
