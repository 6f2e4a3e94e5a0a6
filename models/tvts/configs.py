"""The sizes of TVTSv2 and TVTS, and every choice in which a sound form and the official one differ.

A setting whose values are "official" and something else names a place where the released training
code does what its authors cannot have meant. The default is the sound form; docs/training.md gives
the reason for each. `official(config)` is the same network with all of them as released.

Sizes: TVTSv2 (arXiv 2305.14173) as in its released configurations, TVTS (arXiv 2209.15280).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

Activation = Literal["quick_gelu", "gelu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoConfig:
    """The video tower.

    Attributes:
        image_px: height and width of a frame.
        patch_px: height and width of a patch.
        tubelet_frames: frames that one patch spans: 1 in TVTSv2, 2 in TVTS.
        frames: most frames a clip may have; that many (by tubelets) time embeddings are learned.
        width: size of a token.
        blocks: how many.
        heads: of each attention; they divide the width.
        activation: of the MLPs: `quick_gelu` is x * sigmoid(1.702 x), as in OpenAI's CLIP.
        norm_eps: added to the variance by every LayerNorm.
        attention: `divided`: over time, then over space (TVTSv2); `joint`: over all tokens (TVTS).
        norm_in: whether a LayerNorm stands before the first block, as in CLIP.
        patch_bias: whether the patch embedding and the projection have a bias, as in TVTS.
        mask_ratio: share of patches that training leaves out, 0 to below 1.
        mask: `tube`: the same patches of every frame; `frame`: drawn anew for each time step.
        sorted_tokens: what the sorting head is given: `all` tokens, normed and projected;
            `patches_without_norm`: projected but not normed, without CLS (the released H/14);
            `unprojected`: all, normed only (TVTS).
        time_attention_init: how the attention over time begins. `zero_projection`: random queries,
            keys and values, and a zero output projection; `space_copy`: they are those of the
            attention over space; `official`: zero queries, keys and values and an output projection
            of ones, which passes no gradient (the constant it could add is removed by the
            LayerNorm behind it).
        time_embedding_init: `zero`, or `official`: normal with deviation width**-0.5.
        tubelet_init: how a patch embedding of images becomes one of tubelets: `mean`: divided by
            the frames, so that a still clip gives the image's embedding; `official`: copied, which
            doubles it.
    """

    image_px: int = 224
    patch_px: int
    tubelet_frames: int = 1
    frames: int = 12
    width: int
    blocks: int
    heads: int
    activation: Activation
    norm_eps: float = 1e-5
    attention: Literal["divided", "joint"] = "divided"
    norm_in: bool = True
    patch_bias: bool = False
    mask_ratio: float
    mask: Literal["tube", "frame"] = "tube"
    sorted_tokens: Literal["all", "patches_without_norm", "unprojected"] = "all"
    time_attention_init: Literal["zero_projection", "space_copy", "official"] = "zero_projection"
    time_embedding_init: Literal["zero", "official"] = "zero"
    tubelet_init: Literal["mean", "official"] = "mean"

    @property
    def patches(self) -> int:
        """How many patches a frame has."""
        return (self.image_px // self.patch_px) ** 2

    @property
    def kept_patches(self) -> int:
        """How many patches of a frame training keeps: rounded down."""
        return int(self.patches * (1 - self.mask_ratio) + 1e-9)  # 100 * (1 - 0.9) is 9.99...98

    @property
    def times(self) -> int:
        """How many time steps the tokens of a full clip have: frames by tubelets."""
        return self.frames // self.tubelet_frames


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """The text tower.

    Attributes:
        kind: `clip`: causal, its feature is the end token's; `distilbert`: the first token's, as in
            TVTS.
        context: most tokens of a text.
        vocabulary: how many token ids there are.
        width: size of a token.
        blocks: how many.
        heads: of each attention.
        activation: of the MLPs.
        norm_eps: added to the variance by every LayerNorm.
        frozen_blocks: how many of the first blocks are not trained.
        frozen_embeddings: `frozen`: the embeddings under frozen blocks are frozen as well and no
            gradient goes below the last frozen block; `official`: they are trained through them.
    """

    kind: Literal["clip", "distilbert"] = "clip"
    context: int = 77
    vocabulary: int = 49408
    width: int
    blocks: int
    heads: int
    activation: Activation
    norm_eps: float = 1e-5
    frozen_blocks: int
    frozen_embeddings: Literal["frozen", "official"] = "frozen"


@dataclass(frozen=True, slots=True, kw_only=True)
class SortingConfig:
    """The sorting head: a joint-attention transformer over video and transcript tokens.

    Attributes:
        width: size of a token: that of what the towers hand over.
        heads: of each attention.
        blocks: how many.
        places: how many places a transcript may be sorted into: the transcripts of a window.
        norm_eps: added to the variance by every LayerNorm.
    """

    width: int
    heads: int
    blocks: int = 2
    places: int = 4
    norm_eps: float = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """The losses.

    Attributes:
        temperature: fixed; similarities are divided by it.
        sorting_weight: of the sorting loss beside the contrastive one.
        gather: gradient of the contrastive loss over several processes: `true`: that of the global
            batch; `official`: 1/W of it on W processes, while the sorting loss is not scaled.
        precision: `float32`: similarities and losses are computed in float32 whatever the network
            computes in; `official`: in the precision of the embeddings.
    """

    temperature: float = 0.05
    sorting_weight: float = 2.0
    gather: Literal["true", "official"] = "true"
    precision: Literal["float32", "official"] = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class TVTSConfig:
    """One whole network.

    Attributes:
        name: of the configuration.
        embed_dim: size of the embeddings that video and text share.
        preprocess: how frames are made into what the network is given (`models.tvts.frames`);
            weights want what they were trained with. `clean`: as CLIP has it, antialiased, CLIP's
            statistics; `official`: nearest pixels and ImageNet's statistics.
        video: the video tower.
        text: the text tower.
        sorting: the sorting head.
        losses: the losses.
    """

    name: str
    embed_dim: int
    video: VideoConfig
    text: TextConfig
    sorting: SortingConfig
    losses: LossConfig = field(default_factory=LossConfig)
    preprocess: Literal["official", "clean"] = "clean"

    def __post_init__(self) -> None:
        check(self)

    def to_dict(self) -> dict[str, Any]:
        """Returns the configuration as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> TVTSConfig:
        """Returns the configuration that `to_dict` gave.

        Raises:
            ValueError: it is not one; the message names the field.
        """
        parts = {"video": VideoConfig, "text": TextConfig, "sorting": SortingConfig}
        parts["losses"] = LossConfig
        try:
            made = {name: kind(**told[name]) for name, kind in parts.items()}
            return cls(**(dict(told) | made))
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no TVTS configuration: {error}") from error


