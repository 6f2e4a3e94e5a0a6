"""Files of weights: every format that is read, and what damaged or other files say."""

from __future__ import annotations

import collections
import contextlib
import io
import logging
import os
import pathlib
import pickle
import re
import sys
import types
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from reelscript.models.tvts.archives import WeightsError, read_archive
from tests.tvts_weights_made import same


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(6, 4, generator=generator)
    return {
        "a.weight": base,
        "transposed": base.T,
        "row": base[2],
        "every_second": base[::2, 1:3],
        "half": base.half(),
        "brain": base.bfloat16(),
        "double": base.double(),
        "count": torch.tensor(7),
        "small": torch.arange(5, dtype=torch.int16),
        "bytes": torch.arange(3, dtype=torch.uint8),
        "yes": torch.tensor([True, False]),
        "none": torch.empty(0, 3),
        "parameter": nn.Parameter(base + 1),
    }


def saved(what: Any, zipped: bool = True, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    torch.save(what, file, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def held(content: bytes, folder: Path) -> dict[str, Tensor]:
    file = folder / "weights.pth"
    file.write_bytes(content)
    return read_archive(file).state


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("inside", [None, "state_dict", "model"])
def test_archive_of_torch_is_what_torch_reads(
    tmp_path: Path, protocol: int, zipped: bool, inside: str | None
) -> None:
    what = {inside: OrderedDict(tensors())} if inside else tensors()
    content = saved(what, zipped, protocol)
    found = held(content, tmp_path)
    assert same(found, tensors())
    assert not any(tensor.data_ptr() % tensor.element_size() for tensor in found.values())
    if protocol == 2:
        oracle = torch.load(io.BytesIO(content), weights_only=True)
        assert same(found, oracle[inside] if inside else oracle)
    assert {n: t.dtype for n, t in found.items()} == {n: t.dtype for n, t in tensors().items()}
    assert {n: t.stride() for n, t in found.items()} == {
        n: t.stride() for n, t in tensors().items()
    }


def test_archive_of_safetensors_is_what_was_saved(tmp_path: Path) -> None:
    state = {name: tensor.detach().contiguous().clone() for name, tensor in tensors().items()}
    save_file(state, tmp_path / "weights.bin", {"format": "pt", "who": "me"})
    found = read_archive(tmp_path / "weights.bin")
    assert same(found.state, state)
    assert found.metadata == {"format": "pt", "who": "me"}


@pytest.mark.parametrize("zipped", [True, False])
def test_archive_is_not_changed_by_writing_to_its_tensors(tmp_path: Path, zipped: bool) -> None:
    content = saved(tensors(), zipped)
    held(content, tmp_path)["a.weight"].fill_(3)
    assert (tmp_path / "weights.pth").read_bytes() == content


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(6, 2))
        self.norm = nn.LayerNorm(2)
        self.heads = 2

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x @ self.in_proj_weight.T @ self.in_proj_weight)


class Archived(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.randn(2))
        self.register_buffer("input_resolution", torch.tensor(24))
        self.words = ["of", "a", "list"]
        self.blocks = nn.Sequential(Attention(), Attention())
        self.shared = self.blocks[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(self.blocks(x + self.class_embedding))


@pytest.mark.parametrize("traced", [False, True])
def test_archive_of_torchscript_is_read_without_running_it(
    tmp_path: Path, traced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Archived().half()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        if traced:
            script = torch.jit.trace(network, torch.ones(1, 2).half())
        else:
            script = torch.jit.script(network)
        torch.jit.save(script, tmp_path / "clip.pt")
    monkeypatch.setattr("torch.jit.load", None)
    monkeypatch.setattr("torch.load", None)
    found = read_archive(tmp_path / "clip.pt").state
    assert same(found, dict(network.state_dict()))
    assert found["blocks.1.in_proj_weight"].dtype == torch.float16


def with_config(zipped: bool) -> bytes:
    """A training checkpoint with an object of a class that is nowhere else."""
    module = types.ModuleType("parse_config_of_training")
    parser = type("ConfigParser", (), {"__module__": module.__name__})
    slotted = type("Slotted", (), {"__module__": module.__name__, "__slots__": ("x",)})
    module.ConfigParser, module.Slotted = parser, slotted  # type: ignore[attr-defined]
    config = parser()
    config.save_dir = pathlib.PurePosixPath("/data/runs")
    config.level = logging.getLogger("trainer")
    config.options = OrderedDict(lr=1e-4, nested=collections.defaultdict(list, a=[1]))
    config.flags = {frozenset({1}), (1, 2)}
    config.slotted, config.me = slotted(), config
    config.slotted.x = {("tuple", "key"): b"bytes", 3: 2 + 3j}
    config.function = os.path.join
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(2))])
    checkpoint = {
        "arch": "TVTS",
        "epoch": 10,
        "state_dict": {f"module.{name}": tensor for name, tensor in tensors().items()},
        "optimizer": optimizer.state_dict(),
        "monitor_best": float("inf"),
        "config": config,
    }
    sys.modules[module.__name__] = module
    try:
        return saved(checkpoint, zipped)
    finally:
        del sys.modules[module.__name__]


