"""Self-attention: over all tokens, or divided over space and time.

Shapes: B clips (or texts), L tokens, D width, h heads, e width of a head (D = h * e), T time steps,
n patches of each time step; the tokens of a clip are its CLS and then T * n patches, time step by
time step.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_SEQUENCES, MOST_PLACES, KERNEL_ROWS = 2**16 - 1, 2**31 - 1, 128


class HeadsApart(nn.Module):
    """What both kinds of attention share: queries, keys and values of all heads, and the way back.

    Args:
        width: D.
        heads: h.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)  # queries first, then keys, then values
        self.projection = nn.Linear(width, width)

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries, keys and values of all tokens: (B, L, h, e) each."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        return q, k, v


class Attention(HeadsApart):
    """Every token attends to every token, or to those before it."""

    def forward(self, x: Tensor, *, last: int | None = None, causal: bool = False) -> Tensor:
        """Returns what the tokens gather.

        Args:
            x: (B, L, D).
            last: only for that many last tokens, which saves the others' queries; None: for all.
            causal: whether a token attends only to itself and to those before it.

        Returns:
            (B, L, D), or (B, last, D).
        """
        if last is None:
            q, k, v = self.queries_keys_values(x)
        else:
            q, k, v = self._few_queries(x, last)
        return self.projection(attend(q, k, v, causal=causal).flatten(-2))

    def _few_queries(self, x: Tensor, last: int) -> tuple[Tensor, Tensor, Tensor]:
        width = x.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        q = functional.linear(x[:, -last:], weight[:width], bias[:width])
        kv = functional.linear(x, weight[width:], bias[width:])
        k, v = kv.unflatten(-1, (2, self.heads, -1)).unbind(-3)
        return q.unflatten(-1, (self.heads, -1)), k, v


class DividedAttention(HeadsApart):
    """Patches attend within their time step, or at their place over time; CLS attends to all.

    A patch also attends to the CLS, which is one for the whole clip. This is the divided attention
    of arXiv 2104.00650 (Bain et al. 2021, section 3.1), which arXiv 2305.14173 takes over.

    Args:
        width: D.
        heads: h.
        over: `space`: a patch attends to the n patches of its time step; `time`: to the T patches
            at its place.
    """

    def __init__(self, width: int, heads: int, over: Literal["space", "time"]) -> None:
        super().__init__(width, heads)
        self.over = over

    def forward(self, x: Tensor, times: int) -> Tensor:
        """Returns what the tokens gather: (B, 1 + T * n, D), as `x` is.

        Args:
            x: (B, 1 + T * n, D).
            times: T.
        """
        q, k, v = self.queries_keys_values(x)
        q_cls, q_patches = cls_and_patches(q)
        cls = attend(q_cls, k, v)  # (B, 1, h, e): its own row, over all keys
        groups = self.grouped(q_patches, times)  # (B, G, L, h, e): G groups of L patches each
        patches = attend(
            groups.flatten(0, 1),
            self.grouped_with_cls(k, times).flatten(0, 1),
            self.grouped_with_cls(v, times).flatten(0, 1),
        ).unflatten(0, groups.shape[:2])
        if self.over == "time":
            patches = patches.transpose(1, 2)
        return self.projection(torch.cat([cls, patches.flatten(1, 2)], dim=1).flatten(-2))

    def grouped(self, patches: Tensor, times: int) -> Tensor:
        """Returns the rows of patches, (B, T * n, h, e), as (B, G, L, h, e)."""
        by_time = patches.unflatten(1, (times, -1))  # (B, T, n, h, e)
        return by_time if self.over == "space" else by_time.transpose(1, 2)

    def grouped_with_cls(self, y: Tensor, times: int) -> Tensor:
        """Returns the rows of a clip, (B, 1 + T * n, h, e), as (B, G, 1 + L, h, e): CLS in each."""
        cls, patches = cls_and_patches(y)
        groups = self.grouped(patches, times)
        return torch.cat([cls[:, None].expand(-1, groups.shape[1], -1, -1, -1), groups], dim=2)


def cls_and_patches(y: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the first row and the others of (B, 1 + T * n, ...)."""
    cls, patches = y.split([1, y.shape[1] - 1], dim=1)
    return cls, patches


def attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False) -> Tensor:
    """Returns softmax(q k^T / sqrt(e)) v (Vaswani et al. 2017, section 3.2.1).

    Args:
        q: queries (B, L, h, e).
        k: keys (B, M, h, e).
        v: values (B, M, h, e).
        causal: whether a query sees only keys up to its own place.

    Returns:
        (B, L, h, e).
    """
    q, k, v = (y.transpose(1, 2) for y in (q, k, v))  # (B, h, L, e)
    few = _sequences_a_call(q)
    if q.shape[0] <= few:
        gathered = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    else:
        parts = zip(q.split(few), k.split(few), v.split(few), strict=True)
        gathered = torch.cat(
            [functional.scaled_dot_product_attention(*part, is_causal=causal) for part in parts]
        )
    return gathered.transpose(1, 2)


def _sequences_a_call(q: Tensor) -> int:
    """Returns how many sequences (B, h, L, e) one call of the GPU kernels may have.

    Attention over time makes one sequence of every patch. Kernels count sequences in 16 bits
    (https://github.com/pytorch/pytorch/issues/142228), and places in a buffer, whose rows are
    rounded up to 128, in 31.
    """
    _, heads, length, width = q.shape
    rounded = -(-length // KERNEL_ROWS) * KERNEL_ROWS
    return max(1, min(MOST_SEQUENCES, MOST_PLACES // (heads * rounded * width)))
