"""State dicts as the released files, CLIP and transformers have them, their names written out here.

Nothing of `models/tvts` is used: names and shapes are those of the released code and of the papers'
sizes, so that the mapping is held against something else than itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from reelscript.models.tvts import configs
from reelscript.models.tvts.configs import TVTSConfig
from reelscript.models.tvts.model import TVTS

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Size:
    width: int
    blocks: int
    patch: int
    patches: int
    embed: int
    text_width: int
    text_blocks: int
    vocabulary: int = 49408
    frames: int = 12


SIZES = {
    "b32": Size(768, 12, 32, 49, 512, 512, 12),
    "b16": Size(768, 12, 16, 196, 512, 512, 12),
    "h14": Size(1280, 32, 14, 256, 1024, 1024, 24),
}
TOY = Size(16, 2, 8, 9, 8, 24, 3, vocabulary=40)


def toy(**video: object) -> TVTSConfig:
    """The configuration of the size TOY."""
    return TVTSConfig(
        name="toy",
        embed_dim=8,
        video=configs.VideoConfig(
            image_px=24,
            patch_px=8,
            width=16,
            blocks=2,
            heads=2,
            activation="quick_gelu",
            mask_ratio=0.5,
            **video,  # type: ignore[arg-type]
        ),
        text=configs.TextConfig(
            vocabulary=40, width=24, blocks=3, heads=3, activation="quick_gelu", frozen_blocks=1
        ),
        sorting=configs.SortingConfig(width=8, heads=2),
    )


def toy_v1(**video: object) -> TVTSConfig:
    """A TVTS of the first version, of two blocks of width 12."""
    whole = configs.v1()
    small = dataclasses.replace(
        whole.video, image_px=24, patch_px=8, frames=4, width=12, blocks=2, heads=2, **video
    )
    text = dataclasses.replace(whole.text, context=20, vocabulary=30, width=12, blocks=2, heads=2)
    sorting = configs.SortingConfig(width=12, heads=2)
    return TVTSConfig(name="toy_v1", embed_dim=6, video=small, text=text, sorting=sorting)


def linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def official_video(size: Size) -> Shapes:
    d = size.width
    shapes: Shapes = {
        "video_model.class_embedding": (d,),
        "video_model.positional_embedding": (1 + size.patches, d),
        "video_model.temporal_embedding": (size.frames, d),
        "video_model.proj": (d, size.embed),
        "video_model.conv1.weight": (d, 3, size.patch, size.patch),
    }
    shapes |= norm("video_model.ln_pre", d) | norm("video_model.ln_post", d)
    for i in range(size.blocks):
        block = f"video_model.transformer.resblocks.{i}"
        for attention in ("attn", "timeattn"):
            shapes |= linear(f"{block}.{attention}.qkv", 3 * d, d)
            shapes |= linear(f"{block}.{attention}.proj", d, d)
        for number in (1, 2, 3):
            shapes |= norm(f"{block}.ln_{number}", d)
        shapes |= linear(f"{block}.mlp.c_fc", 4 * d, d) | linear(f"{block}.mlp.c_proj", d, 4 * d)
    return shapes


def clip_blocks(start: str, width: int, blocks: int) -> Shapes:
    shapes: Shapes = {}
    for i in range(blocks):
        block = f"{start}.{i}"
        shapes[f"{block}.attn.in_proj_weight"] = (3 * width, width)
        shapes[f"{block}.attn.in_proj_bias"] = (3 * width,)
        shapes |= linear(f"{block}.attn.out_proj", width, width)
        shapes |= norm(f"{block}.ln_1", width) | norm(f"{block}.ln_2", width)
        shapes |= linear(f"{block}.mlp.c_fc", 4 * width, width)
        shapes |= linear(f"{block}.mlp.c_proj", width, 4 * width)
    return shapes


def official_text(size: Size) -> Shapes:
    w = size.text_width
    shapes: Shapes = {
        "text_positional_embedding": (77, w),
        "text_projection": (w, size.embed),
        "text_token_embedding.weight": (size.vocabulary, w),
    }
    shapes |= norm("text_ln_final", w)
    return shapes | clip_blocks("text_model.resblocks", w, size.text_blocks)


def timm_blocks(start: str, width: int, blocks: int) -> Shapes:
    shapes: Shapes = {}
    for i in range(blocks):
        block = f"{start}.{i}"
        shapes |= norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width)
        shapes |= linear(f"{block}.attn.qkv", 3 * width, width)
        shapes |= linear(f"{block}.attn.proj", width, width)
        shapes |= linear(f"{block}.mlp.fc1", 4 * width, width)
        shapes |= linear(f"{block}.mlp.fc2", width, 4 * width)
    return shapes


def official_sorter(width: int) -> Shapes:
    shapes: Shapes = {"pred_model.type_embed": (1, 2, width)}
    shapes |= timm_blocks("pred_model.blocks", width, 2)
    return shapes | norm("pred_model.norm", width) | linear("pred_model.head", 4, width)


def clip(size: Size) -> Shapes:
    """OpenAI's CLIP and OpenCLIP, with what they carry beside the towers."""
    d, w = size.width, size.text_width
    shapes: Shapes = {
        "visual.class_embedding": (d,),
        "visual.positional_embedding": (1 + size.patches, d),
        "visual.proj": (d, size.embed),
        "visual.conv1.weight": (d, 3, size.patch, size.patch),
        "positional_embedding": (77, w),
        "text_projection": (w, size.embed),
        "token_embedding.weight": (size.vocabulary, w),
        "logit_scale": (),
    }
    shapes |= norm("visual.ln_pre", d) | norm("visual.ln_post", d) | norm("ln_final", w)
    shapes |= clip_blocks("visual.transformer.resblocks", d, size.blocks)
    return shapes | clip_blocks("transformer.resblocks", w, size.text_blocks)


