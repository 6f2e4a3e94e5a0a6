import dataclasses
import errno
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.pipeline import disk
from reelscript.pipeline.errors import DamagedArtefact, DataError, SourceGone, StorageError
from reelscript.pipeline.faults import FOR_EVER, Fault, faults
from reelscript.pipeline.processes import this_process
from reelscript.pipeline.store import Store, sha256_of_file
from reelscript.pipeline.testing import videos
from reelscript.pipeline.workspace import Workspace

NONE = "objects/00/none"


@pytest.fixture(params=["file", "path", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "s3":
        yield Store(request.getfixturevalue("s3").url("work"))
    elif request.param == "memory":
        url = f"memory://{uuid.uuid4().hex}/work"
        yield Store(url)
        fs, root = fsspec.filesystem("memory"), "/" + url.split("/")[2]
        if fs.exists(root):
            fs.rm(root, recursive=True)
    else:
        yield Store(f"file://{tmp_path}/work/" if request.param == "file" else f"{tmp_path}/work")


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "work"))


def files_below(store: Store) -> list[str]:
    """Every file that really lies in a local store, part files too."""
    assert store.local_root is not None
    return sorted(str(p.relative_to(store.local_root)) for p in store.local_root.rglob("*.*"))


def test_store_gives_back_what_was_put(store: Store, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"from a file")
    (tmp_path / "work").mkdir(exist_ok=True)
    store.put("a/b/c.json", b"{}")
    store.put("a/b/c.json", b"")
    store.put_file("a/b/d", tmp_path / "source")
    assert store.get("a/b/c.json") == b""
    assert store.get("a/b/d") == b"from a file"
    assert (store.size("a/b/c.json"), store.size("a/b/d")) == (0, 11)
    assert store.exists("a/b/d")
    with store.open_read("a/b/d") as file:
        assert file.read(4) == b"from"
        assert file.seek(-4, os.SEEK_END) == 7
        assert file.read() == b"file"
        assert file.seek(2) == file.tell() == 2
        assert file.seek(3, os.SEEK_CUR) == 5
        assert file.read(1) == b"a"
    store.fetch("a/b/d", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"from a file"
    with pytest.raises(FileNotFoundError):
        store.fetch(NONE, tmp_path / "none")


def test_store_puts_if_absent_only_once(store: Store) -> None:
    assert store.put_if_absent("x/y", b"first")
    assert not store.put_if_absent("x/y", b"other")
    assert store.get("x/y") == b"first"


def test_store_puts_in_place_of_one_that_is_damaged(store: Store) -> None:
    for damaged in (b"", b"fir", b"firstfirst"):
        store.put("x/y", damaged)
        assert store.put_if_absent("x/y", b"first")
        assert store.get("x/y") == b"first"


def test_store_creates_only_once(store: Store) -> None:
    assert store.create("runs/1", b"mine")
    assert not store.create("runs/1", b"yours")
    assert store.create("runs/1", b"mine") == (store.local_root is None)  # perhaps an answer lost
    assert store.get("runs/1") == b"mine"


def test_store_does_not_take_a_file_in_the_way_for_a_name_that_is_taken(local: Store) -> None:
    local.put("runs", b"a file")
    with pytest.raises(StorageError, match=r"cannot write runs/1 in .*: a file is in its way"):
        local.create("runs/1", b"mine")


def test_store_creates_once_among_many(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: store.create("runs/1", b"%d" % n), range(40)))
    if store.url.startswith("memory"):  # it looks and then writes; buckets and disks do not
        assert True in won
    else:
        assert won.count(True) == 1
        assert store.get("runs/1") == b"%d" % won.index(True)


