"""Damage that a reader meets: named, counted, gone past or raised as the caller says."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import reelscript
from reelscript.pipeline.errors import DataError, StorageError
from reelscript.pipeline.store import Store
from reelscript.reading.faults import KINDS, Damaged, TooManyFaults
from reelscript.reading.members import Members
from reelscript.reading.windows import Windows

from .corpus_made import edit_rows
from .windows_made import uneven


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return uneven(tmp_path_factory.mktemp("faults") / "corpus", [3, 3, 4])


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "corpus"))


def windows(folder: Path, **changes: Any) -> Windows:
    return reelscript.open(folder).windows(**({"frames": 4, "px": 16} | changes))


def row_of(folder: Path, key: str) -> dict[str, Any]:
    return next(row for row in reelscript.open(folder).samples.to_pylist() if row["key"] == key)


def overwrite(folder: Path, key: str, member: str, data: bytes, known: bool) -> None:
    """Writes over the middle of a member; with `known` the index has its new sha256."""
    row = row_of(folder, key)
    path = folder / "shards" / row["shard"]
    whole = bytearray(path.read_bytes())
    start, size = row[f"{member}_offset"], row[f"{member}_size"]
    at = start + size // 2
    whole[at : at + len(data)] = data
    path.write_bytes(whole)
    if known:
        import hashlib

        sha256 = hashlib.sha256(whole[start : start + size]).hexdigest()
        edit_rows(
            folder,
            "samples",
            lambda rows: [r.update({f"{member}_sha256": sha256}) for r in rows if r["key"] == key],
        )


def damage(folder: Path, kind: str) -> list[str]:
    """Damages a corpus and returns the keys of the samples that are hit."""
    shard = folder / "shards" / "train-000001.tar"
    if kind == "missing_shard":
        shard.unlink()
        return ["x_1_0", "x_1_1", "x_1_2"]
    if kind == "truncated":
        shard.write_bytes(shard.read_bytes()[: row_of(folder, "x_1_2")["json_offset"] + 5])
        return ["x_1_2"]
    if kind == "wrong_sha256":
        overwrite(folder, "x_1_1", "mp4", b"damage", known=False)
    elif kind == "not_a_sample":
        overwrite(folder, "x_1_1", "json", b"\0\1", known=True)
    elif kind == "undecodable":
        overwrite(folder, "x_1_1", "mp4", bytes(range(256)) * 3, known=True)
    return ["x_1_1"]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"no_caption"}))
def test_windows_damage_is_named_with_key_and_shard(folder: Path, kind: str) -> None:
    hit = damage(folder, kind)
    with pytest.raises(Damaged) as raised:
        list(windows(folder))
    assert raised.value.kind == kind
    assert raised.value.key in hit
    assert raised.value.shard == "train-000001.tar"
    assert raised.value.shard in str(raised.value)
    again = pickle.loads(pickle.dumps(raised.value))  # as a worker hands it on
    assert (str(again), again.kind, again.key) == (str(raised.value), kind, raised.value.key)


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"no_caption"}))
def test_windows_skipped_are_counted_and_steps_stay_equal(
    folder: Path, kind: str, batch_size: int | None
) -> None:
    hit = damage(folder, kind)
    read = windows(folder, on_fault="skip", max_faults=0.9, batch_size=batch_size)
    steps = list(read)
    assert len(steps) == len(read) == 10 // (batch_size or 1)
    seen = Counter(
        key for s in steps for key in (s["key"] if isinstance(s["key"], list) else [s["key"]])
    )
    assert not set(hit) & set(seen)
    assert seen.total() == 10  # others stand in their place
    assert len(seen) == 10 - len(hit)
    faults = [fault for step in steps for fault in step["faults"]]
    assert {fault.key for fault in faults} == set(hit)
    assert all(fault.shard == "train-000001.tar" and fault.detail for fault in faults)
    assert {fault.kind for fault in faults} == {kind}
    assert read.faults == {kind: len(faults)}
    again = windows(folder, on_fault="skip", max_faults=0.9, batch_size=batch_size)
    assert [step["key"] for step in again] == [step["key"] for step in steps]


def test_windows_too_many_faults_raise(folder: Path) -> None:
    damage(folder, "wrong_sha256")
    with pytest.raises(TooManyFaults, match=r"1 of 10 windows .* max_faults=0.05 .* x_1_1\.mp4"):
        list(windows(folder, on_fault="skip", max_faults=0.05))
    read = windows(folder, on_fault="skip", max_faults=0.1)
    assert len(list(read)) == 10
    assert len(list(read)) == 10  # the next epoch counts anew
    assert read.faults["wrong_sha256"] >= 2


def test_windows_that_are_all_damaged_end(folder: Path) -> None:
    shutil.rmtree(folder / "shards")
    with pytest.raises(TooManyFaults, match="10 of 10 windows"):
        list(windows(folder, on_fault="skip", max_faults=0.99))


def test_windows_faults_of_all_workers_count_together(folder: Path) -> None:
    damage(folder, "wrong_sha256")
    steps = list(windows(folder, on_fault="skip", max_faults=0.9))
    trainer = windows(folder, on_fault="skip", max_faults=0)
    hit = next(step for step in steps if step["faults"])
    with pytest.raises(TooManyFaults):
        trainer.received(hit)


def test_windows_of_a_place_that_cannot_be_read_blame_no_sample(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> bytes:
        raise StorageError("cannot read: permission denied")

    read = windows(folder, on_fault="skip", max_faults=0.9)
    len(read)
    monkeypatch.setattr(Store, "get_range", refused)
    with pytest.raises(StorageError, match="permission denied"):
        next(iter(read))


def test_windows_range_beyond_the_end_that_a_bucket_refuses_is_a_truncated_shard(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = row_of(folder, "x_1_2")
    get_range = Store.get_range

    def strict(store: Store, name: str, offset: int, size: int) -> bytes:
        if offset + size > store.size(name):
            raise StorageError("InvalidRange")
        return get_range(store, name, offset, size)

    monkeypatch.setattr(Store, "get_range", strict)
    assert Members(Store(str(folder))).read(row, ("txt",)) == [row["text"].encode()]
    damage(folder, "truncated")
    with pytest.raises(Damaged, match="ends before its sample x_1_2 does"):
        Members(Store(str(folder))).read(row, ("txt",))


def test_windows_members_that_lie_together_are_one_read(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    get_range = Store.get_range

    def counted(store: Store, name: str, offset: int, size: int) -> bytes:
        asked.append((offset, size))
        return get_range(store, name, offset, size)

    monkeypatch.setattr(Store, "get_range", counted)
    row, members = row_of(made, "x_0_1"), Members(Store(str(made)))
    together = members.read(row, ("json", "mp4"))
    assert len(asked) == 1
    assert together == [members.read(row, ("json",))[0], members.read(row, ("mp4",))[0]]
    far = dict(row, txt_offset=row_of(made, "x_0_2")["txt_offset"] + 10**6)
    with pytest.raises(DataError):
        members.read(far, ("mp4", "txt"))
    assert len(asked) == 5  # apart: asked for one by one


def test_windows_corpus_sample_reads_as_windows_do(folder: Path) -> None:
    damage(folder, "truncated")
    with pytest.raises(Damaged, match="ends before its sample"):
        _ = reelscript.open(folder)["x_1_2"].meta


@pytest.mark.parametrize(
    "change",
    [
        lambda clip: clip.update(text=None),
        lambda clip: clip.update(start_s=5.0, end_s=1.0),
        lambda clip: clip.update(start_s=-1.0),
        lambda clip: clip.pop("words"),
        lambda clip: clip["words"].append({"word": "x", "start_s": "soon"}),
        lambda clip: clip["words"].append({"word": "x", "start_s": 1e300}),
        lambda clip: clip.update(text="  "),
    ],
)
def test_windows_json_that_is_no_sample_is_a_fault(tmp_path: Path, change: Any) -> None:
    from .windows_made import Made, second_clips, write_corpus

    class Wrong(Made):
        def json(self) -> dict[str, Any]:
            meta = super().json()
            change(meta["clips"][1])
            return meta

    folder = write_corpus(
        tmp_path / "corpus", [Wrong("x_a", 4.0, second_clips(4), "train-000000.tar")]
    )
    with pytest.raises(Damaged) as raised:
        list(windows(folder))
    assert raised.value.kind == "not_a_sample"