def b32() -> TVTSConfig:
    """Returns TVTSv2 ViT-B/32: CLIP ViT-B/32 with divided attention, no mask."""
    return _base("b32", patch_px=32, mask_ratio=0.0)


def b16() -> TVTSConfig:
    """Returns TVTSv2 ViT-B/16: half of the patches are kept in training."""
    return _base("b16", patch_px=16, mask_ratio=0.5)


def h14() -> TVTSConfig:
    """Returns TVTSv2 ViT-H/14: OpenCLIP's ViT-H-14, 76 of 256 patches kept in training."""
    return TVTSConfig(
        name="h14",
        embed_dim=1024,
        video=VideoConfig(
            patch_px=14, width=1280, blocks=32, heads=16, activation="gelu", mask_ratio=0.7
        ),
        text=TextConfig(width=1024, blocks=24, heads=16, activation="gelu", frozen_blocks=18),
        sorting=SortingConfig(width=1024, heads=16),
    )


def debug() -> TVTSConfig:
    """Returns a network small enough to train from scratch on a laptop; nothing in it is frozen."""
    return TVTSConfig(
        name="debug",
        embed_dim=192,
        video=VideoConfig(
            image_px=96,
            patch_px=16,
            width=192,
            blocks=6,
            heads=3,
            activation="quick_gelu",
            mask_ratio=0.5,
        ),
        text=TextConfig(width=192, blocks=4, heads=3, activation="quick_gelu", frozen_blocks=0),
        sorting=SortingConfig(width=192, heads=3),
    )


def v1() -> TVTSConfig:
    """Returns TVTS (arXiv 2209.15280): joint attention over tubelets, DistilBERT beside it."""
    return TVTSConfig(
        name="v1",
        embed_dim=256,
        video=VideoConfig(
            patch_px=16,
            tubelet_frames=2,
            frames=16,
            width=768,
            blocks=12,
            heads=12,
            activation="gelu",
            norm_eps=1e-6,
            attention="joint",
            norm_in=False,
            patch_bias=True,
            mask_ratio=0.75,
            mask="frame",
            sorted_tokens="unprojected",
        ),
        text=TextConfig(
            kind="distilbert",
            context=512,
            vocabulary=30522,
            width=768,
            blocks=6,
            heads=12,
            activation="gelu",
            norm_eps=1e-12,
            frozen_blocks=0,
        ),
        sorting=SortingConfig(width=768, heads=12),
    )


NAMED: dict[str, Callable[[], TVTSConfig]] = {
    made.__name__: made for made in (b32, b16, h14, debug, v1)
}


