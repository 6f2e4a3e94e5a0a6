"""The configurations: published sizes, what makes no network, and what `official` changes."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from reelscript.models.tvts import configs
from reelscript.models.tvts.configs import TVTSConfig, named, official

# As published (arXiv 2305.14173, arXiv 2209.15280 and their released configurations).
VIDEO = {
    "b32": {
        "image_px": 224, "patch_px": 32, "tubelet_frames": 1, "frames": 12,
        "width": 768, "blocks": 12, "heads": 12,
        "activation": "quick_gelu", "norm_eps": 1e-5, "attention": "divided", "norm_in": True,
        "patch_bias": False, "mask_ratio": 0.0, "mask": "tube",
    },
    "h14": {
        "image_px": 224, "patch_px": 14, "tubelet_frames": 1, "frames": 12,
        "width": 1280, "blocks": 32, "heads": 16,
        "activation": "gelu", "norm_eps": 1e-5, "attention": "divided", "norm_in": True,
        "patch_bias": False, "mask_ratio": 0.7, "mask": "tube",
    },
    "v1": {
        "image_px": 224, "patch_px": 16, "tubelet_frames": 2, "frames": 16,
        "width": 768, "blocks": 12, "heads": 12,
        "activation": "gelu", "norm_eps": 1e-6, "attention": "joint", "norm_in": False,
        "patch_bias": True, "mask_ratio": 0.75, "mask": "frame",
    },
}  # fmt: skip
VIDEO["b16"] = VIDEO["b32"] | {"patch_px": 16, "mask_ratio": 0.5}
CLIP_B = {
    "kind": "clip", "context": 77, "vocabulary": 49408, "width": 512, "blocks": 12, "heads": 8,
    "activation": "quick_gelu", "norm_eps": 1e-5, "frozen_blocks": 9,
}  # fmt: skip
CLIP_H = CLIP_B | {"width": 1024, "blocks": 24, "heads": 16, "activation": "gelu"}
TEXT = {
    "b32": CLIP_B,
    "b16": CLIP_B,
    "h14": CLIP_H | {"frozen_blocks": 18},
    "v1": {
        "kind": "distilbert", "context": 512, "vocabulary": 30522,
        "width": 768, "blocks": 6, "heads": 12,
        "activation": "gelu", "norm_eps": 1e-12, "frozen_blocks": 0,
    },
}  # fmt: skip
SORTING = {
    "b32": (512, 8), "b16": (512, 8), "h14": (1024, 16), "v1": (768, 12),
}  # fmt: skip
EMBEDDING = {"b32": 512, "b16": 512, "h14": 1024, "v1": 256}
KEPT = {"b32": 49, "b16": 98, "h14": 76, "v1": 49}


@pytest.mark.parametrize("name", EMBEDDING)
def test_named_configuration_has_the_published_sizes(name: str) -> None:
    config = named(name)

    assert config.name == name
    assert config.embed_dim == EMBEDDING[name]
    assert {key: getattr(config.video, key) for key in VIDEO[name]} == VIDEO[name]
    assert {key: getattr(config.text, key) for key in TEXT[name]} == TEXT[name]
    sorting = config.sorting
    assert (sorting.width, sorting.heads) == SORTING[name]
    assert (sorting.blocks, sorting.places, sorting.norm_eps) == (2, 4, 1e-6)
    assert (config.losses.temperature, config.losses.sorting_weight) == (0.05, 2.0)
    assert config.video.kept_patches == KEPT[name]


@pytest.mark.parametrize("name", configs.NAMED)
def test_configuration_goes_through_json(name: str) -> None:
    for config in (named(name), official(named(name))):
        assert TVTSConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def settings(config: TVTSConfig) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.to_dict().items():
        flat |= (
            {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
        )
    return flat


OFFICIAL = {
    "video.time_attention_init": "official",
    "video.time_embedding_init": "official",
    "video.tubelet_init": "official",
    "text.frozen_embeddings": "official",
    "losses.gather": "official",
    "losses.precision": "official",
    "preprocess": "official",
}
BY_NAME = {
    "h14": {"video.sorted_tokens": "patches_without_norm"},
    "v1": {"video.time_embedding_init": "zero"},  # TVTS began with zeros
}


@pytest.mark.parametrize("name", configs.NAMED)
def test_official_changes_exactly_the_doubtful_choices(name: str) -> None:
    sound = settings(named(name))
    assert settings(official(named(name))) == sound | OFFICIAL | BY_NAME.get(name, {})
    assert not any(value == "official" for value in sound.values())


def test_official_keeps_the_form_of_a_b_size_with_the_other_activation() -> None:
    config = named("b32")
    openclip = dataclasses.replace(
        config, video=dataclasses.replace(config.video, activation="gelu")
    )
    assert official(openclip).video.sorted_tokens == "all"


def changed(part: str, **values: Any) -> TVTSConfig:
    config = named("debug")
    if not part:
        return dataclasses.replace(config, **values)
    return dataclasses.replace(
        config, **{part: dataclasses.replace(getattr(config, part), **values)}
    )


@pytest.mark.parametrize(
    ("part", "values", "sentence"),
    [
        ("video", {"attention": "dividd"}, "video.attention is 'dividd'; did you mean 'divided'?"),
        ("video", {"time_attention_init": "offical"}, "did you mean 'official'?"),
        ("video", {"sorted_tokens": "al"}, "did you mean 'all'?"),
        ("video", {"activation": "swish"}, "there are quick_gelu, gelu"),
        ("text", {"kind": "distilbrt"}, "did you mean 'distilbert'?"),
        ("losses", {"gather": "ture"}, "losses.gather is 'ture'; did you mean 'true'?"),
        ("losses", {"precision": "fp32"}, "losses.precision is 'fp32'"),
        ("losses", {"temperature": 0.0}, "losses.temperature is 0"),
        ("losses", {"temperature": float("nan")}, "losses.temperature is nan"),
        ("losses", {"sorting_weight": -1.0}, "losses.sorting_weight is -1.0"),
        ("", {"preprocess": "clear"}, "preprocess is 'clear'; did you mean 'clean'?"),
        ("", {"embed_dim": 0}, "embed_dim is 0: expected a whole number from 1"),
        ("video", {"width": 0}, "video.width is 0"),
        ("video", {"blocks": 1.5}, "video.blocks is 1.5"),
        ("video", {"heads": 5}, "video.heads is 5: it has to divide video.width, 192"),
        ("video", {"patch_px": 20}, "it has to divide video.image_px, 96"),
        ("video", {"tubelet_frames": 5}, "it has to divide video.frames, 12"),
        ("video", {"mask_ratio": 1.0}, "expected 0 to below 1"),
        ("video", {"mask_ratio": 0.99}, "with 1 patch of 36 kept or more"),
        ("video", {"mask": "frame"}, "attention over time needs the same patches"),
        ("text", {"frozen_blocks": 5}, "expected 0 to text.blocks, 4"),
        ("sorting", {"width": 96}, "the video tower hands over tokens of 192"),
        ("text", {"kind": "distilbert", "width": 96}, "the text tower hands over tokens of 96"),
    ],
)  # fmt: skip
def test_what_makes_no_network_is_one_sentence(
    part: str, values: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=r"\S") as error:
        changed(part, **values)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_patches_are_kept_as_many_as_exact_arithmetic_gives() -> None:
    config = named("debug").video
    tenth = dataclasses.replace(config, image_px=160, mask_ratio=0.9)
    assert tenth.patches == 100
    assert tenth.kept_patches == 10


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'b16'"):
        named("B-16")
    with pytest.raises(ValueError, match="there are b32, b16, h14, debug, v1"):
        named("resnet")


@pytest.mark.parametrize("told", [{}, {"name": "x"}, {"video": 3}])
def test_what_is_no_configuration_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="this is no TVTS configuration"):
        TVTSConfig.from_dict(told)


def test_unknown_setting_in_a_file_is_refused() -> None:
    with pytest.raises(ValueError, match=r"this is no TVTS configuration.*colour"):
        TVTSConfig.from_dict(named("debug").to_dict() | {"colour": 1})
