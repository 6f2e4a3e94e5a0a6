"""How much arithmetic the network does: the yardstick for its speed.

Counted are matrix products and attention products, 2 operations a multiply-add; norms, activations
and softmax are not. Everything is counted as the published form does it: every patch is embedded
before the mask, a text is as long as the context, the sorting head computes every token. What an
exact form saves therefore shows as speed, as in the model FLOPs utilisation of Chowdhery et al.
2022 (arXiv 2204.02311, appendix B).
"""

from __future__ import annotations

from typing import NamedTuple

from reelscript.models.tvts.configs import TVTSConfig, VideoConfig


class Flops(NamedTuple):
    """Floating-point operations of one clip, by part.

    Attributes:
        video: of the video tower.
        text: of the text tower, for all transcripts of the clip.
        sorting: of the sorting head.
    """

    video: int
    text: int
    sorting: int

    @property
    def total(self) -> int:
        """The sum."""
        return self.video + self.text + self.sorting


def forward_flops(
    config: TVTSConfig,
    *,
    masked: bool = True,
    transcripts: int = 4,
    frames: int | None = None,
    tokens: int | None = None,
) -> Flops:
    """Returns the operations of one forward pass over one clip.

    Args:
        config: of the network.
        masked: whether the mask of the configuration is on.
        transcripts: of the clip; with 1 there is nothing to sort.
        frames: of the clip; None: as many as it may have.
        tokens: of a text; None: as many as it may have.
    """
    places = _video_tokens(config.video, masked, frames)
    video = _patch_embedding(config, frames) + _video_blocks(config.video, masked, frames)
    projected = places if config.video.sorted_tokens != "unprojected" else 1
    video += 2 * projected * config.video.width * config.embed_dim
    text = transcripts * (
        config.text.blocks * _block(tokens or config.text.context, config.text.width)
        + 2 * config.text.width * config.embed_dim
    )
    sorting = 0
    if transcripts > 1:
        seen = places + transcripts - (config.video.sorted_tokens == "patches_without_norm")
        sorting = config.sorting.blocks * _block(seen, config.sorting.width)
        sorting += 2 * transcripts * config.sorting.width * config.sorting.places
    return Flops(video, text, sorting)


def training_flops(
    config: TVTSConfig,
    *,
    masked: bool = True,
    transcripts: int = 4,
    frames: int | None = None,
    tokens: int | None = None,
) -> Flops:
    """Returns the operations of one clip's forward and backward pass.

    Backward costs twice the forward pass, but nothing for what needs no gradient: the pixels, and
    in the text tower the weights of frozen blocks, or all that lies below them if the embeddings
    are frozen too.

    Args:
        config: of the network.
        masked: whether the mask of the configuration is on.
        transcripts: of the clip; with 1 there is nothing to sort.
        frames: of the clip; None: as many as it may have.
        tokens: of a text; None: as many as it may have.
    """
    once = forward_flops(
        config, masked=masked, transcripts=transcripts, frames=frames, tokens=tokens
    )
    text, length = config.text, tokens or config.text.context
    frozen = transcripts * text.frozen_blocks * _block(length, text.width)
    weights = transcripts * text.frozen_blocks * _block_weights(length, text.width)
    saved = 2 * frozen if text.frozen_embeddings == "frozen" else weights
    return Flops(
        3 * once.video - _patch_embedding(config, frames), 3 * once.text - saved, 3 * once.sorting
    )


def _video_tokens(config: VideoConfig, masked: bool, frames: int | None) -> int:
    kept = config.kept_patches if masked else config.patches
    return 1 + (frames or config.frames) // config.tubelet_frames * kept


def _patch_embedding(config: TVTSConfig, frames: int | None) -> int:
    video = config.video
    pixels = 3 * video.patch_px**2
    return 2 * (frames or video.frames) * video.patches * pixels * video.width


def _video_blocks(config: VideoConfig, masked: bool, frames: int | None) -> int:
    tokens, width = _video_tokens(config, masked, frames), config.width
    if config.attention == "joint":
        return config.blocks * _block(tokens, width)
    times = (frames or config.frames) // config.tubelet_frames
    patches = tokens - 1
    keys = patches * (patches // times + 1) + patches * (times + 1) + 2 * tokens
    return config.blocks * (32 * tokens * width**2 + 4 * keys * width)


def _block_weights(tokens: int, width: int) -> int:
    return 24 * tokens * width**2


def _block(tokens: int, width: int) -> int:
    return _block_weights(tokens, width) + 4 * tokens**2 * width
