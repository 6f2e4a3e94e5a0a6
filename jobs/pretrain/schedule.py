"""How learning rates change over the training: a function of the step, with no state."""

from __future__ import annotations

import math

from reelscript.jobs.pretrain.config import Optimisation


def rate_factor(step: int, steps: int, config: Optimisation) -> float:
    """Returns what all learning rates are multiplied by in a step.

    Args:
        step: how many steps were done before, 0 to below `steps`.
        steps: of the training.
        config: schedule, milestones, factor and warm-up.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "milestones":
        passed = sum(step >= round(share * steps) for share in config.milestones)
        return config.factor**passed
    if config.schedule == "cosine":
        done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
        return config.factor + (1 - config.factor) * (1 + math.cos(math.pi * done)) / 2
    return 1.0
