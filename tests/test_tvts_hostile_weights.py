"""Files of weights with code in them: it never runs, and what is beside it is read."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import pickletools
import shlex
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from reelscript.models.tvts import pickles
from reelscript.models.tvts.archives import WeightsError, read_archive
from tests.tvts_weights_made import same

ONE = {"weight": torch.arange(6.0).reshape(2, 3)}


def text(value: str) -> bytes:
    """Puts a string on the stack, in every protocol."""
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def system(command: str) -> bytes:
    return b"cposix\nsystem\n" + text(command) + b"\x85R"


def payloads(command: str) -> dict[str, bytes]:
    """Parts of pickles, each of which runs a command and leaves one object on the stack."""
    said, run = text(command), system(command)
    code = text(f"__import__('os').system({command!r})")
    mine = b"chostile_module\n"
    getattr_, imported = b"cbuiltins\ngetattr\n", b"cbuiltins\n__import__\n" + text("os") + b"\x85R"
    return {
        "call": run,
        "os": b"cos\nsystem\n" + said + b"\x85R",
        "python_2": b"c__builtin__\neval\n" + code + b"\x85R",
        "eval": b"cbuiltins\neval\n" + code + b"\x85R",
        "exec": b"cbuiltins\nexec\n" + code + b"\x85R",
        "inst": b"(" + said + b"iposix\nsystem\n",
        "obj": b"(cposix\nsystem\n" + said + b"o",
        "stack_global": b"\x8c\x05posix\x8c\x06system\x93" + said + b"\x85R",
        "getattr": getattr_ + imported + text("system") + b"\x86R" + said + b"\x85R",
        "called_object": b"cfunctools\npartial\ncposix\nsystem\n" + said + b"\x86R)R",
        "new": mine + b"New\n" + said + b"\x85\x81",
        "new_with_names": mine + b"New\n" + said + b"\x85}\x92",
        "state": mine + b"State\n)\x81" + said + b"b",
        "state_of_a_class": mine + b"State\n)\x81}" + text("x") + run + b"sb",
        "append": mine + b"State\n)\x81" + said + b"a",
        "extend": mine + b"State\n)\x81(" + said + b"e",
        "item": mine + b"State\n)\x81" + said + said + b"s",
        "add": mine + b"State\n)\x81(" + said + b"\x90",
        "key": b"}" + run + b"K\x01s",
        "hash": b"}" + mine + b"State\n)\x81K\x01s",
        "hash_in_a_tuple": b"}" + mine + b"State\n)\x81\x85K\x01s",
        "in_a_set": b"\x8f(" + mine + b"State\n)\x81\x90",
        "in_a_list": b"](" + run + b"e",
        "of_an_ordered_dict": b"ccollections\nOrderedDict\n" + run + b"\x85R",
        "of_a_tensor": b"ctorch._utils\n_rebuild_tensor_v2\n(N" + run + b"))tR",
        "of_a_storage": b"(" + text("storage") + run + b"tQ",
        "extension": b"\x82\xf0" + said + b"\x85R",
    }


NAMES = list(payloads(""))


@pytest.fixture
def sentinel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that every payload makes, if it runs."""
    import copyreg

    made = tmp_path / "made"

    def run(*_: Any) -> int:
        made.touch()
        return 1

    module = types.ModuleType("hostile_module")
    names = ("__setstate__", "append", "extend", "__setitem__", "add", "__hash__")
    module.State = type("State", (), dict.fromkeys(names, run))  # type: ignore[attr-defined]
    module.New = type("New", (), {"__new__": run})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hostile_module", module)
    monkeypatch.setitem(copyreg._inverted_registry, 0xF0, ("posix", "system"))  # type: ignore[attr-defined]
    return made


