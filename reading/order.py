"""In which order the windows of an epoch are read, and which rank and worker reads which.

```
shards, shuffled      | c  a  f | b  e  d |          a block: some shards, whose windows are mixed
positions 0..n        | ....... | ....... |
step t of W ranks     [rank 0 | rank 1 | ...]        W * batch positions, the next ones
```

All ranks walk through the same order side by side, and each takes its part of every step. So few
shards are read from at a time, every rank has equally many steps whatever the shards, and what is
in a step depends on the product of ranks and batch alone: 8 ranks of 16 see what 1 rank of 128
sees, and a run can go on with another number of ranks.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


class Purpose(IntEnum):
    """What random numbers are for: of one seed, each purpose has numbers of its own."""

    ORDER = 0
    PLACES = 1
    WINDOW = 2
    REPLACEMENT = 3


def generator(seed: int, purpose: Purpose, *which: int) -> np.random.Generator:
    """Returns the random numbers for one purpose: the same in every process.

    Args:
        seed: of the run, 0 or more.
        purpose: what they are for.
        which: epoch, window, attempt.
    """
    return np.random.default_rng([seed, purpose, *which])


def epoch_order(shards: Numbers, seed: int, epoch: int, block_shards: int) -> Numbers:
    """Returns the numbers of all windows in the order of an epoch.

    Args:
        shards: (n,), in which shard each window lies.
        seed: of the run.
        epoch: from 0.
        block_shards: of how many shards windows are mixed.
    """
    numbers = generator(seed, Purpose.ORDER, epoch)
    there, shard_of = np.unique(shards, return_inverse=True)
    block_of = numbers.permutation(len(there)) // block_shards  # of each shard
    mixed = numbers.permutation(len(shards))
    return mixed[np.argsort(block_of[shard_of[mixed]], kind="stable")].astype(np.int64)


def steps_left(windows: int, position: int, per_step: int, pad: bool) -> int:
    """Returns how many steps are left in an epoch, for every rank.

    Args:
        windows: n of the epoch, over all ranks.
        position: how many of them were seen, over all ranks.
        per_step: how many a step of all ranks takes.
        pad: the last step is filled up from the beginning, and not dropped.
    """
    left = max(0, windows - position)
    return -(-left // per_step) if pad else left // per_step


def positions_of_step(
    position: int, step: int, rank: int, world: int, batch: int, windows: int
) -> list[int]:
    """Returns the positions in the order that one rank reads in one step; beyond the end, wrapped.

    Args:
        position: where the first of these steps begins.
        step: from 0.
        rank: 0 to world - 1.
        world: ranks.
        batch: windows of a rank in a step.
        windows: n of the epoch.
    """
    first = position + (step * world + rank) * batch
    return [place % windows for place in range(first, first + batch)]
