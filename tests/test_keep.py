"""What stays of fetched sources, and that a corpus is the same whatever stays."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import pytest

from reelscript.jobs.verify.corpus import verify
from reelscript.pipeline.errors import StageError
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.reading.corpus import open_corpus
from reelscript.schemas.video import Video
from reelscript.transforms.acquire import AcquireForNow
from tests.built import needs_models, rows, shard_bytes
from tests.keep_made import FailsAtGarden, Server, kept_as, seeded, serving, sources_in

KEEPS = ("source", "none", "proxy")
TABLES = ("videos", "clips", "samples")
ONE_FAST_CLIP_OUT = "quality.max_words_per_s=3.8"
"""Of garden.mp4, in the middle of its passage; the other videos are slower."""


SMALL = "encode.short_side_px=64"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(["garden.mp4", "silent.mp4", "table.mp4"]) as found:
        yield found


def start(keep: str, server: Server, folder: Path, demo_corpus: Path, *settings: str) -> Path:
    """Returns the list of sources, after a first build."""
    seeded(folder / f"{keep}.work", demo_corpus)
    listed = server.listed(folder / "list.txt")
    kept_as(keep, listed, folder, *settings)
    assert server.asked() == dict.fromkeys(server.files, 1)
    return listed


@needs_models
def test_keep_gives_the_same_corpus_whatever_stays(
    server: Server, demo_corpus: Path, tmp_path: Path
) -> None:
    stays = {"source": set(server.files), "none": set(), "proxy": {"garden.mp4", "table.mp4"}}
    for keep in KEEPS:
        listed = start(keep, server, tmp_path, demo_corpus)
        assert sources_in(tmp_path / f"{keep}.work", server) == stays[keep]
        assert verify(str(tmp_path / keep)) == []
        made, ran = kept_as(keep, listed, tmp_path)  # and nothing is done twice
        assert (made.dataset["release"], server.asked(), ran.ran) == (0, {}, {})
    # The demo videos are smaller than a proxy of them, so that they are their own.
    for keep in ("none", "proxy"):
        for table in TABLES:
            assert rows(tmp_path / keep, table) == rows(tmp_path / "source", table)
        assert shard_bytes(tmp_path / keep) == shard_bytes(tmp_path / "source")


@needs_models
def test_keep_none_fetches_again_only_what_a_new_passage_needs(
    server: Server, demo_corpus: Path, tmp_path: Path
) -> None:
    listed = start("none", server, tmp_path, demo_corpus, SMALL)
    made, ran = kept_as("none", listed, tmp_path, SMALL, ONE_FAST_CLIP_OUT)
    assert server.asked() == {"garden.mp4": 1}
    assert ran.stages_run() == {"encode"}
    assert made.dataset["counts"]["samples"] == 3
    assert verify(str(tmp_path / "none")) == []
    kept_as("none", listed, tmp_path, SMALL, "speech.min_share=0.1")  # of what is remembered
    assert server.asked() == {}
    assert sources_in(tmp_path / "none.work", server) == set()


@needs_models
def test_keep_none_does_not_mix_a_source_that_changed(
    server: Server, demo_corpus: Path, tmp_path: Path
) -> None:
    """What a reader holds of the first release stays as it is, whatever the server does."""
    listed = start("none", server, tmp_path, demo_corpus, SMALL)
    reader = open_corpus(str(tmp_path / "none"), release=0)
    before = [sample.mp4 for sample in reader]
    server.files["garden.mp4"] += b"more"
    changed = server.files["garden.mp4"]
    made, _ = kept_as("none", listed, tmp_path, SMALL, ONE_FAST_CLIP_OUT)
    (garden,) = [r for r in rows(tmp_path / "none", "videos") if "garden" in r["url"]]
    assert (garden["outcome"], garden["stage"], garden["reason"]) == ("failed", "encode", "changed")
    of_garden = [c for c in rows(tmp_path / "none", "clips") if c["video_id"] == garden["video_id"]]
    assert {c["outcome"] for c in of_garden} == {"rejected"}
    assert "video_failed" in {c["reason"] for c in of_garden}
    assert made.dataset["counts"]["samples"] == 1
    del server.files["garden.mp4"]
    kept_as("none", listed, tmp_path, SMALL, ONE_FAST_CLIP_OUT, retry_failed="all")
    (garden,) = [r for r in rows(tmp_path / "none", "videos") if "garden" in r["url"]]
    assert (garden["outcome"], garden["reason"]) == ("failed", "http_404")
    server.files["garden.mp4"] = changed
    kept_as("none", listed, tmp_path, SMALL, ONE_FAST_CLIP_OUT, retry_failed="http_404")
    (garden,) = [r for r in rows(tmp_path / "none", "videos") if "garden" in r["url"]]
    assert garden["outcome"] == "kept"  # measured anew, as what it is now
    assert garden["source_sha256"] == hashlib.sha256(changed).hexdigest()
    assert verify(str(tmp_path / "none")) == []
    assert [sample.mp4 for sample in reader] == before


@needs_models
def test_keep_gives_the_same_rows_where_encoding_fails(
    server: Server, demo_corpus: Path, tmp_path: Path
) -> None:
    seen = {}
    del server.files["table.mp4"]
    for keep in KEEPS:
        seeded(tmp_path / f"{keep}.work", demo_corpus)
        listed = server.listed(tmp_path / "list.txt")
        kept_as(keep, listed, tmp_path, encode=FailsAtGarden(64))
        seen[keep] = [rows(tmp_path / keep, table) for table in TABLES]
    assert seen["none"] == seen["proxy"] == seen["source"]
    videos, clips, _ = seen["source"]
    (garden,) = [r for r in videos if "garden" in r["url"]]
    assert (garden["outcome"], garden["stage"]) == ("failed", "encode")
    of_garden = [c for c in clips if c["video_id"] == garden["video_id"]]
    assert len(of_garden) == 10
    assert {c["reason"] for c in of_garden} == {"video_failed"}


@needs_models
def test_keep_none_with_the_same_bytes_at_many_addresses(
    server: Server, demo_corpus: Path, tmp_path: Path
) -> None:
    for name in ("garden.mp4", "table.mp4"):
        server.files |= {f"{n}-{name}": server.files[name] for n in range(2)}
    for keep in ("source", "none"):
        start(keep, server, tmp_path, demo_corpus, SMALL)  # each address is asked once
    for table in TABLES:
        assert rows(tmp_path / "none", table) == rows(tmp_path / "source", table)
    assert shard_bytes(tmp_path / "none") == shard_bytes(tmp_path / "source")
    reasons = [r["reason"] for r in rows(tmp_path / "none", "videos")]
    assert reasons.count("duplicate_content") == 4
    assert "failed" not in {r["outcome"] for r in rows(tmp_path / "none", "videos")}


@needs_models
def test_keep_none_lets_go_of_what_an_earlier_build_kept(
    server: Server, demo_corpus: Path, tmp_path: Path
) -> None:
    listed = start("source", server, tmp_path, demo_corpus, SMALL)
    for name in (".work", ""):
        (tmp_path / f"source{name}").rename(tmp_path / f"none{name}")
    kept_as("none", listed, tmp_path, SMALL)
    assert server.asked() == {}
    assert sources_in(tmp_path / "none.work", server) == set()
    assert verify(str(tmp_path / "none")) == []


@needs_models
def test_keep_proxy_fetches_nothing_again(
    server: Server, demo_corpus: Path, tmp_path: Path
) -> None:
    """A source with a proxy of its own: the same decisions, and pictures that look the same."""
    server.files = {"garden.mp4": server.files["garden.mp4"]}
    for keep in ("source", "proxy"):
        seeded(tmp_path / f"{keep}.work", demo_corpus)
        kept_as(keep, server.listed(tmp_path / "list.txt"), tmp_path, SMALL)
    assert sources_in(tmp_path / "proxy.work", server) == set()
    assert server.asked() == {"garden.mp4": 2}
    for table in ("videos", "clips"):
        assert rows(tmp_path / "proxy", table) == rows(tmp_path / "source", table)
    assert shard_bytes(tmp_path / "proxy") != shard_bytes(tmp_path / "source")
    (one,), (other,) = (open_corpus(str(tmp_path / k)) for k in ("source", "proxy"))
    assert _frames(one.mp4) == _frames(other.mp4)
    listed = server.listed(tmp_path / "list.txt")
    made, _ = kept_as("proxy", listed, tmp_path, SMALL, ONE_FAST_CLIP_OUT)
    assert (server.asked(), made.dataset["counts"]["samples"]) == ({}, 2)


def _frames(mp4: bytes) -> tuple[int, int, int]:
    with av.open(io.BytesIO(mp4)) as container:
        stream = container.streams.video[0]
        return sum(1 for _ in container.decode(stream)), stream.width, stream.height


# Copies that stay as long as their video is in work.


def a_video(url: str, number: int = 0) -> Video:
    return Video(video_id=f"v{number}", url=url, location=url, position=number)


def test_acquire_for_now_of_the_same_bytes_keeps_a_copy_for_each_video(
    server: Server, tmp_path: Path
) -> None:
    work, url = tmp_path / "work", server.url("silent.mp4")
    workspace = Workspace(Store(str(work)), work / "scratch")
    stage = AcquireForNow(allow_addresses=("127.0.0.0/8",))
    workspace.restore = lambda video: stage.restore(video, workspace)
    found = []
    with stage.open() as live:
        for n in range(2):
            found.append(live(a_video(url, n), workspace))
    one, other = (workspace.media(video) for video in found)
    assert one != other
    workspace.forget_scratch(found[0])
    assert other.read_bytes() == server.files["silent.mp4"]
    assert workspace.media(found[1]) == other
    assert sorted(server.asked().values()) == [2]
    assert workspace.media(found[0]).read_bytes() == server.files["silent.mp4"]  # again
    assert server.asked() == {"silent.mp4": 1}
    assert workspace.stored_bytes == 0


def test_acquire_for_now_finds_a_damaged_copy_and_fetches_again(
    server: Server, tmp_path: Path
) -> None:
    url = server.url("silent.mp4")
    stage, workspace = (
        AcquireForNow(allow_addresses=("127.0.0.0/8",)),
        Workspace(Store(str(tmp_path / "w")), tmp_path / "scratch"),
    )
    workspace.restore = lambda video: stage.restore(video, workspace)
    with stage.open() as live:
        video = live(a_video(url), workspace)
    path = tmp_path / "scratch" / "v0" / str(video.media)
    path.write_bytes(path.read_bytes()[:-1])
    assert workspace.media(video).read_bytes() == server.files["silent.mp4"]


def test_acquire_does_not_put_other_bytes_where_the_old_ones_are_wanted(
    server: Server, tmp_path: Path
) -> None:
    url = server.url("silent.mp4")
    stage, workspace = (
        AcquireForNow(allow_addresses=("127.0.0.0/8",)),
        Workspace(Store(str(tmp_path / "w")), tmp_path / "scratch"),
    )
    video = replace(a_video(url), media="0" * 64, source_sha256="0" * 64)
    with pytest.raises(StageError, match="no longer holds"):
        stage.restore(video, workspace)
    assert not any(p.is_file() for p in tmp_path.rglob("*"))
