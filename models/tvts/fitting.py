"""Whether weights fit a network: what is missing, what is too much, what cannot be copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from reelscript.models.tvts.archives import WeightsError
from reelscript.models.tvts.name_tables import Layout
from reelscript.models.tvts.names import row_of
from reelscript.models.tvts.report import some
from reelscript.models.tvts.translate import Translated, shape_there

Require = Literal["all", "towers", "clip"]


def missing_of(
    wanted: Mapping[str, Tensor], made: Translated, layout: Layout, require: Require
) -> tuple[str, ...]:
    """Returns our names of what may be missing and is.

    Args:
        wanted: the network's tensors, by our names.
        made: what a file holds, under our names.
        layout: of the file.
        require: what has to be there, as `weights.load` explains.

    Raises:
        WeightsError: something else is missing, or there is too much.
    """
    foreign = [_theirs(name, layout) for name in made.state if name not in wanted]
    if unexpected := [*made.unexpected, *foreign]:
        raise WeightsError(f"the weights have what this network has not: {some(unexpected)}")
    missing = tuple(name for name in wanted if name not in made.state)
    headless = not any(name.startswith("sorter.") for name in made.state)
    allowed = {
        name
        for name in missing
        if (require != "all" and headless and name.startswith("sorter."))
        or (require == "clip" and row_of(name, layout) is None)
    }
    if lacking := [_theirs(name, layout) for name in missing if name not in allowed]:
        hint = ""
        if all(name.startswith("sorter.") for name in missing) and headless:
            hint = "; without a sorting head they load with require='towers'"
        elif layout in ("clip", "hf_clip", "mae", "distilbert") and require != "clip":
            hint = f"; initial weights such as those of {layout} load with require='clip'"
        raise WeightsError(f"the weights lack {some(lacking)}{hint}")
    return missing


def check_tensors(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], layout: Layout
) -> None:
    """Raises WeightsError for what cannot be copied, or would not be finite then.

    Args:
        wanted: the network's tensors, by our names.
        state: what is to be copied there, by our names.
        layout: whose names a message has.
    """
    if any(tensor.is_meta for tensor in wanted.values()):
        raise WeightsError("the network has no memory yet: it is on the device meta")
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            raise WeightsError(
                f"{_theirs(name, layout)} holds {tensor.dtype}: expected floating-point numbers"
            )
    differing = [
        f"{_theirs(name, layout)} is {shape_there(name, tensor.shape, layout)} and not "
        f"{shape_there(name, wanted[name].shape, layout)}"
        for name, tensor in state.items()
        if tensor.shape != wanted[name].shape
    ]
    if differing:
        raise WeightsError(f"the weights are of another size: {some(differing)}")
    for name, tensor in state.items():
        kind = wanted[name].dtype
        if not torch.isfinite(tensor.to(kind)).all():
            raise WeightsError(
                f"{_theirs(name, layout)} holds numbers that are not finite as {kind}"
            )


def _theirs(name: str, layout: Layout) -> str:
    """Returns what a tensor of ours is called in the file, or ours if it has no name there."""
    row = row_of(name, layout)
    return " + ".join(row.theirs) if row else name
