"""Store, workspace and ledger over a store that fails at each of its operations in turn."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reelscript.pipeline import attempts
from reelscript.pipeline.errors import DamagedArtefact, StorageError
from reelscript.pipeline.faults import FOR_EVER, Crash, Fault, Plan, faults, faulty_url
from reelscript.pipeline.ledger import Ledger, Row
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import videos
from reelscript.pipeline.workspace import Workspace

VIDEOS = videos(3)
State = dict[str, object]


@pytest.fixture(params=["local", "faulty"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    if request.param == "local":
        return lambda: Store(str(tmp_path / uuid.uuid4().hex))
    return lambda: Store(faulty_url())


def build(store: Store) -> None:
    """What a build does to a work folder and a corpus, small: the same again goes on."""
    workspace = Workspace(store, Path("/nowhere"))
    with Ledger(store) as ledger:
        done = set(ledger.latest(["chain"])["video_id"].to_pylist())
        for n, video in enumerate(VIDEOS):
            if video.video_id not in done:
                voice = measured(workspace, n)
                ledger.add(Row("chain", dataclasses.replace(video, voice=voice), {"speech": 1.0}))
                ledger.flush()
        ledger.compact()
        voices = dict(zip(*ledger.latest(["voice"]).to_pydict().values(), strict=True))
    parts = []
    for n, video in enumerate(VIDEOS):  # the words of a video, made anew where they are damaged
        try:
            parts.append(workspace.get(voices[video.video_id]))
        except (DamagedArtefact, FileNotFoundError):
            parts.append(workspace.get(measured(workspace, n)))
    me = uuid.uuid4().bytes
    assert any(store.create(f"claims/{n}", me) for n in range(100))  # no number has two owners
    store.put("corpus/new.json", json.dumps([len(p) for p in parts]).encode())
    store.put("corpus/shard", b"".join(parts))
    store.copy("corpus/shard", "corpus/r1/shard")
    store.move("corpus/new.json", "corpus/dataset.json")
    store.delete("corpus/shard")


def measured(workspace: Workspace, n: int) -> str:
    key = hashlib.sha256(b"key %d" % n).hexdigest()
    found = workspace.remembered("speech", key)
    if found is None or not workspace.has(found["voice"]):
        found = {"voice": workspace.put(b"what is heard in %d" % n)}
        workspace.remember("speech", key, found)
    voice: str = found["voice"]
    return voice


def state(store: Store) -> State:
    """Everything that lies there and has one right form, and what the ledger says."""
    found: State = {
        name: store.get(name)
        for folder in ("objects", "results", "corpus")
        for name in store.names(folder)
    }
    rows = Ledger(store).latest().to_pylist()
    return found | {"rows": sorted(rows, key=lambda row: str(row["video_id"]))}


@pytest.fixture
def undisturbed(new_store: Callable[[], Store]) -> tuple[State, Plan]:
    store = new_store()
    with faults() as plan:
        build(store)
    return state(store), plan


def disturbed(store: Store, *plan: Fault) -> StorageError | Crash | None:
    """Builds under faults; returns how that ended."""
    try:
        with faults(*plan):
            build(store)
    except (StorageError, Crash) as end:
        return end
    return None


def assert_whole(store: Store, right: State) -> None:
    """Every object under a final name is one that an undisturbed build has, or had, whole."""
    for name in list(store.names("objects")):
        assert hashlib.sha256(store.get(name)).hexdigest() == name[-64:]
    for name in [*store.names("results"), *store.names("corpus")]:
        had = {"corpus/new.json": "corpus/dataset.json", "corpus/shard": "corpus/r1/shard"}
        assert store.get(name) == right[had.get(name, name)]
    for name in list(store.names("ledger")):
        if name.endswith(".parquet"):
            assert len(pq.read_table(io.BytesIO(store.get(name)))) > 0
        else:
            assert store.get(name).endswith(b"}\n")


FAULTS = {
    "full": Fault(errno=errno.ENOSPC, part=0.5, times=FOR_EVER),
    "quota": Fault(errno=errno.EDQUOT, part=0.0, times=FOR_EVER),
    "broken": Fault(errno=errno.EIO, part=0.9, times=FOR_EVER),
    "read_only": Fault(errno=errno.EROFS, times=FOR_EVER),
    "refused": Fault(errno=errno.EACCES),
    "unreadable": Fault("read", errno=errno.EIO, times=FOR_EVER),
    "forbidden": Fault("read", errno=errno.EACCES),
    "killed": Fault("any", crash=True),
    "killed_in_a_put": Fault("write", crash=True, part=0.5),
    "killed_before_the_name": Fault("write", crash=True, part=1.0),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_at_each_operation_then_the_same_again_makes_the_same(
    new_store: Callable[[], Store], undisturbed: tuple[State, Plan], kind: str
) -> None:
    right, plan = undisturbed
    count = plan.count(FAULTS[kind].operation)
    assert count >= 10
    for at in range(1, count + 1):
        store = new_store()
        end = disturbed(store, dataclasses.replace(FAULTS[kind], at=at))
        assert end is not None, at
        if isinstance(end, StorageError):
            assert str(end).isprintable()
            assert store.url in str(end)
        if store.local_root is not None:
            assert_whole(store, right)
        build(store)
        assert state(store) == right, at


PASSING = [(errno.ESTALE, "nothing"), (errno.EIO, "half"), (errno.ETIMEDOUT, "done")]


@pytest.mark.parametrize(("code", "how"), PASSING)
def test_faults_that_pass_change_nothing(
    new_store: Callable[[], Store], undisturbed: tuple[State, Plan], code: int, how: str
) -> None:
    """Also where all was done and only the answer was lost."""
    right, plan = undisturbed
    for at in range(1, plan.count() + 1):
        store = new_store()
        part = 0.5 if how == "half" else None
        fault = Fault("any", at=at, errno=code, part=part, done=how == "done")
        half_claim = how == "half" and plan.operations[at - 1][0] == "create"
        if half_claim and store.local_root is None:
            assert isinstance(disturbed(store, fault), StorageError)
            build(store)
        else:
            assert disturbed(store, fault) is None, plan.operations[at - 1]
        assert state(store) == right, plan.operations[at - 1]


@pytest.mark.parametrize("part", [0.0, 0.5])
def test_faults_a_half_claim_on_a_dumb_store_is_held_by_nobody(part: float) -> None:
    """And is an error: who took it for another's would try the next number, for ever."""
    store = Store(faulty_url())
    with faults(Fault("create", errno=errno.EIO, part=part)), pytest.raises(StorageError):
        store.create("runs/1", b"me")
    assert not store.create("runs/1", b"you")
    assert store.create("runs/2", b"you")


