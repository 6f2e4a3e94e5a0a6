"""The network against a naive form of itself and against CLIP; what `TVTS` promises of shapes."""

from __future__ import annotations

import dataclasses
import warnings
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reelscript.models.tvts import losses
from reelscript.models.tvts.configs import TVTSConfig
from reelscript.models.tvts.model import TVTS
from tests.tvts_naive import (
    clips,
    h_form,
    keep_of,
    naive_contrastive,
    naive_forward,
    naive_order,
    naive_sorting,
    naive_text,
    naive_video,
    naive_weights,
    randomised,
    sentences,
    tiny,
    v1_form,
)

EXACT = 1e-10  # of the largest magnitude of a tensor, in float64
B, K = 3, 4


def model_of(config: TVTSConfig, seed: int = 0) -> TVTS:
    """A float64 network whose every weight is random."""
    model = TVTS(config).double()
    randomised(model, seed)
    return model


def same(ours: Tensor, naive: Tensor, what: str = "", scale: float = 0.0) -> None:
    assert ours.shape == naive.shape, what
    assert ours.dtype == torch.float64, f"{what} is {ours.dtype}"
    largest = max(float(naive.detach().abs().max()), scale)
    torch.testing.assert_close(
        ours.detach(), naive.detach(), rtol=0, atol=EXACT * largest, msg=lambda m: f"{what}: {m}"
    )


def same_gradients(model: TVTS, weights: dict[str, Tensor], without: tuple[str, ...] = ()) -> None:
    """Every parameter's gradient; those that begin as in `without` have none."""
    found = {name: weight.grad for name, weight in model.named_parameters()}
    largest = max(float(w.grad.abs().max()) for w in weights.values() if w.grad is not None)
    for name, weight in weights.items():
        ours = found[name]
        if name.startswith(without) if without else False:
            assert ours is None or not ours.any(), name
            continue
        naive = weight.grad if weight.grad is not None else torch.zeros_like(weight)
        # A gradient that is 0 but for rounding (a key's bias) is measured on the largest of all.
        same(torch.zeros_like(naive) if ours is None else ours, naive, name, 1e-6 * largest)


def test_weights_have_the_published_names_and_shapes() -> None:
    config = tiny()
    shapes = {name: tuple(weight.shape) for name, weight in TVTS(config).state_dict().items()}
    assert shapes["video.cls_embedding"] == (16,)
    assert shapes["video.position_embedding"] == (10, 16)
    assert shapes["video.time_embedding"] == (4, 16)
    assert shapes["video.patch.weight"] == (16, 3, 4, 4)
    assert shapes["video.projection.weight"] == (8, 16)
    assert shapes["video.blocks.1.time_attention.qkv.weight"] == (48, 16)
    assert shapes["text.token_embedding.weight"] == (40, 24)
    assert shapes["text.position_embedding"] == (12, 24)
    assert shapes["text.projection.weight"] == (8, 24)
    assert shapes["sorter.type_embedding"] == (2, 8)
    assert shapes["sorter.head.weight"] == (4, 8)
    names = set(shapes)
    assert not {"video.patch.bias", "video.projection.bias", "text.projection.bias"} & names


def test_first_version_has_biases_and_no_attention_over_time() -> None:
    model = TVTS(tiny(v1_form(), width=16, heads=2))
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    assert shapes["video.patch.weight"] == (16, 3, 2, 4, 4)
    assert shapes["video.patch.bias"] == (16,)
    assert shapes["video.projection.bias"] == (8,)
    assert shapes["video.time_embedding"] == (3, 16)  # one for each tubelet
    video = [name for name in shapes if name.startswith("video.")]
    assert not any("time_attention" in n or "norm_time" in n or "norm_in" in n for n in video)


FORMS: dict[str, tuple[dict[str, Any], int, bool]] = {
    # the video tower, frames of a clip, whether patches are masked
    "b-masked": ({}, 4, True),
    "b-whole": ({}, 4, False),
    "b-fewer-frames": ({}, 3, True),
    "b-one-frame": ({}, 1, True),
    "b-twelve-frames": ({"frames": 12, "blocks": 1, "mask_ratio": 0.7}, 12, True),
    "h-masked": (h_form(), 4, True),
    "h-whole": (h_form(), 2, False),
}


