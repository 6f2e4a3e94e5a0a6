"""The network compiled, and in bfloat16: one graph, the same numbers."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import torch
from torch import Tensor

from reelscript.models.tvts import configs
from reelscript.models.tvts.configs import TVTSConfig
from reelscript.models.tvts.losses import Losses
from reelscript.models.tvts.masking import draw_mask
from reelscript.models.tvts.model import TVTS, Output


def small(blocks: int = 2, **video: object) -> TVTSConfig:
    """The debug network with so many blocks a tower."""
    config = configs.debug()
    return dataclasses.replace(
        config,
        video=dataclasses.replace(config.video, blocks=blocks, **video),  # type: ignore[arg-type]
        text=dataclasses.replace(config.text, blocks=blocks, vocabulary=100),
    )


def batch(config: TVTSConfig, transcripts: int = 4, tokens: int = 20) -> tuple[Tensor, ...]:
    chance = torch.Generator().manual_seed(0)
    frames = torch.randn(2, 12, 3, 96, 96, generator=chance)
    texts = torch.randint(1, 99, (2, transcripts, tokens), generator=chance)
    texts[..., -1] = 99
    return frames, texts, draw_mask(2, config.video, chance)


def trained(network: TVTS, model: TVTS, inputs: tuple[Tensor, ...]) -> tuple[Output, Losses]:
    """One forward pass by `network`, which is `model` or a compiled form of it, and backward."""
    model.zero_grad()
    output = network(*inputs)
    losses = model.losses(output)
    losses.total.backward()
    return output, losses


FORMS = {
    "divided": {},
    "patches_without_norm": {"sorted_tokens": "patches_without_norm"},
    "joint": {"attention": "joint", "tubelet_frames": 2, "mask": "frame"},
}


def assert_same_when_compiled(config: TVTSConfig, transcripts: int, backend: str) -> None:
    torch.manual_seed(0)
    model = TVTS(config)
    inputs = batch(config, transcripts)
    _, expected = trained(model, model, inputs)
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend=backend)  # a graph break is an error
    _, found = trained(compiled, model, inputs)

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            assert name not in gradients
        else:
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("transcripts", [4, 1])
@pytest.mark.parametrize("form", FORMS)
def test_network_compiles_to_one_graph_with_the_same_gradients(form: str, transcripts: int) -> None:
    assert_same_when_compiled(small(**FORMS[form]), transcripts, "aot_eager")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # of the compiler's own modules
def test_network_compiled_to_machine_code_gives_the_same_gradients() -> None:
    assert_same_when_compiled(small(blocks=1), 4, "inductor")


def test_network_compiled_for_texts_of_any_length_is_compiled_once() -> None:
    config = small()
    model = TVTS(config)
    count = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(model, fullgraph=True, backend=count, dynamic=False)

    for tokens in (20, 24):
        frames, texts, keep = batch(config, 4, tokens)
        torch._dynamo.mark_dynamic(texts, 2)
        compiled(frames, texts, keep)

    assert count.frame_count == 1


def test_bfloat16_network_gives_float32_logits_and_losses() -> None:
    torch.manual_seed(0)
    config = small()
    model = TVTS(config)
    inputs = batch(config)
    expected, expected_losses = trained(model, model, inputs)

    with torch.autocast("cpu", torch.bfloat16):
        found = model(*inputs)
        losses = model.losses(found)

    assert found.video.dtype == torch.bfloat16
    assert found.order_logits is not None
    assert found.order_logits.dtype == torch.float32
    assert losses.total.dtype == torch.float32
    torch.testing.assert_close(losses, expected_losses, rtol=0.03, atol=0.03)
    cosine = torch.cosine_similarity(found.video.float(), expected.video)
    assert cosine.min() > 0.99


def test_official_precision_computes_losses_in_that_of_the_embeddings() -> None:
    config = small()
    config = dataclasses.replace(
        config, losses=dataclasses.replace(config.losses, precision="official")
    )
    model = TVTS(config)

    with torch.autocast("cpu", torch.bfloat16):
        losses = model.losses(model(*batch(config)))

    assert losses.contrastive.dtype == torch.bfloat16
