"""The network with its losses, as one module: what data parallelism and autocast are put around.

Windows and captioned clips go through one forward and one backward pass. So every parameter has its
gradient in every pass, and DistributedDataParallel need not look for those that have none.

Shapes: B clips, T frames, K transcripts, L tokens, n kept patches.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from reelscript.models.tvts.frames import PREPROCESSING
from reelscript.models.tvts.losses import Losses
from reelscript.models.tvts.model import TVTS, Output


class Clips(NamedTuple):
    """Windows or captioned clips, as the network takes them but for the scale of the pixels.

    Attributes:
        frames: uint8 (B, T, H, W, 3).
        texts: int64 (B, K, L), token ids; K is 1 for captioned clips.
        keep: int64 (B, n), the patches to keep; None: all.
    """

    frames: Tensor
    texts: Tensor
    keep: Tensor | None


class Objective(nn.Module):
    """From clips to losses.

    Args:
        model: the network, on the device where it stays.
        in_bfloat16: whether matrix products are computed so, by autocast.
        blank: whether every pixel is taken for the mean.
        exchanged: whether each clip is given the transcripts of the next one in its batch.
    """

    def __init__(
        self,
        model: TVTS,
        in_bfloat16: bool = False,
        blank: bool = False,
        exchanged: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.in_bfloat16 = model, in_bfloat16
        self.blank, self.exchanged = blank, exchanged
        scale = PREPROCESSING[model.config.preprocess]
        device = next(model.parameters()).device
        # No buffers: those would be sent around between processes.
        self.mean = torch.tensor(scale.mean, device=device)
        self.std = torch.tensor(scale.std, device=device)

    def forward(self, windows: Clips | None, captioned: Clips | None) -> dict[str, Tensor]:
        """Returns the losses, each a scalar: `loss` is their sum, on which training goes down.

        `contrastive` and `sorting` (with its weight) are of the windows, `captions` is the
        contrastive loss of the captioned clips; what was not given is not there.
        """
        found: dict[str, Tensor] = {}
        if windows is not None:
            losses, _ = self.losses_and_output(windows)
            found |= {"contrastive": losses.contrastive, "sorting": losses.sorting}
        if captioned is not None:
            losses, _ = self.losses_and_output(captioned)
            found["captions"] = losses.total
        total = torch.stack(list(found.values())).sum()
        if windows is None:  # as the released code: gradients of zero, by which Adam moves the head
            total = total + sum(0 * parameter.sum() for parameter in self.model.sorter.parameters())
        return {"loss": total} | {name: loss.detach() for name, loss in found.items()}

    def losses_and_output(self, clips: Clips) -> tuple[Losses, Output]:
        """Returns the losses of clips, and what the network said of them."""
        device = clips.frames.device.type
        texts = clips.texts.roll(-1, dims=0) if self.exchanged else clips.texts
        with torch.autocast(device, torch.bfloat16, enabled=self.in_bfloat16):
            output = self.model(self.scaled(clips.frames), texts, clips.keep)
            return self.model.losses(output), output

    def scaled(self, frames: Tensor) -> Tensor:
        """Returns pixels on the scale of the network, float32 (B, T, 3, H, W), from uint8."""
        pixels = ((frames.float() / 255 - self.mean) / self.std).permute(0, 1, 4, 2, 3)
        return torch.zeros_like(pixels) if self.blank else pixels


def recompute_blocks(model: TVTS) -> None:
    """Makes the blocks of both towers and of the head forget their activations.

    The backward pass computes them again, block by block (Chen et al. 2016, arXiv 1604.06174).
    Frozen blocks keep none anyway.
    """
    towers = (model.video, model.text, model.sorter)
    for block in (block for tower in towers for block in tower.blocks):  # type: ignore[union-attr]
        if any(parameter.requires_grad for parameter in block.parameters()):
            again = partial(
                checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False
            )
            block.forward = again  # nothing is drawn within a block