@pytest.mark.parametrize("form", FORMS)
def test_network_equals_the_naive_form_in_outputs_losses_and_gradients(form: str) -> None:
    video, frames, masked = FORMS[form]
    config = tiny(video)
    model = model_of(config)
    weights = naive_weights(model)
    clip, ids = clips(config, B, frames), sentences(config, B * K).view(B, K, -1)
    keep = keep_of(config, B, frames) if masked else None

    embedding, tokens, told, order = naive_forward(weights, config, clip, ids, keep)
    assert order is not None
    contrast, sorting = naive_contrastive(embedding, told), naive_sorting(order)
    (contrast + 2 * sorting).backward()

    seen = model.video(clip, keep)
    same(seen.embedding, embedding, "embedding")
    same(seen.tokens, tokens, "tokens")
    out = model(clip, ids, keep)
    same(out.video, embedding, "video")
    same(out.texts, told, "texts")
    same(out.order_logits, order, "order_logits")
    ours = losses.contrastive(out.video, out.texts.mean(1), temperature=0.05)
    sorted_ = losses.sorting(out.order_logits)
    same(ours, contrast, "contrastive")
    same(sorted_, sorting, "sorting")
    (ours + 2 * sorted_).backward()
    same_gradients(model, weights)


@pytest.mark.parametrize("masked", [True, False])
def test_video_tower_of_the_first_version_equals_the_naive_form(masked: bool) -> None:
    config = tiny(v1_form(), width=16, heads=2)
    model = model_of(config)
    weights = naive_weights(model)
    for frames in (6, 4):
        clip = clips(config, 2, frames)
        keep = keep_of(config, 2, frames) if masked else None
        texts = torch.randn(2, K, 16, dtype=torch.float64)
        for weight in (*model.parameters(), *weights.values()):
            weight.grad = None
        embedding, tokens = naive_video(weights, config.video, clip, keep)
        order = naive_order(weights, config.sorting, tokens, texts)
        (embedding.sin().sum() + order.sin().sum()).backward()
        out = model.video(clip, keep)
        logits = model.sorter(out.tokens, texts)
        same(out.embedding, embedding, "embedding")
        same(out.tokens, tokens, "tokens")
        same(logits, order, "order")
        (out.embedding.sin().sum() + logits.sin().sum()).backward()
        same_gradients(model, weights)


def test_one_image_is_a_clip_of_one_frame() -> None:
    config = tiny()
    model = model_of(config)
    clip = clips(config, 2, 1)
    image, film = model.video(clip[:, 0]), model.video(clip)
    assert torch.equal(image.embedding, film.embedding)
    assert torch.equal(image.tokens, film.tokens)


@pytest.mark.parametrize("embeddings", ["frozen", "official"])
def test_frozen_blocks_have_no_gradient_and_all_others_the_naive_one(embeddings: str) -> None:
    config = tiny(frozen_blocks=2, frozen_embeddings=embeddings)
    model = model_of(config)
    weights = naive_weights(model)
    ids = sentences(config, 5)
    naive_text(weights, config.text, ids).sin().sum().backward()
    model.text(ids).embedding.sin().sum().backward()
    without = ("text.blocks.0.", "text.blocks.1.")
    if embeddings == "frozen":
        without += ("text.token_embedding.", "text.position_embedding")
    same_gradients(model, weights, without)


def test_text_of_fewer_tokens_than_the_context_gives_the_same_embedding() -> None:
    config = tiny()
    model = model_of(config)
    ids = sentences(config, 6, length=9)
    longer = torch.zeros(6, 12, dtype=torch.int64)
    longer[:, :9] = ids
    weights = naive_weights(model)
    for given in (ids, longer):
        same(model.text(given).embedding, naive_text(weights, config.text, given))
    same(model.text(ids).embedding, model.text(longer).embedding)


def test_text_behind_the_end_token_changes_nothing() -> None:
    config = tiny()
    model = model_of(config)
    ids = sentences(config, 6)
    ends = ids.argmax(1)
    noisy = ids.clone()
    for row, end in enumerate(ends.tolist()):
        noisy[row, end + 1 :] = 7
    same(model.text(noisy).embedding, model.text(ids).embedding)


def test_text_before_the_end_token_matters() -> None:
    config = tiny()
    model = model_of(config)
    ids = sentences(config, 6)
    other = ids.clone()
    other[:, 1] = torch.where(ids[:, 1] == config.text.vocabulary - 1, ids[:, 1], 7)
    changed = (model.text(other).embedding != model.text(ids).embedding).any(1)
    assert torch.equal(changed, (other != ids).any(1))


