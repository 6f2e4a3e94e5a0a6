"""Object stores: a real client against a server on this machine that can be told to fail."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest

from reelscript.jobs.sources.listing import list_sources
from reelscript.pipeline import attempts
from reelscript.pipeline.errors import ReelscriptError, StorageError, UsageError
from reelscript.pipeline.ledger import Ledger, Row
from reelscript.pipeline.numbered import claim, numbers
from reelscript.pipeline.run_records import runs
from reelscript.pipeline.runs import Run
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import videos
from reelscript.pipeline.turns import turn
from reelscript.reading.corpus import open_corpus
from tests.built import EXAMPLES, MODELS, ROOT, needs_models, rows, shard_bytes
from tests.s3_made import KEY_ID, SECRET, Bad, Bucket
from tests.undisturbed import faults_of_format

SETTINGS = [part for setting in MODELS for part in ("--set", setting)]
ONCE_MORE = ("AWS_MAX_ATTEMPTS", "1")  # of the client itself, which waits long before the last


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, s3: Bucket) -> Bucket:
    """A bucket of which the client tries once, and we without waiting."""
    from s3fs import S3FileSystem

    monkeypatch.setenv(*ONCE_MORE)
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    monkeypatch.setattr(attempts, "WAIT_S", 0.0)
    return s3


def another_client() -> Any:
    """As of a process on another machine: what it stores, ours learns only by asking."""
    return fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)


def puts(bucket: Bucket, part: str) -> list[str]:
    """Paths that were put, in order."""
    return [path for method, path in bucket.asked if method == "PUT" and part in path]


# What a client of a bucket does otherwise than a disk.


def test_s3_shows_what_others_store_after_a_listing(s3: Bucket) -> None:
    store, other = Store(s3.url("work")), another_client()
    store.put("runs/1", b"one")
    assert list(store.names("runs")) == ["runs/1"]
    other.pipe_file(f"{s3.name}/work/runs/2", b"two")
    assert store.get("runs/2") == b"two"
    assert store.size_or_none("runs/2") == 3
    other.rm_file(f"{s3.name}/work/runs/1")
    assert not store.exists("runs/1")
    assert list(store.names("runs")) == ["runs/2"]


def test_s3_creates_once_though_the_client_asks_again(s3: Bucket) -> None:
    """An answer is lost; the client asks again by itself and hears that the name is taken."""
    store = Store(s3.url("work"))
    s3.bad = [Bad("PUT", "ledger/runs/1", 1, 500, "InternalError", done=True)]
    assert store.create("ledger/runs/1", b"mine")
    assert not store.create("ledger/runs/1", b"yours")
    s3.bad = [Bad("PUT", "000001", 1, 500, "InternalError", done=True)]
    assert claim(store, "tickets", lambda n: b"ours %d" % n, gap=1) == 1
    assert numbers(store, "tickets") == [1]


@pytest.mark.parametrize("code", ["PreconditionFailed", "412"])
def test_s3_creates_where_the_server_does_not_name_the_condition(s3: Bucket, code: str) -> None:
    store = Store(s3.url("work"))
    store.put("a", b"theirs")
    s3.bad = [Bad("PUT", "/a", 1, 412, code, "At least one precondition did not hold")]
    assert not store.create("a", b"ours")


def test_s3_creates_after_a_conflict(s3: Bucket) -> None:
    store = Store(s3.url("work"))
    s3.bad = [Bad("PUT", "/a", 1, 409, "ConditionalRequestConflict")]
    assert store.create("a", b"ours")


FORKED = """
import os, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from reelscript.pipeline.store import Store

if __name__ == "__main__":
    store = Store(sys.argv[1])
    store.put("a", b"1")
    if not (child := os.fork()):
        os._exit(0 if store.get("a") == b"1" else 1)
    assert os.waitpid(child, 0)[1] == 0
    for method in ("spawn", "fork", "forkserver"):
        with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
            assert pool.submit(store.get, "a").result(timeout=60) == b"1"
    print(store.get("a"))
