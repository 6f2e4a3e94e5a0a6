"""Loads weights into a TVTS network and writes them out again.

Weights of every layout in `name_tables` are taken, from every file that `archives` reads. What a
file lacks or has too much is an error that names it, unless it has to be so: nothing is loaded in
part.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from reelscript.models.tvts import configs
from reelscript.models.tvts.archives import WeightsError
from reelscript.models.tvts.blocks import DividedBlock
from reelscript.models.tvts.checkpoints import Checkpoint, read
from reelscript.models.tvts.configs import TVTSConfig
from reelscript.models.tvts.export import save, save_official
from reelscript.models.tvts.fitting import Require, check_tensors, missing_of
from reelscript.models.tvts.initial import init_time_attention
from reelscript.models.tvts.model import TVTS
from reelscript.models.tvts.name_tables import Layout
from reelscript.models.tvts.names import layout_of, plain
from reelscript.models.tvts.report import Report
from reelscript.models.tvts.sizes import check_sizes, config_of, without_numbers
from reelscript.models.tvts.sorting import SortingHead
from reelscript.models.tvts.translate import to_ours
from reelscript.models.tvts.video import VideoTower

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

_BEGINNINGS = {"mae": "MAE's image encoder", "distilbert": "DistilBERT"}  # one tower alone


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
            numbers that are not finite in the network's precision. The network is as before.
        ValueError: there is no such `require`.
    """
    if require not in (valid := get_args(Require)):
        raise ValueError(f"require is {require!r}; {configs.nearest(str(require), valid)}")
    state, layout = _state_of(source)
    check_sizes(state, model.config)
    made = to_ours(state, layout, model.config)
    wanted = {plain(name): tensor for name, tensor in model.state_dict().items()}
    missing = missing_of(wanted, made, layout, require)
    check_tensors(wanted, made.state, layout)
    with torch.no_grad():
        for name, tensor in made.state.items():
            wanted[name].copy_(tensor)
    initialised = _copy_space(model, missing)
    return Report(len(made.state), missing, made.dropped, initialised)


def open_model(
    source: str | os.PathLike[str] | Checkpoint, name: str | TVTSConfig | None = None
) -> TVTS:
    """Returns the network of a file of weights, ready for evaluation, in float32 on the CPU.

    Args:
        source: the file, or what `read` returned of it. It may lack the sorting head; of CLIP, also
            the attention over time, which at first adds nothing: a clip of one frame is embedded as
            CLIP embeds the image, one of several without regard to their order.
        name: of the configuration, or the configuration itself; None: as the file says, or else as
            the shapes of its tensors tell. `preprocess` in it is set by what the file tells.

    Raises:
        WeightsError: the file cannot be read, or is not of that configuration.
        ValueError: there is no configuration of that name.
    """
    held = source if isinstance(source, Checkpoint) else read(source)
    config = configs.named(name) if isinstance(name, str) else name or held.config
    try:
        if held.layout in _BEGINNINGS:
            raise WeightsError(
                f"these are weights of {_BEGINNINGS[held.layout]} alone, with which training may "
                "begin; they embed no video"
            )
        config = config or config_of(held.state)
        config = dataclasses.replace(config, preprocess=held.preprocess or config.preprocess)
        check_sizes(held.state, config)
        model = _to_fill(config, held)
        load(model, held, require="clip" if held.layout in ("clip", "hf_clip") else "towers")
    except WeightsError as error:
        raise WeightsError(f"{held.source} cannot be used: {error}") from error
    return model.eval()


class _Uninitialised(TorchFunctionMode):
    """While it is entered, what `torch.nn.init` would draw is left as it lies in memory."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)


def _to_fill(config: TVTSConfig, held: Checkpoint) -> TVTS:
    """Returns a network in which what a checkpoint lacks is initialised, and most else is not.

    To initialise what is then overwritten would take longer than to load it.
    """
    with _Uninitialised():
        model = TVTS(config)
    there = to_ours(without_numbers(held.state), held.layout, config).state
    lacking = {name.partition(".")[0] for name in model.state_dict() if name not in there}
    if not lacking <= {"video", "sorter"}:
        return TVTS(config)
    if "video" in lacking:
        model.video = VideoTower(config.video, config.embed_dim)
    if "sorter" in lacking:
        model.sorter = SortingHead(config.sorting)
    return model


def _state_of(
    source: str | os.PathLike[str] | Checkpoint | Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], Layout]:
    """Returns tensors by their names in a layout, and which that is."""
    if not isinstance(source, Mapping):
        held = source if isinstance(source, Checkpoint) else read(source)
        return held.state, held.layout
    for name, tensor in cast(Mapping[object, object], source).items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(
                f"{name!r} is a {type(tensor).__name__}: expected a state dict, tensors by name"
            )
    return dict(source), layout_of(source)


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
