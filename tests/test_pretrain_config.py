"""The config of a training run: what it says, what it refuses, what may change in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from reelscript.jobs.pretrain.config import PretrainConfig
from reelscript.jobs.pretrain.settings import (
    config_from,
    first_difference,
    load_config,
    to_yaml,
)
from reelscript.models.tvts import configs
from reelscript.pipeline.errors import UsageError

EXAMPLES = Path(__file__).parents[1] / "examples"


def refused(told: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as error:
        config_from(told, "here.yaml")
    said = str(error.value)
    assert said.startswith("here.yaml: ")
    assert "\n" not in said
    return said


def test_config_without_a_word_is_the_recipe_of_b16() -> None:
    assert config_from({}, "here.yaml") == PretrainConfig()
    assert PretrainConfig().model == configs.b16()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"optimization": {}}, "did you mean 'optimisation'?"),
        ({"optimisation": {"learnig_rate": 1}}, "did you mean 'learning_rate'?"),
        ({"model": {"nam": "b16"}}, "model.nam; did you mean 'name'?"),
        ({"model": {"name": "b17"}}, "did you mean 'b16'?"),
        ({"model": {"form": "offical"}}, "did you mean 'official'?"),
        ({"model": {"video": {"mask_ration": 0.5}}}, "did you mean 'mask_ratio'?"),
        ({"model": {"losses": {"gather": "all"}}}, "model.losses.gather"),
        ({"model": {"video": {"mask_ratio": 1.5}}}, "video.mask_ratio is 1.5"),
        ({"model": {"video": 3}}, "model.video"),
        ({"model": []}, "model"),
        ({"data": [1]}, "data: expected settings"),
        ({"data": {"windows": "clip"}}, "data.windows"),
        ({"optimisation": {"learning_rate": "fast"}}, "optimisation.learning_rate"),
        ({"optimisation": {"learning_rate": float("inf")}}, "finite"),
        ({"optimisation": {"batch": 0}}, "optimisation.batch"),
        ({"optimisation": {"batch": 10, "accumulation": 4}}, "has to divide"),
        ({"optimisation": {"betas": [0.9, 1.0]}}, "optimisation.betas"),
        ({"optimisation": {"milestones": [0.8, 0.6]}}, "rising"),
        ({"optimisation": {"streams": "official"}}, "without data.captions"),
        ({"checkpoints": {"best": "loss"}}, "set validation.every_steps"),
        ({"checkpoints": {"best": "accuracy"}}, "checkpoints.best"),
        ({"model": {"name": "v1"}}, "DistilBERT"),
        ({"model": {"text": {"vocabulary": 100}}}, "vocabulary"),
    ],
)
def test_config_refuses_in_one_sentence(told: dict[str, Any], said: str) -> None:
    assert said in refused(told)


def test_model_is_a_named_one_with_some_settings_overridden() -> None:
    config = config_from({"model": {"name": "b32", "video": {"mask_ratio": 0.25}}}, "here.yaml")
    video = dataclasses.replace(configs.b32().video, mask_ratio=0.25)
    assert config.model == dataclasses.replace(configs.b32(), video=video)


def test_model_in_official_form_has_every_choice_as_released() -> None:
    config = config_from({"model": {"name": "h14", "form": "official"}}, "here.yaml")
    assert config.model == configs.official(configs.h14())


def test_config_written_out_is_read_as_the_same(tmp_path: Path) -> None:
    told = {
        "model": {"name": "h14", "form": "official", "losses": {"sorting_weight": 160}},
        "data": {"captions": "/data/webvid"},
        "optimisation": {"streams": "official", "learning_rate": "1e-6"},
    }
    config = config_from(told, "here.yaml")
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "config.yaml") == config
    assert config.optimisation.learning_rate == 1e-6  # YAML takes 1e-6 for text


def test_paths_are_relative_to_the_config(tmp_path: Path) -> None:
    told = {"weights": "ViT.pt", "data": {"captions": "s3://bucket/clips"}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(told))
    config = load_config(tmp_path / "a.yaml")
    assert config.weights == str(tmp_path / "ViT.pt")
    assert config.data.captions == "s3://bucket/clips"


def test_settings_of_the_command_line_go_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("optimisation: {steps: 3}\nseed: 1\n")
    given = ["optimisation.steps=5", "model.video.mask_ratio=0", "seed=2"]
    config = load_config(tmp_path / "a.yaml", given)
    assert (config.optimisation.steps, config.model.video.mask_ratio, config.seed) == (5, 0, 2)


@pytest.mark.parametrize("text", ["steps", "=3", "a..b=3", "seed.x=3", "optimisation.steps=["])
def test_settings_of_the_command_line_are_refused_in_one_sentence(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "a.yaml").write_text("seed: 1\n")
    with pytest.raises(UsageError, match="--set"):
        load_config(tmp_path / "a.yaml", [text])


def test_a_run_that_goes_on_may_change_what_only_tells_or_keeps() -> None:
    before = PretrainConfig()
    after = config_from(
        {"logging": {"every_steps": 7}, "checkpoints": {"keep": 9}, "compute": {"compile": True}},
        "here.yaml",
    )
    assert first_difference(before, after) is None
    other = config_from({"optimisation": {"batch": 480}}, "here.yaml")
    assert first_difference(before, other) == "optimisation.batch was 960 and is 480"
    small = config_from({"model": {"video": {"mask_ratio": 0.7}}}, "here.yaml")
    assert first_difference(before, small) == "model.video.mask_ratio was 0.5 and is 0.7"


def test_examples_are_configs() -> None:
    debug, generated, demo, b16, h14 = (
        load_config(EXAMPLES / f"{name}.yaml")
        for name in (
            *("pretrain-debug", "pretrain-generated", "demo-pretrain"),
            *("tvtsv2-b16", "tvtsv2-h14"),
        )
    )
    assert {debug.model.name, generated.model.name, demo.model.name} == {"debug"}
    assert b16.model == configs.b16()
    assert h14.model == configs.h14()


@pytest.mark.parametrize("name", ["tvtsv2-b16", "tvtsv2-h14"])
def test_recipes_are_as_published(name: str) -> None:
    """As in arXiv 2305.14173 and its released configuration: epochs 6 + 2 + 2, no clipping."""
    told = load_config(EXAMPLES / f"{name}.yaml").optimisation
    assert (told.learning_rate, told.new_learning_rate) == (1e-7, 1e-4)
    assert (told.weight_decay, told.betas, told.eps) == (0.05, (0.9, 0.999), 1e-6)
    assert (told.epochs, told.milestones, told.factor) == (10, (0.6, 0.8), 0.1)
    assert (told.warmup_steps, told.clip_norm, told.accumulation) == (0, None, 1)
    assert told.batch == {"tvtsv2-b16": 960, "tvtsv2-h14": 160}[name]  # 80 GPUs of 12 and of 2
