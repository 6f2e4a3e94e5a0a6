from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from reelscript.jobs.progress import Progress
from reelscript.jobs.status.counts import PASSING, counted
from reelscript.jobs.status.status import Status, status
from reelscript.jobs.status.text import print_status
from reelscript.pipeline import run_records
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.ledger import ENCODED, Ledger, Row
from reelscript.pipeline.processes import this_process
from reelscript.pipeline.run_records import RunRecord
from reelscript.pipeline.runs import Run
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import videos
from reelscript.schemas.sample import FORMAT
from reelscript.schemas.video import Video
from reelscript.schemas.videos import LISTED, Videos
from reelscript.transforms.web.answers import WORTH_RETRYING

COMMAND = "reelscript build videos -o corpus"
CHAIN = "settings"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return tmp_path / "corpus"


def work_of(corpus: Path) -> Store:
    return Store(f"{corpus}.work")


def listing(store: Store, listed: list[Video], chain: str = CHAIN) -> None:
    table = Videos.of(listed).table.select([*LISTED])
    Ledger(store).list_sources(
        table.append_column("chain", pa.array([chain] * len(listed), pa.string()))
    )


def measured(store: Store, rows: list[Video], chain: str = CHAIN, folder: str = "ledger") -> None:
    with Ledger(store, folder) as ledger:
        for video in rows:
            ledger.add(Row(chain, video))


def record(number: int, **changed: Any) -> RunRecord:
    times = {"started_at": "2026-01-02T03:04:05+00:00", "at": "2026-01-02T03:05:00+00:00"}
    given = {"number": number, "verb": "build", "command": COMMAND, **this_process(), **times}
    return RunRecord(**(given | changed))


def stored(store: Store, *records: RunRecord) -> None:
    for r in records:
        store.put(f"ledger/runs/{r.number:06d}.json", r.to_json())


def dead() -> dict[str, Any]:
    return {"pid": 1 << 30, "born": "1"}


def shown(found: Status, width: int = 100, **how: Any) -> str:
    out = io.StringIO()
    print_status(found, Console(file=out, width=width, **how))
    return out.getvalue()


def some(corpus: Path) -> list[Video]:
    """A listing of 12: one rejected in it, 8 measured now, one with other settings, two pending."""
    listed = videos(12)
    listed[11] = listed[11].ended("rejected", "sources", "duplicate_source", "of v000")
    done = [
        listed[0],
        listed[1].ended("rejected", "probe", "too_short"),
        listed[2].ended("rejected", "probe", "too_short"),
        listed[3].ended("rejected", "speech", "no_voice"),
        listed[4].ended("failed", "acquire", "http_503", "the server answers 503"),
        listed[5].ended("failed", "acquire", "http_404"),
        listed[6].ended("failed", "probe", "crashed", "signal SIGSEGV"),
        listed[7],
    ]
    store = work_of(corpus)
    listing(store, listed)
    measured(store, [listed[8], listed[0].ended("failed", "probe", "error")], "other settings")
    measured(store, done)
    measured(store, [dataclasses.replace(listed[0], video_id="of another list")])
    return listed


# The counts.


def test_status_counts_sources_by_stage_and_outcome(corpus: Path) -> None:
    some(corpus)
    found = status(str(corpus))
    told = dataclasses.asdict(found.sources)  # type: ignore[arg-type]
    expected = {"listed": 12, "measured": 2, "rejected": 4, "failed": 3, "pending": 3, "again": 1}
    assert told == expected
    assert [(e.outcome, e.stage, e.reason, e.count) for e in found.endings] == [
        ("rejected", "sources", "duplicate_source", 1),
        ("failed", "acquire", "http_404", 1),
        ("failed", "acquire", "http_503", 1),
        ("failed", "probe", "crashed", 1),
        ("rejected", "probe", "too_short", 2),
        ("rejected", "speech", "no_voice", 1),
    ]
    crashed = next(e for e in found.endings if e.reason == "crashed")
    assert (crashed.video_id, crashed.detail, crashed.passing) == ("v006", "signal SIGSEGV", False)


def test_status_counts_what_changed_settings_leave_to_do(corpus: Path) -> None:
    listed = some(corpus)
    listing(work_of(corpus), listed, "newer settings")
    sources = status(str(corpus)).sources
    assert sources is not None
    assert (sources.pending, sources.again, sources.measured, sources.rejected) == (11, 9, 0, 1)


def test_status_counts_what_a_changed_source_leaves_to_do(corpus: Path) -> None:
    listed = some(corpus)
    listed[7] = dataclasses.replace(listed[7], signature="1:1")
    listing(work_of(corpus), listed)
    sources = status(str(corpus)).sources
    assert sources is not None
    assert (sources.pending, sources.again, sources.measured) == (4, 2, 1)


