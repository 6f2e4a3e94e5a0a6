import dataclasses
import errno
import io
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.pipeline import ledger as ledger_module
from reelscript.pipeline.errors import StorageError
from reelscript.pipeline.ledger import Ledger, Row
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import videos
from reelscript.schemas.video import Video
from reelscript.schemas.videos import Videos


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "s3":
        return Store(request.getfixturevalue("s3").url("work"))
    return Store(f"memory://{uuid.uuid4().hex}")


def rows(count: int, fingerprint: str = "f", **facts: Any) -> list[Row]:
    return [
        Row(fingerprint, dataclasses.replace(v, **facts), {"probe": 0.5}) for v in videos(count)
    ]


def written(store: Store, *parts: list[Row]) -> None:
    for part in parts:
        with Ledger(store) as ledger:
            for row in part:
                ledger.add(row)


def found(ledger: Ledger) -> dict[str, Row]:
    """What the ledger gives, as rows."""
    table = ledger.latest()
    own = zip(Videos(table), table["chain"].to_pylist(), table["cpu_s"].to_pylist(), strict=True)
    return {v.video_id: Row(chain, v, json.loads(cpu_s)) for v, chain, cpu_s in own}


def by_id(*parts: list[Row]) -> dict[str, Row]:
    return {row.video.video_id: row for part in parts for row in part}


def test_ledger_of_a_new_store_is_empty(store: Store) -> None:
    with Ledger(store) as ledger:
        assert found(ledger) == {}
    assert list(store.names("ledger")) == []


def test_ledger_gives_the_latest_row_of_each_video(store: Store) -> None:
    first, second = rows(5, "old", words=1), rows(3, "new", words=2)
    written(store, first, second)
    assert found(Ledger(store)) == by_id(first, second)


def test_ledger_with_many_segments_of_one_writer_keeps_their_order(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "FLUSH_ROWS", 1)
    parts = [rows(1, f"{n}") for n in range(12)]
    written(store, [row for part in parts for row in part])
    assert len(list(store.names("ledger"))) == 12
    assert found(Ledger(store))["v000"].chain == "11"


def test_ledger_flushes_when_rows_wait_too_long(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "FLUSH_S", -1.0)
    ledger = Ledger(store)
    ledger.add(rows(1)[0])
    assert len(found(Ledger(store))) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_ledger_keeps_what_was_added_before_an_error(
    store: Store, error: type[BaseException]
) -> None:
    def broken_build() -> None:
        with Ledger(store) as ledger:
            ledger.add(rows(1)[0])
            raise error

    with pytest.raises(error):
        broken_build()
    assert found(Ledger(store)) == by_id(rows(1))


def test_ledger_compacts_to_one_segment_with_all_rows(store: Store) -> None:
    parts = [rows(5, "a"), rows(2, "b"), rows(1, "c")]
    written(store, *parts)
    assert len(list(store.names("ledger"))) == 3
    with Ledger(store) as ledger:
        ledger.compact()
        assert found(ledger) == by_id(*parts)
    (name,) = store.names("ledger")
    assert name.endswith(".parquet")
    assert found(Ledger(store)) == by_id(*parts)


def test_ledger_goes_on_after_it_was_compacted(store: Store) -> None:
    written(store, rows(3, "a"), rows(3, "b"))
    with Ledger(store) as ledger:
        ledger.compact()
        ledger.add(rows(1, "c")[0])
    assert found(Ledger(store)) == by_id(rows(3, "b"), rows(1, "c"))
    with Ledger(store) as ledger:
        ledger.compact()
    written(store, rows(2, "d"))
    assert found(Ledger(store)) == by_id(rows(3, "b"), rows(2, "d"))


