"""Releases: each is whole for its readers, whatever breaks while the next one is published."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Callable
from errno import EACCES, EIO, ENOSPC
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from reelscript.jobs import dataset
from reelscript.jobs import publish as publishing
from reelscript.jobs.config import Config
from reelscript.jobs.publish import publish
from reelscript.jobs.releases import FILES
from reelscript.jobs.report.files import pretty_json
from reelscript.jobs.report.media import INDEX, ReportMedia
from reelscript.jobs.verify.corpus import verify
from reelscript.pipeline.decide import Decision
from reelscript.pipeline.errors import DataError, StorageError
from reelscript.pipeline.faults import FOR_EVER, Crash, Fault, Plan, faults, faulty_url
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.reading.corpus import Corpus, open_corpus
from reelscript.schemas.clip import Clip, Passage, sample_key
from reelscript.schemas.sample import Encoding
from reelscript.schemas.tables import CLIPS
from reelscript.schemas.videos import Videos
from reelscript.transforms.shard import Shard

from .corpus_made import TRANSCRIPT, made_clips, made_video, put_mp4, words_of

CONFIG = Config(name="made", shard=Shard(target_bytes=8_000))
OLD = {f"x_{n:02d}": 0 for n in range(8)}  # video_id -> which version of its mp4
NEW = {**{k: v for k, v in OLD.items() if k != "x_05"}, "x_02": 1, "x_more": 0}


class Works:
    """A work folder in which everything is measured and encoded; mp4s are any bytes."""

    def __init__(self, folder: Path, real: bool = False) -> None:
        self.workspace = Workspace(Store(str(folder / "work")), folder / "scratch")
        self.real = real

    def decision(self, wanted: dict[str, int]) -> Decision:
        """Keeps these videos, two clips each, and rejects one."""
        videos = [made_video("x_mute", outcome="rejected", stage="probe", reason="no_audio")]
        clips: list[dict[str, Any]] = []
        passages = {}
        for video_id, version in wanted.items():
            own = made_clips(2)
            key = sample_key(video_id, 0.0)
            passages[video_id] = [Passage(key, 0.0, 2.0, "train", [0, 1])]
            put = self.workspace.put_record
            facts = {"clips": put(own), "aligned_words": put(words_of(own))}
            facts |= {"transcript": put(TRANSCRIPT), "encodings": put([self._mp4(key, version)])}
            videos.append(made_video(video_id, **facts))
            clips += [_clip_row(video_id, clip, key) for clip in own]
        return Decision(Videos.of(videos), pa.Table.from_pylist(clips, schema=CLIPS), passages)

    def _mp4(self, key: str, version: int) -> Encoding:
        if self.real:
            return put_mp4(self.workspace, key, 2.0, keyframe_every=10 - version)
        data = f"{key} {version} ".encode() * 200
        return Encoding(key, self.workspace.put(data), len(data), 64, 48, 10.0, 20, 2.0, True)

    def publish(
        self, url: str, wanted: dict[str, int], config: Config = CONFIG, cpu_s: float = 1.0
    ) -> dict[str, Any]:
        """Publishes what is wanted; returns the dataset.json."""
        costs = {video_id: {"encode": cpu_s} for video_id in wanted}
        decision = self._decided(tuple(wanted.items()))
        return publish(Store(url), self.workspace, config, decision, costs)[0]

    @functools.cached_property
    def _decided(self) -> Callable[[tuple[tuple[str, int], ...]], Decision]:
        return functools.cache(lambda wanted: self.decision(dict(wanted)))


def _clip_row(video_id: str, clip: Clip, key: str) -> dict[str, Any]:
    row = {name: getattr(clip, name, getattr(clip.scores, name, None)) for name in CLIPS.names}
    return row | {"video_id": video_id, "outcome": "kept", "reason": None, "sample_key": key}


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Works:
    return Works(tmp_path_factory.mktemp("works"))


@pytest.fixture(params=["file", "faulty"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "corpus") if request.param == "file" else faulty_url()


def contents(url: str) -> dict[str, bytes]:
    """All objects of a store by name."""
    store = Store(url)
    tops = [n for n in ("dataset.json", *FILES) if store.exists(n)]
    folders = ("shards", "releases", "report_media")
    names = [*tops, *(name for folder in folders for name in store.names(folder))]
    return {name: store.get(name) for name in names}


def filled(url: str, objects: dict[str, bytes]) -> str:
    """Makes a store hold these objects and nothing else."""
    store = Store(url)
    for name in contents(url):
        if name not in objects:
            store.delete(name)
    for name, data in objects.items():
        store.put(name, data)
    return url


def read_all(corpus: Corpus) -> dict[str, str]:
    """Reads everything that a corpus gives; returns the sha256 of each mp4 by key."""
    found = {}
    for sample in corpus:
        assert sample.meta["key"] == sample.key
        found[sample.key] = hashlib.sha256(sample.mp4).hexdigest()
    assert {c["sample_key"] for c in corpus.clips.to_pylist()} == set(found)
    counts = corpus.info["counts"]
    assert (len(corpus.videos), len(corpus.clips), len(found)) == tuple(
        counts[name] for name in ("sources", "clips", "samples")
    )
    return found


def wanted_mp4s(works: Works, wanted: dict[str, int]) -> dict[str, str]:
    keys = {sample_key(video_id, 0.0): version for video_id, version in wanted.items()}
    return {key: works._mp4(key, version).mp4 for key, version in keys.items()}


def check_shards(url: str, info: dict[str, Any]) -> None:
    """Every shard that dataset.json lists is there, with its bytes."""
    for entry in info["shards"]:
        data = Store(url).get(f"shards/{entry['name']}")
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]


# What a release is.


def test_release_holds_what_is_wanted_and_leaves_the_older_one_as_it_was(
    works: Works, url: str
) -> None:
    first = works.publish(url, OLD)
    before = contents(url)
    held = open_corpus(url)
    second = works.publish(url, NEW)
    assert (first["release"], second["release"]) == (0, 1)
    assert len(first["shards"]) >= 3
    kept = {e["name"] for e in first["shards"]} & {e["name"] for e in second["shards"]}
    assert 0 < len(kept) < len(first["shards"])
    assert second["releases"] == [
        {"release": n, "shards": len(d["shards"]), "samples": 8}
        for n, d in [(0, first), (1, second)]
    ]
    after = contents(url)
    assert {
        n: d for n, d in before.items() if n.startswith("releases/r000/")
    }.items() <= after.items()
    for entry in first["shards"]:
        folder = "shards" if entry["name"] in kept else "releases/shards"
        assert after[f"{folder}/{entry['name']}"] == before[f"shards/{entry['name']}"]
    assert {n for n in after if n.startswith("shards/")} == {
        f"shards/{e['name']}" for e in second["shards"]
    }
    assert not any(name.startswith("releases/new/") for name in after)
    for name in ("dataset.json", *FILES):
        assert after[name] == after[f"releases/r001/{name}"]
    assert read_all(held) == read_all(open_corpus(url, release=0)) == wanted_mp4s(works, OLD)
    assert read_all(open_corpus(url)) == read_all(open_corpus(url, release=1))
    assert read_all(open_corpus(url)) == wanted_mp4s(works, NEW)


def test_release_that_does_not_exist_is_refused_with_those_that_do(works: Works, url: str) -> None:
    works.publish(url, OLD)
    works.publish(url, NEW)
    Store(url).put("releases/r002/dataset.json", Store(url).get("dataset.json"))  # not committed
    for wrong in (2, 7, -1):
        with pytest.raises(DataError, match=rf"no release {wrong} in .*: there is 0, 1$"):
            open_corpus(url, release=wrong)


def test_release_follows_only_what_readers_see(works: Works, url: str) -> None:
    def change(**changed: Any) -> Config:
        return dataclasses.replace(CONFIG, **changed)

    first = works.publish(url, OLD)
    before = contents(url)
    same = [
        change(),
        change(sources=("elsewhere/",)),
        change(acquire=dataclasses.replace(CONFIG.acquire, timeout_s=7.0)),
        change(shard=dataclasses.replace(CONFIG.shard, keep_releases=1)),
    ]
    for config in same:
        for cpu_s in (1.0, 2.0):
            with faults() as plan:
                assert works.publish(url, OLD, config, cpu_s) == first
            assert [op for op in plan.operations if op[0] not in ("get", "info", "list")] == []
    assert contents(url) == before
    other = change(quality=dataclasses.replace(CONFIG.quality, max_words_per_s=5.5))
    second = works.publish(url, OLD, other)
    assert (second["release"], second["shards"]) == (1, first["shards"])
    assert works.publish(url, OLD, other)["release"] == 1


def test_release_tables_are_columns_of_what_was_decided(works: Works, tmp_path: Path) -> None:
    works.publish(str(tmp_path / "c"), OLD)
    rows = {row["video_id"]: row for row in open_corpus(tmp_path / "c").videos.to_pylist()}
    assert list(rows) == ["x_mute", *OLD]
    for video in works.decision(OLD).videos:
        row = rows[video.video_id]
        kept = video.outcome == "kept"
        assert (row["clips_kept"], row["clips_rejected"]) == (2 * kept, 0)
        assert json.loads(row["timings"]) == ({"encode": 1.0} if kept else {})
        assert {n: row[n] for n in row if hasattr(video, n)} == {
            n: getattr(video, n) for n in row if hasattr(video, n)
        }


def test_release_of_nothing_is_whole_and_may_be_followed(works: Works, url: str) -> None:
    assert works.publish(url, {})["shards"] == []
    assert works.publish(url, OLD)["release"] == 1
    assert works.publish(url, {})["release"] == 2
    assert len(open_corpus(url)) == 0
    assert read_all(open_corpus(url, release=1)) == wanted_mp4s(works, OLD)


def test_release_stays_readable_where_only_the_files_of_the_contract_were_copied(
    works: Works, tmp_path: Path
) -> None:
    url = str(tmp_path / "corpus")
    works.publish(url, OLD)
    works.publish(url, NEW)
    shutil.rmtree(tmp_path / "corpus" / "releases")
    assert read_all(open_corpus(url)) == wanted_mp4s(works, NEW)
    assert read_all(open_corpus(url, release=1)) == wanted_mp4s(works, NEW)
    with pytest.raises(DataError, match=r"there is 1$"):
        open_corpus(url, release=0)
    assert works.publish(url, NEW)["release"] == 1
    held = open_corpus(url)
    assert works.publish(url, OLD)["release"] == 2
    assert read_all(held) == read_all(open_corpus(url, release=1)) == wanted_mp4s(works, NEW)
    assert verify(url, media=False) == []


def test_release_older_than_those_to_keep_is_removed_with_what_only_it_needs(
    works: Works, url: str
) -> None:
    config = keeping(2)
    wanted = [{**OLD, "x_03": n} for n in range(4)]
    for one in wanted[:3]:
        works.publish(url, one, config)
    assert read_all(open_corpus(url, release=0)) == wanted_mp4s(works, wanted[0])
    works.publish(url, wanted[3], config)
    with pytest.raises(DataError, match=r"there is 1, 2, 3$"):  # until the next publish
        open_corpus(url, release=0)
    works.publish(url, wanted[3], config)
    assert read_all(open_corpus(url)) == wanted_mp4s(works, wanted[3])
    assert read_all(open_corpus(url, release=2)) == wanted_mp4s(works, wanted[2])
    with pytest.raises(DataError, match=r"there is 2, 3$"):
        open_corpus(url, release=1)
    after = contents(url)
    listed = {e["name"] for n in (2, 3) for e in open_corpus(url, release=n).info["shards"]}
    assert {n.rpartition("/")[2] for n in after if n.endswith(".tar")} == listed
    assert {n.split("/")[1] for n in after if n.startswith("releases/")} == {
        "r002",
        "r003",
        "shards",
    }
    assert len(open_corpus(url).info["releases"]) == 4  # what was published is still told


def keeping(releases: int) -> Config:
    return dataclasses.replace(
        CONFIG, shard=dataclasses.replace(CONFIG.shard, keep_releases=releases)
    )


def test_release_just_opened_is_not_pruned_by_the_publish_that_follows(
    works: Works, url: str
) -> None:
    works.publish(url, OLD, keeping(1))
    held = open_corpus(url)
    works.publish(url, NEW, keeping(1))
    assert read_all(held) == wanted_mp4s(works, OLD)
    works.publish(url, NEW, keeping(1))
    with pytest.raises(DataError, match=r"there is 1$"):
        open_corpus(url, release=0)
    assert not any(name.startswith("releases/shards/") for name in contents(url))


@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("name", ["my-precious.tar", "train-r009-000000.tar", "mine/a.tar"])
def test_release_is_not_published_over_a_tar_that_no_release_lists(
    name: str, published: int, works: Works, url: str
) -> None:
    for wanted in (OLD, NEW)[:published]:
        works.publish(url, wanted)
    store = Store(url)
    store.put(f"shards/{name}", b"mine")
    store.put("releases/new/train-r003-000000.tar", b"broken off")
    before = contents(url)
    with pytest.raises(DataError, match=rf"^no release in \S+ lists shards/{name}: move [^.]*$"):
        works.publish(url, {"x_07": 0}, keeping(1))
    assert contents(url) == before
    store.delete(f"shards/{name}")
    made = works.publish(url, {"x_07": 0}, keeping(1))
    assert made["release"] == published
    check_shards(url, made)


@pytest.mark.parametrize("newest", [0, 1])
def test_release_that_lost_its_dataset_json_at_the_top_is_taken_up_as_it_is(
    newest: int, works: Works, url: str
) -> None:
    for wanted in (OLD, NEW)[: newest + 1]:
        works.publish(url, wanted)
    whole = contents(url)
    for lost in (["dataset.json"], ["dataset.json", *FILES]):
        for name in lost:
            Store(url).delete(name)
        with faults() as plan:
            assert works.publish(url, (OLD, NEW)[newest])["release"] == newest
        assert plan.count("delete") == 0
        assert contents(url) == whole
    Store(url).delete("dataset.json")
    made = works.publish(url, {"x_07": 0})
    assert made["release"] == newest + 1
    assert read_all(open_corpus(url, release=newest)) == wanted_mp4s(works, (OLD, NEW)[newest])


@pytest.mark.parametrize("cut", [None, 100])
def test_release_is_not_begun_over_releases_without_a_dataset_json_or_all_shards(
    cut: int | None, works: Works, url: str
) -> None:
    works.publish(url, OLD)
    name = f"shards/{works.publish(url, NEW)['shards'][-1]['name']}"
    Store(url).delete("dataset.json")
    data = Store(url).get(name)
    Store(url).delete(name)
    if cut:
        Store(url).put(name, data[:cut])
    before = contents(url)
    with pytest.raises(DataError, match="r001 to the top"):
        works.publish(url, NEW)
    assert contents(url) == before


def test_release_is_left_alone_by_a_build_that_another_one_overtook(
    works: Works, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, decision = Works(tmp_path / "others"), works.decision(NEW)
    third = {**NEW, "x_third": 0}
    for at in ("dataset_json", "statistics", "archive", "may_commit"):
        filled(url, {})
        works.publish(url, OLD)
        found: dict[str, bytes] = {}

        def overtake(found: dict[str, bytes] = found) -> None:
            if not found:
                found["begun"] = b""
                others.publish(url, third)
                found |= contents(url)

        def first(made: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args, **named: (overtake(), made(*args, **named))[1]

        with monkeypatch.context() as patched:
            if at != "may_commit":
                patched.setattr(publishing, at, first(getattr(publishing, at)))
            may_commit = overtake if at == "may_commit" else lambda: None
            with pytest.raises(DataError, match=r"another build has published to .* meanwhile"):
                publish(Store(url), works.workspace, CONFIG, decision, {}, may_commit)
        seen = contents(url)
        assert {n: seen[n] for n in found if n != "begun" and "/r001/" not in n} == {
            n: data for n, data in found.items() if n != "begun" and "/r001/" not in n
        }
        assert read_all(open_corpus(url)) == wanted_mp4s(works, third)
        assert works.publish(url, NEW)["release"] == 2
        assert read_all(open_corpus(url)) == wanted_mp4s(works, NEW)
        assert read_all(open_corpus(url, release=1)) == wanted_mp4s(works, third)


@pytest.mark.parametrize("gone", [True, False])
def test_release_is_not_committed_without_a_shard_that_another_build_has_swept(
    gone: bool, works: Works, url: str
) -> None:
    works.publish(url, OLD)
    before = contents(url)

    def sweep() -> None:
        name = next(iter(Store(url).names("releases/new")))
        Store(url).delete(name)
        if not gone:  # the other one writes it now
            Store(url).put(name, b"half")

    with pytest.raises(DataError, match=r"another build has published to .* meanwhile"):
        publish(Store(url), works.workspace, CONFIG, works.decision(NEW), {}, sweep)
    after = contents(url)
    assert {name: after[name] for name in before} == before
    assert works.publish(url, NEW)["release"] == 1
    check_shards(url, open_corpus(url).info)


@pytest.mark.parametrize("damage", [b"{", b'{"format": "other/1"}', b'{"format": "reelscript/1"}'])
def test_release_follows_an_older_one_that_cannot_be_read_and_loses_nothing(
    damage: bytes, works: Works, url: str
) -> None:
    works.publish(url, OLD)
    works.publish(url, NEW)
    sound = Store(url).get("releases/r000/dataset.json")
    Store(url).put("releases/r000/dataset.json", damage)
    stray = next(iter(Store(url).names("releases/shards")))
    Store(url).move(stray, stray.removeprefix("releases/"))  # as if killed before it was settled
    for n in range(2, 5):
        assert works.publish(url, {**NEW, "x_03": n}, keeping(1))["release"] == n
        assert read_all(open_corpus(url)) == wanted_mp4s(works, {**NEW, "x_03": n})
    Store(url).put("releases/r000/dataset.json", sound)
    assert read_all(open_corpus(url, release=0)) == wanted_mp4s(works, OLD)
    assert read_all(open_corpus(url, release=1)) == wanted_mp4s(works, NEW)
    works.publish(url, {**NEW, "x_03": 4}, keeping(1))
    with pytest.raises(DataError, match=r"there is 4$"):
        open_corpus(url, release=0)


def test_release_with_a_damaged_table_or_shard_is_followed_by_a_whole_one(
    works: Works, tmp_path: Path
) -> None:
    url, folder = str(tmp_path / "corpus"), tmp_path / "corpus"
    lost = works.publish(url, OLD)["shards"][0]["name"]
    (folder / "shards" / lost).unlink()
    assert works.publish(url, OLD)["release"] == 1
    assert read_all(open_corpus(url)) == wanted_mp4s(works, OLD)
    for at in ("", "releases/r001/"):
        (folder / f"{at}samples.parquet").write_bytes(b"damaged")
    made = works.publish(url, OLD)
    assert all("-r002-" in entry["name"] for entry in made["shards"])
    assert read_all(open_corpus(url)) == wanted_mp4s(works, OLD)


RELEASE_BREAKS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "no dataset.json": ("r000", lambda r: (r / "r000/dataset.json").unlink()),
    "no json": ("not JSON", lambda r: (r / "r000/dataset.json").write_bytes(b"{")),
    "another": ("not that of", lambda r: shutil.copy(r / "r000/dataset.json", r / "r001")),
    "table gone": ("clips.parquet is missing", lambda r: (r / "r000/clips.parquet").unlink()),
    "table": ("not the one", lambda r: (r / "r000/videos.parquet").write_bytes(b"PAR1")),
    "shard": ("its shard train-", lambda r: next((r / "shards").glob("*")).write_bytes(b"x")),
    "shards": ("its shard train-", lambda r: shutil.rmtree(r / "shards")),
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with mp4s that decode, in its second release."""
    folder = tmp_path_factory.mktemp("real")
    works = Works(folder, real=True)
    for wanted in ({"x_00": 0, "x_01": 0}, {"x_00": 1, "x_02": 0}):
        works.publish(str(folder / "corpus"), wanted)
    return folder / "corpus"


