"""The networks of models/tvts once more, written from the formulas of the papers and slow.

Divided attention and the losses: TVTSv2, arXiv 2305.14173. Joint attention over tubelets: TVTS,
arXiv 2209.15280. One sample after the other, one query after the other; of torch only convolution,
einsum and elementwise functions. Every patch is embedded, then masked. Weights are a mapping of the
parameter names of `TVTS`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv3d

from reelscript.models.tvts.configs import (
    SortingConfig,
    TextConfig,
    TVTSConfig,
    VideoConfig,
)

Weights = Mapping[str, Tensor]
KeysOf = Callable[[int, int], Sequence[int]]  # which tokens a query of so many tokens sees


def tiny(video: Mapping[str, Any] | None = None, **text: Any) -> TVTSConfig:
    """A network of a few thousand parameters: 9 patches a frame, 4 frames, nothing frozen."""
    sizes: dict[str, Any] = {
        "image_px": 12,
        "patch_px": 4,
        "frames": 4,
        "width": 16,
        "blocks": 2,
        "heads": 2,
        "activation": "quick_gelu",
        "mask_ratio": 0.5,
    }
    sizes |= video or {}
    words: dict[str, Any] = {
        "context": 12,
        "vocabulary": 40,
        "width": 24,
        "blocks": 3,
        "heads": 3,
        "activation": sizes["activation"],
        "frozen_blocks": 0,
    }
    unprojected = sizes.get("sorted_tokens") == "unprojected"
    if unprojected:  # both towers of TVTS hand over what they have not projected
        words |= {"kind": "distilbert", "width": sizes["width"], "heads": sizes["heads"]}
    return TVTSConfig(
        name="tiny",
        embed_dim=8,
        video=VideoConfig(**sizes),
        text=TextConfig(**(words | text)),
        sorting=SortingConfig(width=sizes["width"] if unprojected else 8, heads=2),
    )


def h_form() -> dict[str, Any]:
    """What the released H/14 does in another way than B/32 and B/16."""
    return {"activation": "gelu", "sorted_tokens": "patches_without_norm"}


def v1_form() -> dict[str, Any]:
    """The video tower of TVTS, for `tiny`."""
    return {
        "tubelet_frames": 2,
        "frames": 6,
        "activation": "gelu",
        "norm_eps": 1e-6,
        "attention": "joint",
        "norm_in": False,
        "patch_bias": True,
        "mask": "frame",
        "sorted_tokens": "unprojected",
    }


def randomised(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The model with every parameter drawn anew, norms around 1: nothing stays zero by its init."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            one = ("norm" in name or "ln_" in name) and name.endswith("weight")
            weight.copy_(1 + 0.2 * drawn if one else 0.3 * drawn)
    return model


def naive_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """The model's parameters as float64 leaves of their own, all with gradients."""
    return {
        name: weight.detach().double().clone().requires_grad_()
        for name, weight in model.named_parameters()
    }


def clips(config: TVTSConfig, batch: int, frames: int, seed: int = 1) -> Tensor:
    """Random float64 frames (B, T, 3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    size = (batch, frames, 3, config.video.image_px, config.video.image_px)
    return torch.randn(size, generator=generator, dtype=torch.float64)


def sentences(config: TVTSConfig, rows: int, length: int | None = None, seed: int = 2) -> Tensor:
    """Random token ids (R, L): start, words, end (the largest id), zeros; rows differ in length."""
    generator = torch.Generator().manual_seed(seed)
    length = length or config.text.context
    last = config.text.vocabulary - 1
    ids = torch.randint(1, last - 1, (rows, length), generator=generator)
    ids[:, 0] = last - 1
    for row in range(rows):
        end = 1 + (row * 3 + 2) % (length - 1)
        ids[row, end] = last
        ids[row, end + 1 :] = 0
    return ids


def keep_of(config: TVTSConfig, batch: int, frames: int, seed: int = 3) -> Tensor:
    """Patches to keep, unsorted: (B, n) for a tube mask, (B, T / tubelet, n) for a frame mask."""
    generator = torch.Generator().manual_seed(seed)
    video = config.video
    times = frames // video.tubelet_frames
    draws = [
        torch.randperm(video.patches, generator=generator)[: video.kept_patches]
        for _ in range(batch * times)
    ]
    drawn = torch.stack(draws).view(batch, times, -1)
    return drawn[:, 0] if video.mask == "tube" else drawn


def naive_video(
    weights: Weights, config: VideoConfig, frames: Tensor, keep: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The clip embeddings (B, d) and the tokens for the sorting head (B, S, ...)."""
    weights = _under(weights, "video.")
    both = [
        _one_clip(weights, config, clip, None if keep is None else keep[sample])
        for sample, clip in enumerate(frames)
    ]
    return torch.stack([one[0] for one in both]), torch.stack([one[1] for one in both])