def test_status_counts_what_is_encoded(corpus: Path) -> None:
    listed, store = some(corpus), work_of(corpus)
    failed = listed[7].ended("failed", "encode", "encode_failed", "odd size")
    gone = dataclasses.replace(listed[0], video_id="of another list")
    measured(store, [listed[0], failed, gone, gone.ended("failed", "encode", "x")], folder=ENCODED)
    found = status(str(corpus))
    assert found.encoded == 1
    assert [e.reason for e in found.endings if e.stage == "encode"] == ["encode_failed"]
    assert "1 videos are encoded" in shown(found)


def test_status_of_many_rows_is_that_of_a_naive_count(tmp_path: Path) -> None:
    store, count = Store(str(tmp_path)), 5_000
    table = Videos.of(videos(1)).table
    reasons = ["too_short", "timed_out", "crashed"]
    outcome = [("pending", "rejected", "failed")[n % 3] for n in range(count)]
    reason = [None if o == "pending" else reasons[n % 7 % 3] for n, o in enumerate(outcome)]
    ended: dict[str, list[Any]] = {
        "video_id": [f"v{n}" for n in range(count)],
        "outcome": outcome,
        "stage": [None if o == "pending" else "probe" for o in outcome],
        "reason": reason,
    }
    known = pa.concat_tables([table] * count)
    for name, values in ended.items():
        index = known.column_names.index(name)
        known = known.set_column(index, name, pa.array(values, pa.string()))
    pending = pa.array(["pending"] * count)
    listed = known.set_column(known.column_names.index("outcome"), "outcome", pending)
    chain = pa.array([CHAIN] * count)
    Ledger(store).list_sources(listed.append_column("chain", chain))
    known = known.append_column("chain", chain).append_column("cpu_s", pa.array(["{}"] * count))
    sink = io.BytesIO()
    pq.write_table(known, sink)
    store.put("ledger/000001-x-000000.parquet", sink.getvalue())
    sources, endings, _ = counted(store)
    assert sources is not None
    expected = Counter(outcome)
    assert (sources.measured, sources.rejected) == (expected["pending"], expected["rejected"])
    pairs = Counter(zip(outcome, reason, strict=True))
    assert {(e.outcome, e.reason): e.count for e in endings} == {
        pair: n for pair, n in pairs.items() if pair[0] != "pending"
    }
    for e in endings:
        first = next(n for n in range(count) if (outcome[n], reason[n]) == (e.outcome, e.reason))
        assert e.video_id == f"v{first}"


# The newest run.


@pytest.mark.parametrize(
    ("ended", "state", "said"),
    [
        ("done", "done", "done at 2026-01-02 03:05:00 UTC"),
        ("interrupted", "interrupted", "interrupted at 2026-01-02 03:05:00 UTC, in phase measure"),
        ("stopped", "stopped", "in phase measure: the disk is full"),
        ("broke", "broke", "broke at"),
        (None, "died", "died about 2026-01-02 03:05:00 UTC, in phase measure"),
    ],
)
def test_status_tells_how_the_newest_run_ended(
    corpus: Path, ended: str | None, state: str, said: str
) -> None:
    some(corpus)
    ending = {"ended": ended, "said": "the disk is full" if ended == "stopped" else None}
    stored(
        work_of(corpus),
        record(1, ended="done"),
        record(2, progress={"phase": "measure"}, **dead() | ending),
        record(3, ended="refused"),
    )
    found = status(str(corpus))
    assert found.state == state
    assert found.run is not None
    assert found.run.number == 2
    text = shown(found)
    assert said in text
    assert f"{COMMAND}\n    goes on where it ended" in text
    assert f"{COMMAND} --retry-failed http_503\n    tries the 1 again" in text
    assert "--retry-failed http_404" not in text
    assert "nothing is published yet" in text


def test_status_tells_what_a_running_build_does(corpus: Path) -> None:
    some(corpus)
    progress = Progress(None)
    snapshots = progress.snapshot
    with (
        Run(work_of(corpus), "build", COMMAND, snapshots) as run,
        progress.phase("measure", ["probe", "speech"], total=12, known=9),
    ):
        video = videos(12)[10]
        progress.started(video, "probe")
        progress.suspected(videos(12)[9], "probe", "signal SIGSEGV")
        run._put()
        found = status(str(corpus))
    assert found.state == "running"
    assert found.go_on == []
    text = shown(found)
    for part in (
        f"running, in phase measure: build 1 on {run.record.host}, process {os.getpid()}, since",
        "12 sources: 2 measured, 4 rejected, 3 failed, 3 pending",
        "0 of 3 ended, time left: not known yet",
        "rate: 0 videos/h, 0.00 h of video/h now",
        "v010",
        "Workers that died: 1",
        "signal SIGSEGV",
    ):
        assert part in text
    assert status(str(corpus)).state == "done"