def test_verify_finds_no_fault_in_a_corpus_of_several_releases(real: Path) -> None:
    assert verify(real) == []
    shutil.copytree(real / "releases/r000", real / "releases/r002")  # as if being published
    assert verify(real, media=False) == []
    shutil.rmtree(real / "releases/r002")


@pytest.mark.parametrize("name", RELEASE_BREAKS)
def test_verify_finds_what_is_broken_in_an_older_release(
    name: str, real: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(real, tmp_path / "corpus"))
    words, breaking = RELEASE_BREAKS[name]
    breaking(folder / "releases")
    faults_found = verify(folder, media=False)
    assert any(words in fault for fault in faults_found), faults_found
    assert all("releases/" in fault for fault in faults_found)


def test_release_whose_tables_are_damaged_is_mended(works: Works, url: str) -> None:
    works.publish(url, OLD)
    sound = contents(url)
    for name in ("videos", "clips"):
        for folder in ("", "releases/r000/"):
            data = Store(url).get(f"{folder}{name}.parquet")
            Store(url).put(f"{folder}{name}.parquet", data[:-9] + bytes(9))
    works.publish(url, OLD)
    assert contents(url) == sound


# What breaks.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that take no time to make: here they are files like others."""
    pages = ("stats.json", "report.html", "README.md")

    def files(stats: Any, _config: Any, _info: Any, media: ReportMedia) -> dict[str, bytes]:
        return dict.fromkeys(pages, pretty_json(stats)) | {INDEX: pretty_json(media.index())}

    def counted(*, clips: pa.Table, **_: pa.Table) -> contextlib.AbstractContextManager[pa.Table]:
        return contextlib.nullcontext(clips)

    monkeypatch.setattr(publishing.Rows, "of_tables", counted)
    monkeypatch.setattr(publishing, "statistics", lambda clips, **_: {"clips": len(clips)})
    monkeypatch.setattr(publishing, "report_files", files)
    monkeypatch.setattr(dataset, "versions", lambda _: {})
    text = CONFIG.to_yaml()
    monkeypatch.setattr(Config, "to_yaml", lambda _: text)