def _one_clip(
    weights: Weights, config: VideoConfig, frames: Tensor, keep: Tensor | None
) -> tuple[Tensor, Tensor]:
    kernel = weights["patch.weight"]
    if kernel.dim() == 4:  # (D, 3, p, p): one frame a step
        kernel = kernel[:, :, None]
    pixels = frames.transpose(0, 1)[None]  # (1, 3, T, H, W)
    stride = (config.tubelet_frames, config.patch_px, config.patch_px)
    patches = conv3d(pixels, kernel, weights.get("patch.bias"), stride=stride)[0]  # (D, times, ...)
    times = patches.shape[1]
    x = [weights["cls_embedding"] + weights["position_embedding"][0]]
    for time in range(times):
        in_rows = patches[:, time].flatten(1)  # (D, N), row-major
        if keep is None:
            places = list(range(config.patches))
        else:
            places = (keep if keep.dim() == 1 else keep[time]).tolist()
        for place in places:
            position = weights["position_embedding"][1 + place]
            x.append(in_rows[:, place] + position + weights["time_embedding"][time])
    tokens = torch.stack(x)  # (1 + times * n, D)
    kept = (len(tokens) - 1) // times
    if config.norm_in:
        tokens = _norm(weights, "norm_in", tokens, config.norm_eps)
    for number in range(config.blocks):
        block = _under(weights, f"blocks.{number}.")
        if config.attention == "divided":
            tokens = _divided_block(block, config, tokens, times, kept)
        else:
            tokens = _plain_block(block, config, tokens, _all)
    normed = _norm(weights, "norm_out", tokens, config.norm_eps)
    embedding = _linear(weights, "projection", normed[:1])[0]
    if config.sorted_tokens == "unprojected":
        return embedding, normed
    if config.sorted_tokens == "patches_without_norm":
        return embedding, _linear(weights, "projection", tokens[1:])
    return embedding, _linear(weights, "projection", normed)


def _divided_block(block: Weights, config: VideoConfig, x: Tensor, times: int, kept: int) -> Tensor:
    """What time attention gives only enters the argument of the attention over space."""

    def over_time(query: int, count: int) -> Sequence[int]:
        if query == 0:
            return range(count)
        place = (query - 1) % kept
        return [0] + [1 + time * kept + place for time in range(times)]

    def over_space(query: int, count: int) -> Sequence[int]:
        if query == 0:
            return range(count)
        time = (query - 1) // kept
        return [0] + [1 + time * kept + place for place in range(kept)]

    eps, heads = config.norm_eps, config.heads
    a = _attention(block, "time_attention", _norm(block, "norm_time", x, eps), heads, over_time)
    asked = _norm(block, "norm_attention", x + a, eps)
    y = x + _attention(block, "attention", asked, heads, over_space)
    return y + _mlp(block, config.activation, _norm(block, "norm_mlp", y, eps))


def naive_text(weights: Weights, config: TextConfig, ids: Tensor) -> Tensor:
    """The text embeddings (R, d) of CLIP's tower: causal, read at the largest id."""
    weights = _under(weights, "text.")
    rows = []
    for row in ids:
        x = weights["token_embedding.weight"][row] + weights["position_embedding"][: len(row)]
        for number in range(config.blocks):
            block = _under(weights, f"blocks.{number}.")
            x = _plain_block(block, config, x, _earlier)
        end = row.tolist().index(max(row.tolist()))
        normed = _norm(weights, "norm_out", x[[end]], config.norm_eps)
        rows.append(_linear(weights, "projection", normed)[0])
    return torch.stack(rows)