def test_status_tells_of_a_build_that_runs_on_another_machine(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some(corpus)
    monkeypatch.setattr(run_records, "POLL_S", 0.0)
    store, get = work_of(corpus), Store.get
    stored(store, record(1, machine="far 1", host="far", **dead()))

    def beats(self: Store, name: str) -> bytes:
        data = get(self, name)
        if name.endswith("runs/000001.json"):
            told = RunRecord.from_json(data)
            stored(store, dataclasses.replace(told, beat=told.beat + 1))
        return data

    monkeypatch.setattr(Store, "get", beats)
    assert status(str(corpus)).state == "running"


def test_status_tells_of_all_that_run(corpus: Path) -> None:
    some(corpus)
    with (
        Run(work_of(corpus), "build", COMMAND, dict),
        Run(work_of(corpus), "publish", f"{COMMAND} --publish", dict),
    ):
        found = status(str(corpus))
    assert found.run is not None
    assert (found.run.number, [r.number for r in found.others]) == (1, [2])
    assert "also running: publish 2 on" in shown(found)


def test_status_before_anything_is_listed_or_told(corpus: Path) -> None:
    store = work_of(corpus)
    store.put("ledger/notes.txt", b"")
    found = status(str(corpus))
    assert (found.state, found.sources, found.go_on) == ("unknown", None, [])
    assert "the sources are not listed yet" in shown(found)
    stored(store, record(1, **dead()))
    assert status(str(corpus)).state == "died"


def test_status_of_a_finished_build_has_nothing_to_go_on_with(corpus: Path) -> None:
    listed = videos(3)
    listing(work_of(corpus), listed)
    measured(work_of(corpus), listed)
    stored(work_of(corpus), record(1, ended="done"))
    info = {
        "format": FORMAT,
        "release": 4,
        "counts": {"kept": 2, "samples": 5},
        "hours": {"kept": 0.5},
    }
    Store(str(corpus)).put("dataset.json", json.dumps(info).encode())
    found = status(str(corpus))
    assert found.go_on == []
    assert found.release == {name: info[name] for name in ("release", "counts", "hours")}
    assert "published: release 4, 2 videos, 5 samples, 0.50 hours" in shown(found)


def test_status_of_a_listing_without_sources(corpus: Path) -> None:
    listing(work_of(corpus), [])
    assert set(dataclasses.asdict(status(str(corpus)).sources).values()) == {0}  # type: ignore[arg-type]


def test_status_of_a_damaged_listing_is_that_of_none(corpus: Path) -> None:
    some(corpus)
    work_of(corpus).put("ledger/sources.parquet", b"PAR1")
    assert status(str(corpus)).sources is None
    work_of(corpus).delete("ledger/sources.parquet")
    Ledger(work_of(corpus)).list_sources(pa.table({"video_id": ["v"]}))
    assert status(str(corpus)).sources is None


def test_status_offers_to_try_again_what_the_downloader_would() -> None:
    for code in WORTH_RETRYING:
        assert PASSING.fullmatch(f"http_{code}")
    for reason in ("http_404", "http_403", "crashed", "too_large", "http_5xx", "not_timed_out"):
        assert not PASSING.fullmatch(reason)


# Where it looks, and that it writes nothing.


@pytest.mark.parametrize(
    "config", ["work: {}\n", "work:\n  folder: {}\n  keep: none\n", '"work": "file://{}"\n']
)
def test_status_finds_the_work_folder_that_the_config_names(
    corpus: Path, tmp_path: Path, config: str
) -> None:
    work = tmp_path / "else where"
    some(corpus)
    Path(f"{corpus}.work").rename(work)
    with pytest.raises(DataError, match=r"looked in .*corpus\.work, .*--work"):
        status(str(corpus))
    assert status(str(corpus), str(work)).sources is not None
    assert status(str(work)).sources is not None
    corpus.mkdir()
    (corpus / "config.yaml").write_text(config.format(work))
    assert status(f"{corpus}/").sources is not None


HOSTILE = [
    *[b"", b"\xff\xfe\0", b"[1, 2]", b"work: [1]", b"work: {folder: 3}", b"work: 2026-13-45"],
    *[b"work: !!python/object/apply:os.system [x]", b"[" * 5000, b"a: &a [*a]\nwork: *a"],
    *[b"work: s3://bucket/work", b"work: {folder: 'simplecache::file:///x'}", b'work: "a\\0b"'],
    *[b"work: http://127.0.0.1:9/x", b"x" * ((1 << 20) + 1)],
]


@pytest.mark.parametrize("config", HOSTILE)
def test_status_with_a_hostile_config_looks_beside_the_corpus(corpus: Path, config: bytes) -> None:
    corpus.mkdir()
    (corpus / "config.yaml").write_bytes(config)
    with pytest.raises(DataError) as refused:
        status(str(corpus))
    assert "\n" not in str(refused.value)
    assert ("give that with --work" in str(refused.value)) == (b"://" in config)
    some(corpus)
    assert status(str(corpus)).sources is not None


def test_status_names_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        status(str(tmp_path / "none"), str(tmp_path / "w\x1b[2J"))
    assert str(refused.value) == f"there is no ledger of a build: looked in {tmp_path}/w [2J"


def test_status_writes_nothing(corpus: Path, tmp_path: Path) -> None:
    some(corpus)
    stored(work_of(corpus), record(1, **dead()), record(2, machine="far", ended="died"))

    def files() -> dict[str, tuple[int, bytes]]:
        found = (p for p in tmp_path.rglob("*") if p.is_file())
        return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in found}

    before = files()
    shown(status(str(corpus)))
    assert files() == before