class States:
    """A corpus before and after its second publish, and the operations between."""

    def __init__(self, works: Works, url: str) -> None:
        self.works, self.url = works, url
        for wanted in (OLD, NEW):  # what it puts into the work folder is no part of a publish
            works._decided(tuple(wanted.items()))
        works.publish(url, OLD)
        self.before = contents(url)
        with faults() as plan:
            works.publish(url, NEW)
        self.after = contents(url)
        self.operations = plan.count("write")
        self.mp4s = [wanted_mp4s(works, wanted) for wanted in (OLD, NEW)]
        infos = [json.loads(found["dataset.json"]) for found in (self.before, self.after)]
        self.infos = infos

    def broken(self, fault: Fault, error: type[BaseException]) -> tuple[Plan, Corpus]:
        """Publishes with a fault; returns the plan, and a reader from before."""
        filled(self.url, self.before)
        held = open_corpus(self.url)
        with faults(fault) as plan, pytest.raises(error):
            self.works.publish(self.url, NEW)
        return plan, held

    def check(self, held: Corpus) -> None:
        """One release or the other is there, whole; who read before reads on; it can be mended."""
        assert read_all(held) == self.mp4s[0]
        now = open_corpus(self.url)
        assert now.info in self.infos
        assert read_all(now) == self.mp4s[self.infos.index(now.info)]
        check_shards(self.url, now.info)
        assert read_all(open_corpus(self.url, release=0)) == self.mp4s[0]
        self.works.publish(self.url, NEW)
        assert contents(self.url) == self.after
        assert read_all(held) == self.mp4s[0]


