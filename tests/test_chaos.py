"""A build that is killed ends as one that is left alone; and the driver would see it if not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelscript.jobs.config import load_config
from reelscript.pipeline.engines.beam.stations import HARNESS
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from tests import poison
from tests.built import EXAMPLES, MODELS, needs_models
from tests.chaos import (
    ACTOR,
    OF_BUILDS,
    OF_WORKERS,
    Chaos,
    Run,
    _below,
    _is_actor,
    _is_worker,
    copied,
)
from tests.undisturbed import differences, faults_of_format, left_over

pytestmark = needs_models


def changes_nothing(engine: str, kills: int, demo_corpus: Path, folder: Path) -> None:
    """Against the build without poison, so that poison is seen to change nothing for others."""
    sources = copied([EXAMPLES], folder / "videos")
    reasons = poison.write_poison(sources)
    chaos = Chaos(sources, folder / "chaos" / "corpus", seed=3, most_s=3.0, engine=engine)
    chaos.build(kills)
    assert chaos.faults == []
    assert chaos.kills.total() == kills
    assert chaos.counts["transcribed"] == 2 <= chaos.counts["transcriptions begun"]
    assert differences(demo_corpus, chaos.out, reasons) == []
    assert faults_of_format(chaos.out) == []


@pytest.mark.slow
def test_chaos_changes_nothing(demo_corpus: Path, tmp_path: Path) -> None:
    changes_nothing("local", 6, demo_corpus, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("engine", ["ray", "beam-processes"])
def test_chaos_on_a_cluster_changes_nothing(demo_corpus: Path, tmp_path: Path, engine: str) -> None:
    changes_nothing(engine, 3, demo_corpus, tmp_path)


# The comparison: a copy of a corpus, spoilt in one place.


@pytest.fixture
def spoilt(demo_corpus: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(demo_corpus, tmp_path / "spoilt"))


def change(corpus: Path, table: str, url_or_key: str, **columns: Any) -> None:
    """Changes a row, in the table at the top and in that of the release."""
    for path in [corpus / f"{table}.parquet", corpus / "releases" / "r000" / f"{table}.parquet"]:
        found = pq.read_table(path)
        changed = [
            row | columns if url_or_key in (row.get("url"), row.get("key")) else row
            for row in found.to_pylist()
        ]
        assert changed != found.to_pylist()
        path.unlink()
        pq.write_table(pa.Table.from_pylist(changed, schema=found.schema), path)


def forget_tables(corpus: Path) -> None:
    """Makes readers take whatever tables there are."""
    for path in [corpus / "dataset.json", corpus / "releases" / "r000" / "dataset.json"]:
        said = json.loads(path.read_text())
        path.unlink()
        path.write_text(json.dumps(said | {"tables": {}}))


def test_differences_finds_none_between_equal_corpora(demo_corpus: Path, spoilt: Path) -> None:
    assert differences(demo_corpus, spoilt, {}) == []
    assert differences(demo_corpus, spoilt, {}, same_shards=False) == []


def test_differences_leaves_out_what_tells_of_the_run(demo_corpus: Path, spoilt: Path) -> None:
    change(spoilt, "videos", "garden.mp4", timings="{}")
    assert differences(demo_corpus, spoilt, {}) == []


def test_differences_finds_a_changed_row_and_names_it(demo_corpus: Path, spoilt: Path) -> None:
    change(spoilt, "videos", "garden.mp4", words=1)
    (fault,) = differences(demo_corpus, spoilt, {})
    assert "words of garden.mp4 is 1, not" in fault


def test_differences_finds_a_lost_row(demo_corpus: Path, spoilt: Path) -> None:
    table = pq.read_table(spoilt / "videos.parquet")
    (spoilt / "videos.parquet").unlink()
    pq.write_table(table.slice(1), spoilt / "videos.parquet")
    (fault,) = differences(demo_corpus, spoilt, {})
    assert f"sources are {table['url'][1:].to_pylist()}, not" in fault


def test_differences_finds_a_doubled_row(demo_corpus: Path, spoilt: Path) -> None:
    table = pq.read_table(spoilt / "videos.parquet")
    (spoilt / "videos.parquet").unlink()
    pq.write_table(pa.concat_tables([table, table.slice(1, 1)]), spoilt / "videos.parquet")
    (fault,) = differences(demo_corpus, spoilt, {})
    assert fault.count(table["url"][1].as_py()) == 3


def test_differences_finds_other_clips_and_samples(demo_corpus: Path, spoilt: Path) -> None:
    key = pq.read_table(spoilt / "samples.parquet")["key"][0].as_py()
    forget_tables(spoilt)
    change(spoilt, "samples", key, text="other")
    for same_shards in (True, False):
        found = differences(demo_corpus, spoilt, {}, same_shards)
        assert found == ["samples.parquet differs", "the samples differ"]


def test_differences_finds_a_missing_and_a_changed_shard(demo_corpus: Path, spoilt: Path) -> None:
    shard = next((spoilt / "shards").glob("*.tar"))
    shard.rename(shard.with_name("train-000099.tar"))
    found = differences(demo_corpus, spoilt, {})
    assert found[0] == "the shards differ"
    assert "cannot be read" in found[1]
    data = bytearray(shard.with_name("train-000099.tar").read_bytes())
    data[100] ^= 1  # in the header of a member
    shard.write_bytes(data)
    shard.with_name("train-000099.tar").unlink()
    assert differences(demo_corpus, spoilt, {}) == ["the shards differ"]


def test_differences_finds_an_innocent_failed(demo_corpus: Path, spoilt: Path) -> None:
    change(spoilt, "videos", "silent.mp4", outcome="failed", reason="crashed")
    found = differences(demo_corpus, spoilt, {})
    assert "failed are {'silent.mp4': 'crashed'}, expected {}" in found


def test_differences_finds_poison_that_did_not_fail_or_for_another_reason(
    demo_corpus: Path, spoilt: Path
) -> None:
    for reason in ("timed_out", "out_of_memory"):
        found = differences(demo_corpus, spoilt, {"poison_memory.mp4": "out_of_memory"})
        assert "expected {'poison_memory.mp4': 'out_of_memory'}" in found[0]
        row = {"outcome": "failed", "reason": reason, "url": "poison_memory.mp4"}
        if reason == "timed_out":
            change(spoilt, "videos", "silent.mp4", **row)


def test_samples_may_lie_elsewhere_only_where_releases_were_cut(
    demo_corpus: Path, spoilt: Path
) -> None:
    shard = next((spoilt / "shards").glob("*.tar"))
    other = shard.with_name("train-r001-000000.tar")
    with tarfile.open(shard) as old, tarfile.open(other, "w") as new:
        for member in reversed(old.getmembers()):
            new.addfile(member, old.extractfile(member))
    with tarfile.open(other) as new:
        offsets = {m.name: m.offset_data for m in new.getmembers()}
    shard.unlink()
    forget_tables(spoilt)
    for key in pq.read_table(spoilt / "samples.parquet")["key"].to_pylist():
        places = {f"{kind}_offset": offsets[f"{key}.{kind}"] for kind in ("mp4", "json", "txt")}
        change(spoilt, "samples", key, shard=other.name, **places)
    assert differences(demo_corpus, spoilt, {}, same_shards=False) == []
    assert "the shards differ" in differences(demo_corpus, spoilt, {})


def test_left_over_finds_scratch_part_files_and_tickets(tmp_path: Path) -> None:
    corpus, work = tmp_path / "corpus", tmp_path / "corpus.work"
    names = ["corpus/.part-host-1-2", "corpus/releases/new/train-000000.tar"]
    names += ["corpus.work/.part-host-1-2", "corpus.work/ledger/publishing/000001.json"]
    for name in [*names, "corpus/dataset.json", "corpus.work/ledger/runs/000001.json"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (work / "scratch-host-1-x").mkdir()
    names.append("corpus.work/scratch-host-1-x")
    assert sorted(left_over(corpus, work)) == sorted(f"{tmp_path / n} is left over" for n in names)


def test_left_over_finds_what_was_passed_on_and_all_but_one_run_on_a_node(tmp_path: Path) -> None:
    corpus, work, temporary = (tmp_path / name for name in ("corpus", "work", "temporary"))
    (temporary / "reelscript-0-a").mkdir(parents=True)
    (work / "passing" / "v").mkdir(parents=True)
    assert left_over(corpus, work, temporary) == []
    (temporary / "reelscript-0-b").mkdir()
    (work / "passing" / "v" / "sound.flac").touch()
    names = ["temporary/reelscript-0-a", "temporary/reelscript-0-b", "work/passing/v/sound.flac"]
    found = left_over(corpus, work, temporary)
    assert sorted(found) == [f"{tmp_path / name} is left over" for name in names]


# The driver: what it would see.


@pytest.fixture
def chaos(tmp_path: Path) -> Chaos:
    return Chaos(tmp_path / "videos", tmp_path / "chaos" / "corpus")


def stood(chaos: Chaos, key: str) -> Path:
    path = chaos.work / "results" / "transcribe" / key[:2] / f"{key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


def log(chaos: Chaos, line: str) -> None:
    with chaos.out.with_name("log").open("a") as file:
        file.write(f"{line}\n")


def test_chaos_lets_a_transcription_be_begun_again_that_was_not_finished(chaos: Chaos) -> None:
    log(chaos, "aa")
    chaos._look()
    log(chaos, "aa")
    stood(chaos, "aa")
    chaos._look()
    assert chaos.faults == []
    assert chaos.counts["transcriptions begun"] == 2


def test_chaos_sees_a_finished_transcription_that_is_begun_again(chaos: Chaos) -> None:
    stood(chaos, "aa")
    chaos._look()
    log(chaos, "aa")
    chaos._look()
    assert "begun again: ['aa']" in chaos.faults[0]


def test_chaos_sees_a_finished_transcription_that_is_written_again_or_lost(chaos: Chaos) -> None:
    path = stood(chaos, "aa")
    chaos._look()
    path.unlink()
    chaos._look()
    stood(chaos, "bb")
    chaos._look()
    other = path.with_name("other")
    other.write_text("{}")
    other.replace(stood(chaos, "bb"))
    chaos._look()
    assert len(chaos.faults) == 2
    assert all("written again, or gone" in fault for fault in chaos.faults)


def test_chaos_sees_a_corpus_that_cannot_be_read(chaos: Chaos, spoilt: Path) -> None:
    spoilt.rename(chaos.out)
    chaos._look()
    assert chaos.faults == []
    next((chaos.out / "shards").glob("*.tar")).unlink()
    chaos._look()
    assert "cannot be read" in chaos.faults[0]


def test_chaos_sees_a_process_that_is_left(chaos: Chaos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.MOST_END_S", 0.0)
    monkeypatch.setenv(poison.LOG, str(chaos.out.with_name("log")))
    orphan = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    chaos._after_death()
    assert f"pid={orphan.pid}" in chaos.faults[0]
    orphan.communicate(b"\n")
    assert chaos._processes() == []


def test_chaos_sees_how_a_run_ends(chaos: Chaos, monkeypatch: pytest.MonkeyPatch) -> None:
    run = chaos._start("status", "--nonsense")
    chaos._end(run, "nothing", 0, 60.0)
    assert "exit code 2, not 0" in chaos.faults.pop()
    run = chaos._start("status", "--help")
    chaos._end(run, "terminate", OF_BUILDS["terminate"][1], 60.0)
    assert chaos.faults == []  # it was through before


def test_chaos_kills_all_at_once(chaos: Chaos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(poison.LOG, str(chaos.out.with_name("log")))
    sleep = "import time; time.sleep(600)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sleep!r}])"
    process = subprocess.Popen([sys.executable, "-c", code])
    while not psutil.Process(process.pid).children():
        time.sleep(0.01)
    chaos._kill(Run(process, chaos.out), "machine")
    assert process.wait(60) == -signal.SIGKILL
    chaos._after_death()
    assert chaos.faults == []


def test_chaos_uses_each_mode_of_death_equally_often(chaos: Chaos) -> None:
    assert set(Counter(chaos._next_mode(True, True) for _ in range(70)).values()) == {10}


def test_chaos_goes_on_where_there_is_no_worker_or_actor_to_kill(chaos: Chaos) -> None:
    assert {chaos._next_mode(False, False) for _ in range(60)} == OF_BUILDS.keys()
    assert {chaos._next_mode(True, False) for _ in range(60)} == {*OF_BUILDS, *OF_WORKERS}
    assert {chaos._next_mode(True, True) for _ in range(60)} == {*OF_BUILDS, *OF_WORKERS, ACTOR}


def test_chaos_finds_workers_and_actors_at_any_depth(tmp_path: Path) -> None:
    """Under names that Ray and Beam give them; each of the processes is below the one before."""
    program = tmp_path / "below.py"
    program.write_text(
        "import os, subprocess, sys, time\n"
        "name, _, others = os.environ['NAMES'].partition(' ')\n"
        "os.environ['NAMES'] = others\n"
        "if name:\n"
        "    subprocess.run([name, __file__], executable=os.environ['PYTHON'])\n"
        "else:\n"
        "    time.sleep(600)\n"
    )
    names = ["raylet", "ray::IDLE", "ray::DashboardAgent", "ray::MapWorker", HARNESS, "spawn_main"]
    environment = {**os.environ, "PYTHON": sys.executable, "NAMES": " ".join(names)}
    top = subprocess.Popen([sys.executable, str(program)], env=environment)
    try:
        while not _below(top.pid, lambda command: command[0] == names[-1]):
            time.sleep(0.01)
        below = psutil.Process(top.pid).children(recursive=True)
        pids = {process.cmdline()[0]: process.pid for process in below}
        assert [p.pid for p in _below(top.pid, _is_worker)] == [pids["spawn_main"]]
        expected = {pids["ray::MapWorker"], pids[HARNESS]}
        assert {p.pid for p in _below(top.pid, _is_actor)} == expected
    finally:
        for process in [*psutil.Process(top.pid).children(recursive=True), top]:
            process.kill()
        top.wait()


# The poison.


def test_poison_changes_no_key_of_a_transcription() -> None:
    config = load_config(None, [], MODELS)
    (stage,) = (s for s in poison.poisoned(config).measuring() if s.name == "transcribe")
    video = Video(video_id="a", url="a.mp4", location="a.mp4", position=0, language="en")
    assert stage.key(video) == config.transcribe.key(video)


def test_poison_does_nothing_to_other_files(tmp_path: Path) -> None:
    workspace = Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")
    path = EXAMPLES / "garden.mp4"
    video = Video(video_id="a", url="garden.mp4", location=str(path), position=0)
    with poison.Decoder().open() as live:
        assert live(video, workspace) == video
