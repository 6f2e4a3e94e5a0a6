"""The sorting head: in which order were these transcripts spoken over this video?

Shapes: B clips, L video tokens, K transcripts, w width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from reelscript.models.tvts.blocks import Block
from reelscript.models.tvts.configs import SortingConfig
from reelscript.models.tvts.precision import at_least_float32, no_autocast


class SortingHead(nn.Module):
    """A transformer over video and transcript tokens that names each transcript's place.

    arXiv 2209.15280, section 3.2. Transcripts carry no position: put in another order they give the
    same logits in that order, so that the head can tell their places from the video alone.

    Args:
        config: of the head.
    """

    def __init__(self, config: SortingConfig) -> None:
        super().__init__()
        self.config = config
        self.type_embedding = nn.Parameter(torch.zeros(2, config.width))
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, "gelu", config.norm_eps) for _ in range(config.blocks)
        )
        self.norm_out = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.head = nn.Linear(config.width, config.places)

    def forward(self, video_tokens: Tensor, texts: Tensor) -> Tensor:
        """Returns how likely each transcript is at each place: logits, float32 or wider.

        Args:
            video_tokens: (B, L, w).
            texts: (B, K, w), without a gradient where the text tower is not to learn from sorting.

        Returns:
            (B, K, places).
        """
        count = texts.shape[1]
        kinds = self.type_embedding
        x = torch.cat([video_tokens + kinds[0], texts + kinds[1]], dim=1)  # (B, L + K, w)
        for block in self.blocks[:-1]:
            x = block(x)
        x = self.norm_out(self.blocks[-1](x, last=count))  # nobody reads the video tokens
        with no_autocast(x):
            return functional.linear(*map(at_least_float32, (x, self.head.weight, self.head.bias)))
