"""How many actors of Ray each group of stages has, and what each of them claims."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reelscript.pipeline.engines.groups import Group
from reelscript.pipeline.errors import UsageError


@dataclass(frozen=True, slots=True)
class Pool:
    """The actors of one group.

    Attributes:
        actors: how many.
        cpus: that each claims; a GPU actor claims none.
        gpus: that each claims.
        at_once: parcels that each has in hand.
    """

    actors: int
    cpus: float
    gpus: float
    at_once: int = 1


@dataclass(frozen=True, slots=True)
class Share:
    """What a run has of a cluster, in whole CPUs and GPUs."""

    cpus: int
    gpus: int


def pools_of(groups: Sequence[Group], share: Share) -> list[Pool]:
    """Returns the actors of each group, which fit into a share all together.

    Groups of a kind divide what there is: of two CPU groups each has an actor a CPU, which claims
    half of it. What asks for half a GPU has two actors on each. Beside what a GPU actor computes
    with, as much again waits in it.
    """
    kinds = [group.kind for group in groups]
    pools = []
    for group in groups:
        part = kinds.count(group.kind)
        if group.kind == "cpu":
            pools.append(Pool(share.cpus, _part(1.0, part), 0.0))
            continue
        asked = max(stage.resources.gpus for stage in group.stages)
        actors = int(share.gpus / asked + 1e-9) if asked > 1 else share.gpus * int(1 / asked)
        if actors == 0:
            raise UsageError(f"a stage asks for {asked:g} GPUs, and the run has {share.gpus}")
        pools.append(Pool(actors, 0.0, _part(asked, part), 2 * group.videos_at_once))
    return pools


def _part(whole: float, parts: int) -> float:
    """Returns an equal part, rounded down to what Ray counts in: ten-thousandths."""
    return whole if parts == 1 else math.floor(whole / parts * 10_000) / 10_000
