"""Which GPUs the worker processes of a machine see: each its own."""

from __future__ import annotations

from collections.abc import Mapping

from reelscript.pipeline.engines.worker import VISIBLE_GPUS
from reelscript.pipeline.errors import UsageError


def own_gpus(count: int, environment: Mapping[str, str]) -> list[str]:
    """Returns the names of so many GPUs, each of which one worker is to see.

    Where CUDA_VISIBLE_DEVICES is set they are the first that it lists, whatever it calls them
    (numbers, `GPU-<uuid>`, `MIG-<uuid>`). CUDA itself ignores what follows a number below 0 (CUDA
    C++ Programming Guide, environment variables). Where it lists none there is nothing to share
    out: one worker sees what we see.

    Raises:
        UsageError: fewer are listed.
    """
    if VISIBLE_GPUS not in environment:
        return [str(number) for number in range(count)]
    listed: list[str] = []
    for name in environment[VISIBLE_GPUS].split(","):
        if not name.strip() or name.strip().startswith("-"):
            break
        listed.append(name.strip())
    if count > max(1, len(listed)):
        raise UsageError(
            f"{count} GPUs are asked for, and {VISIBLE_GPUS} lists {len(listed)}: "
            f"{environment[VISIBLE_GPUS]!r}"
        )
    return listed[:count]
