"""The network of a checkpoint: from clips to embeddings, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reelscript.models.tvts.configs import NAMED, TVTSConfig
from reelscript.models.tvts.frames import pillow
from reelscript.pipeline.errors import DataError, UsageError, nearest
from reelscript.pipeline.store import sha256_of_file
from reelscript.schemas.text import one_line

if TYPE_CHECKING:
    from reelscript.models.tvts.model import TVTS

DEVICES, PRECISIONS = ("auto", "cpu", "cuda"), ("float32", "bfloat16")


@dataclass(frozen=True)
class Network:
    """A checkpoint on a device.

    Attributes:
        model: in evaluation mode, on `device`.
        sha256: of the checkpoint's file.
        device: `cpu` or `cuda`.
        precision: that of matrix products; all else, and the parameters, are float32.
    """

    model: TVTS
    sha256: str
    device: str
    precision: str

    @property
    def config(self) -> TVTSConfig:
        """The sizes of the network."""
        return self.model.config

    def embeddings(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Returns the embeddings of B clips (T, 3, px, px), not normalised: float32 (B, d).

        Raises:
            UsageError: so many clips do not fit into memory.
        """
        import torch

        half = self.precision == "bfloat16"
        try:
            with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=half):
                frames = torch.from_numpy(np.stack(clips)).to(self.device)  # (B, T, 3, px, px)
                return np.asarray(self.model.video(frames).embedding.float().cpu().numpy())
        except (MemoryError, RuntimeError) as error:
            # On a CPU torch has no error of its own for it.
            known = isinstance(error, MemoryError | torch.OutOfMemoryError)
            if not known and "DefaultCPUAllocator" not in str(error):
                raise
            raise UsageError(
                f"a batch of {len(clips)} does not fit into memory: give a smaller --batch"
            ) from error

    @property
    def torch_version(self) -> str:
        """What computes the embeddings."""
        import torch

        return str(torch.__version__)

    def frames(self, asked: int | None) -> int:
        """Returns how many frames a clip has: as many as asked, else as many as it was made for.

        Raises:
            UsageError: the network cannot take so many.
        """
        video = self.config.video
        count = video.frames if asked is None else asked
        if not 1 <= count <= video.frames or count % video.tubelet_frames:
            step = f", a multiple of {video.tubelet_frames}" if video.tubelet_frames > 1 else ""
            raise UsageError(
                f"--frames {count}: {self.config.name} takes 1 to {video.frames}{step}"
            )
        return count


def open_network(checkpoint: str | Path, model: str | None, device: str, precision: str) -> Network:
    """Returns the network of a checkpoint.

    Args:
        checkpoint: a file of weights.
        model: name of its configuration; None: found by its tensors.
        device: `auto` (a GPU if there is one), `cpu` or `cuda`.
        precision: `float32`, or `bfloat16` on a GPU.

    Raises:
        UsageError: there is no such file, configuration or device, or a package is missing.
        DataError: the file is damaged, or not of that network.
    """
    path, shown = Path(checkpoint), one_line(str(checkpoint), 200)
    if path.is_dir():
        raise UsageError(
            f"the checkpoint {shown} is a folder: name the file of weights in it, "
            "such as model.safetensors"
        )
    if not path.is_file():
        raise UsageError(f"there is no checkpoint {shown}")
    if model is not None and model not in NAMED:
        raise UsageError(f"--model {one_line(model, 60)}: {nearest(model, NAMED)}")
    try:
        import torch

        from reelscript.models.tvts.weights import open_model

        pillow()  # else every video would fail for it
    except ImportError as error:
        raise UsageError(
            f"features needs {error.name}, which is not installed: pip install 'reelscript[train]'"
        ) from error
    chosen = _device(device, precision, torch.cuda.is_available())
    try:
        made = open_model(path, model).to(chosen)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:  # RuntimeError: no memory
        raise DataError(one_line(str(error), 600)) from error
    return Network(made, sha256_of_file(path), chosen, precision)


def _device(asked: str, precision: str, has_gpu: bool) -> str:
    """Returns `cpu` or `cuda`. Raises UsageError."""
    for option, value, valid in (("device", asked, DEVICES), ("precision", precision, PRECISIONS)):
        if value not in valid:
            raise UsageError(f"--{option} {one_line(value, 60)}: valid are {', '.join(valid)}")
    if asked == "cuda" and not has_gpu:
        raise UsageError("--device cuda: torch finds no GPU; give --device cpu")
    device = "cuda" if has_gpu and asked != "cpu" else "cpu"
    if precision == "bfloat16" and device == "cpu":
        raise UsageError("--precision bfloat16 is for a GPU: on a CPU it is slower than float32")
    return device