@pytest.mark.parametrize("zipped", [True, False])
def test_archive_with_a_pickled_config_gives_its_tensors(tmp_path: Path, zipped: bool) -> None:
    content = with_config(zipped)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(io.BytesIO(content), weights_only=True)
    found = held(content, tmp_path)
    assert same(found, {f"module.{name}": tensor for name, tensor in tensors().items()})


def zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def members_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_entry(content: bytes, at: int, value: bytes) -> bytes:
    """The same zip archive, with other bytes in its list of members, for the first of them."""
    start = content.index(b"PK\x01\x02") + at
    return content[:start] + value + content[start + len(value) :]


ONE = {"weight": torch.arange(6.0).reshape(2, 3)}
PAGE = b"\n<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title></html>"
NO_STATE = "cannot be used: it holds no state dict, tensors by name: "
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "text": (b"The weights are to be had from the authors.\n", "is no file of weights: expected"),
    "page": (PAGE, "is no file of weights: it is a web page"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "pointer of Git LFS",
    ),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "is no file of weights"),
    "zeros": (bytes(999), "is no file of weights"),
    "index": (
        b'{\n  "metadata": {"total_size": 9},\n  "weight_map": {"a": "model-1.safetensors"}}',
        "is no file of weights: it is an index of shards: join them first",
    ),
    "json": (b'{"width": 768}', "is no file of weights: expected"),
    "pickle": (pickle.dumps({"weight": 1}), "cannot be used: it is a pickle that torch.save has"),
    "zip": (zip_of({"readme.txt": b"hello"}), "cannot be used: it is a zip archive without data"),
    "npz": (zip_of({"weight.npy": b"hello"}), "cannot be used: it is an archive of numpy's"),
    "numbers": (saved({"weight": 1, 2: 3}), f"{NO_STATE}it has the keys weight, 2"),
    "nothing": (saved({}), f"{NO_STATE}it is empty"),
    "nothing_inside": (saved({"model": {}}), f"{NO_STATE}its model is empty"),
    "many": (saved({f"k{i}": 1 for i in range(9)}), "k6, k7 and 1 more"),
    "net": (saved({"net": ONE, "epoch": 3}), f"{NO_STATE}it has the keys net, epoch"),
    "list": (saved(list(ONE.values())), f"{NO_STATE}it is a list"),
    "tensor": (saved(ONE["weight"]), f"{NO_STATE}it is one tensor without a name"),
    "module": (
        saved(nn.Linear(2, 2)),
        "it is a whole module (torch.nn.modules.linear.Linear); save its state_dict() instead",
    ),
    "module_inside": (
        saved({"epoch": 3, "model": nn.Linear(2, 2)}, zipped=False),
        "its model is a whole module; save its state_dict() instead",
    ),
    "float8": (
        saved({**ONE, "small": torch.ones(3).to(torch.float8_e4m3fn)}),
        "cannot be used: its tensor small is of a kind that is not read, tensor_v3",
    ),
    "complex": (saved({"a": torch.ones(2) * 1j}), "cannot be used: its numbers are ComplexFloat"),
    "object": (
        saved({"state_dict": pathlib.PurePosixPath("a")}),
        f"{NO_STATE}its state_dict is an object, pathlib.",
    ),
    "old_object": (saved({"state_dict": None}, zipped=False), "its state_dict is a NoneType"),
    "compressed": (
        zip_of(members_of(saved(ONE)), zipfile.ZIP_DEFLATED),
        "data.pkl is compressed",
    ),
    "unpacks_to_much": (
        zip_of({"a/data.pkl": bytes(10_000_000)}, zipfile.ZIP_DEFLATED),
        "data.pkl is compressed",
    ),
    "encrypted": (with_entry(saved(ONE), 8, b"\x01"), "data.pkl is compressed"),
    "longer_than_the_file": (
        with_entry(saved(ONE), 20, b"\xff\xff\xff\x7f" * 2),
        "data.pkl is longer than the file",
    ),
    "old_big_endian": (
        saved(ONE, zipped=False).replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"),
        "not little-endian",
    ),
    "big_endian": (
        zip_of({**members_of(saved(ONE)), "archive/byteorder": b"big"}),
        "big-endian",
    ),
    "no_numbers": (
        zip_of({n: c for n, c in members_of(saved(ONE)).items() if "/data/" not in n}),
        "storage 0 are not all there",
    ),
    "few_numbers": (
        zip_of({n: c[:8] if "/data/" in n else c for n, c in members_of(saved(ONE)).items()}),
        "storage 0 are not all there",
    ),
    "safetensors": (b"\x00\x00\x00\x00\x00\x00\x00\x7f{" + bytes(50), "cut off or damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_archive_that_is_none_is_told_in_one_sentence(tmp_path: Path, name: str) -> None:
    content, said = BAD[name]
    with pytest.raises(WeightsError, match=re.escape(said)) as caught:
        held(content, tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'weights.pth'} ")
    assert "\n" not in str(caught.value)


def test_archive_that_is_one_of_several_is_told(tmp_path: Path) -> None:
    for name in ("model-00002-of-00003.safetensors", "pytorch_model-00001-of-00002.bin"):
        (tmp_path / name).write_bytes(saved(ONE))
        with pytest.raises(WeightsError, match=r"is one of several shards: join them first"):
            read_archive(tmp_path / name)
    (tmp_path / "model-00001-of-00001.bin").write_bytes(saved(ONE))
    assert same(read_archive(tmp_path / "model-00001-of-00001.bin").state, ONE)


def test_archive_that_is_not_there_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"is a folder: name the file of weights in it$"):
        read_archive(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"is a folder: .* in it, such as model\.safetensors$"):
        read_archive(tmp_path)
    with pytest.raises(WeightsError, match="does not exist: expected a file of weights"):
        read_archive(tmp_path / "weights.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_archive_cut_off_anywhere_is_an_error(tmp_path: Path, zipped: bool) -> None:
    content = saved(tensors(), zipped)
    for length in [*range(1, 40), *range(40, len(content), 97), len(content) - 1]:
        with pytest.raises(WeightsError, match=r"weights\.pth is "):
            held(content[:length], tmp_path)


def test_archive_of_safetensors_cut_off_anywhere_is_an_error(tmp_path: Path) -> None:
    save_file(ONE, tmp_path / "weights.pth")
    content = (tmp_path / "weights.pth").read_bytes()
    for length in range(1, len(content)):
        with pytest.raises(WeightsError, match=r"weights\.pth is "):
            held(content[:length], tmp_path)


class Claimed:
    """Pickles as a tensor of any shape over six numbers."""

    def __init__(self, offset: Any, shape: Any, strides: Any) -> None:
        self.told = (ONE["weight"].untyped_storage(), offset, shape, strides, False, OrderedDict())

    def __reduce__(self) -> Any:
        told = (
            torch.storage.TypedStorage(
                wrap_storage=self.told[0], dtype=torch.float32, _internal=True
            ),
        )
        return torch._utils._rebuild_tensor_v2, told + self.told[1:]


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "said"),
    [
        (0, (2, 4), (4, 1), "beyond its numbers"),
        (1, (2, 3), (3, 1), "beyond its numbers"),
        (0, (2, 2), (5, 1), "beyond its numbers"),
        (0, (2**40,), (0,), "beyond its numbers"),
        (0, (7,), (0,), "beyond its numbers"),
        (-1, (2,), (1,), "has no shape"),
        (0, (-2,), (1,), "has no shape"),
        (0, (2,), (-1,), "has no shape"),
        (0, (2,), (1, 1), "has no shape"),
        (0, (2**60,), (1,), "has no shape"),
        (0, (1,) * 9, (1,) * 9, "has no shape"),
        (0, (2.0,), (1,), "has no shape"),
        (0, [2], (1,), "has no shape"),
        (None, (2,), (1,), "has no shape"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_archive_tensor_that_reaches_beyond_its_numbers_is_an_error(
    tmp_path: Path, offset: Any, shape: Any, strides: Any, said: str, zipped: bool
) -> None:
    content = saved({"x": Claimed(offset, shape, strides), "y": torch.ones(1)}, zipped)
    with pytest.raises(WeightsError, match=f"its tensor x {said if 'no' in said else '.*'}"):
        held(content, tmp_path)


def test_archive_names_are_shown_without_control_characters(tmp_path: Path) -> None:
    name = "\x1b[2Ja\r\nb" + "c" * 5000
    content = saved({name: Claimed(0, (7,), (1,))})
    with pytest.raises(WeightsError, match=r"its tensor \?\[2Ja\?\?bc+\.\.\.$") as caught:
        held(content, tmp_path)
    assert len(str(caught.value)) < 1100


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_archive_with_changed_bytes_is_read_or_an_error(kind: str, tmp_path: Path) -> None:
    if kind == "safetensors":
        save_file(ONE, tmp_path / "weights.pth")
        content = (tmp_path / "weights.pth").read_bytes()
    else:
        content = saved(ONE, kind == "zip")
    places = st.lists(
        st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1, max_size=6
    )

    @settings(max_examples=300, deadline=None)
    @given(places)
    def changed(changes: list[tuple[int, int]]) -> None:
        bytes_ = bytearray(content)
        for at, byte in changes:
            bytes_[at] = byte
        with contextlib.suppress(WeightsError):
            assert all(
                isinstance(tensor, Tensor) for tensor in held(bytes(bytes_), tmp_path).values()
            )

    changed()
