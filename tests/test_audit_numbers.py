"""Every number of an audit against plain loops over the rows; and it is the same wherever, however
and in whatever order these lie."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.jobs.provenance import all_thresholds
from reelscript.jobs.statistics.contents import MAX_GROUPS
from reelscript.jobs.statistics.links import link_to
from reelscript.jobs.statistics.rows import SCHEMAS, Rows
from reelscript.jobs.statistics.stats import statistics
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.rules import Quality
from reelscript.pipeline.store import Store
from reelscript.schemas.tables import VIDEOS
from tests.audit_made import (
    CONFIG,
    REASONS,
    THRESHOLDS,
    URLS,
    Tables,
    made_corpus,
    numbers_of,
    parquet,
    put_corpus,
    shuffled,
)
from tests.audit_naive import naive_statistics

CORPORA = [(0, 0), (1, 1), (2, 5), (3, 60), (4, 300)]


def differences(found: Any, expected: Any, at: str = "") -> list[str]:
    """Returns where two plain values differ; floats may by 1e-6."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        missing = [f"{at}.{key}" for key in found.keys() ^ expected.keys()]
        both = [key for key in expected if key in found]
        return missing + [d for k in both for d in differences(found[k], expected[k], f"{at}.{k}")]
    if isinstance(expected, list) and isinstance(found, list):
        if len(found) != len(expected):
            return [f"{at}: {len(found)} and {len(expected)} rows"]
        pairs = enumerate(zip(found, expected, strict=True))
        return [d for n, (f, e) in pairs for d in differences(f, e, f"{at}[{n}]")]
    if isinstance(expected, float) and isinstance(found, float | int):
        return [] if found == pytest.approx(expected, abs=1e-6) else [f"{at}: {found}, {expected}"]
    return [] if found == expected else [f"{at}: {found!r}, {expected!r}"]


def told(stats: Any) -> str:
    return json.dumps(stats, ensure_ascii=False, allow_nan=False)


def of_corpus(store: Store) -> Any:
    with Rows.of_corpus(store) as rows:
        return statistics(rows, reasons=REASONS, thresholds=THRESHOLDS)


@pytest.mark.parametrize(("seed", "videos"), CORPORA)
def test_every_number_is_that_of_a_count_row_by_row(seed: int, videos: int) -> None:
    tables = made_corpus(seed, videos)
    stats = numbers_of(tables)
    rows = [table.to_pylist() for table in tables]
    naive = naive_statistics(*rows, REASONS, THRESHOLDS)
    assert stats.keys() - naive.keys() == {"format", "text", "costs"}
    assert differences({k: v for k, v in stats.items() if k in naive}, naive) == []
    assert json.loads(told(stats)) == stats


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 12))
def test_every_number_of_a_small_corpus_is_that_of_a_count(seed: int, videos: int) -> None:
    tables = made_corpus(seed, videos)
    rows = [table.to_pylist() for table in tables]
    naive = naive_statistics(*rows, REASONS, THRESHOLDS)
    stats = numbers_of(tables)
    assert differences({k: v for k, v in stats.items() if k in naive}, naive) == []


def test_many_channels_are_counted_together_and_the_top_hundredth_by_itself() -> None:
    videos, clips, samples = made_corpus(7, 300)
    at = videos.column_names.index("channel")
    names = pa.array([None if i % 10 == 9 else f"c{i % 150}" for i in range(300)])
    tables = Tables(videos.set_column(at, videos.schema.field(at), names), clips, samples)
    found = numbers_of(tables)["channels"]
    naive = naive_statistics(*(t.to_pylist() for t in tables), REASONS, {})["channels"]
    assert differences(found, naive) == []
    assert len(found["rows"]) == MAX_GROUPS
    assert found["concentration"]["channels"] == 135
    assert found["concentration"]["top_channels"] == 2
    assert found["concentration"]["videos_without"] == 30


@pytest.mark.parametrize("seed", [1, 3])
def test_numbers_are_the_same_bytes_in_any_order_and_with_any_number_of_threads(seed: int) -> None:
    tables = made_corpus(seed, 120)
    assert told(numbers_of(shuffled(tables, seed), threads=seed)) == told(numbers_of(tables))


def test_numbers_of_a_corpus_with_rows_twice_do_not_depend_on_their_order() -> None:
    tables = made_corpus(5, 40)
    other = made_corpus(6, 40)  # of the same ids, and otherwise of other rows
    both = Tables(*(pa.concat_tables(pair) for pair in zip(tables, other, strict=True)))
    both = Tables(*(pa.concat_tables([table, table.slice(0, 30)]) for table in both))
    expected = told(numbers_of(both))
    for seed in range(3):
        assert told(numbers_of(shuffled(both, seed), threads=2)) == expected
    broken = [check["law"] for check in json.loads(expected)["checks"] if not check["holds"]]
    assert "every source is one row" in broken