def named(name: str) -> TVTSConfig:
    """Returns the configuration of that name.

    Raises:
        ValueError: there is none; the message has the nearest one.
    """
    if name in NAMED:
        return NAMED[name]()
    plain = name.lower().replace("/", "").replace("-", "")
    raise ValueError(f"there is no TVTS configuration '{name}'; {nearest(plain, NAMED)}")


def nearest(wrong: str, valid: Iterable[str]) -> str:
    """Returns the end of a message: the valid word that is meant, or all there are."""
    words = list(valid)
    close = difflib.get_close_matches(wrong, words, n=1)
    return f"did you mean '{close[0]}'?" if close else f"there are {', '.join(words)}"


def official(config: TVTSConfig) -> TVTSConfig:
    """Returns the same network with every doubtful choice as in the released code."""
    is_h14 = config.name == "h14"  # the only one released in that form
    video = dataclasses.replace(
        config.video,
        sorted_tokens="patches_without_norm" if is_h14 else config.video.sorted_tokens,
        time_attention_init="official",
        time_embedding_init="zero" if config.video.attention == "joint" else "official",
        tubelet_init="official",
    )
    text = dataclasses.replace(config.text, frozen_embeddings="official")
    losses = dataclasses.replace(config.losses, gather="official", precision="official")
    return dataclasses.replace(config, video=video, text=text, losses=losses, preprocess="official")


def check(config: TVTSConfig) -> None:
    """Raises ValueError, with one sentence, for what makes no network."""
    video, text, sorting = config.video, config.text, config.sorting
    parts = {"video.": video, "text.": text, "sorting.": sorting, "losses.": config.losses}
    for name, part in {"": config, **parts}.items():
        _check_values(name, part)
    for what, width, heads in (
        ("video", video.width, video.heads),
        ("text", text.width, text.heads),
        ("sorting", sorting.width, sorting.heads),
    ):
        if width % heads:
            raise ValueError(f"{what}.heads is {heads}: it has to divide {what}.width, {width}")
    if video.image_px % video.patch_px:
        raise ValueError(
            f"video.patch_px is {video.patch_px}: it has to divide video.image_px, {video.image_px}"
        )
    if video.frames % video.tubelet_frames:
        raise ValueError(
            f"video.tubelet_frames is {video.tubelet_frames}: it has to divide video.frames, "
            f"{video.frames}"
        )
    if not 0 <= video.mask_ratio < 1 or video.kept_patches < 1:
        raise ValueError(
            f"video.mask_ratio is {video.mask_ratio}: expected 0 to below 1, with 1 patch of "
            f"{video.patches} kept or more"
        )
    if video.attention == "divided" and video.mask != "tube":
        raise ValueError(
            f"video.mask is '{video.mask}': attention over time needs the same patches of every "
            "frame, a 'tube'"
        )
    if not 0 <= text.frozen_blocks <= text.blocks:
        raise ValueError(
            f"text.frozen_blocks is {text.frozen_blocks}: expected 0 to text.blocks, {text.blocks}"
        )
    tokens = {
        "video": video.width if video.sorted_tokens == "unprojected" else config.embed_dim,
        "text": text.width if text.kind == "distilbert" else config.embed_dim,
    }
    for tower, size in tokens.items():
        if sorting.width != size:
            raise ValueError(
                f"sorting.width is {sorting.width}: the {tower} tower hands over tokens of {size}"
            )


def _check_values(prefix: str, part: object) -> None:
    """Raises ValueError for a word that is none of a setting's, and for sizes below 1."""
    kinds = get_type_hints(type(part))
    for setting in dataclasses.fields(part):  # type: ignore[arg-type]
        name, value, kind = setting.name, getattr(part, setting.name), kinds[setting.name]
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise ValueError(f"{prefix}{name} is {value!r}; {nearest(str(value), get_args(kind))}")
        least = 0 if name == "frozen_blocks" else 1
        if kind is int and (type(value) is not int or value < least):
            raise ValueError(f"{prefix}{name} is {value!r}: expected a whole number from {least}")
        if kind is float and not (isinstance(value, int | float) and 0 <= value < math.inf):
            raise ValueError(f"{prefix}{name} is {value!r}: expected a number from 0")
        if name == "temperature" and not value:
            raise ValueError(f"{prefix}{name} is 0: similarities are divided by it")


def _base(name: str, patch_px: int, mask_ratio: float) -> TVTSConfig:
    return TVTSConfig(
        name=name,
        embed_dim=512,
        video=VideoConfig(
            patch_px=patch_px,
            width=768,
            blocks=12,
            heads=12,
            activation="quick_gelu",
            mask_ratio=mask_ratio,
        ),
        text=TextConfig(width=512, blocks=12, heads=8, activation="quick_gelu", frozen_blocks=9),
        sorting=SortingConfig(width=512, heads=8),
    )
