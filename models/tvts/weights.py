"""Loads weights into a TVTS network and writes them out again.

Weights of every layout in `name_tables` are taken, from every file that `archives` reads. What a
file lacks or has too much is an error that names it, unless it has to be so: nothing is loaded in
part.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from reelscript.models.tvts import configs
from reelscript.models.tvts.archives import WeightsError
from reelscript.models.tvts.blocks import DividedBlock
from reelscript.models.tvts.checkpoints import Checkpoint, read
from reelscript.models.tvts.configs import TVTSConfig
from reelscript.models.tvts.export import save, save_official
from reelscript.models.tvts.initial import init_time_attention
from reelscript.models.tvts.layouts import layout_of, plain, row_of
from reelscript.models.tvts.model import TVTS
from reelscript.models.tvts.name_tables import Layout
from reelscript.models.tvts.names import Translated, to_ours
from reelscript.models.tvts.sizes import check_sizes, config_of

__all__ = [
    "Checkpoint",
    "Report",
    "WeightsError",
    "config_of",
    "load",
    "open_model",
    "read",
    "save",
    "save_official",
]

Require = Literal["all", "towers", "clip"]
_NAMED = 5  # names in one message


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a network's tensors.

    Attributes:
        missing: our names of those that the file does not have; they are as they were.
        unexpected: names in the file of what was left out on purpose, such as `logit_scale`.
        initialised: of the missing, those that were set from what was loaded.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    initialised: tuple[str, ...]


def load(
    model: TVTS,
    source: str | os.PathLike[str] | Checkpoint | Mapping[str, Tensor],
    *,
    require: Require = "all",
) -> Report:
    """Loads weights into a network, all that there have to be or none, and says what became of it.

    Args:
        model: the network; its parameters are overwritten.
        source: a file, what `read` returned, or a state dict of any layout.
        require: what has to be there. `all`: every tensor of the network. `towers`: the sorting
            head may be missing as a whole, as from the released TVTSv2 files. `clip`: also what the
            layout of the file does not have may be missing: from CLIP the attention over time
            with its norms and the time embedding, which keep their initialisation (or are set from
            the attention over space, if `time_attention_init` is `space_copy`).

    Raises:
        WeightsError: a tensor is missing, is of another network, has another shape, or holds
            numbers that are not finite. The network is as before.
    """
    if isinstance(source, Checkpoint):
        state, layout = source.state, source.layout
    elif isinstance(source, Mapping):
        state, layout = dict(source), layout_of(source)
    else:
        held = read(source)
        state, layout = held.state, held.layout
    made = to_ours(state, layout, model.config)
    wanted = {plain(name): tensor for name, tensor in model.state_dict().items()}
    missing = _missing(wanted, made, layout, require)
    _check_shapes(wanted, made.state, model.config)
    for name, tensor in made.state.items():
        if not torch.isfinite(tensor.to(torch.float32)).all():
            raise WeightsError(f"{_theirs(name, layout)} holds numbers that are not finite")
    with torch.no_grad():
        for name, tensor in made.state.items():
            wanted[name].copy_(tensor)
    initialised = _copy_space(model, missing)
    return Report(missing, made.dropped, initialised)


def open_model(
    source: str | os.PathLike[str] | Checkpoint, name: str | TVTSConfig | None = None
) -> TVTS:
    """Returns the network of a file of weights, ready for evaluation, in float32 on the CPU.

    Args:
        source: the file, or what `read` returned of it; it may lack the sorting head.
        name: of the configuration, or the configuration itself; None: as the file says, or else as
            the shapes of its tensors tell.

    Raises:
        WeightsError: the file cannot be read, or is not of that configuration.
        ValueError: there is no configuration of that name.
    """
    held = source if isinstance(source, Checkpoint) else read(source)
    config = configs.named(name) if isinstance(name, str) else name or held.config
    try:
        config = config or config_of(held.state)
        check_sizes(held.state, config)
        model = TVTS(config)
        load(model, held, require="towers")
    except WeightsError as error:
        raise WeightsError(f"{held.source} cannot be used: {error}") from error
    return model.eval()


def _missing(
    wanted: Mapping[str, Tensor], made: Translated, layout: Layout, require: Require
) -> tuple[str, ...]:
    """Returns what may be missing and is; raises for what may not, and for what is too much."""
    foreign = [_theirs(name, layout) for name in made.state if name not in wanted]
    if unexpected := [*made.unexpected, *foreign]:
        raise WeightsError(f"the weights have what this network has not: {_some(unexpected)}")
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
        raise WeightsError(f"the weights lack {_some(lacking)}{hint}")
    return missing


def _check_shapes(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], config: TVTSConfig
) -> None:
    if any(tensor.is_meta for tensor in wanted.values()):
        raise WeightsError("the network has no memory yet: it is on the device meta")
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            raise WeightsError(f"{name} holds {tensor.dtype}: expected floating-point numbers")
    differing = [name for name in state if state[name].shape != wanted[name].shape]
    if differing == ["video.position_embedding"]:
        patches = state[differing[0]].shape[0] - 1
        raise WeightsError(
            f"the image size differs: the weights are for {patches} patches, this network has "
            f"{config.video.patches} of {config.video.patch_px} px ({config.video.image_px} px)"
        )
    if differing:
        shapes = [
            f"{name} {tuple(state[name].shape)} and not {tuple(wanted[name].shape)}"
            for name in differing
        ]
        raise WeightsError(f"the weights are of another size: {_some(shapes)}")


@torch.no_grad()
def _copy_space(model: TVTS, missing: tuple[str, ...]) -> tuple[str, ...]:
    """Sets the attention over time from that over space, if it was not loaded and shall be."""
    video = model.config.video
    new = tuple(name for name in missing if ".time_attention." in name or ".norm_time." in name)
    if video.time_attention_init != "space_copy" or not new:
        return ()
    blocks: nn.Module = model.video.blocks
    for block in blocks.children():
        if isinstance(block, DividedBlock):
            init_time_attention(block, video.time_attention_init)
    return new


def _theirs(name: str, layout: Layout) -> str:
    """Returns what a tensor of ours is called in the file, or ours if it has no name there."""
    row = row_of(name, layout)
    return " + ".join(row.theirs) if row else name


def _some(names: list[str]) -> str:
    """Returns the first few names and how many there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