"""


def test_s3_is_reached_from_processes_that_were_forked_off_or_spawned(
    s3: Bucket, tmp_path: Path
) -> None:
    script = tmp_path / "forked.py"
    script.write_text(FORKED)
    command = [sys.executable, "-W", "ignore", str(script), s3.url("work")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("b'1'\n", "")


@pytest.mark.parametrize("how", ["AWS_ENDPOINT_URL_S3", "FSSPEC_S3_ENDPOINT_URL"])
def test_s3_is_found_by_what_users_set(s3: Bucket, how: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "AWS_ENDPOINT_URL"}
    code = (
        "import sys; from reelscript.pipeline.store import Store; Store(sys.argv[1]).put('a', b'')"
    )
    command = [sys.executable, "-c", code, s3.url("work")]
    subprocess.run(command, env={**environment, how: s3.endpoint}, check=True)
    assert Store(s3.url("work")).exists("a")


# What goes wrong, and what is said of it.

PASSING = {
    "slow down": (503, "SlowDown"),
    "unavailable": (503, "ServiceUnavailable"),
    "internal": (500, "InternalError"),
    "gateway": (502, "BadGateway"),
    "too many": (429, "TooManyRequests"),
}


def asked(store: Store, method: str) -> object:
    return {"PUT": lambda: store.put("x", b"1"), "GET": lambda: store.get("x")}.get(
        method, lambda: store.size("x")
    )()


@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD"])
@pytest.mark.parametrize("answer", PASSING.values(), ids=PASSING)
def test_s3_is_asked_again_and_at_last_the_build_stops(
    impatient: Bucket, method: str, answer: tuple[int, str]
) -> None:
    store = Store(impatient.url("work"))
    store.put("x", b"1")
    impatient.bad = [Bad(method, "/x", attempts.ATTEMPTS - 1, *answer)]
    asked(store, method)
    impatient.bad = [Bad(method, "/x", 1 << 30, *answer)]
    with pytest.raises(StorageError) as stopped:
        asked(store, method)
    is_one_sentence(stopped.value, "x in s3://")


def test_s3_that_breaks_off_while_an_object_is_read(
    impatient: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is opened nothing is read yet; the client raises what it likes then."""
    from botocore.exceptions import EndpointConnectionError
    from s3fs.core import S3File

    store = Store(impatient.url("work"))
    store.put("x", b"0123456789")
    impatient.bad = [Bad("GET", "/x", attempts.ATTEMPTS - 1, 503, "SlowDown")]
    with store.open_read("x") as file:
        assert (file.read(4), file.read()) == (b"0123", b"456789")
    impatient.bad = [Bad("GET", "/x", 1 << 30, 403, "AccessDenied", "Access Denied")]
    with store.open_read("x") as file, pytest.raises(StorageError) as stopped:
        file.read()
    is_one_sentence(stopped.value, "cannot read x in s3://")

    def gone(*_: object) -> bytes:
        raise EndpointConnectionError(endpoint_url="http://10.0.0.1")

    monkeypatch.setattr(S3File, "_fetch_range", gone)
    with store.open_read("x") as file, pytest.raises(StorageError) as stopped:
        file.read()
    is_one_sentence(stopped.value, "cannot read x in s3://")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("AccessDenied", "Access Denied"),
        ("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."),
        ("SignatureDoesNotMatch", "The request signature we calculated does not match"),
        ("ExpiredToken", "The provided token has expired."),
    ],
)
def test_s3_that_lets_us_not_in_says_so_at_once(impatient: Bucket, code: str, said: str) -> None:
    store = Store(impatient.url("work"))
    impatient.bad = [Bad(m, "/", 1 << 30, 403, code, said) for m in ("PUT", "GET", "HEAD")]
    for attempt in (
        lambda: store.put("x", b"1"),
        lambda: store.create("x", b"1"),
        lambda: store.get("x"),
        lambda: store.size("x"),
        lambda: list(store.names("ledger")),
        lambda: Ledger(store),
        lambda: open_corpus(store.url),
    ):
        impatient.asked.clear()
        with pytest.raises(StorageError) as stopped:
            attempt()
        is_one_sentence(stopped.value, "s3://")
        assert len(impatient.asked) == 1


def test_s3_bucket_that_is_not_there_is_named(impatient: Bucket) -> None:
    store = Store("s3://there-is-no-such-bucket/work")
    with pytest.raises(StorageError, match=r"there-is-no-such-bucket.*does not exist") as stopped:
        store.put("x", b"1")
    is_one_sentence(stopped.value, "s3://")


