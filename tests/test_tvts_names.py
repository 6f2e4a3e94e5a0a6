"""Names of tensors: every layout against names and shapes written out by hand, and back."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from reelscript.models.tvts import configs, translate
from reelscript.models.tvts.archives import WeightsError
from reelscript.models.tvts.model import TVTS
from reelscript.models.tvts.names import layout_of
from tests import tvts_weights_made as made

PARITY = Path(os.environ.get("REELSCRIPT_PARITY", Path(__file__).parents[2] / "shared" / "parity"))
# Parameters by arXiv 2305.14173's released configurations: video tower, text tower, sorting head.
PARAMETERS = {
    "b32": (116_225_280, 63_428_096, 6_308_868),
    "b16": (114_568_704, 63_428_096, 6_308_868),
    "h14": (842_053_120, 354_032_640, 25_200_644),
}
TENSORS = {"b32": (225, 149, 29), "b16": (225, 149, 29), "h14": (585, 293, 29)}


def on_meta(config: configs.TVTSConfig) -> TVTS:
    with torch.device("meta"):
        return TVTS(config)


@pytest.mark.parametrize("name", made.SIZES)
def test_names_of_released_files_are_those_of_the_network(name: str) -> None:
    size = made.SIZES[name]
    parts = (
        made.official_video(size),
        made.official_text(size),
        made.official_sorter(size.embed),
    )
    assert tuple(map(len, parts)) == TENSORS[name]
    counted = tuple(sum(t.numel() for t in made.on_meta(part).values()) for part in parts)
    assert counted == PARAMETERS[name]
    config = configs.named(name)
    state = translate.from_official(made.on_meta(parts[0] | parts[1] | parts[2]), config)
    assert made.shapes_of(state) == made.shapes_of(on_meta(config).state_dict())


@pytest.mark.parametrize("name", made.SIZES)
@pytest.mark.parametrize("layout", ["clip", "hf_clip"])
def test_names_of_clip_are_those_of_the_network_without_time_and_sorter(
    name: str, layout: str
) -> None:
    size = made.SIZES[name]
    if layout == "clip":
        state = translate.from_clip(made.on_meta(made.clip(size)))
    else:
        state = translate.from_hf_clip(made.on_meta(made.hf_clip(size)))
    wanted = made.shapes_of(on_meta(configs.named(name)).state_dict())
    missing = wanted.keys() - state.keys()
    assert made.shapes_of(state) == {n: s for n, s in wanted.items() if n not in missing}
    time = re.compile(r"video\.(time_embedding|blocks\.\d+\.(time_attention|norm_time)\..*)")
    assert all(time.fullmatch(n) or n.startswith("sorter.") for n in missing)
    assert len(missing) == 1 + 6 * size.blocks + 29


def test_names_of_tvts_are_those_of_the_network() -> None:
    text = made.distilbert(768, 6, 30522, 512)
    shapes = made.tvts(768, 12, 16, 196, 8, 256, text)
    video = made.on_meta(made.tvts_video(768, 12, 16, 196, 8))
    assert (len(video), sum(t.numel() for t in video.values())) == (151, 86_394_624)
    state = translate.from_official(made.on_meta(shapes), configs.v1())
    assert made.shapes_of(state) == made.shapes_of(on_meta(configs.v1()).state_dict())


@pytest.mark.parametrize(
    ("state", "config"),
    [
        (made.toy_official(), made.toy()),
        (made.filled(made.tvts(12, 2, 8, 9, 2, 6, made.distilbert(12, 2, 30, 20))), made.toy_v1()),
    ],
    ids=["tvtsv2", "tvts"],
)
def test_names_official_there_and_back_is_the_same(
    state: dict[str, torch.Tensor], config: configs.TVTSConfig
) -> None:
    ours = translate.from_official({f"module.{n}": t for n, t in state.items()}, config)
    assert made.same(translate.to_official(ours, config), state)
    network = TVTS(config).state_dict()
    again = translate.from_official(translate.to_official(network, config), config)
    assert made.same(again, dict(network))


def test_names_matrices_are_transposed_and_embeddings_unwrapped() -> None:
    state = made.toy_official()
    ours = translate.from_official(state, made.toy())
    assert torch.equal(ours["video.projection.weight"], state["video_model.proj"].T)
    assert torch.equal(ours["text.projection.weight"], state["text_projection"].T)
    assert torch.equal(ours["sorter.type_embedding"], state["pred_model.type_embed"][0])
    time = "video_model.transformer.resblocks.1.timeattn.qkv.weight"
    assert torch.equal(ours["video.blocks.1.time_attention.qkv.weight"], state[time])
    norms = [state[f"video_model.transformer.resblocks.1.ln_{i}.weight"] for i in (1, 2, 3)]
    for kind, there in zip(("attention", "mlp", "time"), norms, strict=True):
        assert torch.equal(ours[f"video.blocks.1.norm_{kind}.weight"], there)


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_names_of_transformers_queries_keys_values_are_stacked_in_that_order(part: str) -> None:
    state = made.filled(made.hf_clip(made.TOY))
    ours = translate.from_hf_clip(state)
    for theirs, tower in (("vision_model", "video"), ("text_model", "text")):
        start = f"{theirs}.encoder.layers.1.self_attn."
        rows = [row for which in "qkv" for row in state[f"{start}{which}_proj.{part}"]]
        assert torch.equal(ours[f"{tower}.blocks.1.attention.qkv.{part}"], torch.stack(rows))
    assert torch.equal(ours["video.projection.weight"], state["visual_projection.weight"])


def test_names_of_numbers_beside_the_weights_are_left_out_and_told() -> None:
    beside = {
        "logit_scale": torch.tensor(4.6),
        "input_resolution": torch.tensor(24),
        "context_length": torch.tensor(77),
        "vocab_size": torch.tensor(40),
        "attn_mask": torch.zeros(77, 77),
    }
    shapes = made.clip(made.TOY)
    made_ours = translate.to_ours(made.filled(shapes) | beside, "clip")
    assert set(made_ours.dropped) == set(beside)
    assert made_ours.unexpected == ()
    assert len(made_ours.state) == len(shapes) - 1


@pytest.mark.parametrize("name", ["visual.extra", "visual.transformer.resblocks.x.ln_1.weight"])
def test_names_of_no_tensor_of_the_layout_are_an_error(name: str) -> None:
    state = made.filled(made.clip(made.TOY)) | {name: torch.zeros(1)}
    with pytest.raises(WeightsError, match=re.escape(name)):
        translate.from_clip(state)


def test_names_of_a_tensor_that_is_there_twice_are_an_error() -> None:
    state = made.toy_official()
    state["module.text_projection"] = state["text_projection"]
    with pytest.raises(WeightsError, match=r"module\.text_projection is in the file twice"):
        translate.from_official(state, made.toy())


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("video_model.proj", (8,), "expected a matrix"),
        ("pred_model.type_embed", (2, 2, 8), "expected 1 as the first size"),
        ("pred_model.type_embed", (), "expected 1 as the first size"),
    ],
)
def test_names_of_tensors_of_another_form_are_an_error(
    name: str, shape: tuple[int, ...], said: str
) -> None:
    state = made.toy_official() | {name: torch.zeros(shape)}
    with pytest.raises(WeightsError, match=f"{name} is .*: {said}"):
        translate.from_official(state, made.toy())


@pytest.mark.parametrize("shape", [(), (16, 15)])
def test_names_of_parts_that_do_not_fit_are_an_error(shape: tuple[int, ...]) -> None:
    state = made.filled(made.hf_clip(made.TOY))
    state["vision_model.encoder.layers.0.self_attn.k_proj.weight"] = torch.zeros(shape)
    with pytest.raises(WeightsError, match=r"parts of video\.blocks\.0\.attention\.qkv\.weight"):
        translate.from_hf_clip(state)


@pytest.mark.parametrize(
    ("layout", "shapes"),
    [
        ("tvtsv2", made.official_video(made.TOY) | made.official_text(made.TOY)),
        ("tvts", made.tvts(12, 2, 8, 9, 2, 6, made.distilbert(12, 2, 30, 20))),
        ("clip", made.clip(made.TOY)),
        ("hf_clip", made.hf_clip(made.TOY)),
        ("mae", made.mae(12, 2, 8, 9)),
        ("distilbert", made.distilbert(12, 2, 30, 20)),
        ("ours", made.shapes_of(on_meta(made.toy()).state_dict())),
        ("ours", made.shapes_of(on_meta(made.toy_v1()).state_dict())),
    ],
)
@pytest.mark.parametrize("start", ["", "module."])
def test_layout_is_known_by_the_names_even_if_some_are_not_there(
    layout: str, shapes: made.Shapes, start: str
) -> None:
    some = [start + name for name in sorted(shapes)]
    assert layout_of(some) == layout
    for first in range(3):
        assert layout_of(some[first::3]) == layout


def open_clip(shapes: made.Shapes) -> made.Shapes:
    """The same where the text tower is a module of its own."""
    return {
        name if name.startswith(("visual.", "logit")) else f"text.{name}": shape
        for name, shape in shapes.items()
    }


def test_names_of_open_clip_with_a_text_tower_of_its_own_are_those_of_clip() -> None:
    shapes = open_clip(made.clip(made.TOY))
    assert "text.transformer.resblocks.0.ln_1.weight" in shapes
    state = made.filled(shapes)
    assert layout_of(state) == "clip"
    plain = {name.removeprefix("text."): tensor for name, tensor in state.items()}
    assert made.same(
        translate.from_clip(state | {"text.attn_mask": torch.ones(1)}), translate.from_clip(plain)
    )
    with pytest.raises(WeightsError, match=r"ln_final\.weight is in the file twice"):
        translate.from_clip(state | {"ln_final.weight": torch.ones(24)})


@pytest.mark.parametrize(
    "name",
    [
        "text.transformer.embeddings.word_embeddings.weight",
        "visual.trunk.blocks.0.norm1.weight",
        "visual.layer1.0.conv1.weight",
        "visual.attnpool.k_proj.weight",
    ],
)
def test_layout_of_a_clip_with_other_towers_is_an_error(name: str) -> None:
    some = [*open_clip(made.clip(made.TOY)), f"module.{name}"]
    with pytest.raises(WeightsError, match=rf"CLIP whose towers are .*: they have module\.{name}"):
        layout_of(some)


@pytest.mark.parametrize("some", [[], ["fc.weight", "layer1.0.conv1.weight"]])
def test_layout_of_other_networks_is_an_error(some: list[str]) -> None:
    with pytest.raises(WeightsError, match=some[0] if some else "none"):
        layout_of(some)


@pytest.mark.parametrize("tubelet_init", ["mean", "official"])
def test_names_a_kernel_of_images_becomes_one_of_tubelets(tubelet_init: str) -> None:
    state = made.filled(made.mae(12, 2, 8, 9))
    ours = translate.to_ours(state, "mae", made.toy_v1(tubelet_init=tubelet_init)).state
    kernel = state["patch_embed.proj.weight"]
    image = torch.randn(1, 3, 8, 8)
    still = torch.stack([image, image], 2)  # (1, 3, 2, 8, 8)
    expected = torch.nn.functional.conv2d(image, kernel)[:, :, None]
    scale = 1 if tubelet_init == "mean" else 2
    found = torch.nn.functional.conv3d(still, ours["video.patch.weight"])
    torch.testing.assert_close(found, expected * scale)
    assert torch.equal(ours["video.cls_embedding"], state["cls_token"].flatten())


@pytest.mark.skipif(not list(PARITY.glob("*.safetensors")), reason="no parity data here")
def test_names_of_parity_data_there_and_back_are_the_same() -> None:
    for path in sorted(PARITY.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            assert json.loads(file.metadata()["config"])
            starts = "weight."
            state = {
                name.removeprefix(starts): file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118
                if name.startswith(starts)
            }
        config = configs.b16()
        ours = translate.from_official(state, config)
        state.pop("text_attn_mask", None)
        assert made.same(translate.to_official(ours, config), state), path.name
