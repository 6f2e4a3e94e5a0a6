"""What trains and what does not, how new parts begin, and the losses in closed form."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from reelscript.models.tvts import losses
from reelscript.models.tvts.configs import LossConfig
from reelscript.models.tvts.model import TVTS
from tests.tvts_naive import (
    clips,
    h_form,
    keep_of,
    naive_contrastive,
    naive_sorting,
    naive_video,
    naive_weights,
    sentences,
    tiny,
)

B, K = 3, 4
INITS = ["zero_projection", "space_copy", "official"]


def begun(video: dict[str, Any] | None = None, **text: Any) -> TVTS:
    """A float64 network as it begins, reproducibly."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TVTS(tiny(video, **text)).double()


def loss_of(model: TVTS) -> Tensor:
    config = model.config
    ids = sentences(config, B * K).view(B, K, -1)
    out = model(clips(config, B, 4), ids, keep_of(config, B, 4))
    return losses.contrastive(out.video, out.texts.mean(1)) + 2 * losses.sorting(out.order_logits)


def moved_by_steps(model: TVTS, steps: int = 4) -> set[str]:
    """The parameters of which a bit changed; the optimiser is given all, and decays all."""
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        loss_of(model).backward()
        optimiser.step()
    return {n for n, weight in model.named_parameters() if not torch.equal(weight, before[n])}


# --- frozen text blocks -------------------------------------------------------------------------

EMBEDDINGS = {"text.token_embedding.weight", "text.position_embedding"}


def blocks(model: TVTS, *numbers: int) -> set[str]:
    begins = tuple(f"text.blocks.{number}." for number in numbers)
    return {name for name, _ in model.named_parameters() if name.startswith(begins)}


@pytest.mark.parametrize(
    ("given", "frozen", "still"),
    [
        ({"frozen_blocks": 2}, (0, 1), EMBEDDINGS),
        ({"frozen_blocks": 2, "frozen_embeddings": "official"}, (0, 1), set()),
        ({"frozen_blocks": 3}, (0, 1, 2), EMBEDDINGS),
        ({"frozen_blocks": 0}, (), set()),
        ({"frozen_blocks": 0, "frozen_embeddings": "official"}, (), set()),
    ],
    ids=["default", "official", "all-blocks", "none", "none-official"],
)
def test_steps_move_no_bit_of_what_is_frozen_and_everything_else(
    given: dict[str, Any], frozen: tuple[int, ...], still: set[str]
) -> None:
    model = begun(**given)
    everything = {name for name, _ in model.named_parameters()}
    expected = everything - (blocks(model, *frozen) if frozen else set()) - still
    assert moved_by_steps(model) == expected


def test_what_is_frozen_stays_so_in_training_mode_and_on_a_copy() -> None:
    model = begun(frozen_blocks=2)
    copy = begun(frozen_blocks=2)
    copy.load_state_dict(model.state_dict())
    copy.eval()
    copy.train()
    assert moved_by_steps(copy) == moved_by_steps(model)


def test_freezing_changes_no_embedding() -> None:
    free, frozen = begun(), begun(frozen_blocks=2)
    frozen.load_state_dict(free.state_dict())
    ids = sentences(free.config, 5)
    assert torch.equal(free.text(ids).embedding, frozen.text(ids).embedding)


# --- the attention over time as it begins -------------------------------------------------------


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("form", ["b", "h"])
def test_network_begins_as_one_without_attention_over_time(init: str, form: str) -> None:
    model = begun({"time_attention_init": init} | (h_form() if form == "h" else {}))
    config = model.config
    clip, keep = clips(config, B, 4), keep_of(config, B, 4)
    weights = naive_weights(model)
    for name in weights:
        if "time_attention.projection" in name:
            weights[name] = torch.zeros_like(weights[name])
    embedding, tokens = naive_video(weights, config.video, clip, keep)
    out = model.video(clip, keep)
    torch.testing.assert_close(out.embedding, embedding, rtol=0, atol=1e-10)
    torch.testing.assert_close(out.tokens, tokens, rtol=0, atol=1e-10)


def gradients_over_steps(model: TVTS, steps: int) -> list[dict[str, float]]:
    """The largest gradient of each parameter before each of so many plain steps."""
    found = []
    for _ in range(steps):
        model.zero_grad()
        loss_of(model).backward()
        found.append(
            {
                name: 0.0 if weight.grad is None else float(weight.grad.abs().max())
                for name, weight in model.named_parameters()
            }
        )
        with torch.no_grad():
            for weight in model.parameters():
                if weight.grad is not None:
                    weight -= 0.01 * weight.grad
    return found