def test_s3_without_credentials_or_server_says_so(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed port of this machine stands for a server that is away."""
    monkeypatch.setenv(*ONCE_MORE)
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        stopped(s3, "Unable to locate credentials|partial credentials")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    stopped(s3, "Could not connect to the endpoint URL")


def stopped(s3: Bucket, why: str) -> None:
    """Builds, and expects that it is stopped by one sentence."""
    done = cli("build", str(EXAMPLES), "-o", s3.url("corpus"), "--quiet", *SETTINGS)
    assert done.returncode == 1
    assert re.fullmatch(f"reelscript: cannot .* s3://.*({why}).*\n", done.stderr)
    assert SECRET not in done.stderr + done.stdout


def cli(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reelscript.jobs.cli", *words]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False
    )


def test_s3_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", absent)
    with pytest.raises(UsageError, match="s3://no-library/x cannot be reached: Install s3fs"):
        Store("s3://no-library/x").exists("y")


def is_one_sentence(error: ReelscriptError, part: str) -> None:
    said = str(error)
    assert part in said
    assert "\n" not in said
    assert len(said) < 400
    assert SECRET not in said
    assert KEY_ID not in said


# Runs, turns and lists.


def test_s3_runs_are_told_of_and_take_turns(s3: Bucket) -> None:
    store = Store(s3.url("work"))
    with Run(store, "build", "c", dict) as run:
        with pytest.raises(UsageError, match="another build runs"), Run(store, "build", "c", dict):
            pass
        with turn(store, run) as still_mine:
            still_mine()
        with Ledger(store) as ledger:
            ledger.add(Row("chain", videos(1)[0]))
    assert [record.ended for record in runs(store)] == ["done", "refused"]
    assert len(Ledger(store).latest()) == 1
    assert list(store.names("ledger/publishing")) == []


@pytest.mark.parametrize("ending", ["txt", "csv", "jsonl"])
def test_s3_holds_lists_of_sources(s3: Bucket, ending: str) -> None:
    names = ["a.mp4", f"{s3.url('else')}/b.mp4", "https://example.org/c.mp4"]
    text = {
        "txt": "\n".join(names),
        "csv": "\n".join(["url", *names]),
        "jsonl": "\n".join(json.dumps({"url": name}) for name in names),
    }
    Store(s3.url("lists")).put(f"l.{ending}", text[ending].encode())
    found = [v.location for v in list_sources(s3.url(f"lists/l.{ending}"), Path("/"))]
    assert found == [s3.url("lists/a.mp4"), *names[1:]]


# A whole build.


@needs_models
@pytest.mark.slow
def test_s3_build_that_was_killed_is_finished_by_the_same_command(
    s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    for path in EXAMPLES.glob("*.mp4"):
        Store(s3.url("videos")).put_file(path.name, path)
    Store(s3.url("lists")).put("l.txt", f"{s3.url('videos')}/none.mp4\n".encode())
    command = ["build", s3.url("videos/*.mp4"), s3.url("lists/l.txt"), "--max-failed", "1"]
    command += ["--workers", "2", *SETTINGS, "-o"]
    said = [done(cli(*command, s3.url("calm")))]
    calm = s3.copied("calm", tmp_path)

    for part in ("/corpus.work/results/transcribe", "/corpus.work/results/encode", "/corpus/"):
        killed(command, s3, part)
    s3.asked.clear()
    said.append(done(cli(*command, s3.url("corpus"))))
    assert puts(s3, "/corpus/")[-1] == f"/{s3.name}/corpus/dataset.json"
    corpus = s3.copied("corpus", tmp_path)
    for table in ("videos", "clips", "samples"):
        assert rows(corpus, table) == rows(calm, table)
    assert shard_bytes(corpus) == shard_bytes(calm) != {}
    assert faults_of_format(corpus, calm) == []
    assert list((tmp_path / "tmp").glob("scratch-*")) == []

    said += [
        done(cli(*words))
        for words in (
            ("verify", s3.url("corpus")),
            ("status", s3.url("corpus")),
            ("show", s3.url("corpus"), rows(corpus, "samples")[0]["key"]),
        )
    ]
    assert "no fault found" in said[2]
    assert "published: release 0" in said[3]
    assert len(list(open_corpus(s3.url("corpus")).windows(k=2))) > 0
    written = [p.read_bytes() for p in corpus.rglob("*") if p.is_file()]
    work = Store(s3.url("corpus.work"))
    kept = [work.get(name) for name in work.names("ledger")]
    assert not any(SECRET.encode() in data for data in [*written, *kept, *map(str.encode, said)])


def done(run: subprocess.CompletedProcess[str]) -> str:
    assert (run.returncode, "Traceback" in run.stderr) == (0, False), run.stderr
    return run.stdout + run.stderr


def killed(command: list[str], s3: Bucket, part: str) -> None:
    """Builds until something of that name is put, and kills."""
    s3.asked.clear()
    words = [sys.executable, "-m", "reelscript.jobs.cli", *command, s3.url("corpus"), "--quiet"]
    build = subprocess.Popen(words, cwd=ROOT)
    until = time.monotonic() + 200
    while not puts(s3, part) and build.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    build.send_signal(signal.SIGKILL)
    assert build.wait() == -signal.SIGKILL