@pytest.fixture
def states(works: Works, url: str, quick: None) -> States:
    return States(works, url)


@pytest.mark.parametrize("how", [{}, {"part": 0.5}], ids=["before", "half"])
def test_release_is_seen_whole_or_not_at_all_wherever_its_publish_is_killed(
    how: dict[str, Any], states: States
) -> None:
    seen = set()
    for k in range(1, states.operations + 1):
        plan, held = states.broken(Fault("write", at=k, crash=True, **how), Crash)
        assert plan.dead
        seen.add(open_corpus(states.url).info["release"])
        states.check(held)
    assert seen == {0, 1}


@pytest.mark.parametrize(("errno", "part"), [(ENOSPC, 0.5), (EIO, None), (EACCES, None)])
def test_release_is_seen_whole_or_not_at_all_whatever_the_disk_refuses(
    errno: int, part: float | None, states: States
) -> None:
    for k in range(1, states.operations + 1, 1 if errno == ENOSPC else 4):
        fault = Fault("write", at=k, times=FOR_EVER, errno=errno, part=part)
        _, held = states.broken(fault, StorageError)
        states.check(held)


def test_release_outlasts_errors_that_pass_and_writes_that_come_twice(states: States) -> None:
    for k in range(1, states.operations + 1, 2):
        for fault in (Fault("write", at=k, errno=EIO, done=True), Fault("put", at=k, again=3)):
            filled(states.url, states.before)
            with faults(fault):
                states.works.publish(states.url, NEW)
            assert read_all(open_corpus(states.url)) == states.mp4s[1]
            states.works.publish(states.url, NEW)
            assert contents(states.url) == states.after