def test_faults_late_copies_of_what_is_put_once_change_nothing(
    new_store: Callable[[], Store], undisturbed: tuple[State, Plan]
) -> None:
    right, plan = undisturbed
    for folder in ("objects", "results", "ledger"):
        for at in range(1, sum(k == "put" and f"/{folder}/" in p for k, p in plan.operations) + 1):
            for again in (0, 1, 7, FOR_EVER):
                store = new_store()
                late = Fault("put", at=at, name=f"*/{folder}/*", again=again)
                assert disturbed(store, late) is None
                build(store)
                assert state(store) == right


def test_faults_are_waited_out_so_often_and_not_more(new_store: Callable[[], Store]) -> None:
    store = new_store()
    with faults(Fault("put", errno=errno.EIO, times=attempts.ATTEMPTS - 1)) as plan:
        store.put("a", b"1")
    assert plan.count("put") == attempts.ATTEMPTS
    with (
        faults(Fault("put", errno=errno.EIO, times=attempts.ATTEMPTS)) as plan,
        pytest.raises(StorageError, match=r"cannot write a in .*Input/output error"),
    ):
        store.put("a", b"2")
    assert plan.count("put") == attempts.ATTEMPTS
    assert store.get("a") == b"1"


LASTING = ["ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "ENAMETOOLONG", "ENOENT", "EEXIST"]


@pytest.mark.parametrize("code", LASTING)
def test_faults_that_last_are_not_waited_out(new_store: Callable[[], Store], code: str) -> None:
    store = new_store()
    with (
        faults(Fault("put", errno=getattr(errno, code), times=FOR_EVER)) as plan,
        pytest.raises(StorageError) as error,
    ):
        store.put("folder/a\x1b[31m\nname", b"1")
    assert plan.count("put") == 1
    assert str(error.value).isprintable()
    assert "write folder/a [31m name in " in str(error.value)
    full = code in ("ENOSPC", "EDQUOT")
    assert ("the disk is full" in str(error.value)) is full
    assert ("bytes are free" in str(error.value)) is (full and store.local_root is not None)


def test_faults_wait_a_little_between_attempts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)

    def broken() -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        attempts.patiently(broken)
    assert len(waits) == attempts.ATTEMPTS - 2  # the first is followed by the second at once
    assert all(0 <= wait <= attempts.MOST_WAIT_S for wait in waits)


def test_faults_of_reading_are_storage_errors_unless_it_is_not_there(
    new_store: Callable[[], Store],
) -> None:
    store = new_store()
    store.put("a/b", b"1")
    reads: list[Callable[[str], object]] = [
        store.get,
        lambda name: store.get_range(name, 0, 1),
        store.open_read,
        store.exists,
        store.size,
        lambda name: list(store.names(name)),
        lambda _: store.total_bytes(),
    ]
    for read in reads:
        for code in (errno.EIO, errno.EACCES, errno.ESTALE):
            broken = Fault("read", errno=code, times=FOR_EVER)
            with faults(broken), pytest.raises(StorageError, match=r"cannot (read|list) "):
                read("a/b")
    for read in (store.get, store.open_read, store.size):
        with pytest.raises(FileNotFoundError):
            read("a/c")
    if store.local_root is not None:
        with pytest.raises(NotADirectoryError):
            store.get("a/b/c")
        with pytest.raises(IsADirectoryError):
            store.get("a")
    assert not store.exists("a/b/c")
    store.delete("a/b/c")


