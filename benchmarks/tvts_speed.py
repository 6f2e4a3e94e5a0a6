"""How fast is a training step of the network: as it is, compiled, and in the plain form?

The plain form computes what the formulas say and nothing else: a convolution over every patch and
then the mask, attention as einsum and softmax with its matrix in memory, texts of 77 tokens where
30 would do, every token of the sorting head, gradients through frozen blocks. Ratios are medians of
rounds in which every form takes a turn, so that a busy machine slows all of them. One step is
forward, losses, backward and AdamW.

    python benchmarks/tvts_speed.py [--device cpu|cuda] [--configs debug,b32] [--masks 0,0.5,0.7]

On a GPU (bf16, compiled) it also prints clips/s and the share of `--peak-tflops` reached, with the
operations of models/tvts/flops.py: those of the plain form, so that what is saved counts as speed.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from reelscript.models.tvts import configs
from reelscript.models.tvts.attention import Attention, DividedAttention
from reelscript.models.tvts.blocks import Block
from reelscript.models.tvts.configs import TVTSConfig, official
from reelscript.models.tvts.flops import training_flops
from reelscript.models.tvts.masking import draw_mask
from reelscript.models.tvts.model import TVTS
from reelscript.models.tvts.video import PatchEmbedding

TOKENS = 30  # of the longest transcript of a batch: they are of 3 to 5 s
H200_TFLOPS = 790.0  # measured dense bf16 matrix products, not the data sheet's
BATCHES = {"cpu": {"debug": 8, "b32": 1}, "cuda": {"b32": 256, "b16": 128, "h14": 16}}
WARM_UP = {"cpu": 1, "cuda": 5}  # steps
DEVICE_DEFAULTS = {"cpu": ("debug,b32", "0,0.5,0.7"), "cuda": ("b16,h14", "")}


class PlainDividedAttention(DividedAttention):
    """Divided attention with the softmax written out."""

    def forward(self, x: Tensor, times: int) -> Tensor:
        """Returns (B, 1 + T * n, D), as the fast form does."""
        q, k, v = self.queries_keys_values(x)
        q = q * q.shape[-1] ** -0.5
        cls = torch.einsum("bhk,bkhe->bhe", _softmax("bhe,bkhe->bhk", q[:, 0], k), v)
        queries = self.grouped(q[:, 1:], times)
        keys, values = self.grouped_with_cls(k, times), self.grouped_with_cls(v, times)
        weights = _softmax("bgqhe,bgkhe->bghqk", queries, keys)
        patches = torch.einsum("bghqk,bgkhe->bgqhe", weights, values)
        if self.over == "time":
            patches = patches.transpose(1, 2)
        return self.projection(torch.cat([cls[:, None], patches.flatten(1, 2)], dim=1).flatten(-2))


class PlainAttention(Attention):
    """Attention with the softmax written out."""

    def forward(self, x: Tensor, *, last: int | None = None, causal: bool = False) -> Tensor:
        """Returns (B, L, D); `last` is never given."""
        assert last is None
        q, k, v = self.queries_keys_values(x)
        scores = torch.einsum("bqhe,bkhe->bhqk", q * q.shape[-1] ** -0.5, k)
        if causal:
            scores = scores + torch.full(scores.shape[-2:], -torch.inf, device=x.device).triu(1)
        gathered = torch.einsum("bhqk,bkhe->bqhe", scores.softmax(dim=-1), v)
        return self.projection(gathered.flatten(-2))


class PlainBlock(Block):
    """A block that computes every token, whoever reads it."""

    def forward(self, x: Tensor, *, last: int | None = None, causal: bool = False) -> Tensor:
        """Returns (B, L, D), or of that (B, last, D)."""
        everything = super().forward(x, causal=causal)
        return everything if last is None else everything[:, -last:]


class PlainPatchEmbedding(PatchEmbedding):
    """A convolution over every patch, then the mask."""

    def forward(self, frames: Tensor, keep: Tensor | None) -> Tensor:
        """Returns (B, T, n, D), as the fast form does."""
        everything = functional.conv2d(frames.flatten(0, 1), self.weight, stride=self.patch_px)
        patches = everything.flatten(2).transpose(1, 2).unflatten(0, frames.shape[:2])
        if keep is None:
            return patches
        everywhere = keep[..., None].expand(-1, frames.shape[1], -1, patches.shape[-1])
        return patches.gather(2, everywhere)


PLAIN = {
    DividedAttention: PlainDividedAttention,
    Attention: PlainAttention,
    Block: PlainBlock,
    PatchEmbedding: PlainPatchEmbedding,
}


def _softmax(products: str, q: Tensor, k: Tensor) -> Tensor:
    return torch.einsum(products, q, k).softmax(dim=-1)


def plain(model: nn.Module) -> nn.Module:
    """Returns the model with its parts changed into their plain forms."""
    for part in model.modules():
        part.__class__ = PLAIN.get(type(part), type(part))
    return model


def step_of(
    model: nn.Module, config: TVTSConfig, batch: int, device: str, tokens: int
) -> Callable[[], None]:
    """Returns a function that takes one training step on random clips."""
    video, text = config.video, config.text
    shape = (batch, video.frames, 3, video.image_px, video.image_px)
    frames = torch.randn(shape, device=device)
    ids = torch.randint(1, text.vocabulary - 1, (batch, config.sorting.places, tokens))
    ids[..., TOKENS - 1 :] = 0
    ids[..., TOKENS - 1] = text.vocabulary - 1
    ids = ids.to(device)
    keep = draw_mask(batch, video).to(device) if video.mask_ratio else None
    network = model.to(device).train()
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-6, fused=True)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            output = network(frames, ids, keep)
        network.losses(output).total.backward()
        optimiser.step()
        optimiser.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def forms_of(config: TVTSConfig, device: str, batch: int) -> dict[str, Callable[[], None]]:
    """Returns a step of each form, warmed up."""
    forms = {
        "plain": step_of(plain(TVTS(official(config))), config, batch, device, config.text.context),
        "eager": step_of(TVTS(config), config, batch, device, TOKENS),
        "compiled": step_of(
            torch.compile(TVTS(config), fullgraph=True), config, batch, device, TOKENS
        ),
    }
    for step in forms.values():
        for _ in range(WARM_UP[device]):
            step()
    return forms


def measured(forms: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Returns seconds a step, each form in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, step in forms.items():
            begun = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - begun)
    return seconds


def report(config: TVTSConfig, device: str, batch: int, rounds: int, peak_tflops: float) -> None:
    """Measures one configuration and prints a line for each form."""
    seconds = measured(forms_of(config, device, batch), rounds)
    flops = batch * training_flops(config).total
    for name, took in seconds.items():
        ratio = statistics.median(p / t for p, t in zip(seconds["plain"], took, strict=True))
        median_s = statistics.median(took)
        share = (
            f"  {flops / median_s / peak_tflops / 1e12:6.1%} of peak" if device == "cuda" else ""
        )
        print(
            f"{config.name:6} mask {config.video.mask_ratio:.1f}  {name:9} {ratio:5.2f} x plain"
            f"  {median_s:8.3f} s a step of {batch}  {batch / median_s:8.2f} clips/s{share}",
            flush=True,
        )


def main() -> None:
    """Measures what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--configs")
    parser.add_argument("--masks", help="default: 0,0.5,0.7; on a GPU each configuration's own")
    parser.add_argument("--batch", type=int, help="clips a step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak-tflops", type=float, default=H200_TFLOPS)
    asked = parser.parse_args()
    names, ratios = DEVICE_DEFAULTS[asked.device]
    for name in (asked.configs or names).split(","):
        config = configs.named(name)
        batch = asked.batch or BATCHES[asked.device].get(name, 1)
        masks = (asked.masks or ratios or str(config.video.mask_ratio)).split(",")
        for ratio in map(float, masks):
            video = dataclasses.replace(config.video, mask_ratio=ratio)
            masked = dataclasses.replace(config, video=video)
            report(masked, asked.device, batch, asked.rounds, asked.peak_tflops)


if __name__ == "__main__":
    main()
