"""Against what the official modules computed, from the same weights and inputs.

The folder named by REELSCRIPT_PARITY (else ../shared/parity) holds a safetensors file for each
network. They tell sizes and forms but for two things: a file with a causal mask among its weights
is of the form of the released ViT-H, else of that of the ViT-B.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from reelscript.models.tvts.configs import (
    LossConfig,
    SortingConfig,
    TextConfig,
    TVTSConfig,
    VideoConfig,
    official,
)
from reelscript.models.tvts.losses import Losses
from reelscript.models.tvts.model import TVTS, Output
from reelscript.models.tvts.translate import from_official, to_official
from reelscript.models.tvts.weights import load

FOLDER = Path(os.environ.get("REELSCRIPT_PARITY", Path(__file__).parents[2] / "shared" / "parity"))
FILES = sorted(FOLDER.glob("*.safetensors"))
UNIT = 1e-5  # of each tensor's largest magnitude


@dataclass(frozen=True)
class Parity:
    """One file: what went in and what came out."""

    path: Path

    @cached_property
    def told(self) -> dict[str, Tensor]:
        with safe_open(self.path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def part(self, prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): y for n, y in self.told.items() if n.startswith(prefix)}

    @cached_property
    def sizes(self) -> dict[str, int | float]:
        with safe_open(self.path, "pt") as file:
            return json.loads(file.metadata()["config"])

    @cached_property
    def config(self) -> TVTSConfig:
        told = self.sizes
        activation = "gelu" if "weight.text_attn_mask" in self.told else "quick_gelu"
        made = TVTSConfig(
            name="parity",
            embed_dim=told["embed_dim"],
            video=VideoConfig(
                image_px=told["image_size"],
                patch_px=told["patch_size"],
                frames=told["num_frames"],
                width=told["width"],
                blocks=told["layers"],
                heads=told["heads"],
                activation=activation,
                mask_ratio=told["mask_ratio"],
            ),
            text=TextConfig(
                context=told["context_length"],
                vocabulary=told["vocab_size"],
                width=told["text_width"],
                blocks=told["text_layers"],
                heads=told["text_heads"],
                activation=activation,
                frozen_blocks=0,
            ),
            sorting=SortingConfig(width=told["embed_dim"], heads=told["sort_heads"]),
            losses=LossConfig(
                temperature=told["temperature"], sorting_weight=told["sorting_weight"]
            ),
        )
        made = official(made)
        h_form = "weight.text_attn_mask" in self.told
        tokens = "patches_without_norm" if h_form else "all"
        return replace(
            made,
            video=replace(made.video, sorted_tokens=tokens),
            losses=replace(made.losses, precision="float32"),
        )

    def model(self, dtype: torch.dtype) -> TVTS:
        model = TVTS(self.config)
        weights = self.part("weight.")
        sorted_too = any(name.startswith("pred_model.") for name in weights)
        load(model, weights, require="all" if sorted_too else "towers")
        return model.to(dtype)

    def texts(self) -> Tensor:
        """Token ids (B, K, 77); the file has them transcript by transcript, (K * B, 77)."""
        count = int(self.sizes["n_trans"])
        return self.told["input.text"].unflatten(0, (count, -1)).transpose(0, 1)

    def run(self, model: TVTS, dtype: torch.dtype) -> tuple[Output, Losses]:
        output = model(
            self.told["input.video"].to(dtype), self.texts(), self.told["input.keep_ind"]
        )
        return output, model.losses(output)


def assert_close(name: str, found: Tensor, expected: Tensor) -> None:
    off = (found.detach().double() - expected.double()).abs().max()
    unit = expected.double().abs().max()
    off = off / unit if unit > 0 else off
    assert off <= UNIT, f"{name} is off by {off:.2e} of its largest magnitude"


pytestmark = pytest.mark.skipif(not FILES, reason=f"{FOLDER} holds no parity data")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_network_computes_what_the_official_modules_compute(path: Path, dtype: torch.dtype) -> None:
    parity = Parity(path)
    model = parity.model(dtype)

    output, losses = parity.run(model, dtype)
    losses.total.backward()

    expected = parity.part("output.")
    assert_close("video_embeds", output.video, expected["video_embeds"])
    assert_close("text_embeds", output.texts.mean(dim=1), expected["text_embeds"])
    assert_close("contrastive_loss", losses.contrastive, expected["contrastive_loss"])
    assert (output.order_logits is None) == ("order_logits" not in expected)
    if output.order_logits is not None:
        assert_close("order_logits", output.order_logits, expected["order_logits"])
        assert_close("sorting_loss", losses.sorting, expected["sorting_loss"])

    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in model.named_parameters()
    }
    found = to_official(gradients, parity.config)
    norms = parity.part("grad_norm.")
    assert norms
    for name, norm in norms.items():
        assert_close(f"the gradient of {name}", found[name].norm(), norm)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_weights_go_to_the_official_layout_as_they_came(path: Path) -> None:
    parity = Parity(path)
    official_weights = parity.part("weight.")
    official_weights.pop("text_attn_mask", None)

    back = to_official(from_official(official_weights, parity.config), parity.config)

    assert back.keys() == official_weights.keys()
    for name, tensor in official_weights.items():
        assert torch.equal(back[name], tensor)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_sound_forms_embed_as_the_official_ones_do(path: Path) -> None:
    parity = Parity(path)
    sound = replace(parity.config.video, sorted_tokens="all", time_attention_init="space_copy")
    model = TVTS(replace(parity.config, video=sound))
    load(model, parity.part("weight."), require="towers")

    output, losses = parity.run(model, torch.float32)

    assert_close("video_embeds", output.video, parity.told["output.video_embeds"])
    assert_close("contrastive_loss", losses.contrastive, parity.told["output.contrastive_loss"])