def naive_order(weights: Weights, config: SortingConfig, tokens: Tensor, texts: Tensor) -> Tensor:
    """The order logits (B, K, places) of video tokens (B, S, w) and texts (B, K, w)."""
    weights = _under(weights, "sorter.")
    logits = []
    for seen, told in zip(tokens, texts, strict=True):
        kinds = weights["type_embedding"]
        x = torch.cat([seen + kinds[0], told + kinds[1]])
        for number in range(config.blocks):
            x = _plain_block(
                _under(weights, f"blocks.{number}."),
                _Plain(config.heads, config.norm_eps),
                x,
                _all,
            )
        x = _norm(weights, "norm_out", x[len(seen) :], config.norm_eps)
        logits.append(_linear(weights, "head", x))
    return torch.stack(logits)


def naive_forward(
    weights: Weights, config: TVTSConfig, frames: Tensor, texts: Tensor, keep: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Clip embeddings, video tokens, text embeddings (B, K, d), order logits where K is over 1."""
    embedding, tokens = naive_video(weights, config.video, frames, keep)
    told = torch.stack([naive_text(weights, config.text, ids) for ids in texts])
    if texts.shape[1] == 1:
        return embedding, tokens, told, None
    return embedding, tokens, told, naive_order(weights, config.sorting, tokens, told.detach())


def naive_contrastive(video: Tensor, texts: Tensor, temperature: float = 0.05) -> Tensor:
    """Both directions of the contrast between clips (B, d) and the mean of texts (B, K, d)."""
    told = texts.sum(1) / texts.shape[1]
    rows = []
    for clip in video:
        row = []
        for text in told:
            lengths = [(one * one).sum().sqrt().clamp(min=1e-8) for one in (clip, text)]
            row.append((clip * text).sum() / lengths[0] / lengths[1] / temperature)
        rows.append(torch.stack(row))
    scores = torch.stack(rows)
    total = torch.zeros((), dtype=scores.dtype)
    for direction in (scores, scores.T):
        for sample, row in enumerate(direction):
            total = total + (row.exp().sum().log() - row[sample]) / len(scores)
    return total


def naive_sorting(logits: Tensor) -> Tensor:
    """Cross entropy of the order logits (B, K, places): transcript i belongs to place i."""
    terms = [
        row.exp().sum().log() - row[place] for sample in logits for place, row in enumerate(sample)
    ]
    return torch.stack(terms).sum() / len(terms)


@dataclasses.dataclass(frozen=True)
class _Plain:
    heads: int
    norm_eps: float
    activation: str = "gelu"


def _plain_block(
    block: Weights, config: VideoConfig | TextConfig | _Plain, x: Tensor, keys_of: KeysOf
) -> Tensor:
    eps = config.norm_eps
    asked = _norm(block, "norm_attention", x, eps)
    y = x + _attention(block, "attention", asked, config.heads, keys_of)
    return y + _mlp(block, config.activation, _norm(block, "norm_mlp", y, eps))


def _all(query: int, count: int) -> Sequence[int]:
    return range(count)


def _earlier(query: int, count: int) -> Sequence[int]:
    return range(query + 1)


def _attention(weights: Weights, name: str, x: Tensor, heads: int, keys_of: KeysOf) -> Tensor:
    size = x.shape[1] // heads
    three = _linear(weights, f"{name}.qkv", x).view(len(x), 3, heads, size)
    q, k, v = three[:, 0] * size**-0.5, three[:, 1], three[:, 2]
    out = []
    for query in range(len(x)):
        keys = list(keys_of(query, len(x)))
        scores = torch.einsum("hc,khc->hk", q[query], k[keys])
        shares = torch.exp(scores - scores.detach().amax(1, keepdim=True))
        shares = shares / shares.sum(1, keepdim=True)
        out.append(torch.einsum("hk,khc->hc", shares, v[keys]).flatten())
    return _linear(weights, f"{name}.projection", torch.stack(out))


def _mlp(weights: Weights, activation: str, x: Tensor) -> Tensor:
    x = _linear(weights, "mlp.up", x)
    if activation == "quick_gelu":
        x = x / (1 + torch.exp(-1.702 * x))
    else:
        x = x * (1 + torch.erf(x / math.sqrt(2))) / 2
    return _linear(weights, "mlp.down", x)


def _norm(weights: Weights, name: str, x: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    deviation = torch.sqrt((centred * centred).mean(-1, keepdim=True) + eps)
    return centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    y = torch.einsum("nc,dc->nd", x, weights[f"{name}.weight"])
    bias = weights.get(f"{name}.bias")
    return y if bias is None else y + bias


def _under(weights: Weights, prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): weight
        for name, weight in weights.items()
        if name.startswith(prefix)
    }
