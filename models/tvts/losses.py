"""The losses: contrast of clips and texts, and the order of the transcripts.

Shapes: B clips of this process, G clips of all W processes, d embedding, K transcripts.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, distributed
from torch.nn import functional

from reelscript.models.tvts.configs import LossConfig
from reelscript.models.tvts.precision import at_least_float32, no_autocast

LEAST_NORM = 1e-8  # as the official similarity: a zero embedding gives 0, not NaN


class Losses(NamedTuple):
    """The losses of a batch, each a scalar.

    Attributes:
        contrastive: of clips and texts.
        sorting: of the transcripts' places, times its weight; 0 where there is nothing to sort.
        total: their sum.
    """

    contrastive: Tensor
    sorting: Tensor
    total: Tensor


def training_losses(
    video: Tensor, texts: Tensor, order_logits: Tensor | None, config: LossConfig
) -> Losses:
    """Returns the losses of arXiv 2305.14173, section 3.

    Args:
        video: (B, d), embeddings of the clips.
        texts: (B, K, d), embeddings of their transcripts in order of time; their mean is the text
            of the clip.
        order_logits: (B, K, K), what the sorting head said; None: captions, nothing to sort.
        config: temperature, weights and forms.
    """
    if config.precision == "float32":
        texts = at_least_float32(texts)  # before the mean, which would be rounded
    contrast = contrastive(
        video, texts.mean(dim=1), config.temperature, config.gather, config.precision
    )
    if order_logits is None:
        return Losses(contrast, torch.zeros_like(contrast), contrast)
    order = config.sorting_weight * sorting(order_logits)
    return Losses(contrast, order, contrast + order)


def contrastive(
    video: Tensor,
    text: Tensor,
    temperature: float = 0.05,
    gather: Literal["true", "official"] = "true",
    precision: Literal["float32", "official"] = "float32",
) -> Tensor:
    """Returns the InfoNCE loss in both directions, summed (arXiv 2104.00650, section 3.3).

    Where processes train together (`torch.distributed`), clips and texts of all of them are
    contrasted, and every process returns the same loss. Each has to give the same number of clips,
    and their gradients have to be averaged, as DistributedDataParallel does.

    Args:
        video: (B, d); clip i belongs to text i.
        text: (B, d).
        temperature: cosine similarities are divided by it.
        gather: `true`: averaged gradients are those of the loss; `official`: 1/W of them.
        precision: `float32` or wider, or that of the embeddings.
    """
    if precision == "float32":
        video, text = at_least_float32(video), at_least_float32(text)
    with no_autocast(video):
        video, text = (
            functional.normalize(_gathered(y, gather), dim=-1, eps=LEAST_NORM)
            for y in (video, text)
        )
        logits = video @ text.T / temperature  # (G, G)
        own = torch.arange(len(logits), device=logits.device)
        return functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)


def sorting(order_logits: Tensor) -> Tensor:
    """Returns the mean cross entropy of the transcripts' places, without its weight.

    Args:
        order_logits: (B, K, K); transcript k belongs to place k. The head cannot know, since it
            gives the same logits for transcripts in any order.
    """
    places = torch.arange(order_logits.shape[1], device=order_logits.device)
    logits = at_least_float32(order_logits).flatten(0, 1)  # (B * K, K)
    return functional.cross_entropy(logits, places.repeat(order_logits.shape[0]))


def _gathered(own: Tensor, gather: Literal["true", "official"]) -> Tensor:
    """Returns the rows of all processes, (G, d), those of process 0 first."""
    if not distributed.is_available() or not distributed.is_initialized():
        return own
    if distributed.get_world_size() == 1:
        return own
    gathered: Tensor = _Gather.apply(own, gather == "true")
    return gathered


class _Gather(torch.autograd.Function):
    """All processes' rows; backwards, the gradient of the own rows.

    Every process computes the same loss of all rows, so that the gradient of the own rows is
    complete as it is. Averaging over W processes then divides it by W, which the factor undoes.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, true_gradient: bool) -> Tensor:
        processes = distributed.get_world_size()
        ctx.factor = processes if true_gradient else 1
        ctx.rows = distributed.get_rank() * len(own), len(own)
        everyone = own.new_empty(processes * len(own), *own.shape[1:])
        distributed.all_gather_into_tensor(everyone, own.contiguous())
        return everyone

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        first, count = ctx.rows
        return gradients[0][first : first + count] * ctx.factor, None
