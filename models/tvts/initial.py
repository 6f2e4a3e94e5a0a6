"""What the weights are before training, where no trained ones are loaded.

Normal, with deviations in proportion to width**-0.5; layers whose output is added to the tokens are
smaller by (2 * blocks)**-0.5, so that the sum does not grow with the depth (Radford et al. 2019,
section 2.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn

from reelscript.models.tvts.blocks import Block, DividedBlock

if TYPE_CHECKING:
    from reelscript.models.tvts.text import TextTower
    from reelscript.models.tvts.video import VideoTower

TOKEN_STD, POSITION_STD = 0.02, 0.01  # of the text tower, as in CLIP


def init_video(tower: VideoTower) -> None:
    """Initialises a video tower in place."""
    config = tower.config
    std = config.width**-0.5
    nn.init.normal_(tower.patch.weight, std=tower.patch.weight[0].numel() ** -0.5)
    if tower.patch.bias is not None:
        nn.init.zeros_(tower.patch.bias)
    nn.init.normal_(tower.cls_embedding, std=std)
    nn.init.normal_(tower.position_embedding, std=std)
    if config.time_embedding_init == "official":
        nn.init.normal_(tower.time_embedding, std=std)
    else:
        nn.init.zeros_(tower.time_embedding)
    _init_linear(tower.projection, std)
    init_blocks(tower.blocks, config.width)
    for block in tower.blocks:
        if isinstance(block, DividedBlock):
            init_time_attention(block, config.time_attention_init)


def init_text(tower: TextTower) -> None:
    """Initialises a text tower in place."""
    nn.init.normal_(tower.token_embedding.weight, std=TOKEN_STD)
    nn.init.normal_(tower.position_embedding, std=POSITION_STD)
    _init_linear(tower.projection, tower.config.width**-0.5)
    init_blocks(tower.blocks, tower.config.width)


def init_blocks(blocks: Iterable[nn.Module], width: int) -> None:
    """Initialises attention and MLP of each block in place."""
    made = [block for block in blocks if isinstance(block, Block | DividedBlock)]
    added = width**-0.5 * (2 * max(1, len(made))) ** -0.5
    for block in made:
        _init_linear(block.attention.qkv, width**-0.5)
        _init_linear(block.attention.projection, added)
        _init_linear(block.mlp.up, (2 * width) ** -0.5)
        _init_linear(block.mlp.down, added)


@torch.no_grad()
def init_time_attention(block: DividedBlock, form: str) -> None:
    """Initialises the attention over time, so that it changes nothing at first, in place.

    Args:
        block: whose attention over space is already initialised or loaded.
        form: a `VideoConfig.time_attention_init`.
    """
    time, width = block.time_attention, block.norm_time.weight.numel()
    block.norm_time.reset_parameters()
    nn.init.zeros_(time.projection.weight)
    nn.init.zeros_(time.projection.bias)
    if form == "space_copy":
        time.qkv.load_state_dict(block.attention.qkv.state_dict())
        block.norm_time.load_state_dict(block.norm_attention.state_dict())
    elif form == "official":
        nn.init.zeros_(time.qkv.weight)
        nn.init.zeros_(time.qkv.bias)
        nn.init.ones_(time.projection.weight)
    else:
        _init_linear(time.qkv, width**-0.5)


def _init_linear(layer: nn.Linear, std: float) -> None:
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
