"""Which parameters learn how fast."""

from __future__ import annotations

import re

import torch
from torch import nn
from torch.optim import AdamW

from reelscript.jobs.pretrain.config import Optimisation
from reelscript.models.tvts.model import TVTS

# What CLIP does not have, and what is therefore new where training begins from it.
NEW = re.compile(r"video\.blocks\.\d+\.(time_attention|norm_time)\..*|sorter\..*")
TIME_EMBEDDING = "video.time_embedding"
NOT_DECAYED = re.compile(r".*\.bias|(.*\.)?norm_[a-z]+\..*")


def group_of(name: str, config: Optimisation) -> tuple[str, bool]:
    """Returns which rate a parameter has, `new` or `pretrained`, and whether it decays.

    The released code tells them by their names too; it counts the time embedding, which CLIP does
    not have either, among the pretrained.

    Args:
        name: of the parameter in `TVTS`.
        config: `time_embedding` decides about that one.
    """
    is_new = bool(NEW.fullmatch(name))
    if name == TIME_EMBEDDING:
        is_new = config.time_embedding == "new"
    return "new" if is_new else "pretrained", not NOT_DECAYED.fullmatch(name)


def optimiser_of(model: TVTS, config: Optimisation) -> AdamW:
    """Returns AdamW over the trained parameters of a network, in up to four groups.

    Each group has `name`, `new` or `pretrained`, and `base_rate`, its learning rate before the
    schedule.
    """
    rates = {"new": config.new_learning_rate, "pretrained": config.learning_rate}
    members: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members.setdefault(group_of(name, config), []).append(parameter)
    groups = [
        {
            "params": parameters,
            "name": name,
            "base_rate": rates[name],
            "lr": rates[name],
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (name, decays), parameters in sorted(members.items())
    ]
    on_gpu = next(model.parameters()).device.type == "cuda"
    return AdamW(groups, betas=config.betas, eps=config.eps, fused=on_gpu)


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> dict[str, float]:
    """Sets the learning rates to `factor` times those of the config; returns them by group name."""
    for group in optimiser.param_groups:
        group["lr"] = factor * group["base_rate"]
    return {group["name"]: group["lr"] for group in optimiser.param_groups}


def freeze_unused(model: TVTS) -> None:
    """Stops the training of the sorting head where its loss has no weight.

    It would get zero gradients, with which weight decay still moves it.
    """
    if model.config.losses.sorting_weight == 0:
        model.sorter.requires_grad_(False)
