"""How a network does on windows of held-out videos.

Nothing is masked and nothing is drawn: every patch is seen, frames are the middle ones, windows the
first of the split, always the same. (The released trainer validates with the mask of the training
on, and calls the checkpoint of the lowest accuracy the best.)
"""

from __future__ import annotations

from typing import Literal

import torch

from reelscript.jobs.pretrain.config import Metric
from reelscript.jobs.pretrain.feed import Feed
from reelscript.jobs.pretrain.objective import Objective
from reelscript.jobs.pretrain.processes import Processes

BETTER: dict[Metric, Literal["higher", "lower"]] = {"sorting_accuracy": "higher", "loss": "lower"}


def is_better(metric: Metric, value: float, best: float | None) -> bool:
    """Returns whether a value is better than the best before it; an equal one is not."""
    if best is None:
        return True
    return value > best if BETTER[metric] == "higher" else value < best


@torch.no_grad()
def validate(objective: Objective, feed: Feed, windows: int, here: Processes) -> dict[str, float]:
    """Returns metrics over held-out windows, the same in every process.

    `loss` is that of the training without its mask; `sorting_accuracy` the share of windows whose
    transcripts are all put into their places; `place_accuracy` that of single transcripts;
    `windows` how many were looked at.

    Args:
        objective: the network with its losses.
        feed: of held-out windows, from their beginning; not masked.
        windows: how many, at most, in all processes together.
        here: this process among the others.
    """
    totals = torch.zeros(4, dtype=torch.float64)
    objective.eval()
    for fed in feed.one_epoch():
        if int(totals[3]) * here.world >= windows:
            break
        losses, output = objective.losses_and_output(fed.clips)
        count = len(fed.keys)
        right = torch.zeros(count, 1, dtype=torch.bool)
        if output.order_logits is not None:
            places = torch.arange(output.order_logits.shape[1], device=output.order_logits.device)
            right = (output.order_logits.argmax(dim=-1) == places).cpu()  # (B, K)
        found = [float(losses.total), float(right.all(-1).float().mean())]
        totals += torch.tensor([count * y for y in (*found, float(right.float().mean()), 1)])
    objective.train()
    sums = torch.stack(here.gather(totals)).sum(0)
    names = ("loss", "sorting_accuracy", "place_accuracy")
    means = {name: float(y / sums[3]) for name, y in zip(names, sums, strict=False)}
    return means | {"windows": int(sums[3])}
