"""A network before its first step, with all that trains it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from reelscript.jobs.pretrain.config import PretrainConfig
from reelscript.jobs.pretrain.feed import Feed
from reelscript.jobs.pretrain.objective import Objective, recompute_blocks
from reelscript.jobs.pretrain.parameters import freeze_unused, optimiser_of
from reelscript.jobs.pretrain.processes import Processes
from reelscript.jobs.pretrain.reader import Steps
from reelscript.jobs.pretrain.start import start_from
from reelscript.jobs.pretrain.streams import Streams
from reelscript.jobs.pretrain.trainer import Trainer
from reelscript.models.tvts.model import TVTS
from reelscript.pipeline.errors import UsageError

TEXT_MULTIPLE = 16  # lengths of texts that a compiled network sees: each is compiled by itself


def assembled(
    config: PretrainConfig, streams: Streams, device: torch.device, here: Processes
) -> Trainer:
    """Returns the network with its first weights and everything that trains it.

    Raises:
        UsageError: the weights to begin with are not there, or an epoch has no step.
        DataError: the weights are damaged, or of another network.
    """
    torch.manual_seed(config.seed)
    model = TVTS(config.model)
    if config.weights is not None:
        start_from(model, config.weights)
    freeze_unused(model)
    model.to(device)
    if config.compute.recompute:
        recompute_blocks(model)
    if config.compute.compile:
        model.compile()
    objective: nn.Module = objective_of(model, config)
    if here.world > 1:
        objective = DistributedDataParallel(objective, gradient_as_bucket_view=True)
    return Trainer(
        config=config,
        objective=objective,
        optimiser=optimiser_of(model, config.optimisation),
        windows=_feed(streams.windows, config, device),
        captions=None if streams.captions is None else _feed(streams.captions, config, device),
        steps=_steps(config, len(streams.windows.stream)),
    )


def objective_of(model: TVTS, config: PretrainConfig) -> Objective:
    """Returns a network with its losses."""
    return Objective(
        model,
        in_bfloat16=config.compute.precision == "bfloat16",
        blank=config.data.frames == "blank",
        exchanged=config.data.transcripts == "others",
    )


def _feed(steps: Steps, config: PretrainConfig, device: torch.device) -> Feed:
    multiple = TEXT_MULTIPLE if config.compute.compile else 1
    return Feed(steps, config.model, device, config.seed, multiple=multiple)


def _steps(config: PretrainConfig, parts_an_epoch: int) -> int:
    """Returns how many steps the training has. Raises UsageError where an epoch has none."""
    optimisation = config.optimisation
    steps = optimisation.steps or optimisation.epochs * parts_an_epoch // optimisation.accumulation
    if not (steps and parts_an_epoch):
        raise UsageError(
            f"the corpus has fewer windows than a step needs: lower optimisation.batch, "
            f"{optimisation.batch}"
        )
    return steps
