"""The text tower of TVTS against a naive form of it and against that of Hugging Face."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from reelscript.models.tvts import configs
from reelscript.models.tvts.configs import TextConfig
from reelscript.models.tvts.distilbert import DistilBert

EXACT = 1e-10  # of the largest magnitude, in float64
WIDTH, EMBED = 24, 8
IDS = torch.tensor(
    [
        [5, 7, 11, 6, 0, 0, 0],
        [5, 6, 0, 0, 0, 0, 0],
        [5, 1, 2, 3, 4, 39, 6],
    ]
)


def config_of(**changes: Any) -> TextConfig:
    sizes: dict[str, Any] = {
        "kind": "distilbert",
        "context": 9,
        "vocabulary": 40,
        "width": WIDTH,
        "blocks": 3,
        "heads": 3,
        "activation": "gelu",
        "norm_eps": 1e-12,
        "frozen_blocks": 0,
    }
    return TextConfig(**(sizes | changes))


def tower(seed: int = 0, **changes: Any) -> DistilBert:
    """A float64 tower whose every weight is random, norms and biases as well."""
    made = DistilBert(config_of(**changes), EMBED).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 3
    return made


def close(ours: Tensor, other: Tensor) -> None:
    assert ours.shape == other.shape
    atol = EXACT * float(other.detach().abs().max())
    torch.testing.assert_close(ours.detach(), other.detach(), rtol=0, atol=atol)


def normed(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    deviation = x - x.mean()
    variance = (deviation * deviation).mean()
    return (
        deviation / torch.sqrt(variance + 1e-12) * weights[f"{name}.weight"]
        + weights[f"{name}.bias"]
    )


def linear(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    return torch.einsum("oi,i->o", weights[f"{name}.weight"], x) + weights[f"{name}.bias"]


def naive_attention(
    tokens: list[Tensor], weights: dict[str, Tensor], name: str, heads: int
) -> list[Tensor]:
    """One query after the other, one head after the other."""
    qkv = [linear(x, weights, f"{name}.qkv").chunk(3) for x in tokens]
    size = WIDTH // heads
    out = []
    for q, _, _ in qkv:
        parts = []
        for head in range(heads):
            cut = slice(head * size, (head + 1) * size)
            scores = torch.stack([(q[cut] * k[cut]).sum() / math.sqrt(size) for _, k, _ in qkv])
            shares = torch.exp(scores) / torch.exp(scores).sum()
            parts.append(sum(share * v[cut] for share, (_, _, v) in zip(shares, qkv, strict=True)))
        out.append(linear(torch.cat(parts), weights, f"{name}.projection"))
    return out


def naive(ids: list[int], weights: dict[str, Tensor], blocks: int, heads: int) -> Tensor:
    """The first token's last state of one text, which is given without its padding."""
    tokens = [
        normed(
            weights["token_embedding.weight"][token] + weights["position_embedding"][place],
            weights,
            "norm_in",
        )
        for place, token in enumerate(ids)
    ]
    for number in range(blocks):
        at = f"blocks.{number}"
        added = naive_attention(tokens, weights, f"{at}.attention", heads)
        for place, x in enumerate(tokens):
            y = normed(x + added[place], weights, f"{at}.norm_attention")
            up = linear(y, weights, f"{at}.mlp.up")
            active = up * (1 + torch.erf(up / math.sqrt(2))) / 2
            tokens[place] = normed(
                y + linear(active, weights, f"{at}.mlp.down"), weights, f"{at}.norm_mlp"
            )
    return tokens[0]


def test_distilbert_equals_its_formulas() -> None:
    made = tower()
    weights = {name: value.detach() for name, value in made.named_parameters()}
    output = made(IDS)
    for row, ids in enumerate([[5, 7, 11, 6], [5, 6], [5, 1, 2, 3, 4, 39, 6]]):
        state = naive(ids, weights, blocks=3, heads=3)
        close(output.token[row], state)
        close(output.embedding[row], linear(state.clamp(min=0), weights, "projection"))


def test_distilbert_gradients_equal_those_of_its_formulas() -> None:
    made, told = tower(), torch.randn(EMBED, dtype=torch.float64)
    weights = {
        name: value.detach().clone().requires_grad_() for name, value in made.named_parameters()
    }
    (made(IDS[:1]).embedding[0] * told).sum().backward()
    state = naive([5, 7, 11, 6], weights, blocks=3, heads=3)
    (linear(state.clamp(min=0), weights, "projection") * told).sum().backward()
    largest = max(float(w.grad.abs().max()) for w in weights.values() if w.grad is not None)
    for name, parameter in made.named_parameters():
        expected = weights[name].grad
        assert parameter.grad is not None, name
        assert expected is not None, name
        torch.testing.assert_close(
            parameter.grad,
            expected,
            rtol=0,
            atol=EXACT * largest,
            msg=lambda m, n=name: f"{n}: {m}",
        )