def test_text_token_of_the_second_version_is_its_embedding() -> None:
    model = model_of(tiny())
    out = model.text(sentences(tiny(), 3))
    assert torch.equal(out.token, out.embedding)


def test_a_single_caption_is_not_sorted() -> None:
    config = tiny()
    model = model_of(config)
    out = model(clips(config, 2, 4), sentences(config, 2).view(2, 1, -1))
    assert out.order_logits is None
    assert out.texts.shape == (2, 1, 8)


def test_order_of_the_samples_in_a_batch_is_irrelevant() -> None:
    config = tiny()
    model = model_of(config)
    clip, keep = clips(config, 4, 4), keep_of(config, 4, 4)
    turned = torch.tensor([2, 0, 3, 1])
    same(model.video(clip[turned], keep[turned]).tokens, model.video(clip, keep).tokens[turned])


# --- CLIP ---------------------------------------------------------------------------------------

CLIP_FORMS = ["quick_gelu", "gelu"]


def clip_config(activation: str) -> TVTSConfig:
    config = tiny({"activation": activation, "norm_eps": 1e-5})
    return dataclasses.replace(config, text=dataclasses.replace(config.text, norm_eps=1e-5))


def load_tower(model: TVTS, tower: str, found: dict[str, Tensor]) -> None:
    """Loads one tower; only what CLIP has not is missing, and then gives nothing."""
    own = model.state_dict()
    mine = {name for name in own if name.startswith(f"{tower}.")}
    new = {n for n in mine if "time_attention" in n or "norm_time" in n or "time_embedding" in n}
    assert set(found) == mine - new
    for name, value in found.items():
        assert own[name].shape == value.shape, name
    with torch.no_grad():
        model.load_state_dict(own | found)
        if tower == "video":
            model.video.time_embedding.zero_()
            for name, weight in model.named_parameters():
                if "time_attention.projection" in name:
                    weight.zero_()


def hf(name: str) -> Any:
    """A name of transformers; its import warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(pytest.importorskip("transformers"), name)


def ours_from_hf(theirs: nn.Module, tower: str, blocks: int) -> dict[str, Tensor]:
    """One tower of Hugging Face's CLIPModel under our names."""
    weights = {
        name.replace("vision_model.", "").replace("text_model.", ""): weight
        for name, weight in theirs.state_dict().items()
        if not name.endswith("position_ids")
    }
    if tower == "video":
        renamed = {
            "embeddings.class_embedding": "cls_embedding",
            "embeddings.patch_embedding.weight": "patch.weight",
            "embeddings.position_embedding.weight": "position_embedding",
            "visual_projection.weight": "projection.weight",
        } | {
            f"{theirs_}.{kind}": f"{ours}.{kind}"
            for theirs_, ours in (("pre_layrnorm", "norm_in"), ("post_layernorm", "norm_out"))
            for kind in ("weight", "bias")
        }
    else:
        renamed = {
            "embeddings.token_embedding.weight": "token_embedding.weight",
            "embeddings.position_embedding.weight": "position_embedding",
            "text_projection.weight": "projection.weight",
            "final_layer_norm.weight": "norm_out.weight",
            "final_layer_norm.bias": "norm_out.bias",
        }
    found = {f"{tower}.{renamed[name]}": weights.pop(name) for name in renamed}
    parts = {
        "layer_norm1": "norm_attention",
        "layer_norm2": "norm_mlp",
        "self_attn.out_proj": "attention.projection",
        "mlp.fc1": "mlp.up",
        "mlp.fc2": "mlp.down",
    }
    for number in range(blocks):
        for kind in ("weight", "bias"):
            layer, block = f"encoder.layers.{number}", f"{tower}.blocks.{number}"
            for part, ours in parts.items():
                found[f"{block}.{ours}.{kind}"] = weights.pop(f"{layer}.{part}.{kind}")
            three = [weights.pop(f"{layer}.self_attn.{one}_proj.{kind}") for one in "qkv"]
            found[f"{block}.attention.qkv.{kind}"] = torch.cat(three)
    assert not weights
    return found


