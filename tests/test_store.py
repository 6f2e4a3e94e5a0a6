import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.pipeline.errors import DataError
from reelscript.pipeline.store import Store, sha256_of_file
from reelscript.pipeline.workspace import Workspace

NONE = "objects/00/none"


@pytest.fixture(params=["file", "path", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
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


def test_store_puts_if_absent_only_once(store: Store) -> None:
    store.put_if_absent("x/y", b"first")
    store.put_if_absent("x/y", b"second")
    assert store.get("x/y") == b"first"


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
        lambda: store.exists(name),
        lambda: store.size(name),
        lambda: store.delete(name),
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


def write_half(path: Path, data: bytes) -> int:
    with path.open("wb") as file:
        file.write(data[: len(data) // 2])
    raise OSError(errno.ENOSPC, "No space left on device")


def copy_half(source: Path, target: Path) -> None:
    write_half(target, source.read_bytes())


def test_store_leaves_nothing_of_a_put_that_failed(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.put("a/old.x", b"old")
    monkeypatch.setattr(Path, "write_bytes", write_half)
    monkeypatch.setattr(shutil, "copyfile", copy_half)
    for name in ("a/old.x", "a/new.x"):
        with pytest.raises(OSError, match="No space"):
            local.put(name, b"halves")
        with pytest.raises(OSError, match="No space"):
            local.put_file(name, Path(__file__))
    assert files_below(local) == ["a/old.x"]
    assert local.get("a/old.x") == b"old"


def test_store_does_not_list_parts_of_a_writer_that_was_killed(local: Store) -> None:
    local.put("a/whole.x", b"1")
    (Path(local.url) / "a" / f".part-{uuid.uuid4().hex}").write_bytes(b"hal")
    assert list(local.names("a")) == ["a/whole.x"]


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
    with pytest.raises(FileNotFoundError):
        workspace.get("0" * 64)


def test_workspace_finds_a_damaged_artefact(store: Store, tmp_path: Path) -> None:
    workspace = Workspace(store, tmp_path / "scratch")
    name = workspace.put(b"what was heard")
    for damaged in (b"what was herd!", b"what was hear", b""):
        store.put(f"objects/{name[:2]}/{name}", damaged)
        with pytest.raises(DataError, match=f"{name}.* is damaged"):
            workspace.get(name)


def test_workspace_remembers_results_by_kind_and_key(store: Store, tmp_path: Path) -> None:
    workspace = Workspace(store, tmp_path / "scratch")
    assert workspace.remembered("probe", "k" * 64) is None
    workspace.remember("probe", "k" * 64, {"facts": {"title": "ä\u2028", "fps": 29.97}})
    assert workspace.remembered("probe", "k" * 64) == {"facts": {"title": "ä\u2028", "fps": 29.97}}
    assert workspace.remembered("glance", "k" * 64) is None


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
    import dataclasses

    from reelscript.pipeline.testing import videos

    store = Store(f"memory://{uuid.uuid4().hex}")
    workspace = Workspace(store, tmp_path)
    stored = dataclasses.replace(videos(1)[0], media=workspace.put(b"a film"))
    first = workspace.media(stored)
    assert first.read_bytes() == b"a film"
    assert first.is_relative_to(tmp_path)
    monkeypatch.setattr(Store, "open_read", lambda *_: pytest.fail("fetched again"))
    assert workspace.media(stored) == first
    workspace.forget_scratch(stored)
    assert list(tmp_path.iterdir()) == []


def test_workspace_reads_media_in_place_where_it_can(tmp_path: Path) -> None:
    import dataclasses

    from reelscript.pipeline.testing import videos

    workspace = Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")
    (video,) = videos(1)
    assert workspace.media(video) == Path(video.location)
    stored = dataclasses.replace(video, media=workspace.put(b"a film"))
    assert workspace.media(stored).read_bytes() == b"a film"
    assert workspace.media(stored).is_relative_to(tmp_path / "work")
    assert not (tmp_path / "scratch").exists()
