"""Writes the weights of a network, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from reelscript.models.tvts.archives import WeightsError
from reelscript.models.tvts.model import TVTS
from reelscript.models.tvts.names import plain
from reelscript.models.tvts.translate import to_official

FORMAT = "reelscript-tvts/1"


def save(model: TVTS, path: str | os.PathLike[str]) -> None:
    """Writes a network's weights and its configuration as safetensors, under our names.

    The metadata has `format` and `config`, the configuration as JSON.

    Raises:
        WeightsError: the file cannot be written; what was there before is as it was.
    """
    metadata = {"format": FORMAT, "config": json.dumps(model.config.to_dict())}
    _write(path, lambda part: save_file(_state(model), part, metadata))


def save_official(model: TVTS, path: str | os.PathLike[str], *, sorter: bool = False) -> None:
    """Writes a network's weights as the authors of TVTSv2 or of TVTS released theirs.

    That is a file of `torch.save`: `{"state_dict": {"module.<name>": tensor}}`. It has no place for
    the configuration: who reads it takes frames to be made the official way.

    Args:
        model: the network.
        path: of the file.
        sorter: whether the sorting head is written. The released files have none, and the official
            evaluation refuses a file with one.

    Raises:
        WeightsError: the file cannot be written; what was there before is as it was.
    """
    state = to_official(_state(model), model.config)
    kept = {
        f"module.{name}": tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in state.items()
        if sorter or not name.startswith("pred_model.")
    }
    _write(path, lambda part: torch.save({"state_dict": kept}, part))


def _state(model: TVTS) -> dict[str, Tensor]:
    state = model.state_dict()
    return {plain(name): tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _write(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    file = Path(path)
    if file.is_dir() or not file.parent.is_dir():
        what = "it is a folder" if file.is_dir() else f"there is no folder {file.parent}"
        raise WeightsError(f"{file} cannot be written: {what}")
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        write(part)
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(file)
    except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: torch's full disk
        raise WeightsError(f"{file} cannot be written: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