@pytest.mark.parametrize("init", ["zero_projection", "space_copy"])
def test_gradient_reaches_the_attention_over_time_within_two_steps(init: str) -> None:
    first, second = gradients_over_steps(begun({"time_attention_init": init}), 2)
    for block in ("video.blocks.0.", "video.blocks.1."):
        space = first[f"{block}attention.qkv.weight"]
        assert first[f"{block}time_attention.projection.weight"] > 1e-3 * space
        for name in ("time_attention.qkv.weight", "norm_time.weight", "norm_time.bias"):
            assert first[block + name] == 0.0
            assert second[block + name] > 1e-6 * space, name


def test_official_beginning_passes_no_gradient_to_the_attention_over_time() -> None:
    (first,) = gradients_over_steps(begun({"time_attention_init": "official"}), 1)
    for block in ("video.blocks.0.", "video.blocks.1."):
        space = first[f"{block}attention.qkv.weight"]
        for name in (
            "time_attention.qkv.weight",
            "time_attention.qkv.bias",
            "time_attention.projection.weight",
            "norm_time.weight",
            "norm_time.bias",
        ):
            assert first[block + name] < 1e-12 * space, name
        assert first[f"{block}time_attention.projection.bias"] > 1e-6 * space


def part(model: TVTS, block: int, name: str) -> Tensor:
    return model.get_parameter(f"video.blocks.{block}.{name}")


@pytest.mark.parametrize("block", [0, 1])
def test_attention_over_time_begins_as_its_setting_says(block: int) -> None:
    official = begun({"time_attention_init": "official"})
    assert not part(official, block, "time_attention.qkv.weight").any()
    assert bool((part(official, block, "time_attention.projection.weight") == 1).all())
    zero = begun({"time_attention_init": "zero_projection"})
    assert part(zero, block, "time_attention.qkv.weight").std() > 0.01
    assert not part(zero, block, "time_attention.projection.weight").any()
    copied = begun({"time_attention_init": "space_copy"})
    for name in ("qkv.weight", "qkv.bias"):
        there = part(copied, block, f"attention.{name}")
        assert torch.equal(part(copied, block, f"time_attention.{name}"), there)
    assert not part(copied, block, "time_attention.projection.weight").any()
    for model in (official, zero, copied):
        assert not part(model, block, "time_attention.projection.bias").any()
        assert bool((part(model, block, "norm_time.weight") == 1).all())
        assert not part(model, block, "norm_time.bias").any()


def test_time_embedding_begins_as_its_setting_says() -> None:
    wide = {"width": 256, "frames": 12, "blocks": 1}
    assert not begun(wide).video.time_embedding.any()
    drawn = begun(wide | {"time_embedding_init": "official"}).video.time_embedding.detach()
    assert drawn.shape == (12, 256)
    assert float(drawn.std()) == pytest.approx(256**-0.5, rel=0.1)  # 3072 draws: within 1.3 %
    assert abs(float(drawn.mean())) < 0.1 * 256**-0.5


def test_clip_of_one_image_depends_on_no_order_until_time_is_embedded() -> None:
    """With zero time embeddings frames are a set; with the official ones they have an order."""
    for init, ordered in (("zero", False), ("official", True)):
        model = begun({"time_embedding_init": init})
        clip = clips(model.config, 2, 4)
        there, turned = model.video(clip), model.video(clip.flip(1))
        same = torch.allclose(there.embedding, turned.embedding, rtol=0, atol=1e-12)
        assert same != ordered


# --- losses -------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("count", [2, 5])
def test_contrastive_of_equal_orthogonal_pairs(count: int, temperature: float) -> None:
    same = 3.0 * torch.eye(count, 7, dtype=torch.float64)
    loss = losses.contrastive(same, 0.2 * same, temperature=temperature)
    expected = 2 * math.log1p((count - 1) * math.exp(-1 / temperature))
    assert float(loss) == pytest.approx(expected, rel=1e-9, abs=1e-13)


def test_contrastive_by_hand_sums_both_directions() -> None:
    """Texts at 60 and 90 degrees of the first clip: S is ((1/2, 0), (sqrt(3)/2, 1))."""
    half = math.sqrt(3) / 2
    video = torch.eye(2, dtype=torch.float64)
    text = torch.tensor([[0.5, half], [0.0, 1.0]], dtype=torch.float64)
    t = 0.3
    rows = math.log1p(math.exp((0 - 0.5) / t)) + math.log1p(math.exp((half - 1) / t))
    columns = math.log1p(math.exp((half - 0.5) / t)) + math.log1p(math.exp((0 - 1) / t))
    loss = losses.contrastive(5 * video, 7 * text, temperature=t)
    assert float(loss) == pytest.approx(rows / 2 + columns / 2, rel=1e-12)
    swapped = losses.contrastive(text, video, temperature=t)
    assert float(swapped) == pytest.approx(rows / 2 + columns / 2, rel=1e-12)