def hf_blocks(start: str, width: int, blocks: int) -> Shapes:
    shapes: Shapes = {}
    for i in range(blocks):
        block = f"{start}.{i}"
        for which in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{block}.self_attn.{which}", width, width)
        shapes |= norm(f"{block}.layer_norm1", width) | norm(f"{block}.layer_norm2", width)
        shapes |= linear(f"{block}.mlp.fc1", 4 * width, width)
        shapes |= linear(f"{block}.mlp.fc2", width, 4 * width)
    return shapes


def hf_clip(size: Size) -> Shapes:
    d, w = size.width, size.text_width
    shapes: Shapes = {
        "logit_scale": (),
        "vision_model.embeddings.class_embedding": (d,),
        "vision_model.embeddings.patch_embedding.weight": (d, 3, size.patch, size.patch),
        "vision_model.embeddings.position_embedding.weight": (1 + size.patches, d),
        "text_model.embeddings.token_embedding.weight": (size.vocabulary, w),
        "text_model.embeddings.position_embedding.weight": (77, w),
        "visual_projection.weight": (size.embed, d),
        "text_projection.weight": (size.embed, w),
    }
    shapes |= norm("vision_model.pre_layrnorm", d) | norm("vision_model.post_layernorm", d)
    shapes |= norm("text_model.final_layer_norm", w)
    shapes |= hf_blocks("vision_model.encoder.layers", d, size.blocks)
    return shapes | hf_blocks("text_model.encoder.layers", w, size.text_blocks)


def mae(width: int, blocks: int, patch: int, patches: int) -> Shapes:
    shapes: Shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + patches, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    return shapes | timm_blocks("blocks", width, blocks) | norm("norm", width)


def distilbert(width: int, blocks: int, vocabulary: int, context: int) -> Shapes:
    shapes: Shapes = {
        "embeddings.word_embeddings.weight": (vocabulary, width),
        "embeddings.position_embeddings.weight": (context, width),
    }
    shapes |= norm("embeddings.LayerNorm", width)
    for i in range(blocks):
        block = f"transformer.layer.{i}"
        for which in ("q_lin", "k_lin", "v_lin", "out_lin"):
            shapes |= linear(f"{block}.attention.{which}", width, width)
        shapes |= norm(f"{block}.sa_layer_norm", width) | norm(f"{block}.output_layer_norm", width)
        shapes |= linear(f"{block}.ffn.lin1", 4 * width, width)
        shapes |= linear(f"{block}.ffn.lin2", width, 4 * width)
    return shapes


def tvts_video(width: int, blocks: int, patch: int, patches: int, times: int) -> Shapes:
    shapes = {
        f"video_model.{name}": shape for name, shape in mae(width, blocks, patch, patches).items()
    }
    shapes["video_model.patch_embed.proj.weight"] = (width, 3, 2, patch, patch)
    shapes["video_model.temporal_embed"] = (1, times, width)
    return shapes


def tvts(
    width: int, blocks: int, patch: int, patches: int, times: int, embed: int, text: Shapes
) -> Shapes:
    """TVTS of the first version; `text` are the shapes of its DistilBERT."""
    shapes = tvts_video(width, blocks, patch, patches, times)
    shapes |= {f"text_model.{name}": shape for name, shape in text.items()}
    shapes |= linear("vid_proj.0", embed, width) | linear("txt_proj.1", embed, width)
    return shapes | official_sorter(width)


def on_meta(shapes: Shapes) -> dict[str, Tensor]:
    """Tensors without numbers."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def filled(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Tensors with random numbers, every one another."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def toy_official(sorter: bool = True) -> dict[str, Tensor]:
    shapes = official_video(TOY) | official_text(TOY)
    return filled(shapes | (official_sorter(TOY.embed) if sorter else {}))


def copied(model: TVTS) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)
