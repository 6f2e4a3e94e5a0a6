"""States of a training run on disk, each there as a whole or not at all.

```
RUN/checkpoints/step-00001000/model.safetensors   weights, which every verb opens
                              trainer.pt          optimiser, streams, counters
                best.safetensors                  by validation, if it is asked for
```
A checkpoint is written under another name, put on the disk, and takes its name in one step. Files
hold tensors and plain values, no code. Nothing that is drawn has a state: it follows from seed,
epoch and names (`feed.py`).
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from reelscript.jobs.pretrain.config import Checkpoints
from reelscript.models.tvts import weights
from reelscript.models.tvts.model import TVTS
from reelscript.pipeline.attempts import storage_error
from reelscript.pipeline.errors import DataError
from reelscript.schemas.text import one_line

FORMAT = "reelscript-pretrain/1"
NAME = re.compile(r"step-(\d{8,})")
CHECKPOINTS = "checkpoints"  # the folder of a run
WEIGHTS, TRAINER, BEST = "model.safetensors", "trainer.pt", "best.safetensors"
UNFINISHED = ".part-"


def steps_of(folder: Path) -> list[int]:
    """Returns the steps of the checkpoints in a folder, ascending."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(found[1]) for name in names if (found := NAME.fullmatch(name)))


def place_of(folder: Path, step: int) -> Path:
    """Returns the folder of a step's checkpoint."""
    return folder / f"step-{step:08d}"


def write(folder: Path, step: int, model: TVTS, state: dict[str, Any]) -> Path:
    """Writes a checkpoint and returns its folder.

    Args:
        folder: of the run's checkpoints.
        step: how many steps were done.
        model: the network.
        state: of optimiser, streams and counters: tensors and plain values.

    Raises:
        StorageError: it cannot be stored; those before it are as they were.
    """
    place = place_of(folder, step)
    part = folder / f"{UNFINISHED}{place.name}"
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        weights.save(model, part / WEIGHTS)
        torch.save({"format": FORMAT, "step": step, **state}, part / TRAINER)
        _to_disk(part / TRAINER)
        _to_disk(part)
        _remove(place)  # of a run that went back to an earlier one
        part.rename(place)
        _to_disk(folder)
    except (OSError, RuntimeError, weights.WeightsError) as error:  # RuntimeError: torch
        raise storage_error(f"write the checkpoint {place}", error, folder) from error
    return place


def write_best(folder: Path, model: TVTS) -> None:
    """Writes the weights as the best ones, in place of those before.

    Raises:
        StorageError: they cannot be stored; those before are as they were.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        weights.save(model, folder / BEST)
    except (OSError, weights.WeightsError) as error:
        raise storage_error(f"write {folder / BEST}", error, folder) from error


def read(folder: Path, step: int, model: TVTS) -> dict[str, Any]:
    """Loads the weights of a checkpoint into a network and returns the rest of its state.

    Raises:
        DataError: it is damaged.
    """
    place = place_of(folder, step)
    try:
        state = torch.load(place / TRAINER, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise ValueError(f"{TRAINER} is not of the format {FORMAT}")
        weights.load(model, place / WEIGHTS)
    except Exception as error:  # a damaged archive may raise anything
        said = one_line(str(error), 200)
        raise DataError(
            f"the checkpoint {place} cannot be read: {said}; remove it, and the same command goes "
            "on from the one before"
        ) from error
    return state


def prune(folder: Path, config: Checkpoints) -> None:
    """Removes the checkpoints that need not stay, and what killed processes left."""
    there = steps_of(folder)
    every = config.keep_every_steps
    for step in there[: -config.keep]:
        if every is None or step % every:
            _remove(place_of(folder, step))
    for left in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)


def _remove(place: Path) -> None:
    """Removes a checkpoint, which is at no moment there in part."""
    if place.exists():
        gone = place.with_name(f"{UNFINISHED}{place.name}-removed")
        shutil.rmtree(gone, ignore_errors=True)
        place.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _to_disk(path: Path) -> None:
    """Waits until a file, or the list of names in a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