@pytest.mark.parametrize("activation", CLIP_FORMS)
def test_one_frame_gives_the_embedding_of_hugging_face_clip(activation: str) -> None:
    config = clip_config(activation)
    video = config.video
    given = hf("CLIPVisionConfig")(
        hidden_size=video.width,
        intermediate_size=4 * video.width,
        projection_dim=config.embed_dim,
        num_hidden_layers=video.blocks,
        num_attention_heads=video.heads,
        image_size=video.image_px,
        patch_size=video.patch_px,
        hidden_act=activation,
    )
    theirs = hf("CLIPVisionModelWithProjection")(given).double().eval()
    randomised(theirs, seed=5)
    model = model_of(config)
    load_tower(model, "video", ours_from_hf(theirs, "video", video.blocks))
    images = clips(config, 3, 1)[:, 0]
    same(model.video(images).embedding, theirs(pixel_values=images).image_embeds)


@pytest.mark.parametrize("activation", CLIP_FORMS)
@pytest.mark.parametrize("end", ["largest", "named"])
def test_text_has_the_embedding_of_hugging_face_clip(activation: str, end: str) -> None:
    config = clip_config(activation)
    text = config.text
    given = hf("CLIPTextConfig")(
        vocab_size=text.vocabulary,
        hidden_size=text.width,
        intermediate_size=4 * text.width,
        projection_dim=config.embed_dim,
        num_hidden_layers=text.blocks,
        num_attention_heads=text.heads,
        max_position_embeddings=text.context,
        hidden_act=activation,
        # With 2, as old configurations have it, the end is found as the largest id of a row.
        eos_token_id=2 if end == "largest" else text.vocabulary - 1,
    )
    theirs = hf("CLIPTextModelWithProjection")(given).double().eval()
    randomised(theirs, seed=6)
    model = model_of(config)
    load_tower(model, "text", ours_from_hf(theirs, "text", text.blocks))
    ids = sentences(config, 6)
    same(model.text(ids).embedding, theirs(input_ids=ids).text_embeds)


class PlainBlock(nn.Module):
    """A CLIP block of torch's own attention, named as in OpenAI's weights."""

    def __init__(self, width: int, heads: int, activation: str) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        layers = {"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.ModuleDict(OrderedDict(layers))
        self.activation = activation

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        y = self.mlp["c_fc"](self.ln_2(x))
        y = y * torch.sigmoid(1.702 * y) if self.activation == "quick_gelu" else nn.GELU()(y)
        return x + self.mlp["c_proj"](y)


class PlainClip(nn.Module):
    """CLIP's image tower (arXiv 2103.00020), named as in OpenAI's weights."""

    def __init__(self, config: TVTSConfig) -> None:
        super().__init__()
        video, width = config.video, config.video.width
        self.conv1 = nn.Conv2d(3, width, video.patch_px, video.patch_px, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(video.patches + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.resblocks = nn.ModuleList(
            PlainBlock(width, video.heads, video.activation) for _ in range(video.blocks)
        )
        self.proj = nn.Parameter(torch.empty(width, config.embed_dim))

    def forward(self, images: Tensor) -> Tensor:
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(images), 1, -1)
        x = self.ln_pre(torch.cat([first, patches], 1) + self.positional_embedding)
        for block in self.resblocks:
            x = block(x)
        return self.ln_post(x[:, 0]) @ self.proj


def ours_from_openai(theirs: nn.Module) -> dict[str, Tensor]:
    """The image tower of OpenAI's CLIP under our names."""
    whole = {
        "conv1.": "patch.",
        "class_embedding": "cls_embedding",
        "positional_embedding": "position_embedding",
        "ln_pre.": "norm_in.",
        "ln_post.": "norm_out.",
        "resblocks.": "blocks.",
        ".ln_1.": ".norm_attention.",
        ".ln_2.": ".norm_mlp.",
        ".attn.in_proj_": ".attention.qkv.",
        ".attn.out_proj.": ".attention.projection.",
        ".c_fc.": ".up.",
        ".c_proj.": ".down.",
    }
    found = {}
    for name, weight in theirs.state_dict().items():
        if name == "proj":
            found["video.projection.weight"] = weight.T
            continue
        for old, new in whole.items():
            name = name.replace(old, new)
        found[f"video.{name}"] = weight
    return found


@pytest.mark.parametrize("activation", CLIP_FORMS)
def test_one_frame_gives_the_embedding_of_openai_clip(activation: str) -> None:
    config = clip_config(activation)
    theirs = PlainClip(config).double()
    randomised(theirs, seed=7)
    model = model_of(config)
    load_tower(model, "video", ours_from_openai(theirs))
    images = clips(config, 3, 1)[:, 0]
    same(model.video(images).embedding, theirs(images))
