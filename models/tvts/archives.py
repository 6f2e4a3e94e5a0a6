"""Reads files of weights, tensors only; no code from a file runs.

Formats, known by their first bytes: safetensors; torch's zip archives, those of TorchScript
(OpenAI's CLIP) among them; torch's older files of several pickles with raw bytes behind them.
Pickles are read by `pickles.read_pickle`, which calls nothing. Tensors are views of the file,
mapped into memory, so that what is not used is not read.
"""

from __future__ import annotations

import io
import mmap
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from reelscript.models.tvts.pickles import read_pickle
from reelscript.models.tvts.storages import (
    OtherContentError,
    Storages,
    itemsizes,
    named_tensors,
)

JOIN = "with save_pretrained and a max_shard_size above their sum"
# The first two pickles of an older file.
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001

_SHARD = re.compile(r".*-\d{5}-of-(?!00001)\d{5}\..*")  # names that transformers gives
_HEAD = 4096  # bytes that tell what else a file is
_SENTENCE = 1000  # characters of a message


class WeightsError(ValueError):
    """A file of weights cannot be used; the message is one sentence that says why.

    Names in it may come from the file: what is not printable in them is shown as `?`.
    """

    def __init__(self, sentence: str) -> None:
        shown = "".join(char if char.isprintable() else "?" for char in sentence[:_SENTENCE])
        super().__init__(shown + ("..." if len(sentence) > _SENTENCE else ""))


@dataclass(frozen=True, slots=True)
class Archive:
    """What a file of weights holds.

    Attributes:
        state: tensors on the CPU, by their names in the file.
        metadata: what a safetensors file says beside them.
    """

    state: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)


def read_archive(path: str | os.PathLike[str]) -> Archive:
    """Returns the tensors of a file of weights.

    Of a checkpoint with several parts, these are the tensors of its state dict.

    Raises:
        WeightsError: there is no such file, it is no whole file of weights, or it is damaged.
    """
    file = Path(path)
    try:
        if not file.is_file():
            raise WeightsError(f"{file} {_missing(file)}")
        if _SHARD.fullmatch(file.name):
            raise WeightsError(f"{file} is one of several shards: join them first, {JOIN}")
        with file.open("rb") as stream:
            head = stream.read(64)
            if not head:
                raise WeightsError(f"{file} is empty")
            # A private map: tensors may be written to without the file being changed.
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        if head[8:9] == b"{":
            return _read_safetensors(file)
        if head.startswith(b"PK\x03\x04"):
            return Archive(_read_zip(file, data))
        if head.startswith(b"\x80"):
            return Archive(_read_legacy(data))
    except (OSError, MemoryError) as error:
        raise WeightsError(f"{file} cannot be read: {error}") from error
    except WeightsError:
        raise
    except OtherContentError as error:
        raise WeightsError(f"{file} cannot be used: {error}") from error
    except (ValueError, RuntimeError, zipfile.BadZipFile, struct.error) as error:
        raise WeightsError(f"{file} is cut off or damaged: {error}") from error
    raise WeightsError(f"{file} is no file of weights: {_looks_like(data[:_HEAD])}")


def _missing(path: Path) -> str:
    """Returns what is wrong with a place that is no file."""
    if not path.is_dir():
        what = "is no file" if path.exists() else "does not exist"
        return f"{what}: expected a file of weights"
    held = sorted(f.name for f in path.iterdir() if f.suffix in (".safetensors", ".bin", ".pth"))
    hint = f", such as {held[0]}" if held else ""
    return f"is a folder: name the file of weights in it{hint}"


def _looks_like(head: bytes) -> str:
    start = head.lstrip().lower()
    if start.startswith(b"<"):
        return "it is a web page, which a refused download leaves behind"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, whose content was not fetched"
    if start.startswith(b"{") and b'"weight_map"' in head:
        return f"it is an index of shards: join them first, {JOIN}"
    return "expected safetensors or a file that torch.save wrote"


def _read_safetensors(path: Path) -> Archive:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Archive(state, dict(file.metadata() or {}))
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _read_zip(path: Path, data: mmap.mmap) -> dict[str, Tensor]:
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if not pickles:
        arrays = any(name.endswith(".npy") for name in members)
        what = "an archive of numpy's" if arrays else "a zip archive without data.pkl"
        raise OtherContentError(f"it is {what}: expected safetensors or what torch.save writes")
    root = min(pickles, key=len).removesuffix("data.pkl")
    where = {name: _place(member, data) for name, member in _used(members, root).items()}
    start, size = where.get(f"{root}byteorder", (0, 0))
    if size and data[start : start + size] != b"little":
        raise OtherContentError("its numbers are big-endian")
    start, size = where[f"{root}data.pkl"]
    held = read_pickle(io.BytesIO(data[start : start + size]))
    places = {name.removeprefix(f"{root}data/"): place for name, place in where.items()}
    return named_tensors(held, Storages(data, places))


def _used(members: Mapping[str, zipfile.ZipInfo], root: str) -> dict[str, zipfile.ZipInfo]:
    wanted = (f"{root}data.pkl", f"{root}byteorder")
    return {
        name: member
        for name, member in members.items()
        if name in wanted or name.startswith(f"{root}data/")
    }


def _place(member: zipfile.ZipInfo, data: mmap.mmap) -> tuple[int, int]:
    """Returns where a member's bytes begin in the file, and how many there are."""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        # torch.save never compresses; a small file that unpacks to a huge one is refused so.
        raise OtherContentError(
            f"its member {member.filename} is compressed, which torch.save never does"
        )
    head = data[member.header_offset : member.header_offset + 30]
    signature, name, extra = struct.unpack("<4s22xHH", head)
    start = member.header_offset + 30 + name + extra
    if signature != b"PK\x03\x04" or start + member.file_size > len(data):
        raise ValueError(f"its member {member.filename} is longer than the file")
    return start, member.file_size


def _read_legacy(data: mmap.mmap) -> dict[str, Tensor]:
    if read_pickle(data) != _LEGACY_MAGIC or read_pickle(data) != _LEGACY_VERSION:
        raise OtherContentError("it is a pickle that torch.save has not written")
    system = read_pickle(data)
    if not (isinstance(system, dict) and system.get("little_endian") is True):
        raise OtherContentError("its numbers are not little-endian")
    held, keys = read_pickle(data), read_pickle(data)
    places = Storages(data, {})
    at = data.tell()
    sizes = itemsizes(held)
    for key in keys if isinstance(keys, list) else []:
        if not isinstance(key, str) or key not in sizes or at + 8 > len(data):
            break  # what is cut off is missed when a tensor asks for it
        (count,) = struct.unpack_from("<q", data, at)
        places.where[key] = (at + 8, count * sizes[key])
        at += 8 + max(0, count) * sizes[key]
    return named_tensors(held, places)