def test_release_that_was_broken_off_leaves_no_trace_if_it_is_no_longer_wanted(
    states: States,
) -> None:
    for k in range(1, states.operations + 1):
        states.broken(Fault("write", at=k, crash=True), Crash)
        made = states.works.publish(states.url, OLD)
        assert made["release"] == (0 if made == states.infos[0] else 2)
        if made["release"] == 0:
            assert contents(states.url) == states.before
        assert read_all(open_corpus(states.url)) == states.mp4s[0]


def test_release_is_seen_whole_or_not_at_all_if_mending_is_killed_too(states: States) -> None:
    for k in range(1, states.operations + 1, 2):
        _, held = states.broken(Fault("write", at=k, crash=True), Crash)
        again = Fault("write", at=k * 7 % 11 + 1, crash=True)
        with faults(again), contextlib.suppress(Crash):
            states.works.publish(states.url, NEW)
        states.check(held)


@pytest.mark.parametrize("how", [{}, {"part": 0.5}], ids=["before", "half"])
def test_release_is_none_or_whole_wherever_the_first_publish_is_killed(
    how: dict[str, Any], works: Works, url: str, quick: None
) -> None:
    with faults() as plan:
        works.publish(url, OLD)
    whole = contents(url)
    for k in range(1, plan.count("write") + 1):
        filled(url, {})
        with faults(Fault("write", at=k, crash=True, **how)), pytest.raises(Crash):
            works.publish(url, OLD)
        if Store(url).exists("dataset.json"):
            assert read_all(open_corpus(url)) == wanted_mp4s(works, OLD)
        else:
            with pytest.raises(DataError, match="no corpus"):
                open_corpus(url)
        works.publish(url, OLD)
        assert contents(url) == whole
