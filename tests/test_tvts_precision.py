"""What is float32 is computed in float32, not only called so."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reelscript.models.tvts import losses
from reelscript.models.tvts.configs import LossConfig
from reelscript.models.tvts.sorting import SortingHead
from tests.tvts_naive import naive_contrastive, naive_sorting, tiny

FINE = 1e-5  # bfloat16 keeps 8 bits: what is rounded to it on the way is off by more


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers as bfloat16 has them."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def in_autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("autocast", [True, False])
def test_contrastive_loss_of_bfloat16_embeddings_is_computed_in_float32(autocast: bool) -> None:
    video, text = drawn(6, 32), drawn(6, 32, seed=1)

    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = losses.contrastive(video, text)

    expected = naive_contrastive(video.double(), text[:, None].double())
    assert found.item() == pytest.approx(expected.item(), rel=FINE)


def test_mean_of_bfloat16_transcripts_is_taken_in_float32() -> None:
    video, texts = drawn(6, 32), drawn(6, 4, 32, seed=1)

    with in_autocast():
        found = losses.training_losses(video, texts, None, LossConfig())

    expected = naive_contrastive(video.double(), texts.double())
    assert found.contrastive.item() == pytest.approx(expected.item(), rel=FINE)


@pytest.mark.parametrize("autocast", [True, False])
def test_sorting_loss_of_bfloat16_logits_is_computed_in_float32(autocast: bool) -> None:
    logits = drawn(5, 4, 4)

    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = losses.sorting(logits)

    assert found.item() == pytest.approx(naive_sorting(logits.double()).item(), rel=FINE)


@pytest.mark.parametrize("cast", ["autocast", "weights"])
def test_order_logits_are_computed_in_float32(cast: str) -> None:
    torch.manual_seed(0)
    head = SortingHead(tiny().sorting)
    if cast == "weights":
        head = head.bfloat16()
    seen: list[Tensor] = []
    head.norm_out.register_forward_hook(lambda *hooked: seen.append(hooked[2]))

    with torch.autocast("cpu", torch.bfloat16, enabled=cast == "autocast"):
        found = head(drawn(2, 9, 8), drawn(2, 4, 8, seed=1))

    weight, bias = head.head.weight.double(), head.head.bias.double()
    expected = seen[0].double() @ weight.T + bias
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=FINE, atol=FINE)
