"""Transformer blocks, pre-norm: x + f(norm(x)).

Shapes: B clips or texts, L tokens, D width, T time steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reelscript.models.tvts.attention import Attention, DividedAttention
from reelscript.models.tvts.configs import Activation


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the approximation of GELU that OpenAI's CLIP was trained with.

    Hendrycks and Gimpel, arXiv 1606.08415, section 2.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Returns the activation of each element, shaped as `x`."""
        return x * torch.sigmoid(1.702 * x)


class MLP(nn.Module):
    """Two linear layers, four times as wide between them.

    Args:
        width: D.
        activation: between the layers; `gelu` is the exact one (erf).
    """

    def __init__(self, width: int, activation: Activation) -> None:
        super().__init__()
        self.up = nn.Linear(width, 4 * width)
        self.activation = QuickGELU() if activation == "quick_gelu" else nn.GELU()
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (..., D) for (..., D)."""
        return self.down(self.activation(self.up(x)))


class Block(nn.Module):
    """Attention over all tokens, then an MLP.

    Args:
        width: D.
        heads: of the attention.
        activation: of the MLP.
        norm_eps: of the LayerNorms.
    """

    def __init__(self, width: int, heads: int, activation: Activation, norm_eps: float) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width, eps=norm_eps)
        self.attention = Attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = MLP(width, activation)

    def forward(self, x: Tensor, *, last: int | None = None, causal: bool = False) -> Tensor:
        """Returns the tokens after the block.

        Args:
            x: (B, L, D).
            last: only that many last tokens; None: all.
            causal: whether a token attends only to itself and to those before it.

        Returns:
            (B, L, D), or (B, last, D).
        """
        y = x if last is None else x[:, -last:]
        y = y + self.attention(self.norm_attention(x), last=last, causal=causal)
        return y + self.mlp(self.norm_mlp(y))


class DividedBlock(nn.Module):
    """Attention over time, then over space, then an MLP.

    ```
    a = over time(norm_time(x))
    y = x + over space(norm_attention(x + a))       a itself is not added to the tokens:
    out = y + mlp(norm_mlp(y))                      it only changes what space attends to
    ```
    The wiring of Frozen in Time (arXiv 2104.00650, section 3.1), not that of TimeSformer.

    Args:
        width: D.
        heads: of both attentions.
        activation: of the MLP.
        norm_eps: of the LayerNorms.
    """

    def __init__(self, width: int, heads: int, activation: Activation, norm_eps: float) -> None:
        super().__init__()
        self.norm_time = nn.LayerNorm(width, eps=norm_eps)
        self.time_attention = DividedAttention(width, heads, "time")
        self.norm_attention = nn.LayerNorm(width, eps=norm_eps)
        self.attention = DividedAttention(width, heads, "space")
        self.norm_mlp = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = MLP(width, activation)

    def forward(self, x: Tensor, times: int) -> Tensor:
        """Returns the tokens after the block, (B, 1 + T * n, D), for those before and T."""
        over_time = self.time_attention(self.norm_time(x), times)
        y = x + self.attention(self.norm_attention(x + over_time), times)
        return y + self.mlp(self.norm_mlp(y))
