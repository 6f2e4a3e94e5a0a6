"""The sorting head: no transcript has a place of its own, and no gradient reaches the texts."""

from __future__ import annotations

import pytest
import torch

from reelscript.models.tvts import losses
from reelscript.models.tvts.model import TVTS
from tests.tvts_naive import clips, h_form, keep_of, randomised, sentences, tiny

B, K = 3, 4
FORMS = {"b": {}, "h": h_form()}


def a_model(form: str = "b") -> TVTS:
    model = TVTS(tiny(FORMS[form])).double()
    randomised(model)
    return model


def drawn(*size: int, seed: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("order", [(1, 0, 3, 2), (3, 2, 1, 0), (1, 2, 3, 0)])
def test_logits_follow_their_transcripts(order: tuple[int, ...]) -> None:
    model = a_model()
    tokens, texts = drawn(B, 11, 8, seed=1), drawn(B, K, 8, seed=2)
    there, turned = model.sorter(tokens, texts), model.sorter(tokens, texts[:, order])
    torch.testing.assert_close(turned, there[:, order], rtol=0, atol=1e-12)
    assert not torch.allclose(turned, there, atol=1e-3)  # the transcripts are told apart


def test_logits_of_the_whole_network_follow_their_transcripts() -> None:
    config = tiny()
    model = a_model()
    clip, keep = clips(config, B, 4), keep_of(config, B, 4)
    ids = sentences(config, B * K).view(B, K, -1)
    order = [2, 0, 3, 1]
    there = model(clip, ids, keep).order_logits
    turned = model(clip, ids[:, order], keep).order_logits
    torch.testing.assert_close(turned, there[:, order], rtol=0, atol=1e-12)


def test_order_of_the_video_tokens_is_irrelevant() -> None:
    model = a_model()
    tokens, texts = drawn(B, 11, 8, seed=1), drawn(B, K, 8, seed=2)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(3))
    there, turned = model.sorter(tokens, texts), model.sorter(tokens[:, order], texts)
    torch.testing.assert_close(turned, there, rtol=0, atol=1e-12)


def test_equal_transcripts_get_equal_logits() -> None:
    model = a_model()
    tokens = drawn(B, 11, 8, seed=1)
    texts = drawn(B, 1, 8, seed=2).expand(B, K, 8)
    logits = model.sorter(tokens, texts)
    torch.testing.assert_close(logits, logits[:, :1].expand_as(logits), rtol=0, atol=1e-12)


def test_the_video_and_the_other_transcripts_are_seen() -> None:
    model = a_model()
    tokens, texts = drawn(B, 11, 8, seed=1), drawn(B, K, 8, seed=2)
    there = model.sorter(tokens, texts)
    other = texts.clone()
    other[:, 3] += drawn(B, 8, seed=4)
    assert not torch.allclose(model.sorter(tokens, other)[:, 0], there[:, 0], atol=1e-4)
    assert not torch.allclose(model.sorter(-tokens, texts)[:, 0], there[:, 0], atol=1e-4)


def test_what_is_video_and_what_is_text_is_told_by_the_type_embedding() -> None:
    model = a_model()
    tokens, texts = drawn(B, 11, 8, seed=1), drawn(B, K, 8, seed=2)
    there = model.sorter(tokens, texts)
    shift = drawn(8, seed=5)
    with torch.no_grad():
        model.sorter.type_embedding[0] -= shift
    moved = model.sorter(tokens + shift, texts)
    torch.testing.assert_close(moved, there, rtol=0, atol=1e-12)
    with torch.no_grad():
        model.sorter.type_embedding[1] += shift
    moved = model.sorter(tokens + shift, texts - shift)
    torch.testing.assert_close(moved, there, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_sorting_loss_trains_the_video_tower_and_the_head_but_no_text(form: str) -> None:
    config = tiny(FORMS[form])
    model = a_model(form)
    ids = sentences(config, B * K).view(B, K, -1)
    out = model(clips(config, B, 4), ids, keep_of(config, B, 4))
    losses.sorting(out.order_logits).backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    reached = {name for name, grad in gradients.items() if grad is not None and grad.any()}
    assert not {name for name in reached if name.startswith("text.")}
    assert {name for name in gradients if name.startswith("sorter.")} <= reached
    video = {name for name in gradients if name.startswith("video.")}
    unread = {n for n in video if n.startswith("video.norm_out")} if form == "h" else set()
    assert video - unread <= reached
    assert not unread & reached  # tokens of the released H/14 do not pass the last norm


def test_contrastive_loss_trains_both_towers_but_not_the_head() -> None:
    config = tiny()
    model = a_model()
    ids = sentences(config, B * K).view(B, K, -1)
    out = model(clips(config, B, 4), ids, keep_of(config, B, 4))
    losses.contrastive(out.video, out.texts.mean(1)).backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    for name, grad in gradients.items():
        assert (grad is None or not grad.any()) == name.startswith("sorter."), name


def test_logits_are_float32_under_autocast() -> None:
    config = tiny()
    torch.manual_seed(0)
    model = TVTS(config)
    ids = sentences(config, B * K).view(B, K, -1)
    clip = clips(config, B, 4).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(clip, ids, keep_of(config, B, 4))
        logits = model.sorter(torch.randn(B, 5, 8), torch.randn(B, K, 8))
        contrast = losses.contrastive(out.video, out.texts.mean(1))
        sorting = losses.sorting(out.order_logits)
    assert out.order_logits.dtype == logits.dtype == torch.float32
    assert contrast.dtype == sorting.dtype == torch.float32
    exact = model(clip, ids, keep_of(config, B, 4))
    torch.testing.assert_close(out.video.float(), exact.video, rtol=0, atol=0.05)
    torch.testing.assert_close(out.order_logits, exact.order_logits, rtol=0, atol=0.05)
    assert not torch.equal(out.video.float(), exact.video)  # it did compute in bfloat16


def test_logits_of_a_head_in_bfloat16_weights_are_float32_under_autocast() -> None:
    """As in a run whose embeddings arrive in bfloat16."""
    model = TVTS(tiny())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tokens, texts = torch.randn(B, 5, 8), torch.randn(B, K, 8)
        logits = model.sorter(tokens.bfloat16(), texts.bfloat16())
    assert logits.dtype == torch.float32
    assert logits.shape == (B, K, 4)
