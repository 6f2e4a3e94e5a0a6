"""Which patches of a clip training keeps."""

from __future__ import annotations

import torch
from torch import Tensor

from reelscript.models.tvts.configs import VideoConfig


def draw_mask(
    batch: int,
    config: VideoConfig,
    generator: torch.Generator | None = None,
    frames: int | None = None,
) -> Tensor:
    """Returns the numbers of the patches to keep: int64, each below `config.patches`, on the CPU.

    With `mask: tube` (arXiv 2305.14173) they are (batch, n), the same patches of every frame of a
    clip; with `mask: frame` (arXiv 2209.15280) (batch, times, n), drawn anew for each time step.
    n is `config.kept_patches`; patches are counted row by row. Every set of n is equally likely,
    and none of them holds a patch twice.

    Args:
        batch: how many clips.
        config: of the video tower; with a `mask_ratio` of 0 the tower needs no mask.
        generator: where chance comes from, for the same mask again.
        frames: of each clip; None: as many as it may have. They matter with `mask: frame` only.
    """
    times = (frames or config.frames) // config.tubelet_frames
    drawn = (batch,) if config.mask == "tube" else (batch, times)
    chance = torch.rand(*drawn, config.patches, generator=generator)
    return chance.argsort(dim=-1)[..., : config.kept_patches]