@pytest.mark.parametrize(
    ("where", "parts"), [("folder", 0), ("folder", 3), ("memory", 0), ("memory", 2)]
)
def test_numbers_of_a_folder_are_those_of_its_tables(
    tmp_path: Path, where: str, parts: int
) -> None:
    url = f"memory://{uuid.uuid4().hex}" if where == "memory" else str(tmp_path / "it's [a] *?")
    store, tables = Store(url), made_corpus(8, 50)
    put_corpus(store, tables, parts)
    assert told(of_corpus(store)) == told(numbers_of(tables))


def test_a_corpus_without_any_clip_is_counted_from_its_folder(tmp_path: Path) -> None:
    store, empty = Store(str(tmp_path)), made_corpus(0, 0)
    put_corpus(store, empty, 2)
    assert told(of_corpus(store)) == told(numbers_of(empty))


def test_columns_that_an_older_corpus_lacks_are_null(tmp_path: Path) -> None:
    tables, lacks = made_corpus(9, 40), ["channel", "site_facts", "timings", "transcript_source"]
    nulls = tables.videos
    for name in lacks:
        at = nulls.column_names.index(name)
        nulls = nulls.set_column(at, nulls.field(at), pa.nulls(len(nulls), pa.string()))
    put_corpus(Store(str(tmp_path)), tables._replace(videos=tables.videos.drop_columns(lacks)))
    assert told(of_corpus(Store(str(tmp_path)))) == told(numbers_of(tables._replace(videos=nulls)))


def test_columns_that_a_newer_corpus_has_more_change_nothing(tmp_path: Path) -> None:
    tables = made_corpus(9, 20)
    more = tables.clips.append_column("similarity", pa.array([0.5] * len(tables.clips)))
    put_corpus(Store(str(tmp_path)), tables._replace(clips=more), 2)
    assert told(of_corpus(Store(str(tmp_path)))) == told(numbers_of(tables))


def test_tables_of_another_release_are_not_counted(tmp_path: Path) -> None:
    store, old, new = Store(str(tmp_path)), made_corpus(10, 20), made_corpus(11, 30)
    files = {name: parquet(table) for name, table in old._asdict().items()}
    sha256 = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    put_corpus(store, new, tables=sha256, release=2)  # being published: dataset.json comes last
    with pytest.raises(DataError, match="not the one that dataset"):
        Rows.of_corpus(store)
    for name, data in files.items():
        store.put(f"releases/r002/{name}.parquet", data)
    assert told(of_corpus(store)) == told(numbers_of(old))


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_a_damaged_or_missing_table_is_said_in_one_sentence(tmp_path: Path, where: str) -> None:
    url = f"memory://{uuid.uuid4().hex}" if where == "memory" else str(tmp_path)
    store, tables = Store(url), made_corpus(12, 40)
    with pytest.raises(DataError, match="there is no corpus"):
        Rows.of_corpus(store)
    put_corpus(store, tables)
    whole = store.get("clips.parquet")
    store.put("clips.parquet", b"PAR1 no table")
    with pytest.raises(DataError, match=r"clips\.parquet cannot be read"):
        Rows.of_corpus(store)
    store.put("clips.parquet", b"PAR1" + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :])
    with pytest.raises(DataError, match="cannot be read"):
        of_corpus(store)
    store.delete("clips.parquet")
    with pytest.raises(DataError, match=r"clips\.parquet is missing"):
        Rows.of_corpus(store)


def test_rows_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = Store(f"memory://{uuid.uuid4().hex}")
    put_corpus(store, made_corpus(13, 10))
    of_corpus(store)
    store.put("videos.parquet", b"no table")
    with pytest.raises(DataError):
        Rows.of_corpus(store)
    assert list(tmp_path.iterdir()) == []


def test_rows_fetch_no_extension_and_say_when_the_query_is_at_fault() -> None:
    with Rows.of_tables(*made_corpus(1, 3)) as rows:
        names = ("autoinstall_known_extensions", "autoload_known_extensions")
        for name in names:
            assert rows.dicts("SELECT current_setting(?) AS value", [name]) == [{"value": False}]
        with pytest.raises(duckdb.BinderException):
            rows.sql("SELECT no_such_column FROM clips")
        for name, schema in SCHEMAS.items():
            assert rows.sql(f"SELECT * FROM {name}").schema.names == schema.names


def test_batches_give_every_row_once() -> None:
    tables = made_corpus(14, 50)
    with Rows.of_tables(*tables) as rows:
        found = list(rows.batches("SELECT text FROM clips WHERE clip_index > ?", [0]))
    texts = [c["text"] for c in tables.clips.to_pylist() if c["clip_index"] > 0]
    assert sorted(t for batch in found for t in batch["text"].to_pylist()) == sorted(texts)


