"""Which configuration a state dict is of, told by the shapes of its tensors.

Shapes tell neither the number of heads nor the activation nor any form, so that only the named
configurations are recognised; of another one, the configuration has to be given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from torch import Tensor

from reelscript.models.tvts import configs
from reelscript.models.tvts.archives import WeightsError
from reelscript.models.tvts.configs import TVTSConfig
from reelscript.models.tvts.names import layout_of
from reelscript.models.tvts.translate import to_ours

# Where each size shows: a tensor of ours and the dimension.
_SHOWN = {
    "embed_dim": ("video.projection.weight", 0),
    "video.width": ("video.cls_embedding", 0),
    "video.patch_px": ("video.patch.weight", -1),
    "text.width": ("text.token_embedding.weight", 1),
    "text.vocabulary": ("text.token_embedding.weight", 0),
    "text.context": ("text.position_embedding", 0),
    "sorting.width": ("sorter.head.weight", 1),
    "sorting.places": ("sorter.head.weight", 0),
}
# Whose weights a network may be of: MAE's image tower has the sizes of CLIP's.
_LAYOUTS = {"divided": ("tvtsv2", "clip", "hf_clip"), "joint": ("tvts", "mae", "distilbert")}


def sizes_of(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Returns the sizes that a state dict shows, by their names in `TVTSConfig`.

    Args:
        state: tensors by the names of any layout.

    Raises:
        WeightsError: the names are of no layout.
    """
    layout = layout_of(state)
    shapes = to_ours(without_numbers(state), layout).state
    ours = {name: tuple(tensor.shape) for name, tensor in shapes.items()}
    sizes = {
        size: ours[name][dimension]
        for size, (name, dimension) in _SHOWN.items()
        if len(ours.get(name, ())) > max(0, dimension)
    }
    for part, start in (("video", "video"), ("text", "text"), ("sorting", "sorter")):
        if blocks := _blocks(ours, f"{start}.blocks."):
            sizes[f"{part}.blocks"] = blocks
    patch = ours.get("video.patch.weight", ())
    if layout != "mae" and patch:
        sizes["video.tubelet_frames"] = patch[2] if len(patch) == 5 else 1
    if "video.patch_px" in sizes and (places := ours.get("video.position_embedding")):
        sizes["video.image_px"] = math.isqrt(max(0, places[0] - 1)) * sizes["video.patch_px"]
    if times := ours.get("video.time_embedding"):
        sizes["video.frames"] = times[0] * sizes.get("video.tubelet_frames", 1)
    return sizes


def config_of(state: Mapping[str, Tensor]) -> TVTSConfig:
    """Returns the named configuration that has the sizes of a state dict.

    Args:
        state: tensors by the names of any layout.

    Raises:
        WeightsError: there is none; the message has the nearest and what differs.
    """
    sizes = sizes_of(state)
    layout, differing = layout_of(state), {}
    for name, make in configs.NAMED.items():
        config = make()
        if layout not in ("ours", *_LAYOUTS[config.video.attention]):
            continue
        differing[name] = _differing(sizes, config)
        if sizes and not differing[name]:
            return config
    nearest = min(differing, key=lambda name: len(differing[name]))
    raise WeightsError(
        f"these weights are of no named configuration; the nearest is '{nearest}', but "
        + (", ".join(differing[nearest]) or "no size shows")
    )


def check_sizes(state: Mapping[str, Tensor], config: TVTSConfig) -> None:
    """Raises WeightsError if a size that a state dict shows is not the configuration's."""
    if differing := _differing(sizes_of(state), config):
        raise WeightsError(f"the weights are not of '{config.name}': {', '.join(differing)}")


def _differing(sizes: Mapping[str, int], config: TVTSConfig) -> list[str]:
    found = []
    for size, shown in sizes.items():
        part, _, name = size.rpartition(".")
        wanted = getattr(getattr(config, part) if part else config, name)
        if shown != wanted:
            found.append(f"{size} is {shown} and not {wanted}")
    return found


def without_numbers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors of the same shapes, with which nothing is computed or copied."""
    return {name: tensor.to("meta") for name, tensor in state.items()}


def _blocks(names: Iterable[str], start: str) -> int:
    """Returns how many blocks there are."""
    return len({name[len(start) :].partition(".")[0] for name in names if name.startswith(start)})
