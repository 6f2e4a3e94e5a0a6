"""The network as a whole: what it refuses, wrapped blocks, large batches, both versions."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from reelscript.models.tvts import attention
from reelscript.models.tvts.configs import TextConfig, TVTSConfig
from reelscript.models.tvts.masking import draw_mask
from reelscript.models.tvts.model import TVTS
from tests.tvts_naive import clips, keep_of, randomised, sentences, tiny, v1_form


def inputs(config: TVTSConfig, batch: int = 2, transcripts: int = 4) -> tuple[Tensor, ...]:
    texts = sentences(config, batch * transcripts).unflatten(0, (batch, transcripts))
    frames = clips(config, batch, config.video.frames)
    return frames, texts, keep_of(config, batch, config.video.frames)


def network(config: TVTSConfig) -> TVTS:
    model = randomised(TVTS(config).double())
    assert isinstance(model, TVTS)
    return model


def embeddings_and_gradients(model: TVTS, given: tuple[Tensor, ...]) -> dict[str, Tensor]:
    model.zero_grad()
    output = model(*given)
    model.losses(output).total.backward()
    names = {
        name.replace("_checkpoint_wrapped_module.", ""): p for name, p in model.named_parameters()
    }
    gradients = {name: p.grad for name, p in names.items() if p.grad is not None}
    return {"video": output.video.detach(), "texts": output.texts.detach()} | gradients


@pytest.mark.parametrize("video", [{}, v1_form()], ids=["divided", "joint"])
def test_wrapped_blocks_compute_the_same(video: dict[str, Any]) -> None:
    config = tiny(video)
    model, wrapped = network(config), network(config)
    for tower in (wrapped.video, wrapped.text, wrapped.sorter):
        blocks = tower.blocks
        assert isinstance(blocks, nn.ModuleList)
        for at, block in enumerate(blocks):
            blocks[at] = checkpoint_wrapper(block)  # as activation checkpointing wraps them

    given = inputs(config)
    expected = embeddings_and_gradients(model, given)
    found = embeddings_and_gradients(wrapped, given)

    assert found.keys() == expected.keys()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_hooks_of_blocks_are_called() -> None:
    config = tiny()
    model = network(config)
    called: list[str] = []
    for name, module in model.named_modules():
        if name.endswith(("attention", "mlp")) or "blocks." in name:
            module.register_forward_hook(lambda *_, name=name: called.append(name))

    model(*inputs(config))

    assert {"video.blocks.0", "video.blocks.1.time_attention", "sorter.blocks.1.mlp"} <= {*called}


def test_attention_in_several_calls_is_that_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny()
    model, given = network(config), inputs(config)
    expected = embeddings_and_gradients(model, given)

    monkeypatch.setattr(attention, "MOST_SEQUENCES", 3)  # kernels of a GPU take 65,535
    found = embeddings_and_gradients(model, given)

    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_attention_calls_stay_within_what_kernels_count() -> None:
    many = torch.empty(384 * 196, 12, 12, 64, device="meta")  # B/16 without a mask, over time
    few = attention._sequences_a_call(many)
    assert few <= 65_535
    assert few * 12 * 128 * 64 < 2**31
    assert attention._sequences_a_call(torch.empty(8, 12, 2353, 64, device="meta")) >= 8


def test_first_version_learns_from_both_losses() -> None:
    config = tiny(v1_form())
    config = dataclasses.replace(config, text=dataclasses.replace(config.text, context=12))
    assert isinstance(config.text, TextConfig)
    model = network(config)

    found = embeddings_and_gradients(model, inputs(config))

    assert found["video"].shape == (2, 8)
    assert found["texts"].shape == (2, 4, 8)
    assert all(gradient.isfinite().all() for gradient in found.values())
    for name in ("video.patch.weight", "text.projection.weight", "sorter.head.weight"):
        assert found[name].abs().max() > 0


def test_captions_leave_the_sorting_head_without_gradient() -> None:
    config = tiny()
    model = network(config)

    found = embeddings_and_gradients(model, inputs(config, transcripts=1))

    assert not any(name.startswith("sorter.") for name in found)
    assert "text.projection.weight" in found


def test_sorting_head_begins_with_kinds_that_add_nothing() -> None:
    assert not TVTS(tiny()).sorter.type_embedding.any()


def test_shorter_clips_of_the_first_version_take_a_mask_of_their_length() -> None:
    config = tiny(v1_form())
    keep = draw_mask(2, config.video, frames=4)
    assert keep.shape == (2, 2, config.video.kept_patches)

    output = network(config).video(clips(config, 2, 4), keep)

    assert output.embedding.shape == (2, 8)


def test_network_runs_on_the_meta_device() -> None:
    config = tiny()
    frames, texts, keep = (y.to("meta") for y in inputs(config))
    output = TVTS(config).to("meta")(frames.float(), texts, keep)
    assert output.order_logits.shape == (2, 4, 4)


def test_network_survives_a_deep_copy() -> None:
    config = tiny()
    model, given = network(config), inputs(config)
    torch.testing.assert_close(copy.deepcopy(model)(*given), model(*given))


GOOD = inputs(tiny())
FRAMES, TEXTS, KEEP = GOOD


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((FRAMES[:, :, :2], TEXTS, KEEP), "expected (clips, frames, 3, 12, 12)"),
        ((FRAMES[..., :8], TEXTS, KEEP), "expected (clips, frames, 3, 12, 12)"),
        ((FRAMES.repeat(1, 2, 1, 1, 1), TEXTS, KEEP), "a clip has 8 frames: expected up to 4"),
        ((FRAMES.to(torch.uint8), TEXTS, KEEP), "torch.uint8: expected normalised floats"),
        ((FRAMES, TEXTS, KEEP[:1]), "(1, 4): expected (2, kept), as video.mask is 'tube'"),
        ((FRAMES, TEXTS, KEEP[:, None]), "(2, 1, 4): expected (2, kept)"),
        ((FRAMES, TEXTS, KEEP.double()), "torch.float64: expected their numbers"),
        ((FRAMES, TEXTS, KEEP > 3), "torch.bool: expected their numbers"),
        ((FRAMES, TEXTS[:, :2], KEEP), "expected (2 clips, 1 or 4 transcripts, tokens)"),
        ((FRAMES, TEXTS[:1], KEEP), "(1, 4, 12): expected (2 clips"),
        ((FRAMES, TEXTS[0], KEEP), "(4, 12): expected (2 clips"),
        ((FRAMES, TEXTS[..., :0], KEEP), "expected (texts, 1 to 12 tokens)"),
        ((FRAMES, TEXTS.repeat(1, 1, 2), KEEP), "expected (texts, 1 to 12 tokens)"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_sentence(given: tuple[Tensor, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as error:
        network(tiny())(*given)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_first_version_refuses_frames_that_fill_no_tubelet() -> None:
    config = tiny(v1_form())
    with pytest.raises(ValueError, match="a clip has 3 frames: expected up to 6, in groups of 2"):
        network(config).video(clips(config, 2, 3))