def test_faults_of_a_listing_never_make_it_shorter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    for folder in "abc":
        store.put(f"ledger/{folder}/x", b"")
    scandir = os.scandir

    def broken(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("/b"):
            raise OSError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", broken)
    with pytest.raises(StorageError, match=r"cannot list ledger in .*: Permission denied"):
        list(store.names("ledger"))


def test_faults_of_the_source_are_not_those_of_the_store(
    new_store: Callable[[], Store], tmp_path: Path
) -> None:
    store = new_store()
    with pytest.raises(FileNotFoundError):
        store.put_file("a", tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        store.put_file("a", tmp_path)
    assert not store.exists("a")


def test_faults_in_the_middle_of_the_source_are_not_those_of_the_store(tmp_path: Path) -> None:
    store, broken = Store(str(tmp_path / "work")), Path("/proc/self/mem")
    if not broken.exists():
        pytest.skip("no file here that opens and cannot be read")
    with pytest.raises(OSError, match="Input/output error"):
        store.put_file("a", broken)
    assert not store.exists("a")
    assert list((tmp_path / "work").iterdir()) == []


def test_faults_of_clients_of_buckets_are_storage_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """They raise what they like: no credentials, a proxy that answers HTML."""
    store = Store(faulty_url())
    fs, _ = store._place

    class NoCredentials(Exception):
        pass

    def refuse(*_: object, **__: object) -> None:
        raise NoCredentials("Unable to locate\ncredentials")

    monkeypatch.setattr(fs, "pipe_file", refuse)
    with pytest.raises(StorageError, match=r"cannot write a in faulty://.*: Unable to locate cred"):
        store.put("a", b"1")


def test_faults_of_scratch_are_storage_errors(
    new_store: Callable[[], Store], tmp_path: Path
) -> None:
    (tmp_path / "scratch").write_bytes(b"a file, no folder")
    workspace = Workspace(new_store(), tmp_path / "scratch")
    with pytest.raises(StorageError, match="cannot make the folder"):
        workspace.scratch_of(VIDEOS[0])


def test_faults_a_storage_error_travels_between_processes(tmp_path: Path) -> None:
    (tmp_path / "work").write_bytes(b"a file, no folder")
    with pytest.raises(StorageError) as error:
        Store(str(tmp_path / "work")).put("a/b", b"1")
    again = pickle.loads(pickle.dumps(error.value))
    assert type(again) is StorageError
    assert str(again) == str(error.value)


def test_faults_a_slow_put_is_never_seen_half(tmp_path: Path) -> None:
    """Readers of a local store, while two writers take turns at one name."""
    store, size, stop = Store(str(tmp_path)), 1 << 20, threading.Event()
    whole = {bytes([c]) * size for c in b"ab"}

    def write(data: bytes) -> None:
        while not stop.is_set():
            store.put("x", data)

    with faults(Fault("put", times=FOR_EVER, slow_s=0.001)):
        threads = [threading.Thread(target=write, args=(data,)) for data in whole]
        for thread in threads:
            thread.start()
        seen = set()
        while len(seen) < 2:
            with contextlib.suppress(FileNotFoundError):
                seen.add(store.get("x"))
        stop.set()
        for thread in threads:
            thread.join()
    assert seen == whole


def test_faults_nothing_asks_the_wall_clock(
    tmp_path: Path, undisturbed: tuple[State, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor how old a file is: clocks jump, and differ between machines."""
    store = Store(str(tmp_path / "work"))
    monkeypatch.setattr(time, "time", lambda: pytest.fail("asked for the time"))
    monkeypatch.setattr(time, "time_ns", lambda: pytest.fail("asked for the time"))
    for times_s in (0.0, 4e9, 1.0):
        build(store)
        for file in (tmp_path / "work").rglob("*"):
            os.utime(file, (times_s, times_s))
    assert state(store) == undisturbed[0]


def test_faults_a_clock_that_jumps_changes_nothing(
    new_store: Callable[[], Store],
    undisturbed: tuple[State, Plan],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jumps = iter([4e9, 0.0, 1e9, -1.0, 2e9] * 10_000)
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    for at in range(1, 20, 3):
        store = new_store()
        disturbed(store, Fault(at=at, crash=True))
        build(store)
        assert state(store) == undisturbed[0]


def test_faults_a_store_that_works_does_not_import_what_waits(tmp_path: Path) -> None:
    code = (
        "import sys; from reelscript.pipeline.store import Store; s = Store(sys.argv[1]);"
        "s.put('a/b', b'1'); s.create('c', b''); list(s.names('a')); s.sweep();"
        "assert 'tenacity' not in sys.modules and 'unittest' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "work")], check=True)
