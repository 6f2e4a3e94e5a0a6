"""Logits and losses are computed in float32, whatever the network computes in."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(y: Tensor) -> Tensor:
    """Returns the same numbers in float32, or as they are where they are wider."""
    return y.to(torch.promote_types(y.dtype, torch.float32))