def test_limits_cost_is_what_switching_a_threshold_off_lets_in() -> None:
    tables = made_corpus(15, 300)
    clips = tables.clips.to_pylist()
    by_id = {v["video_id"]: v for v in tables.videos.to_pylist()}

    def passing(quality: Quality) -> set[tuple[str, int]]:
        limits = all_thresholds(replace(CONFIG, quality=quality))
        own = {k: [t for t in v if "quality." in t["setting"]] for k, v in limits.items()}
        return {
            (c["video_id"], c["clip_index"])
            for c in clips
            if c["within_bounds"]
            and c["reason"] != "duplicate_content"
            and all(meets(c, by_id[c["video_id"]], k, own[k]) for k in own)
        }

    before = passing(CONFIG.quality)
    found = numbers_of(tables)["limits_cost"]
    assert sum(row["clips_only"] > 0 for row in found) > 8
    for row in found:
        name = row["setting"].removeprefix("quality.")
        more = passing(replace(CONFIG.quality, **{name: None})) - before
        assert row["clips_only"] == len(more)


def meets(
    clip: Mapping[str, Any], video: Mapping[str, Any], name: str, limits: Sequence[Any]
) -> bool:
    of, _, score = name.partition(".")
    value = (clip if of == "clip" else video)[score]
    return value is None or all(
        value >= t["value"] if t["side"] == "min" else value <= t["value"] for t in limits
    )


def test_costs_of_a_build_say_what_was_remembered() -> None:
    costs = {"speech": {"cpu_s": 1.0, "remembered": 7}, "probe": {"cpu_s": 2.0}}
    stats = numbers_of(made_corpus(3, 30), costs=costs)
    remembered = {row["stage"]: row["remembered"] for row in stats["health"]["stages"]}
    assert remembered["speech"] == 7
    assert remembered["probe"] is None
    assert stats["costs"] == costs


@pytest.mark.parametrize(
    ("url", "start_s", "link"),
    [
        ("https://www.youtube.com/watch?v=abc", 83.9, "https://www.youtube.com/watch?v=abc&t=83s"),
        ("https://youtu.be/abc?t=5&si=x", 12.0, "https://youtu.be/abc?si=x&t=12s"),
        ("https://youtu.be/abc#t=3", 0.0, "https://youtu.be/abc#t=3"),
        ("https://m.youtube.com/watch?v=a%26b", 1.5, "https://m.youtube.com/watch?v=a%26b&t=1s"),
        ("http://host.example/a.mp4", 83.9, "http://host.example/a.mp4#t=83.9"),
        ("http://host.example/a.mp4?x=1#old", 2.0, "http://host.example/a.mp4?x=1#t=2"),
        ("https://youtube.com.evil.example/watch", 2, "https://youtube.com.evil.example/watch#t=2"),
        ("http://host.example/a.mp4", None, "http://host.example/a.mp4"),
        ("http://host.example/a.mp4", float("nan"), "http://host.example/a.mp4"),
        ("folder/a.mp4", 1.0, None),
        ("javascript:alert(1)//http://host.example", 1.0, None),
        ("data:text/html,x", 1.0, None),
        ("http:///a.mp4", 1.0, None),
        ("http://[broken", 1.0, None),
        ("https://host.example\\@evil.example/", 1.0, None),
        ("java\nscript:alert(1)", 1.0, None),
        ("", 1.0, None),
        (None, 1.0, None),
    ],
)
def test_link_leads_to_the_second_or_is_none(
    url: str | None, start_s: float | None, link: str | None
) -> None:
    assert link_to(url, start_s) == link


@given(st.sampled_from(URLS) | st.text(max_size=40), st.floats(0, 1e5))
def test_link_is_of_the_web_and_keeps_the_host(url: str, start_s: float) -> None:
    link = link_to(url, start_s)
    if link is None:
        return
    before, after = urlsplit(url), urlsplit(link)
    assert after.scheme in ("http", "https")
    assert (after.netloc, after.path) == (before.netloc, before.path)
    others = {k: v for k, v in parse_qs(before.query).items() if k != "t"}
    assert {k: v for k, v in parse_qs(after.query).items() if k != "t"} == others


def test_nan_counts_nothing_where_a_file_says_that_nothing_is_null(tmp_path: Path) -> None:
    """DuckDB reads from the statistics of the file that there is no null, and NaN is none."""
    tables = made_corpus(6, 12)
    at = VIDEOS.get_field_index("duration_s")
    some = pa.array([float("nan"), 2.5, math.inf] * 4, pa.float64())
    videos = tables.videos.slice(0, 12).set_column(at, VIDEOS.field(at), some)
    put_corpus(Store(str(tmp_path)), tables._replace(videos=videos))
    found = of_corpus(Store(str(tmp_path)))
    assert told(found) == told(numbers_of(tables._replace(videos=videos)))
    assert found["hours"]["source"] == pytest.approx(4 * 2.5 / 3600, abs=1e-6)