def hugging_face_names(blocks: int) -> dict[str, list[str]]:
    """Our names to theirs; several of theirs lie one under the other in ours."""
    names = {"token_embedding.weight": ["embeddings.word_embeddings.weight"]}
    names["position_embedding"] = ["embeddings.position_embeddings.weight"]
    for kind in ("weight", "bias"):
        names[f"norm_in.{kind}"] = [f"embeddings.LayerNorm.{kind}"]
        for i in range(blocks):
            ours, theirs = f"blocks.{i}", f"transformer.layer.{i}"
            names[f"{ours}.attention.qkv.{kind}"] = [
                f"{theirs}.attention.{part}_lin.{kind}" for part in "qkv"
            ]
            names[f"{ours}.attention.projection.{kind}"] = [f"{theirs}.attention.out_lin.{kind}"]
            names[f"{ours}.norm_attention.{kind}"] = [f"{theirs}.sa_layer_norm.{kind}"]
            names[f"{ours}.mlp.up.{kind}"] = [f"{theirs}.ffn.lin1.{kind}"]
            names[f"{ours}.mlp.down.{kind}"] = [f"{theirs}.ffn.lin2.{kind}"]
            names[f"{ours}.norm_mlp.{kind}"] = [f"{theirs}.output_layer_norm.{kind}"]
    return names


@pytest.mark.filterwarnings("ignore")  # of a package that only this test imports
def test_distilbert_equals_that_of_hugging_face() -> None:
    transformers = pytest.importorskip("transformers")
    made = tower(seed=1)
    theirs = transformers.DistilBertModel(
        transformers.DistilBertConfig(
            vocab_size=40,
            max_position_embeddings=9,
            n_layers=3,
            n_heads=3,
            dim=WIDTH,
            hidden_dim=4 * WIDTH,
        )
    )
    theirs = theirs.double().eval()
    state = theirs.state_dict()
    ours = made.state_dict()
    for name, parts in hugging_face_names(3).items():
        sizes = [state[part].shape[0] for part in parts]
        for part, value in zip(parts, ours.pop(name).split(sizes), strict=True):
            state[part].copy_(value)
    assert set(ours) == {"projection.weight", "projection.bias"}
    expected = theirs(input_ids=IDS, attention_mask=(IDS != 0).long()).last_hidden_state[:, 0]
    close(made(IDS).token, expected)


def test_distilbert_padding_changes_nothing() -> None:
    made = tower()
    short = made(IDS[:2, :4])
    for columns in (5, 7):
        longer = made(IDS[:2, :columns])
        close(longer.token, short.token)
        close(longer.embedding, short.embedding)
    (short.token**2).sum().backward()
    gradient = made.token_embedding.weight.grad
    assert gradient is not None
    assert not gradient[0].any()  # that of the padding


def test_distilbert_first_token_sees_what_is_behind_it() -> None:
    made, changed = tower(), IDS[2:].clone()
    changed[0, 5] = 8
    assert not torch.allclose(made(changed).token, made(IDS[2:]).token)


def test_distilbert_row_of_padding_is_its_first_token() -> None:
    made = tower()
    weights = {name: value.detach() for name, value in made.named_parameters()}
    state = naive([0], weights, blocks=3, heads=3)
    close(made(torch.zeros(1, 5, dtype=torch.int64)).token[0], state)


def test_distilbert_one_token_and_no_texts_have_shapes() -> None:
    made = tower()
    assert made(IDS[:, :1]).token.shape == (3, WIDTH)
    assert made(IDS[:0]).embedding.shape == (0, EMBED)


@pytest.mark.parametrize("shape", [(2, 10), (2, 0), (7,), (1, 2, 3)])
def test_distilbert_wrong_shape_of_ids_is_told(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected \\(texts, 1 to 9 tokens\\)"):
        tower()(torch.ones(shape, dtype=torch.int64))


def test_distilbert_frozen_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"text\.frozen_blocks is 1"):
        tower(frozen_blocks=1)


def test_distilbert_compiles_to_one_graph() -> None:
    made = tower()
    compiled = torch.compile(made, backend="eager", fullgraph=True)
    close(compiled(IDS).embedding, made(IDS).embedding)


def test_distilbert_of_v1_has_the_parameters_of_the_released_one() -> None:
    config = configs.v1()
    with torch.device("meta"):
        made = DistilBert(config.text, config.embed_dim)
    parameters = sum(parameter.numel() for parameter in made.parameters())
    # distilbert-base-uncased has 66,362,880 (its model card says 66M); Linear(768, 256) is added.
    assert parameters == 66_362_880 + 768 * 256 + 256
