"""What a dry run says, against sources of known length, and that it leaves nothing behind."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from reelscript.jobs.config import Config, load_config, resolved
from reelscript.jobs.estimate import apart
from reelscript.jobs.estimate import disk as estimate_disk
from reelscript.jobs.estimate import sample as estimate_sample
from reelscript.jobs.estimate.disk import said_bytes
from reelscript.jobs.estimate.estimate import Estimate, estimate
from reelscript.jobs.estimate.sample import SAMPLE, Sampled, chosen
from reelscript.jobs.estimate.spread import Extrapolation, Spread
from reelscript.jobs.estimate.text import estimate_lines, estimate_table, said_time
from reelscript.jobs.estimate.trial import Trial
from reelscript.jobs.sources.listing import list_sources
from reelscript.pipeline import processes
from reelscript.pipeline.errors import DataError, StageError
from reelscript.pipeline.ledger import Ledger, Row
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.transcript import Transcript
from reelscript.schemas.video import Video
from reelscript.schemas.videos import Videos
from reelscript.transforms import whisper
from reelscript.transforms.acquire import Acquire
from reelscript.transforms.audio import whole_audio_16k
from reelscript.transforms.excerpt import cut_excerpt
from reelscript.transforms.media import Undecodable
from reelscript.transforms.probe import Probe
from tests.built import MODELS, copied, needs_models
from tests.media_made import CODECS, beeps_in, make_media

NOWHERE = "nobody/has-this-model"
MEASURING = [stage.name for stage in Config().measuring()]


def config(**changes: Any) -> Config:
    """English is stated, and the model that would transcribe is not on this machine."""
    acquire = Acquire(allow_addresses=("127.0.0.0/8",))
    made = Config(name="c", **{"acquire": acquire, **changes})
    transcribe = replace(made.transcribe, model=NOWHERE, device="cpu", compute_type="int8")
    speech = replace(made.speech, language="en", language_model=None, device="cpu")
    return replace(made, transcribe=transcribe, speech=replace(speech, compute_type="int8"))


def listed(*places: str | Path) -> Videos:
    return list_sources([str(p) for p in places], Path())


def asked(videos: Videos, work: Path, made: Config | None = None) -> Estimate:
    corpus = Store(str(work).removesuffix(".work"))
    return estimate(videos, made or config(), Store(str(work)), 2, 1, corpus=corpus)


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Everything below a folder: when it was changed, and what is in it."""
    return {
        str(p.relative_to(folder)): (
            p.stat().st_mtime_ns,
            hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "",
        )
        for p in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four silent videos of 2, 3, 4 and 5 s, and what is none."""
    folder = tmp_path_factory.mktemp("media")
    for k in (2, 3, 4, 5):
        make_media(folder / f"v{k}.mp4", duration_s=k)
    return folder


class Refuses(BaseHTTPRequestHandler):
    """Has nothing."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


class Serves(SimpleHTTPRequestHandler):
    """Has the files of a folder."""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def server(handler: Any) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{serving.server_port}"
        finally:
            serving.shutdown()
            thread.join()


# The whole.


def test_estimate_knows_the_hours_of_sources_that_it_has_all_looked_at(
    media: Path, tmp_path: Path
) -> None:
    made = asked(listed(media), tmp_path / "c.work")
    assert (made.sources, made.left, made.looked_at, made.finished) == (4, 4, 4, 0)
    assert made.source_s is not None
    assert made.source_s.value == pytest.approx(14, abs=0.2)
    assert made.source_s.low == made.source_s.value == made.source_s.high


def test_estimate_says_what_a_missing_model_leaves_unknown(media: Path, tmp_path: Path) -> None:
    made = asked(listed(media), tmp_path / "c.work")
    costs = {cost.stage: cost for cost in made.stages}
    assert list(costs) == [*MEASURING, "encode"]
    speech = costs["speech"]
    assert speech.cpu_s is not None
    assert speech.wall_s is not None
    assert speech.wall_s.value == pytest.approx(speech.cpu_s.value / 2)
    assert speech.videos == 4
    assert costs["transcribe"].cpu_s is None
    assert costs["encode"].cpu_s is None
    assert (made.wall_s, made.kept_s, made.corpus_bytes, made.work_bytes) == (None,) * 4
    assert f"transcribe: not estimated, the model {NOWHERE} is not on this machine" in made.notes


def test_estimate_writes_nothing(media: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    before, others = tree(media), memory.find("/")  # those of other tests
    asked(listed(media), tmp_path / "c.work")
    assert tree(media) == before
    assert list(tmp_path.iterdir()) == []
    assert memory.find("/") == others


def test_estimate_is_of_all_when_a_sample_was_looked_at(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate_sample, "SAMPLE", 3)
    videos = listed(media)
    made = asked(videos, tmp_path / "c.work")
    lengths = {v.video_id: float(v.url[1]) for v in videos}
    ids = chosen(lengths, 3)
    assert (made.looked_at, made.left) == (3, 4)
    assert made.source_s is not None
    assert made.source_s.value == pytest.approx(4 * sum(lengths[i] for i in ids) / 3, abs=0.2)
    assert made.source_s.low is not None
    assert made.source_s.high is not None
    assert made.source_s.low < made.source_s.value < made.source_s.high
    again = asked(videos, tmp_path / "c.work")
    assert again.source_s == made.source_s
    assert again.notes == made.notes


def test_estimate_counts_what_would_not_pass_and_says_one_of_them_harmlessly(
    media: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sources"
    folder.mkdir()
    evil = folder / "\x1b[2J\u202eevil [red]x[bold]\n.mp4"
    evil.write_bytes(b"no video at all")
    rows = tmp_path / "list.txt"
    rows.write_text(f"sources/gone.mp4\n{media / 'v5.mp4'}\n")
    made = asked(listed(evil, rows), tmp_path / "c.work")
    assert made.source_s is not None
    assert made.source_s.value == pytest.approx(5, abs=0.1)
    assert any(n.startswith("1 of 3 sampled sources would be rejected") for n in made.notes)
    assert any("would be failed, such as" in n and "not_found" in n for n in made.notes)
    assert all(note.isprintable() for note in made.notes)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(estimate_table(made))
    text = console.export_text()
    assert "[red]x[bold]" in text
    assert "\x1b" not in text


def test_estimate_of_nothing_left_is_empty(media: Path, tmp_path: Path) -> None:
    videos, work = listed(media), tmp_path / "c.work"
    with Ledger(Store(str(work))) as ledger:
        for video in videos:
            ledger.add(Row("chain", replace(video, duration_s=9.0), {}))
    before = tree(tmp_path)
    made = asked(videos, work)
    assert (made.sources, made.finished, made.left, made.looked_at) == (4, 4, 0, 0)
    assert made.source_s is None
    lines = estimate_lines(made)
    assert lines[:2] == ["4 of 4 are finished already", "nothing is left to measure"]
    assert tree(tmp_path) == before


def test_estimate_leaves_out_what_ended_in_the_listing_and_youtube(
    media: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "list.txt"
    twice = str(media / "v2.mp4")
    rows.write_text(f"{twice}\n{twice}\nhttps://www.youtube.com/watch?v=aaaaaaaaaaa\n")
    made = asked(listed(rows), tmp_path / "c.work")
    assert (made.sources, made.left, made.looked_at) == (2, 1, 1)
    assert any(n.startswith("1 YouTube sources are not estimated") for n in made.notes)
    assert json.loads(json.dumps(made.to_dict()))["left"] == 1


@needs_models
def test_estimate_tries_every_stage_on_excerpts(tmp_path: Path) -> None:
    folder = copied(["garden.mp4", "broken.mp4"], tmp_path / "sources")
    made = resolved(load_config(None, [str(folder)], MODELS))
    found = asked(listed(folder), tmp_path / "c.work", made)
    costs = {cost.stage: cost for cost in found.stages}
    assert [costs[s].videos for s in ("acquire", "glance", "transcribe", "encode")] == [2, 1, 1, 1]
    assert found.source_s is not None
    assert found.source_s.value == pytest.approx(54.35, abs=0.1)
    assert found.kept_s is not None
    assert 20 < found.kept_s.value <= 54.4
    assert found.corpus_bytes is not None
    assert 0.1e6 < found.corpus_bytes.value < 5e6
    assert found.corpus_bytes.low is None  # of one encoded excerpt no spread is to be had
    assert found.work_bytes is not None
    assert found.work_bytes.value > 0.9 * found.corpus_bytes.value
    cpu_s = [cost.cpu_s.value for cost in found.stages if cost.cpu_s is not None]
    assert len(cpu_s) == len(MEASURING) + 1
    assert all(seconds > 0 for seconds in cpu_s)
    assert found.wall_s is not None
    assert found.wall_s.value >= sum(cpu_s) / 2
    assert [p.name for p in tmp_path.iterdir()] == ["sources"]


# From the web.


def test_estimate_fetches_a_few_and_guesses_the_others_by_their_size(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(partial(Serves, directory=str(media))) as url:
        rows = tmp_path / "list.txt"
        rows.write_text("\n".join(f"{url}/v{k}.mp4" for k in (2, 3, 4, 5)))
        videos = listed(rows)
        made = asked(videos, tmp_path / "c.work")
        assert made.source_s is not None
        assert made.source_s.value == pytest.approx(14, rel=0.2)
        assert "the length of 1 of 4 sampled sources is a guess by their size" in made.notes
        assert "the time that downloads take is not in it" in made.notes
        monkeypatch.setattr(estimate_sample, "FETCHED_BYTES", 10)
        made = asked(videos, tmp_path / "c.work")
    assert made.looked_at == 0
    assert made.source_s is None
    assert "4 of 4 sampled sources were not fetched: too large for a guess" in made.notes
    assert sorted(p.name for p in tmp_path.iterdir()) == ["list.txt"]


def test_estimate_says_why_sources_cannot_be_reached(tmp_path: Path) -> None:
    with server(Refuses) as url:
        pass
    rows = tmp_path / "list.txt"
    rows.write_text(f"{url}/gone.mp4\n")  # nobody listens there any more
    made = asked(listed(rows), tmp_path / "c.work")
    assert any("1 of 1 sampled sources would be failed" in n for n in made.notes)
    assert any("connection_failed" in n for n in made.notes)
    with server(Refuses) as url:
        rows.write_text(f"{url}/gone.mp4\n")
        made = asked(listed(rows), tmp_path / "c.work")
    assert any("http_404" in n for n in made.notes)
    assert made.source_s == Spread(0.0, 0.0, 0.0)


def test_estimate_asks_for_a_size_without_reading_the_body(media: Path, tmp_path: Path) -> None:
    quick = Acquire(retries=0, timeout_s=5.0, allow_addresses=("127.0.0.0/8",))
    workspace = Workspace(Store("memory://size"), tmp_path)
    with server(partial(Serves, directory=str(media))) as url:
        size = quick.stated_bytes(f"{url}/v2.mp4", workspace)
    assert size == (media / "v2.mp4").stat().st_size
    with server(Refuses) as url, pytest.raises(StageError) as caught:
        quick.stated_bytes(f"{url}/v2.mp4", workspace)
    assert caught.value.kind == "http_404"
    with fsspec.open("memory://estimate-test/one.mp4", "wb") as file:
        file.write(b"12345")
    assert quick.stated_bytes("memory://estimate-test/one.mp4", workspace) == 5
    with pytest.raises(StageError, match="there is no"):
        quick.stated_bytes("memory://estimate-test/two.mp4", workspace)
    fsspec.filesystem("memory").rm("/estimate-test", recursive=True)


# From the ledger.


def test_estimate_takes_costs_from_the_ledger_where_it_has_enough(
    media: Path, tmp_path: Path
) -> None:
    work = Store(str(tmp_path / "c.work"))
    workspace = Workspace(work, tmp_path / "scratch")
    transcript = Transcript("asr", "e", NOWHERE, "int8", "en", [], [])
    known = workspace.put_record(transcript)
    clips = workspace.put_record([])
    costs: dict[str, dict[str, float]] = {}
    lengths: dict[str, float] = {}
    with Ledger(work) as ledger:
        for n in range(30):
            ends = n % 3 == 0
            video = Video(video_id=f"old{n}", url=f"o{n}", location=f"/o{n}", duration_s=10.0 + n)
            video = replace(video, transcript=known, clips=None if ends else clips)
            if ends:
                video = video.ended("rejected", "speech", "no_speech")
            reached = MEASURING[: MEASURING.index("speech") + 1] if ends else MEASURING
            costs[f"old{n}"] = {name: 0.01 * (n + k) for k, name in enumerate(reached)}
            lengths[f"old{n}"] = 10.0 + n
            ledger.add(Row("chain", video, costs[f"old{n}"]))
        ledger.add(Row("chain", replace(video, video_id="no_costs"), {}))
        ledger.add(Row("chain", replace(video, video_id="no_length", duration_s=None), {}))
    before = tree(tmp_path)
    made = asked(listed(media), tmp_path / "c.work")
    assert (made.from_ledger, made.trials, made.finished, made.left) == (True, 30, 0, 4)
    for cost in made.stages[:-1]:
        per_s = sum(c.get(cost.stage, 0.0) for c in costs.values()) / sum(lengths.values())
        assert cost.cpu_s is not None
        assert cost.cpu_s.value == pytest.approx(14 * per_s, rel=0.02)
        assert cost.cpu_s.low is not None
        assert cost.cpu_s.high is not None
        assert cost.cpu_s.low < cost.cpu_s.value < cost.cpu_s.high
    assert {cost.stage: cost.videos for cost in made.stages}["transcribe"] == pytest.approx(
        4 * 2 / 3
    )
    assert made.wall_s is not None
    assert "nothing of what was tried would be kept" in made.notes
    assert tree(tmp_path) == before
    other = replace(config(), transcribe=replace(config().transcribe, model="nobody/other"))
    assert not asked(listed(media), tmp_path / "c.work", other).from_ledger


# Its parts.


def probed(path: Path) -> Video:
    video = Video(video_id="a", url="a", location=str(path))
    with Probe().open() as live:
        return live(video, Workspace(Store("memory://unused"), path.parent))


@pytest.mark.parametrize("suffix", CODECS)
def test_excerpt_is_a_piece_from_the_middle_whatever_the_container(
    tmp_path: Path, suffix: str
) -> None:
    path = make_media(tmp_path / f"whole{suffix}", duration_s=12, beeps_s=[6.5])
    whole = probed(path)
    made = cut_excerpt(path, tmp_path / "piece.mkv", whole, 4.0)
    piece = probed(made)
    assert piece.duration_s == pytest.approx(4.0, abs=0.1)
    assert piece.frames is not None
    assert abs(piece.frames - 100) <= 2
    assert (piece.video_codec, piece.audio_codec) == (whole.video_codec, whole.audio_codec)
    sound = whole_audio_16k(made, piece.audio_stream or 0, piece.start_s or 0.0, 4.0)
    assert len(found := beeps_in(sound, 16000)) == 1
    assert 2.4 < found[0] < 3.6  # it starts at a keyframe, at 4 s or up to a second before


def test_excerpt_of_a_short_video_is_that_video(tmp_path: Path) -> None:
    path = make_media(tmp_path / "short.mp4", duration_s=2)
    assert cut_excerpt(path, tmp_path / "piece.mkv", probed(path), 45.0) == path
    assert not (tmp_path / "piece.mkv").exists()


def test_excerpt_of_what_is_no_video_is_refused(tmp_path: Path) -> None:
    path = make_media(tmp_path / "whole.mp4", duration_s=12)
    whole = probed(path)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(Undecodable):
        cut_excerpt(path, tmp_path / "piece.mkv", whole, 4.0)


def test_estimate_chooses_by_lot_and_always_the_same() -> None:
    ids = [f"video{n:06d}" for n in range(6000)]
    found = chosen(ids, SAMPLE)
    assert len(set(found)) == SAMPLE
    shuffled = ids[:]
    random.Random(1).shuffle(shuffled)
    assert chosen(shuffled, SAMPLE) == found
    assert chosen(ids[:5], SAMPLE) == sorted(ids[:5], key=chosen(ids[:5], 5).index)
    halves = [sum(i < "video003000" for i in chosen(ids, n)) for n in (100, 1000)]
    assert 30 < halves[0] < 70
    assert 420 < halves[1] < 580


def source(duration_s: float | None, outcome: str = "pending") -> Sampled:
    video = Video(video_id="a", url="a", location="/a", duration_s=duration_s)
    if outcome == "rejected":
        video = video.ended("rejected", "probe", "no_audio")
    return Sampled(video, False, 1000, duration_s)


LENGTHS = st.lists(st.floats(1.0, 1e4), min_size=1, max_size=12)


@given(LENGTHS, st.lists(st.tuples(st.floats(1, 100), st.floats(0, 50)), min_size=1, max_size=4))
def test_estimate_is_what_a_naive_sum_says(
    lengths_s: list[float], trials: list[tuple[float, float]]
) -> None:
    sample = [source(s) for s in lengths_s] + [source(5.0, "rejected")]
    tries = [
        Trial(m, {"glance": c}, kept_s=m / 2, encoded_s=m / 2, corpus_bytes=7) for m, c in trials
    ]
    found = Extrapolation(sample, tries, tries, 1000, keeps_sources=True)
    hours_s = 1000 * math.fsum(lengths_s) / (len(lengths_s) + 1)
    assert found.source_s is not None
    assert found.source_s[0] == pytest.approx(hours_s)
    per_s = math.fsum(c for _, c in trials) / math.fsum(m for m, _ in trials)
    cost = found.cost_s("glance")
    assert cost is not None
    assert cost[0] == pytest.approx(hours_s * per_s)
    assert found.kept_s is not None
    assert found.kept_s[0] == pytest.approx(hours_s / 2)
    assert found.corpus_bytes is not None
    halves_s = math.fsum(m for m, _ in trials) / 2
    assert found.corpus_bytes[0] == pytest.approx(hours_s / 2 * 7 * len(trials) / halves_s)
    spread = found.spread(found.source_s)
    assert spread is not None
    if len(sample) < 3:
        assert spread.low is None
    else:
        assert spread.low is not None
        assert spread.high is not None
        assert spread.low <= spread.value <= spread.high
    of_cost = found.spread(cost, "trials")
    assert of_cost is not None
    assert (of_cost.low is None) == (len(sample) < 3 or len(trials) < 3)


def test_estimate_spread_is_that_of_the_mean_of_the_sample() -> None:
    lengths_s = [100.0 * k for k in range(1, 13)]
    found = Extrapolation([source(s) for s in lengths_s], [], [], 10**6, False)
    spread = found.spread(found.source_s)
    assert spread is not None
    mean = sum(lengths_s) / 12
    deviation = math.sqrt(sum((s - mean) ** 2 for s in lengths_s) / 12 / 12)
    # the mean of a dozen is nearly normal: 10 % lie 1.28 deviations below
    assert spread.low == pytest.approx(1e6 * (mean - 1.28 * deviation), rel=0.05)
    assert spread.high == pytest.approx(1e6 * (mean + 1.28 * deviation), rel=0.05)


def test_estimate_warns_of_a_disk_that_is_too_small(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [Store(str(tmp_path / "not" / "there")), Store(str(tmp_path / "x.work"))]
    sizes = [Spread(6e9, 5e9, 9e9), Spread(2e9)]
    free = type("Usage", (), {"free": 10.5e9})
    monkeypatch.setattr(estimate_disk.shutil, "disk_usage", lambda _: free)
    found = list(estimate_disk.shortages(list(zip(stores, sizes, strict=True))))
    assert found == [f"{tmp_path} has 10 GB free, and up to 11 GB would be needed there"]
    free.free = 11.5e9  # type: ignore[attr-defined]
    assert list(estimate_disk.shortages(list(zip(stores, sizes, strict=True)))) == []
    assert list(estimate_disk.shortages([(Store("memory://x"), Spread(1e18))])) == []


def test_estimate_looks_for_a_model_without_fetching_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[Any] = []

    def download(name: str, local_files_only: bool = False) -> str:
        asked_for.append((name, local_files_only))
        raise FileNotFoundError

    monkeypatch.setattr("faster_whisper.download_model", download)
    assert whisper.folder_here("small") is None
    assert asked_for == [("small", True)]
    sizes = {
        n: whisper.download_mb(n) for n in ("small", "large-v3-turbo", "x/faster-whisper-tiny.en")
    }
    assert sizes == {"small": 488, "large-v3-turbo": 1618, "x/faster-whisper-tiny.en": 78}
    assert whisper.download_mb(NOWHERE) is None


def test_estimate_words_numbers_for_people() -> None:
    assert [said_bytes(b) for b in (0, 999, 1e3, 1.25e9, 99e9, 5e15)] == [
        *("0 B", "999 B", "1.0 kB", "1.2 GB", "99 GB", "5000 TB"),
    ]
    assert [said_time(s) for s in (2, 59, 600, 3600 * 5.5, 86400 * 3 + 7200)] == [
        *("2.0 s", "59 s", "10 min", "5 h 30 min", "3 d 2 h"),
    ]


# What looks at the sources, in a process of its own. The first argument is a folder.


def kills(folder: Path, *_: object) -> None:
    started = subprocess.Popen(["sleep", "600"])
    (folder / "started").write_text(str(started.pid))
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs(folder: Path, *_: object) -> None:
    (folder / "part").write_text(str(os.getpid()))
    (folder / "part").rename(folder / "hangs")
    signal.pause()


def refuses(*_: object) -> None:
    raise StageError("http_404", "not there")


def breaks(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def apart_with(folder: Path) -> Estimate:
    places = Store(str(folder / "c.work")), Store(str(folder / "c"))
    given: Any = folder
    return apart.estimate_apart(given, Config(sources=("a",)), *places, 1, 1, True)


def gone(pid: int) -> bool:
    until = time.monotonic() + 30.0
    while processes._born(pid) is not None:
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_estimate_apart_survives_what_kills_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "_estimate", kills)
    with pytest.raises(DataError, match="killed the process that looked at it; a build survives"):
        apart_with(tmp_path)
    assert gone(int((tmp_path / "started").read_text()))
    assert multiprocessing.active_children() == []


def test_estimate_apart_ends_what_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_estimate", hangs)
    monkeypatch.setattr(apart, "LIMIT_S", 0.5)
    with pytest.raises(DataError, match=r"no estimate after 0 s: .* keeps .* busy"):
        apart_with(tmp_path)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(("work", "error"), [(refuses, StageError), (breaks, OSError)])
def test_estimate_apart_raises_what_the_estimate_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Any, error: type[Exception]
) -> None:
    monkeypatch.setattr(apart, "_estimate", work)
    with pytest.raises(error) as raised:
        apart_with(tmp_path)
    assert raised.value.__dict__ == {"kind": "http_404", "detail": "not there"} or (
        getattr(raised.value, "errno", None) == errno.ENOSPC
    )


ASKS = """
import sys
from pathlib import Path
from tests import test_estimate as t
t.apart._estimate = t.hangs
t.apart_with(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_estimate_apart_does_not_outlive_who_asked(tmp_path: Path, how: signal.Signals) -> None:
    root = Path(__file__).parents[1]
    asks = subprocess.Popen([sys.executable, "-c", ASKS, str(tmp_path)], cwd=root)
    until = time.monotonic() + 60.0
    while not (tmp_path / "hangs").exists():
        assert time.monotonic() < until
        assert asks.poll() is None
        time.sleep(0.02)
    asks.send_signal(how)
    assert asks.wait(30) == -how
    assert gone(int((tmp_path / "hangs").read_text()))