def test_ledger_that_was_killed_while_compacting_loses_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(store, rows(4, "a"), rows(2, "b"))
    monkeypatch.setattr(Store, "delete", lambda *_: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(OSError, match="killed"):
        Ledger(store).compact()
    monkeypatch.undo()
    assert found(Ledger(store)) == by_id(rows(4, "a"), rows(2, "b"))


DAMAGED = [
    *[b"", b"\xff\xfe\0\x80", b"PAR1", b"{}\n", b"[1]\n", b"null\n", b"not json\n"],
    *[b'{"chain": "f", "video": "{", "cpu_s": "{}"}\n'],
    *[b'{"chain": "f", "video": "{}", "cpu_s": "{}"}\n'],
]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("data", DAMAGED)
def test_ledger_with_a_damaged_segment_gives_the_other_rows(
    store: Store, ending: str, data: bytes
) -> None:
    written(store, rows(3, "a"))
    store.put(f"ledger/000002-00000000-000000.{ending}", data)
    written(store, rows(1, "c"))
    expected = by_id(rows(3, "a"), rows(1, "c"))
    with Ledger(store) as ledger:
        assert found(ledger) == expected
        ledger.compact()
    assert found(Ledger(store)) == expected


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_ledger_cut_off_anywhere_gives_only_whole_rows(store: Store, kept: float) -> None:
    written(store, rows(5, "a"), rows(5, "b"))
    last = list(store.names("ledger"))[-1]
    data = store.get(last)
    store.put(last, data[: int(len(data) * kept)])
    rest = found(Ledger(store))
    assert rest.keys() == by_id(rows(5)).keys()
    for video_id, row in rest.items():
        assert row in (by_id(rows(5, "a"))[video_id], by_id(rows(5, "b"))[video_id])


def test_ledger_leaves_strangers_alone(store: Store) -> None:
    for name in ("ledger/notes.txt", "ledger/.DS_Store"):
        store.put(name, b"mine")
    written(store, rows(1), rows(1))
    with Ledger(store) as ledger:
        assert found(ledger) == by_id(rows(1))
        ledger.compact()
    assert store.get("ledger/notes.txt") == b"mine"


ANYTHING = st.text(st.sampled_from('a"\\\n\r\t\0\x1b\x85\u2028\u2029\udcffé語😀'), max_size=12)


@given(text=ANYTHING, other=ANYTHING)
@settings(max_examples=50, deadline=None)
def test_ledger_gives_back_any_text(text: str, other: str) -> None:
    """File names hold line separators, and bytes that are no UTF-8."""
    store = Store(f"memory://{uuid.uuid4().hex}")
    video = Video(video_id="v", url=text, location=other, detail=text)
    written(store, [Row("f", video)], rows(1))
    assert found(Ledger(store))["v"].video == video
    with Ledger(store) as ledger:
        ledger.compact()
    assert found(Ledger(store))["v"].video == video


def test_ledger_of_a_later_version_is_read(store: Store) -> None:
    written(store, rows(1))
    (name,) = store.names("ledger")
    store.put(name, store.get(name).replace(b'\\"url\\"', b'\\"colour\\": \\"red\\", \\"url\\"'))
    assert found(Ledger(store)) == by_id(rows(1))


def test_ledger_lies_on_disk_too(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "work"))
    written(store, rows(2, "a"), rows(1, "b"))
    with Ledger(store) as ledger:
        ledger.compact()
    assert found(Ledger(store)) == by_id(rows(2, "a"), rows(1, "b"))


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_ledger_that_cannot_be_read_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """A disk that fails for a moment costs no row: they would be merged away."""
    store = Store(str(tmp_path / "work"))
    written(store, rows(5, "a"))
    if ending == "parquet":
        with Ledger(store) as ledger:
            ledger.compact()
    written(store, rows(1, "b"))

    class Broken(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    ledger = Ledger(store)
    monkeypatch.setattr(Store, "open_read", lambda *_: Broken(b"x" * 99))
    for attempt in (ledger.latest, ledger.compact):
        with pytest.raises(StorageError, match=r"cannot read .*ledger/.*: Input/output error"):
            attempt()
    monkeypatch.undo()
    assert found(Ledger(store)) == by_id(rows(5, "a"), rows(1, "b"))


def test_ledger_rows_replaced_in_a_column_of_long_texts(store: Store) -> None:
    """Rows are taken out without joining all texts of a column."""
    written(store, rows(4, "a", detail="x" * 300), rows(2, "b", detail="y" * 300))
    table = Ledger(store).latest(("detail", "chain"))
    assert sorted(table["chain"].to_pylist()) == ["a", "a", "b", "b"]
