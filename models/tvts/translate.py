"""State dicts of other layouts made ours, and back, by the tables of `name_tables`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from reelscript.models.tvts.archives import WeightsError
from reelscript.models.tvts.configs import TVTSConfig
from reelscript.models.tvts.name_tables import Layout
from reelscript.models.tvts.names import Row, is_dropped, place_of, row_of


@dataclass(frozen=True, slots=True)
class Translated:
    """A state dict under our names.

    Attributes:
        state: the tensors; views of the others where that is possible.
        unexpected: names, as in the file, that the layout does not have.
        dropped: names, as in the file, that were left out on purpose.
    """

    state: dict[str, Tensor]
    unexpected: tuple[str, ...]
    dropped: tuple[str, ...]


def to_ours(
    state: Mapping[str, Tensor], layout: Layout, config: TVTSConfig | None = None
) -> Translated:
    """Returns a state dict under our names.

    What is one tensor here and of which the file has only a part is left out, so it is missing.

    Args:
        state: tensors by their names in the layout.
        layout: whose names they are.
        config: of the network; it tells how a kernel for images becomes one for tubelets.

    Raises:
        WeightsError: a tensor is there twice, or its shape is not the layout's.
    """
    unexpected: list[str] = []
    dropped: list[str] = []
    parts: dict[str, tuple[Row, dict[int, Tensor]]] = {}
    for name, tensor in state.items():
        place = place_of(name, layout)
        if place is None:
            (dropped if is_dropped(name) else unexpected).append(name)
            continue
        held = parts.setdefault(place.ours, (place.row, {}))[1]
        if place.part in held:
            raise WeightsError(f"the tensor {name} is in the file twice, under two names")
        held[place.part] = tensor
    made = {
        ours: _to_ours(ours, [held[part] for part in sorted(held)], row, config)
        for ours, (row, held) in parts.items()
        if len(held) == len(row.theirs)
    }
    return Translated(made, tuple(unexpected), tuple(dropped))


def to_layout(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Returns a state dict of ours under the names of another layout: the inverse of `to_ours`.

    Raises:
        WeightsError: the layout has no such tensor.
    """
    made: dict[str, Tensor] = {}
    for ours, tensor in state.items():
        row = row_of(ours, layout)
        if row is None:
            raise WeightsError(f"{ours} has no name in the layout {layout}")
        if row.form == "T":
            tensor = tensor.T
        elif row.form in ("1", "11"):
            tensor = tensor[(None,) * len(row.form)]
        made.update(zip(row.theirs, tensor.chunk(len(row.theirs)), strict=True))
    return made


def shape_there(ours: str, shape: Iterable[int], layout: Layout) -> tuple[int, ...]:
    """Returns the shape that a tensor of ours has in a layout; of several parts that of all."""
    row, sizes = row_of(ours, layout), tuple(shape)
    if row and row.form == "T":
        return sizes[::-1]
    return (1,) * len(row.form) + sizes if row and row.form in ("1", "11") else sizes


def from_official(state: Mapping[str, Tensor], config: TVTSConfig) -> dict[str, Tensor]:
    """Returns a state dict of the released code under our names.

    Args:
        state: of TVTSv2 or, for a network with joint attention, of TVTS; `module.` may stand before
            each name.
        config: of the network.

    Raises:
        WeightsError: it holds a tensor that such a state dict does not have.
    """
    return _whole(state, official_layout(config), config)


def to_official(state: Mapping[str, Tensor], config: TVTSConfig) -> dict[str, Tensor]:
    """Returns a state dict of ours under the names of the released code.

    Raises:
        WeightsError: it holds a tensor that the released code does not have.
    """
    return to_layout(state, official_layout(config))


def from_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns a state dict of OpenAI's CLIP or OpenCLIP under our names.

    Raises:
        WeightsError: it holds a tensor that CLIP does not have.
    """
    return _whole(state, "clip")


def from_hf_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns a state dict of transformers' CLIPModel under our names.

    Raises:
        WeightsError: it holds a tensor that CLIPModel does not have.
    """
    return _whole(state, "hf_clip")


def official_layout(config: TVTSConfig) -> Layout:
    """Returns the layout in which the authors released a network of this kind."""
    return "tvtsv2" if config.video.attention == "divided" else "tvts"


def _whole(
    state: Mapping[str, Tensor], layout: Layout, config: TVTSConfig | None = None
) -> dict[str, Tensor]:
    made = to_ours(state, layout, config)
    if made.unexpected:
        raise WeightsError(f"the layout {layout} has no tensor {made.unexpected[0]}")
    return made.state


def _to_ours(ours: str, parts: list[Tensor], row: Row, config: TVTSConfig | None) -> Tensor:
    tensor = parts[0]
    shapes = [tuple(part.shape) for part in parts]
    if len(parts) > 1 and (() in shapes or len({shape[1:] for shape in shapes}) > 1):
        raise WeightsError(f"the parts of {ours} do not fit together: they are {shapes}")
    if len(parts) > 1:
        return torch.cat(parts)
    if row.form == "T":
        if tensor.ndim != 2:
            raise WeightsError(f"{row.theirs[0]} is {shapes[0]}: expected a matrix")
        return tensor.T
    if row.form in ("1", "11"):
        ones = len(row.form)
        if shapes[0][:ones] != (1,) * ones or tensor.ndim <= ones:
            raise WeightsError(f"{row.theirs[0]} is {shapes[0]}: expected 1 as the first size")
        return tensor[(0,) * ones]
    if row.form == "t" and config and config.video.tubelet_frames > 1 and tensor.ndim == 4:
        frames = config.video.tubelet_frames
        scale = 1 / frames if config.video.tubelet_init == "mean" else 1.0
        # (D, 3, p, p) -> (D, 3, t, p, p): a still clip gives what the image gives, or t times that.
        return (tensor * scale)[:, :, None].expand(-1, -1, frames, -1, -1)
    return tensor
