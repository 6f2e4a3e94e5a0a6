"""The text tower of TVTS: DistilBERT (Sanh et al. 2019, arXiv 1910.01108).

Shapes: R texts, L tokens of the longest one, W width, d embedding, h heads, e width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from reelscript.models.tvts.attention import Attention
from reelscript.models.tvts.blocks import MLP
from reelscript.models.tvts.configs import TextConfig
from reelscript.models.tvts.text import TextOutput, check_ids

PADDING = 0  # the id of [PAD]
INIT_STD = 0.02  # of all weights, as in BERT (Devlin et al. 2018, the released configuration)


class PostNormBlock(nn.Module):
    """Attention over all tokens, then an MLP, each normed after it is added: norm(x + f(x)).

    The order of Vaswani et al. 2017 (section 3.1), which BERT kept.

    Args:
        config: of the tower.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads)
        self.norm_attention = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = MLP(config.width, config.activation)
        self.norm_mlp = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, x: Tensor, keys: Tensor, first: int | None = None) -> Tensor:
        """Returns the tokens after the block.

        Args:
            x: (R, L, W).
            keys: bool (R, L), the tokens that are attended to.
            first: only that many first tokens are wanted; None: all.

        Returns:
            (R, L, W), or (R, first, W).
        """
        # (R, h, L, e) each
        q, k, v = (y.transpose(1, 2) for y in self.attention.queries_keys_values(x))
        gathered = functional.scaled_dot_product_attention(
            q[:, :, :first], k, v, attn_mask=keys[:, None, None, :]
        )
        added = self.attention.projection(gathered.transpose(1, 2).flatten(-2))
        x = self.norm_attention(x[:, :first] + added)
        return self.norm_mlp(x + self.mlp(x))


class DistilBert(nn.Module):
    """Blocks in which every token sees every other; a text's feature is that of its first token.

    The sorting head of TVTS is given the feature itself; for the contrastive loss, a ReLU and a
    linear layer follow (arXiv 2209.15280, the official configuration). There is no dropout; the
    official training has one of 0.1 in the embeddings, attention weights and MLPs.

    Args:
        config: of the tower, `kind` "distilbert".
        embed_dim: d.

    Raises:
        ValueError: blocks are to be frozen; in TVTS none is.
    """

    def __init__(self, config: TextConfig, embed_dim: int) -> None:
        super().__init__()
        if config.frozen_blocks:
            raise ValueError(
                f"text.frozen_blocks is {config.frozen_blocks}: only a tower of kind 'clip' has "
                "frozen blocks"
            )
        self.config = config
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.position_embedding = nn.Parameter(torch.empty(config.context, config.width))
        self.norm_in = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.blocks = nn.ModuleList(PostNormBlock(config) for _ in range(config.blocks))
        self.projection = nn.Linear(config.width, embed_dim)
        self._init_weights()

    def _init_weights(self) -> None:
        nn.init.normal_(self.position_embedding, std=INIT_STD)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=INIT_STD)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, ids: Tensor) -> TextOutput:
        """Returns the features of the texts and their embeddings.

        Args:
            ids: int64 (R, L), L up to `config.context`: [CLS], text, [SEP], then padding with 0,
                which no token attends to. Columns that are padding in every row may be cut off.

        Raises:
            ValueError: the texts have no token, or too many.
        """
        check_ids(ids, self.config.context)
        x = self.token_embedding(ids) + self.position_embedding[: ids.shape[1]]
        x = self.norm_in(x)
        keys = ids != PADDING
        # The first token is always a key: a softmax over none is not defined.
        keys = torch.cat([torch.ones_like(keys[:, :1]), keys[:, 1:]], dim=1)
        last = len(self.blocks) - 1
        for number, block in enumerate(self.blocks):
            x = block(x, keys, first=1 if number == last else None)  # nothing reads the others
        token = x[:, 0]
        return TextOutput(self.projection(functional.relu(token)), token)
