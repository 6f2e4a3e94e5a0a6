"""The text tower of CLIP.

Shapes: R texts, L tokens of the longest one, W width, d embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from reelscript.models.tvts.blocks import Block
from reelscript.models.tvts.configs import TextConfig
from reelscript.models.tvts.initial import init_text


class TextOutput(NamedTuple):
    """What a text tower says of R texts.

    Attributes:
        embedding: (R, d), not normalised.
        token: (R, w), what the sorting head is given; in TVTSv2 the embedding itself.
    """

    embedding: Tensor
    token: Tensor


class TextTower(nn.Module):
    """A causal transformer; a text's feature is that at its end token (Radford et al. 2021, 2.4).

    The first `config.frozen_blocks` blocks are not trained.

    Args:
        config: of the tower.
        embed_dim: d.
    """

    def __init__(self, config: TextConfig, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.position_embedding = nn.Parameter(torch.empty(config.context, config.width))
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.activation, config.norm_eps)
            for _ in range(config.blocks)
        )
        self.norm_out = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.projection = nn.Linear(config.width, embed_dim, bias=False)
        init_text(self)
        self.freeze()

    def freeze(self) -> None:
        """Stops the training of what the configuration calls frozen.

        With the embeddings frozen too, nothing below the first trained block needs a gradient, and
        the backward pass ends there.
        """
        frozen: list[nn.Parameter] = list(self.blocks[: self.config.frozen_blocks].parameters())
        if frozen and self.config.frozen_embeddings == "frozen":
            frozen += [*self.token_embedding.parameters(), self.position_embedding]
        for parameter in frozen:
            parameter.requires_grad_(False)

    def forward(self, ids: Tensor) -> TextOutput:
        """Returns the embeddings of the texts.

        Args:
            ids: int64 (R, L), L up to `config.context`: start token, text, end token, then padding.
                The end token is the largest id of a row. Columns that are padding in every row may
                be cut off: causal attention never looks at them.

        Raises:
            ValueError: the texts are too long, or have no tokens.
        """
        check_ids(ids, self.config.context)
        x = self.token_embedding(ids) + self.position_embedding[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, causal=True)
        rows = torch.arange(ids.shape[0], device=ids.device)
        embedding = self.projection(self.norm_out(x[rows, ids.argmax(dim=-1)]))
        return TextOutput(embedding, embedding)


def check_ids(ids: Tensor, context: int) -> None:
    """Raises ValueError unless token ids are (R, L) with 1 to `context` tokens."""
    if ids.ndim != 2 or not 1 <= ids.shape[1] <= context:
        raise ValueError(
            f"the token ids are {tuple(ids.shape)}: expected (texts, 1 to {context} tokens)"
        )
