"""Tensors as pickles of torch speak of them, made of the bytes of a file."""

from __future__ import annotations

import contextlib
import math
import mmap
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reelscript.models.tvts.pickles import Made, Name, Stored

INSIDE = ("state_dict", "model", "model_state_dict")  # where a checkpoint keeps its weights
DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class OtherContentError(ValueError):
    """A file is whole, but holds something else than weights that are read."""


_TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
_PARAMETERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
_ANY_TENSOR = "torch._utils._rebuild_"  # sparse and quantised ones, float8, ...
_SHOWN = 8  # keys in a message
_MODULES, _DEPTH = 100_000, 64  # of submodules; no network has more


def itemsizes(held: Any) -> dict[str, int]:
    """Returns the bytes of one number in each known storage that is spoken of in a pickle."""
    sizes: dict[str, int] = {}
    seen: set[int] = set()
    left = [held]
    while left:
        one = left.pop()
        if isinstance(one, Stored):
            with contextlib.suppress(ValueError):
                dtype, key, _ = _storage(one)
                sizes[key] = dtype.itemsize
        elif isinstance(one, dict | list | tuple | Made) and id(one) not in seen:
            seen.add(id(one))
            if isinstance(one, Made):
                left += [one.arguments, one.state]
            else:
                left += one.values() if isinstance(one, dict) else one
    return sizes


def _storage(stored: Any) -> tuple[torch.dtype, str, int]:
    """Returns the type, key and count of numbers of a storage that a pickle speaks of."""
    identity = stored.identity if isinstance(stored, Stored) else None
    if not (isinstance(identity, tuple) and len(identity) >= 5 and identity[0] == "storage"):
        raise ValueError("a tensor without numbers")
    if any(part is not None for part in identity[5:]):  # only torch before 0.4 wrote it
        raise ValueError("a tensor that is a view of another one's numbers")
    kind, key, _, count = identity[1:5]
    name = kind.path.rpartition(".")[2] if isinstance(kind, Name) else ""
    if name not in DTYPES or not isinstance(key, str) or not isinstance(count, int):
        raise OtherContentError(f"its numbers are {name or 'of no type'}, which is not read")
    return DTYPES[name], key, count


@dataclass(slots=True)
class Storages:
    """The storages of a file.

    Attributes:
        data: the file.
        where: by key, where the bytes of a storage begin and how many there are.
    """

    data: mmap.mmap
    where: dict[str, tuple[int, int]]

    def numbers(self, stored: Any) -> Tensor:
        """Returns all numbers of one storage (n), a view of the file.

        Raises:
            ValueError: they are not all there.
        """
        dtype, key, count = _storage(stored)
        start, size = self.where.get(key, (0, -1))
        if count < 0 or count * dtype.itemsize > size or start + size > len(self.data):
            raise ValueError(f"the numbers of storage {key} are not all there")
        if count == 0:
            return torch.empty(0, dtype=dtype)
        if start % dtype.itemsize:  # older files do not align them
            copied = bytearray(memoryview(self.data)[start : start + count * dtype.itemsize])
            return torch.frombuffer(copied, dtype=dtype, count=count)
        return torch.frombuffer(self.data, dtype=dtype, count=count, offset=start)


def named_tensors(held: Any, places: Storages) -> dict[str, Tensor]:
    """Returns the tensors of the state dict, or TorchScript module, that a pickle holds, by name.

    Raises:
        OtherContentError: there is none.
        ValueError: a tensor of it is damaged.
    """
    inside, where = held, "it"
    for key in INSIDE:
        if isinstance(held, dict) and key in held:
            inside, where = held[key], f"its {key}"
            break
    if isinstance(inside, Made) and inside.path.startswith("__torch__."):
        found = _of_modules(inside)
    else:
        found = inside if isinstance(inside, dict) else {}
    named = {
        name: value for name, value in found.items() if isinstance(name, str) and _is_tensor(value)
    }
    if not named:
        raise OtherContentError(f"it holds no state dict, tensors by name: {where} {_is(inside)}")
    return {name: _tensor(name, value, places) for name, value in named.items()}


def _is(held: Any) -> str:
    """Returns what something of a pickle is, as told after its name."""
    if isinstance(held, dict):
        keys = [str(key) for key in held]
        more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
        return f"has the keys {', '.join(keys[:_SHOWN])}{more}" if keys else "is empty"
    if _is_tensor(held):
        return "is one tensor without a name"
    if isinstance(held, Made):
        if isinstance(held.state, dict) and "_parameters" in held.state:
            kind = f" ({held.path})" if held.path else ""
            return f"is a whole module{kind}; save its state_dict() instead"
        return f"is an object, {held.path or 'of no name'}"
    return f"is a {type(held).__name__}"


def _of_modules(module: Made) -> dict[str, Any]:
    """Returns the attributes of a TorchScript module and of all in it, by dotted names."""
    found: dict[str, Any] = {}
    left = [("", module)]
    for count, (prefix, one) in enumerate(left):
        if count > _MODULES:
            raise ValueError(f"it has more than {_MODULES} modules")
        if prefix.count(".") > _DEPTH:  # modules that hold themselves have endless names
            raise ValueError(f"its modules are nested more than {_DEPTH} deep")
        for name, value in (one.state if isinstance(one.state, dict) else {}).items():
            if isinstance(value, Made) and value.path.startswith("__torch__."):
                left.append((f"{prefix}{name}.", value))
            else:
                found[f"{prefix}{name}"] = value
    return found


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Made) and value.path.startswith(_ANY_TENSOR)


def _tensor(name: str, made: Made, places: Storages) -> Tensor:
    arguments = made.arguments
    while made.path in _PARAMETERS and isinstance(arguments, tuple) and arguments:
        if not isinstance(arguments[0], Made):
            break
        made, arguments = arguments[0], arguments[0].arguments
    if made.path not in _TENSORS + _PARAMETERS and _is_tensor(made):
        kind = made.path.removeprefix(_ANY_TENSOR)
        raise OtherContentError(f"its tensor {name} is of a kind that is not read, {kind}")
    if made.path not in _TENSORS or not isinstance(arguments, tuple) or len(arguments) < 4:
        raise ValueError(f"its tensor {name} is no tensor")
    stored, offset, shape, strides = arguments[:4]
    if not all(
        isinstance(sizes, tuple) and all(isinstance(n, int) and 0 <= n < 2**48 for n in sizes)
        for sizes in (shape, strides, (offset,))
    ):
        raise ValueError(f"its tensor {name} has no shape")
    if len(shape) != len(strides) or len(shape) > 8:
        raise ValueError(f"its tensor {name} has no shape")
    numbers = places.numbers(stored)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    # More places than numbers would let a small file fill the memory.
    if math.prod(shape) and (last >= len(numbers) or math.prod(shape) > len(numbers)):
        raise ValueError(f"its tensor {name} reaches beyond its numbers")
    return numbers.as_strided(shape, strides, offset)
