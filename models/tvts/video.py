"""The video tower: frames to one embedding a clip, and to tokens for the sorting head.

Shapes: B clips, T frames, t frames a patch spans, S = T / t time steps, N patches a frame,
n of them kept, p pixels a patch side, D width, d embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from reelscript.models.tvts.blocks import Block, DividedBlock
from reelscript.models.tvts.configs import VideoConfig
from reelscript.models.tvts.initial import init_video


class VideoOutput(NamedTuple):
    """What the video tower says of B clips.

    Attributes:
        embedding: (B, d), not normalised.
        tokens: (B, L, D or d), what the sorting head is given.
    """

    embedding: Tensor
    tokens: Tensor


class PatchEmbedding(nn.Module):
    """A linear layer over the pixels of each kept patch: the convolution of a ViT, masked first.

    Args:
        config: of the video tower.
    """

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        self.patch_px, self.tubelet_frames = config.patch_px, config.tubelet_frames
        side = (config.patch_px, config.patch_px)
        times = (config.tubelet_frames,) if config.tubelet_frames > 1 else ()
        self.weight = nn.Parameter(torch.empty(config.width, 3, *times, *side))
        self.bias = nn.Parameter(torch.empty(config.width)) if config.patch_bias else None

    def forward(self, frames: Tensor, keep: Tensor | None) -> Tensor:
        """Returns the embedded patches, (B, S, n, D).

        Args:
            frames: (B, T, 3, H, W).
            keep: int64 (B, S, n), or (B, 1, n) for the same in every time step: numbers of patches
                counted row by row; None: all of them.
        """
        sides = (-1, self.patch_px)
        cut = frames.unflatten(1, (-1, self.tubelet_frames))  # (B, S, t, 3, H, W)
        cut = cut.unflatten(5, sides).unflatten(4, sides)  # (B, S, t, 3, rows, p, columns, p)
        cut = cut.permute(0, 1, 4, 6, 3, 2, 5, 7)  # (B, S, rows, columns, 3, t, p, p), a view
        if keep is None:
            patches = cut.flatten(2, 3)
        else:  # only what is kept is ever copied, let alone multiplied
            batch = torch.arange(cut.shape[0], device=keep.device)[:, None, None]
            time = torch.arange(cut.shape[1], device=keep.device)[:, None]
            columns = cut.shape[3]
            patches = cut[batch, time, keep // columns, keep % columns]  # (B, S, n, 3, t, p, p)
        return functional.linear(patches.flatten(3), self.weight.flatten(1), self.bias)


class VideoTower(nn.Module):
    """A ViT over the patches of all frames of a clip, with one CLS token for the clip.

    arXiv 2305.14173 (divided attention, CLIP's image tower with attention over time added) and
    arXiv 2209.15280 (joint attention, tubelets), by the configuration.

    Args:
        config: of the tower.
        embed_dim: d.
    """

    def __init__(self, config: VideoConfig, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.patch = PatchEmbedding(config)
        self.cls_embedding = nn.Parameter(torch.empty(width))
        self.position_embedding = nn.Parameter(torch.empty(1 + config.patches, width))
        self.time_embedding = nn.Parameter(torch.empty(config.times, width))
        self.norm_in = nn.LayerNorm(width, eps=config.norm_eps) if config.norm_in else nn.Identity()
        kind = DividedBlock if config.attention == "divided" else Block
        self.blocks = nn.ModuleList(
            kind(width, config.heads, config.activation, config.norm_eps)
            for _ in range(config.blocks)
        )
        self.norm_out = nn.LayerNorm(width, eps=config.norm_eps)
        self.projection = nn.Linear(width, embed_dim, bias=config.patch_bias)
        init_video(self)

    def forward(self, frames: Tensor, keep: Tensor | None = None) -> VideoOutput:
        """Returns the clips' embeddings and their tokens.

        Args:
            frames: (B, T, 3, H, W) with T up to `config.frames`, or (B, 3, H, W): images, T = 1.
                Normalised as the weights expect (`models.tvts.frames`).
            keep: the patches to keep, as `draw_mask` gives them; None: all. Their order does not
                matter.

        Raises:
            ValueError: the shapes are not those of the configuration.
        """
        frames, keep = self._checked(frames, keep)
        times = frames.shape[1] // self.config.tubelet_frames
        x = self._embedded(frames, keep)
        divided = self.config.attention == "divided"
        for block in self.blocks:
            x = block(x, times) if divided else block(x)
        return self._output(x)

    def _checked(self, frames: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Returns the frames as (B, T, 3, H, W) and the kept patches as (B, S or 1, n)."""
        config = self.config
        if frames.ndim == 4:
            frames = frames[:, None]
        side, span = config.image_px, config.tubelet_frames
        if frames.ndim != 5 or frames.shape[2:] != (3, side, side):
            raise ValueError(
                f"the frames are {tuple(frames.shape)}: expected (clips, frames, 3, {side}, {side})"
            )
        if not 0 < frames.shape[1] <= config.frames or frames.shape[1] % span:
            raise ValueError(
                f"a clip has {frames.shape[1]} frames: expected up to {config.frames}"
                + (f", in groups of {span}" if span > 1 else "")
            )
        if not frames.is_floating_point():
            raise ValueError(f"the frames are {frames.dtype}: expected normalised floats")
        return frames, keep if keep is None else self._checked_mask(frames, keep)

    def _checked_mask(self, frames: Tensor, keep: Tensor) -> Tensor:
        """Returns the kept patches as (B, S, n), of a tube as (B, 1, n)."""
        clips, times = frames.shape[0], frames.shape[1] // self.config.tubelet_frames
        tube = self.config.mask == "tube"
        drawn = (clips,) if tube else (clips, times)
        if keep.shape[:-1] != drawn:
            expected = f"({', '.join(map(str, drawn))}, kept)"
            raise ValueError(
                f"the kept patches are {tuple(keep.shape)}: expected {expected}, "
                f"as video.mask is '{self.config.mask}'"
            )
        if keep.is_floating_point() or keep.dtype == torch.bool:
            raise ValueError(f"the kept patches are {keep.dtype}: expected their numbers, int64")
        return keep[:, None] if tube else keep

    def _embedded(self, frames: Tensor, keep: Tensor | None) -> Tensor:
        """Returns the tokens before the first block, (B, 1 + S * n, D)."""
        x = self.patch(frames, keep)  # (B, S, n, D)
        places = self.position_embedding[1:]  # (N, D)
        if keep is not None:
            places = functional.embedding(keep, places)  # (B, S or 1, n, D)
        x = x + (places + self.time_embedding[: x.shape[1], None])
        cls = (self.cls_embedding + self.position_embedding[0]).expand(x.shape[0], 1, -1)
        return self.norm_in(torch.cat([cls.to(x.dtype), x.flatten(1, 2)], dim=1))

    def _output(self, x: Tensor) -> VideoOutput:
        """Returns embedding and tokens from (B, 1 + S * n, D)."""
        match self.config.sorted_tokens:
            case "all":
                tokens = self.projection(self.norm_out(x))
                return VideoOutput(tokens[:, 0], tokens)
            case "patches_without_norm":
                embedding = self.projection(self.norm_out(x[:, 0]))
                return VideoOutput(embedding, self.projection(x[:, 1:]))
            case "unprojected":
                x = self.norm_out(x)
                return VideoOutput(self.projection(x[:, 0]), x)
