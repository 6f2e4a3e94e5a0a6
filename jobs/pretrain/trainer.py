"""Everything that changes while a network is trained, and one step of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from reelscript.jobs.pretrain.config import PretrainConfig
from reelscript.jobs.pretrain.feed import Feed
from reelscript.jobs.pretrain.meter import Meter
from reelscript.jobs.pretrain.objective import Objective
from reelscript.jobs.pretrain.parameters import set_rates
from reelscript.jobs.pretrain.schedule import rate_factor
from reelscript.models.tvts.model import TVTS


@dataclass
class Measured:
    """What one step said of itself; numbers stay on the device until they are asked for.

    Attributes:
        step: its number, from 1.
        losses: scalars by name, mean over the parts of the batch in this process.
        gradient: its length before it was shortened.
        rates: learning rates by name of the group.
        keys: names of the windows and captioned clips of this process.
    """

    step: int
    losses: dict[str, Tensor] = field(default_factory=dict)
    gradient: Tensor = field(default_factory=lambda: torch.zeros(()))
    rates: dict[str, float] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    def numbers(self) -> dict[str, float]:
        """Returns the losses and `gradient` as numbers; waits for the device."""
        found = {**self.losses, "gradient": self.gradient}
        values = torch.stack([value.detach().float() for value in found.values()]).tolist()
        return dict(zip(found, values, strict=True))

    @property
    def is_finite(self) -> bool:
        """Whether all of it is; waits for the device."""
        return all(math.isfinite(value) for value in self.numbers().values())


@dataclass
class Trainer:
    """A network being trained.

    Attributes:
        config: of the run.
        objective: the network with its losses, data-parallel where there are several processes.
        optimiser: over the network's parameters.
        windows: the stream of windows.
        captions: the stream of captioned clips; None: there is none.
        steps: how many the training has.
        step: how many were done.
        failed: how many windows or clips could not be read, in all processes.
        best: the best validation so far, by `checkpoints.best`.
    """

    config: PretrainConfig
    objective: nn.Module
    optimiser: AdamW
    windows: Feed
    captions: Feed | None
    steps: int
    step: int = 0
    failed: int = 0
    best: float | None = None

    @property
    def model(self) -> TVTS:
        """The network itself."""
        wrapped = self.objective
        inner = wrapped.module if isinstance(wrapped, DistributedDataParallel) else wrapped
        assert isinstance(inner, Objective)
        return inner.model

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    def advance(self, meter: Meter) -> Measured:
        """Does one step and returns what it said: one update of the weights, or two in turn.

        With `streams: official` the second update is that of the captioned clips alone.
        """
        optimisation = self.config.optimisation
        factor = rate_factor(self.step, self.steps, optimisation)
        self.step += 1
        measured = Measured(self.step, rates=set_rates(self.optimiser, factor))
        turns: list[tuple[Feed | None, Feed | None]] = [(self.windows, self.captions)]
        if optimisation.streams == "official":
            turns = [(self.windows, None), (None, self.captions)]
        for windows, captions in turns:
            self.optimiser.zero_grad(set_to_none=True)
            for _ in self._parts():
                with meter.waiting():
                    fed = [None if feed is None else next(feed) for feed in (windows, captions)]
                losses = self.objective(*(None if one is None else one.clips for one in fed))
                (losses.pop("loss") / optimisation.accumulation).backward()
                measured.keys += [key for one in fed if one is not None for key in one.keys]
                for name, loss in losses.items():
                    so_far = measured.losses.get(name, torch.zeros_like(loss))
                    measured.losses[name] = so_far + loss / optimisation.accumulation
            longest = optimisation.clip_norm or math.inf
            gradient = clip_grad_norm_(self.model.parameters(), longest)
            measured.gradient = torch.maximum(measured.gradient.to(gradient), gradient)
            self.optimiser.step()
        meter.windows += optimisation.batch
        return measured

    def _parts(self) -> Iterator[None]:
        """Yields once a part of the batch; gradients of processes are averaged in the last one."""
        count = self.config.optimisation.accumulation
        for part in range(count):
            wrapped = self.objective
            if isinstance(wrapped, DistributedDataParallel) and part < count - 1:
                with wrapped.no_sync():
                    yield
            else:
                yield

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint holds beside the weights: tensors and plain values."""
        return {
            "optimiser": self.optimiser.state_dict(),
            "windows": self.windows.state_dict(),
            "captions": None if self.captions is None else self.captions.state_dict(),
            "failed": self.failed,
            "best": self.best,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave; the weights are those of the same checkpoint."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.windows.load_state_dict(state["windows"])
        if self.captions is not None:
            self.captions.load_state_dict(state["captions"])
        self.step, self.failed, self.best = state["step"], state["failed"], state["best"]