def test_contrastive_uses_the_published_temperature() -> None:
    video = torch.randn(4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    text = video.roll(1, 0) + 0.5 * video
    given = losses.contrastive(video, text, temperature=0.05)
    assert torch.equal(losses.contrastive(video, text), given)


def test_contrastive_of_one_pair_is_zero() -> None:
    one = torch.ones(1, 8, dtype=torch.float64)
    assert float(losses.contrastive(one, 2 * one)) == 0.0


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_zero_embeddings_have_a_finite_loss_and_gradient(kind: torch.dtype) -> None:
    video = torch.zeros(2, 8, dtype=kind, requires_grad=True)
    text = torch.zeros(2, 8, dtype=kind, requires_grad=True)
    loss = losses.contrastive(video, text)
    assert float(loss.detach()) == pytest.approx(2 * math.log(2))
    loss.backward()
    assert video.grad is not None
    assert text.grad is not None
    assert bool(video.grad.isfinite().all())
    assert bool(text.grad.isfinite().all())


def test_length_of_an_embedding_counts_as_at_least_1e_8() -> None:
    video = torch.diag(torch.tensor([1e-9, 1.0], dtype=torch.float64))
    text = torch.eye(2, dtype=torch.float64)
    # S is ((0.1, 0), (0, 1)): the first clip is a tenth of the least length.
    rows = math.log1p(math.exp(-0.1)) + math.log1p(math.exp(-1.0))
    loss = losses.contrastive(video, text, temperature=1.0)
    assert float(loss) == pytest.approx(2 * rows / 2, rel=1e-9)


def test_contrastive_of_half_precision_is_computed_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    video = torch.randn(6, 8, generator=generator).bfloat16()
    text = torch.randn(6, 8, generator=generator).bfloat16()
    loss = losses.contrastive(video, text)
    assert loss.dtype == torch.float32
    exact = losses.contrastive(video.double(), text.double())
    assert float(loss) == pytest.approx(float(exact), rel=1e-5)


def test_official_precision_is_that_of_the_embeddings() -> None:
    half = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert losses.contrastive(half, half, precision="official").dtype == torch.bfloat16


def test_total_is_of_the_mean_transcript_and_the_weighted_sorting() -> None:
    generator = torch.Generator().manual_seed(0)
    video = torch.randn(B, 8, generator=generator, dtype=torch.float64)
    texts = torch.randn(B, K, 8, generator=generator, dtype=torch.float64)
    logits = torch.randn(B, K, K, generator=generator, dtype=torch.float64)
    found = losses.training_losses(video, texts, logits, LossConfig(temperature=0.1))
    contrast = naive_contrastive(video, texts, 0.1)
    sorting = 2 * naive_sorting(logits)  # the published weight
    torch.testing.assert_close(found.contrastive, contrast, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.sorting, sorting, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.total, contrast + sorting, rtol=1e-12, atol=0)


def test_total_of_captions_is_the_contrast_alone() -> None:
    video, texts = torch.eye(B, 8), torch.eye(B, 8)[:, None]
    found = losses.training_losses(video, texts, None, LossConfig())
    assert float(found.sorting) == 0.0
    assert torch.equal(found.total, found.contrastive)
    assert torch.equal(found.total, losses.contrastive(video, texts[:, 0]))


def test_sorting_of_no_preference_is_log_four() -> None:
    assert float(losses.sorting(torch.zeros(B, 4, 4))) == pytest.approx(math.log(4), rel=1e-6)


def test_sorting_counts_each_transcript_at_its_own_place() -> None:
    logits = torch.zeros(2, 4, 4, dtype=torch.float64)
    logits[0] = 50 * torch.eye(4)  # the first sample is right, the second has no preference
    assert float(losses.sorting(logits)) == pytest.approx(math.log(4) / 2, rel=1e-9)
    logits[0] = 50 * torch.eye(4).flip(0)
    assert float(losses.sorting(logits)) == pytest.approx((50 + math.log(4)) / 2, rel=1e-9)
    one = torch.zeros(1, 4, 4, dtype=torch.float64)
    one[0, 1, 1] = math.log(3)  # the second transcript is right at odds of 3 to 3
    expected = (3 * math.log(4) + math.log(2)) / 4
    assert float(losses.sorting(one)) == pytest.approx(expected, rel=1e-12)