def test_store_copies_and_moves(store: Store) -> None:
    store.put("a/1", b"one")
    store.put("b/2", b"two")
    store.copy("a/1", "c/d/3")
    store.copy("a/1", "b/2")
    assert [store.get(n) for n in ("a/1", "b/2", "c/d/3")] == [b"one"] * 3
    store.put("a/1", b"new")
    assert store.get("c/d/3") == b"one"  # two names of one file, but files are replaced
    store.move("a/1", "c/d/3")
    assert list(store.names("c")) == ["c/d/3"]
    assert store.get("c/d/3") == b"new"
    assert not store.exists("a/1")
    for act in (store.copy, store.move):
        with pytest.raises(FileNotFoundError):
            act("a/1", "a/2")
    assert not store.exists("a/2")


def test_store_tells_how_much_it_holds(store: Store) -> None:
    assert store.total_bytes() == 0
    store.put("a/b/1", b"12345")
    store.put("2", b"678")
    assert store.total_bytes() == 8
    assert (store.size_or_none("2"), store.size_or_none("3")) == (3, None)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_store_creates_and_copies_where_there_are_no_hard_links(
    local: Store, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    assert local.create("a/1.x", b"mine")
    assert not local.create("a/1.x", b"yours")
    local.copy("a/1.x", "a/2.x")
    assert files_below(local) == ["a/1.x", "a/2.x"]
    assert local.get("a/2.x") == b"mine"
    with pytest.raises(FileNotFoundError):
        local.copy("a/3.x", "a/4.x")


def test_store_creates_nothing_where_the_name_was_taken_and_the_rest_failed(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StorageError):
        local.create("a/1.x", b"mine")
    assert files_below(local) == []


def test_store_writes_below_a_folder_on_another_disk(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`objects` may be a link to a larger disk: a part file in the root cannot be renamed there."""
    really = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        really(source, target)

    monkeypatch.setattr(os, "replace", replace)
    local.put("objects/1.x", b"one")
    local.copy("objects/1.x", "objects/2.x")
    assert files_below(local) == ["objects/1.x", "objects/2.x"]
    assert local.get("objects/2.x") == b"one"


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 10), (3, 4), (9, 1), (8, 100), (0, 1), (4, 0), (0, 0), (10, 5)]
)
def test_store_reads_ranges_as_slices(store: Store, offset: int, size: int) -> None:
    data = bytes(range(10))
    store.put("r", data)
    assert store.get_range("r", offset, size) == data[offset : offset + size]


def test_store_lists_names_sorted_and_of_that_folder_only(store: Store) -> None:
    for name in ("ledger/b.x", "ledger/a/z.x", "ledger/B.x", "ledgers/n.x", "other.x", "ledger/ä"):
        store.put(name, b"")
    assert list(store.names("ledger")) == sorted(
        ["ledger/a/z.x", "ledger/b.x", "ledger/B.x", "ledger/ä"]
    )
    assert list(store.names("nothing")) == []
    assert list(store.names("ledger/nothing")) == []


def test_store_that_does_not_exist_yet_is_empty(store: Store) -> None:
    assert list(store.names("ledger")) == []
    assert not store.exists("ledger/a")
    store.delete("ledger/a")


def test_store_without_an_object_says_so(store: Store) -> None:
    store.put("here", b"1")
    with pytest.raises(FileNotFoundError):
        store.get(NONE)
    with pytest.raises(FileNotFoundError):
        store.get_range(NONE, 0, 1)


def test_store_deletes_once_and_again(store: Store) -> None:
    store.put("d/e", b"1")
    store.delete("d/e")
    store.delete("d/e")
    assert not store.exists("d/e")
    assert list(store.names("d")) == []


ESCAPING = ["", "/", "/etc/passwd", "..", "../x", "a/../b", "a/..", "./a", "a/.", "a//b", "a/"]
ESCAPING += ["a\\b", "..\\x", "a\0b", "/a", "//host/share"]


@pytest.mark.parametrize("name", ESCAPING)
def test_store_refuses_names_that_escape(store: Store, name: str, tmp_path: Path) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: store.put(name, b"x"),
        lambda: store.put_if_absent(name, b"x"),
        lambda: store.put_file(name, Path(__file__)),
        lambda: store.get(name),
        lambda: store.get_range(name, 0, 1),
        lambda: store.open_read(name),
        lambda: store.fetch(name, tmp_path / "x"),
        lambda: store.exists(name),
        lambda: store.size(name),
        lambda: store.delete(name),
        lambda: store.create(name, b"x"),
        lambda: store.copy(name, "x"),
        lambda: store.copy("x", name),
        lambda: store.move(name, "x"),
        lambda: store.move("x", name),
        lambda: list(store.names(name)),
    ]
    for attempt in attempts:
        with pytest.raises(DataError, match="no name for an object"):
            attempt()
    assert list(tmp_path.rglob("*")) == []


@given(name=st.text(alphabet="./\\\0a ~", max_size=8))
def test_store_name_is_refused_or_stays_inside(name: str) -> None:
    """Against os.path.normpath, which knows where a name leads."""
    store = Store("/root/folder")
    try:
        path = store._path(name)
    except DataError:
        return
    assert os.path.normpath(path) == path
    assert path.startswith("/root/folder/")


def test_store_leaves_nothing_of_a_put_that_failed(local: Store) -> None:
    local.put("a/old.x", b"old")
    full = Fault("put", errno=errno.ENOSPC, part=0.5, times=FOR_EVER)
    with faults(full):
        for name in ("a/old.x", "a/new.x"):
            with pytest.raises(StorageError, match=r"cannot write a/.*: the disk is full"):
                local.put(name, b"halves")
            with pytest.raises(StorageError, match=r"the disk is full .* bytes are free\)"):
                local.put_file(name, Path(__file__))
    assert files_below(local) == ["a/old.x"]
    assert local.get("a/old.x") == b"old"


def test_store_does_not_list_parts_of_a_writer_that_was_killed(local: Store) -> None:
    local.put("a/whole.x", b"1")
    (Path(local.url) / "a" / f".part-{uuid.uuid4().hex}").write_bytes(b"hal")
    assert list(local.names("a")) == ["a/whole.x"]


def test_store_sweeps_what_killed_writers_left(local: Store, tmp_path: Path) -> None:
    local.put("a/whole.x", b"1")
    root = tmp_path / "work"
    killed = f"""
import os, signal
from reelscript.pipeline.disk import Disk
from reelscript.pipeline.store import Store
Disk.write = lambda self, part, pieces: (part.touch(), os.kill(os.getpid(), signal.SIGKILL))
Store({str(root)!r}).put("a/half.x", b"1")
"""
    assert subprocess.run([sys.executable, "-c", killed]).returncode == -signal.SIGKILL
    (of_dead,) = root.glob(".part-*")
    machine, pid, born, name = of_dead.name.removeprefix(".part-").split("-")
    me = this_process()
    stay = (
        f".part-{machine}-{me['pid']}-{me['born']}-{name}",
        f".part-{'0' * 8}-{pid}-{born}-{name}",  # of another machine
        f".part-{machine}-{pid}--{name}",  # its birth is not known
        f".part-{socket.gethostname()}-{me['pid']}-{name}",
        f".part-{machine}-x-{born}-{name}",
    )
    used_again = root / f".part-{machine}-{me['pid']}-{born}-{name}"
    for part in (*stay, used_again.name):
        (root / part).write_bytes(b"hal")
    local.sweep()
    assert sorted(p.name for p in root.glob(".part-*")) == sorted(stay)
    assert list(local.names("a")) == ["a/whole.x"]
    assert local.get("a/whole.x") == b"1"
    Store(str(tmp_path / "nowhere")).sweep()


def test_store_keeps_the_parts_of_a_container_of_the_same_name_and_pids(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = this_process()
    dead = {**me, "pid": 1 << 22, "born": "1"}
    monkeypatch.setattr(disk, "this_process", lambda: {**dead, "machine": f"{me['machine']} 2"})
    disk._writer.cache_clear()
    theirs = Path(local.url) / f"{disk.PART}{'-'.join(disk._writer(dead['pid']))}-aa"
    monkeypatch.setattr(disk, "this_process", lambda: dead)
    disk._writer.cache_clear()
    ours = Path(local.url) / f"{disk.PART}{'-'.join(disk._writer(dead['pid']))}-aa"
    local.put("x", b"1")
    for part in (theirs, ours):
        part.touch()
    local.sweep()
    disk._writer.cache_clear()
    assert (theirs.exists(), ours.exists()) == (True, False)


def test_store_is_imported_without_psutil() -> None:
    code = "import sys, reelscript.pipeline.store; sys.exit('psutil' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_store_that_is_durable_syncs_the_file_before_and_the_folders_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    root = tmp_path / "work"

    def named(path: Path) -> str:
        return str(path.relative_to(tmp_path)).split(".part-")[0]

    fsync, place = os.fsync, os.replace
    monkeypatch.setattr(
        os,
        "fsync",
        lambda f: (done.append(named(Path(f"/proc/self/fd/{f}").readlink())), fsync(f)),
    )
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), place(a, b)))
    Store(str(root), durable=True).put("a/b", b"1")
    assert done == [".", "work", "work/", "replace", "work/a"]
    done.clear()
    Store(str(root), durable=True).move("a/b", "c")
    assert done == ["replace", "work", "work/a"]
    done.clear()
    Store(str(root)).put("a/b", b"1")
    assert done == ["replace"]


def test_store_travels_to_other_processes_unconnected(store: Store) -> None:
    import pickle

    store.put("p", b"1")
    again = pickle.loads(pickle.dumps(store))
    assert again == store
    assert again.get("p") == b"1"


def test_store_hashes_files_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert sha256_of_file(tmp_path / "f") == known


# The workspace: artefacts named by their content.


def test_workspace_names_artefacts_by_content(store: Store, tmp_path: Path) -> None:
    workspace = Workspace(store, tmp_path / "scratch")
    first, second = workspace.put(b"abc"), workspace.put(b"abc")
    assert first == second
    assert first.startswith("ba7816bf")
    assert workspace.get(first) == b"abc"
    assert workspace.has(first)
    assert not workspace.has("0" * 64)
    with pytest.raises(DamagedArtefact, match="is damaged or gone"):
        workspace.get("0" * 64)


def test_workspace_finds_a_damaged_artefact(store: Store, tmp_path: Path) -> None:
    workspace = Workspace(store, tmp_path / "scratch")
    name = workspace.put(b"what was heard")
    for damaged in (b"what was herd!", b"what was hear", b""):
        store.put(f"objects/{name[:2]}/{name}", damaged)
        with pytest.raises(DamagedArtefact, match=f"{name}.* is damaged or gone"):
            workspace.get(name)
        assert list(store.names("objects")) == []
        assert not workspace.has(name)


def test_workspace_remembers_results_by_kind_and_key(store: Store, tmp_path: Path) -> None:
    workspace = Workspace(store, tmp_path / "scratch")
    assert workspace.remembered("probe", "k" * 64) is None
    workspace.remember("probe", "k" * 64, {"facts": {"title": "ä\u2028", "fps": 29.97}})
    assert workspace.remembered("probe", "k" * 64) == {"facts": {"title": "ä\u2028", "fps": 29.97}}
    assert workspace.remembered("glance", "k" * 64) is None


def test_workspace_takes_an_empty_artefact_for_absent(store: Store, tmp_path: Path) -> None:
    workspace = Workspace(store, tmp_path / "scratch")
    name, empty = workspace.put(b"what was heard"), workspace.put(b"")
    store.put(f"objects/{name[:2]}/{name}", b"")
    assert not workspace.has(name)
    assert workspace.has(empty)
    assert workspace.get(empty) == b""


def test_workspace_puts_in_place_of_a_damaged_artefact(store: Store, tmp_path: Path) -> None:
    workspace = Workspace(store, tmp_path / "scratch")
    (tmp_path / "f").write_bytes(b"what was heard")
    name = workspace.put(b"what was heard")
    for damaged in (b"", b"what", b"what was heard, and more"):
        store.put(f"objects/{name[:2]}/{name}", damaged)
        assert workspace.put(b"what was heard") == name
        assert workspace.get(name) == b"what was heard"
        store.put(f"objects/{name[:2]}/{name}", damaged)
        workspace.put_file(tmp_path / "f", name)
        assert workspace.get(name) == b"what was heard"


@given(acts=st.lists(st.tuples(st.sampled_from(["put", "file", "forget"]), st.integers(0, 3))))
def test_workspace_counts_what_it_stored(acts: list[tuple[str, int]]) -> None:
    """Against the sum over what is there."""
    store = Store(f"memory://{uuid.uuid4().hex}")
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(store, Path(folder))
        for act, size in acts:
            data = bytes(size)
            if act == "put":
                workspace.put(data)
            elif act == "file":
                (Path(folder) / "f").write_bytes(data)
                workspace.put_file(Path(folder) / "f", hashlib.sha256(data).hexdigest())
            else:
                workspace.forget(hashlib.sha256(data).hexdigest())
            assert workspace.stored_bytes == store.total_bytes()


def test_workspace_lets_go_of_a_stored_source_that_is_damaged(store: Store, tmp_path: Path) -> None:
    workspace = Workspace(store, tmp_path / "scratch")
    stored = dataclasses.replace(videos(1)[0], media=workspace.put(b"a film"))
    assert workspace.media(stored).read_bytes() == b"a film"
    for damaged in (b"", b"a fil", b"a firm"):
        store.put(f"objects/{stored.media[:2]}/{stored.media}", damaged)
        shutil.rmtree(tmp_path / "scratch", ignore_errors=True)
        fresh = Workspace(store, tmp_path / "scratch")
        with pytest.raises(SourceGone):
            fresh.media(stored)
        with pytest.raises(SourceGone):
            fresh.media(stored)
        fresh.put(b"a film")
        assert fresh.media(stored).read_bytes() == b"a film"


@pytest.mark.parametrize("damaged", [b"", b'{"facts": {', b"\xff\xfe\0", b"[]", b"null"])
def test_workspace_forgets_a_damaged_result(store: Store, tmp_path: Path, damaged: bytes) -> None:
    workspace = Workspace(store, tmp_path / "scratch")
    workspace.remember("probe", "k" * 64, {"facts": {}})
    (name,) = store.names("results")
    store.put(name, damaged)
    assert workspace.remembered("probe", "k" * 64) is None


def test_workspace_fetches_media_that_lies_elsewhere_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(f"memory://{uuid.uuid4().hex}")
    workspace = Workspace(store, tmp_path)
    stored = dataclasses.replace(videos(1)[0], media=workspace.put(b"a film"))
    first = workspace.media(stored)
    assert first.read_bytes() == b"a film"
    assert first.is_relative_to(tmp_path)
    monkeypatch.setattr(Store, "fetch", lambda *_: pytest.fail("fetched again"))
    assert workspace.media(stored) == first
    workspace.forget_scratch(stored)
    assert list(tmp_path.iterdir()) == []


def test_workspace_reads_media_in_place_where_it_can(tmp_path: Path) -> None:
    workspace = Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")
    (video,) = videos(1)
    assert workspace.media(video) == Path(video.location)
    stored = dataclasses.replace(video, media=workspace.put(b"a film"))
    assert workspace.media(stored).read_bytes() == b"a film"
    assert workspace.media(stored).is_relative_to(tmp_path / "work")
    assert not (tmp_path / "scratch").exists()