def zipped(fragment: bytes, body: bytes, file: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            is_pickle = name.endswith("data.pkl")
            new.writestr(name, whole(fragment, body) if is_pickle else old.read(name))
    return out.getvalue()


def whole(fragment: bytes, body: bytes) -> bytes:
    """A checkpoint: something hostile before, beside and after the state dict."""
    beside = text("config") + fragment + text("state_dict") + body + text("after") + fragment
    return b"\x80\x02}(" + beside + b"u."


def checkpoint(fragment: bytes, zip_: bool) -> bytes:
    file = io.BytesIO()
    torch.save(ONE, file, _use_new_zipfile_serialization=zip_)
    content = file.getvalue()
    if zip_:
        with zipfile.ZipFile(file) as archive:
            body = archive.read("archive/data.pkl")[2:-1]
        return zipped(fragment, body, content)
    file.seek(0)
    for _ in range(3):
        pickle.load(file)
    start = file.tell()
    for _ in pickletools.genops(file):
        pass
    end = file.tell()
    return content[:start] + whole(fragment, content[start + 2 : end - 1]) + content[end:]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_payloads_run_in_a_plain_pickle(name: str, sentinel: Path) -> None:
    command = f"touch {shlex.quote(os.fspath(sentinel))}"
    with contextlib.suppress(Exception):
        pickle.loads(b"\x80\x02" + payloads(command)[name] + b".")
    assert sentinel.exists()  # else the tests below show nothing


@pytest.mark.parametrize("zip_", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", NAMES)
def test_hostile_objects_beside_the_weights_do_not_run(
    name: str, zip_: bool, sentinel: Path, tmp_path: Path
) -> None:
    command = f"touch {shlex.quote(os.fspath(sentinel))}"
    file = tmp_path / "weights.pth"
    file.write_bytes(checkpoint(payloads(command)[name], zip_))
    assert same(read_archive(file).state, ONE)
    assert not sentinel.exists()


@pytest.mark.parametrize("name", NAMES)
def test_hostile_objects_as_weights_do_not_run(name: str, sentinel: Path, tmp_path: Path) -> None:
    command = f"touch {shlex.quote(os.fspath(sentinel))}"
    fragment = payloads(command)[name]
    file = tmp_path / "weights.pth"
    for content in (
        b"\x80\x02" + fragment + b".",
        b"\x80\x02}" + text("weight") + fragment + b"s.",
        b"\x80\x02}" + text("state_dict") + fragment + b"s.",
        b"\x80\x02c__torch__\nModule\n)\x81}" + text("weight") + fragment + b"sb.",
    ):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a/data.pkl", content)
        with pytest.raises(WeightsError):
            read_archive(file)
        assert not sentinel.exists()


def test_hostile_pickle_in_an_unknown_place_does_not_run(sentinel: Path, tmp_path: Path) -> None:
    command = f"touch {shlex.quote(os.fspath(sentinel))}"
    run = b"\x80\x02" + system(command) + b"."
    file = tmp_path / "weights.pth"
    file.write_bytes(run)
    with pytest.raises(WeightsError, match=r"torch\.save has not written"):
        read_archive(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/constants.pkl", run)
        archive.writestr("a/code/__torch__.py", "import os; os.system('" + command + "')")
        archive.writestr("a/data.pkl", b"\x80\x02c__torch__\nModule\n)\x81}b.")
    with pytest.raises(WeightsError, match="no state dict"):
        read_archive(file)
    assert not sentinel.exists()


def test_hostile_nesting_neither_crashes_nor_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = b")" + b"\x85" * 300_000  # a tuple in a tuple in a tuple; its hash overflows the stack
    file = tmp_path / "weights.pth"
    file.write_bytes(checkpoint(b"}" + deep + b"K\x01s", zip_=False))
    assert same(read_archive(file).state, ONE)
    monkeypatch.setattr(pickles, "OPERATIONS", 1000)
    pairs = b"](" + (text("a") + b"K\x01\x86") * 100 + b"eq\x01"
    again = b"ccollections\nOrderedDict\nh\x01\x85R0" * 20
    file.write_bytes(checkpoint(pairs + again, True))
    with pytest.raises(WeightsError, match="more than 1000 items"):
        read_archive(file)
    file.write_bytes(checkpoint(b"N0" * 1000 + b"N", True))
    with pytest.raises(WeightsError, match="more than 1000 operations"):
        read_archive(file)


@pytest.mark.parametrize(("width", "said"), [(1, "64 deep"), (2, "100000 modules")])
def test_hostile_modules_that_hold_themselves_are_an_error(
    tmp_path: Path, width: int, said: str
) -> None:
    holds = b"".join(text(f"m{i}") + b"h\x01" for i in range(width))
    content = b"\x80\x02c__torch__\nModule\n)\x81q\x01}(" + holds + b"ub."
    with zipfile.ZipFile(tmp_path / "weights.pt", "w") as archive:
        archive.writestr("a/data.pkl", content)
    with pytest.raises(WeightsError, match=f"more than {said}"):
        read_archive(tmp_path / "weights.pt")