# What comes from outside.

NASTY = "\x1b[2J[bold]x[/bold]\u202e\n"
PROGRESS: list[dict[str, Any]] = [
    {"phase": 3, "now": "x", "suspects": [], "rates": None},
    {"phase": NASTY, "now": [1, {}, {"video_id": NASTY, "for_s": NASTY}], "suspects": {"last": 1}},
    {"phase": "x", "total": 1e300, "known": {}, "ended": True, "left_s": -1e300},
    {"phase": "x", "total": 3, "known": 1, "ended": 1, "rates": {"videos_per_h": "a"}, "for_s": []},
    {"now": [{"video_id": "v", "stage": "s", "for_s": 1}] * 100},
    {"suspects": {"count": "x", "last": [{"video_id": NASTY}]}},
]


@pytest.mark.parametrize("progress", PROGRESS)
def test_status_text_is_safe_whatever_the_ledger_holds(
    corpus: Path, progress: dict[str, Any]
) -> None:
    (video,) = videos(1)
    store = work_of(corpus)
    listing(store, [video])
    bad = dataclasses.replace(
        video, outcome="failed", stage=NASTY, reason=NASTY, detail=f"{NASTY}\udcff"
    )
    measured(store, [bad])
    nasty = {"host": NASTY, "command": NASTY, "started_at": NASTY, "at": NASTY, "said": NASTY}
    run = record(1, progress=progress, **nasty)
    stored(store, run)
    Store(str(corpus)).put(
        "dataset.json", json.dumps({"format": FORMAT, "counts": [], "release": NASTY}).encode()
    )
    found = status(str(corpus))
    for state in ("running", "stopped", "broke", "died", NASTY):
        text = shown(dataclasses.replace(found, state=state))
        assert not {"\x1b", "\u202e", "\udcff"} & set(text)
        assert "[bold]x[/bold]" in text
    json.loads(json.dumps(found.to_dict()))


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_status_text_fits_where_it_is_printed(corpus: Path, width: int) -> None:
    some(corpus)
    stored(work_of(corpus), record(1, ended="done"))
    table = [line for line in shown(status(str(corpus)), width).splitlines() if "─" in line]
    assert table
    assert all(len(line) <= width for line in table)


def test_status_text_where_there_are_only_ascii_characters(corpus: Path) -> None:
    some(corpus)
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_status(status(str(corpus)), Console(file=out, width=100))
    out.flush()


def test_status_is_plain_data_too(corpus: Path) -> None:
    some(corpus)
    stored(work_of(corpus), record(1, ended="stopped", said="why"))
    told = json.loads(json.dumps(status(str(corpus)).to_dict()))
    assert list(told) == [f.name for f in dataclasses.fields(Status)]
    assert told["run"]["said"] == "why"
    assert told["sources"]["pending"] == 3
    assert told["endings"][1]["passing"] is False
    assert told["go_on"][0] == {"command": COMMAND, "what": "goes on where it ended"}


def test_status_loads_no_engine_and_no_model() -> None:
    code = "import sys, reelscript.jobs.status.text as _; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    heavy = {"torch", "faster_whisper", "ctranslate2", "httpx", "ray"}
    assert not heavy & set(loaded.stdout.split())
