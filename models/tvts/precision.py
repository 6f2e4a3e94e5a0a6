"""Logits and losses are computed in float32, whatever the network computes in."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor


def at_least_float32(y: Tensor) -> Tensor:
    """Returns the same numbers in float32, or as they are where they are wider."""
    return y.to(torch.promote_types(y.dtype, torch.float32))


def no_autocast(y: Tensor) -> contextlib.AbstractContextManager[object]:
    """Returns a context in which autocast changes nothing on the device of a tensor."""
    if y.device.type == "meta":  # for counting shapes: it has no autocast
        return contextlib.nullcontext()
    return torch.autocast(y.device.type, enabled=False)
