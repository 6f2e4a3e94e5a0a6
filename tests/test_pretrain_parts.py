"""The pieces of a training run, each by itself."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reelscript.jobs.pretrain.assemble import assembled
from reelscript.jobs.pretrain.config import Optimisation, PretrainConfig
from reelscript.jobs.pretrain.feed import Feed
from reelscript.jobs.pretrain.log import cut
from reelscript.jobs.pretrain.meter import Meter, flops_of_window
from reelscript.jobs.pretrain.objective import Objective, recompute_blocks
from reelscript.jobs.pretrain.parameters import group_of, optimiser_of
from reelscript.jobs.pretrain.processes import Processes
from reelscript.jobs.pretrain.reader import Steps
from reelscript.jobs.pretrain.schedule import rate_factor
from reelscript.jobs.pretrain.trainer import Trainer
from reelscript.jobs.pretrain.validation import is_better, validate
from reelscript.models.tvts import configs
from reelscript.models.tvts.flops import training_flops
from reelscript.models.tvts.frames import PREPROCESSING
from reelscript.models.tvts.model import TVTS
from reelscript.pipeline.errors import DataError
from tests.pretrain_made import Windows, opened, small

CPU = torch.device("cpu")


def feed_of(config: PretrainConfig, batch: int = 4, **options: Any) -> Feed:
    masked = options.pop("masked", True)
    return Feed(Steps(Windows(batch, **options)), config.model, CPU, config.seed, masked)


def trainer_of(config: PretrainConfig) -> Trainer:
    return assembled(config, opened(config, "made", Path(), Processes()), CPU, Processes())


def test_parameters_are_grouped_as_the_released_code_does() -> None:
    """By the names that the released code has: timeattn, ln_3, pred_model; bias, ln_, norm."""
    with torch.device("meta"):
        model = TVTS(configs.b16())
    official = Optimisation(time_embedding="official")
    for name, parameter in model.named_parameters():
        rate, decays = group_of(name, official)
        new = ".time_attention." in name or ".norm_time." in name or name.startswith("sorter.")
        assert rate == ("new" if new else "pretrained"), name
        # What has one dimension is a bias or belongs to a norm, but for the embedding of CLS.
        assert decays == (parameter.ndim > 1 or name == "video.cls_embedding"), name
    assert group_of("video.time_embedding", Optimisation()) == ("new", True)


def test_optimiser_has_every_trained_parameter_once_and_no_frozen_one() -> None:
    with torch.device("meta"):
        model = TVTS(configs.b16())
    groups = optimiser_of(model, Optimisation(weight_decay=0.05)).param_groups
    held = [id(parameter) for group in groups for parameter in group["params"]]
    trained = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(held) == sorted(trained)
    assert {(g["name"], g["lr"], g["weight_decay"]) for g in groups} == {
        (name, rate, decay)
        for name, rate in (("new", 1e-4), ("pretrained", 1e-7))
        for decay in (0.05, 0.0)
    }


def test_rates_fall_behind_epochs_6_and_8_of_10() -> None:
    steps_an_epoch = 7
    for step in range(70):
        epoch = step // steps_an_epoch
        expected = 1.0 if epoch < 6 else 0.1 if epoch < 8 else 0.01
        assert rate_factor(step, 70, Optimisation()) == pytest.approx(expected)


@given(st.integers(2, 500), st.integers(0, 50), st.floats(0, 1))
def test_cosine_falls_from_1_to_its_factor_after_the_warmup(
    steps: int, warmup: int, factor: float
) -> None:
    told = Optimisation(schedule="cosine", warmup_steps=warmup, factor=factor)
    factors = [rate_factor(step, warmup + steps, told) for step in range(warmup + steps)]
    assert factors[:warmup] == pytest.approx([(k + 1) / warmup for k in range(warmup)])
    after = factors[warmup:]
    assert after[0] == pytest.approx(1)
    assert all(later <= sooner + 1e-12 for sooner, later in itertools.pairwise(after))
    middle = factor + (1 - factor) * math.cos(math.pi / 2 * (steps - 1) / steps) ** 2
    assert after[-1] == pytest.approx(middle)


@pytest.mark.parametrize("form", ["official", "clean"])
def test_pixels_are_scaled_as_everywhere_else(form: str) -> None:
    config = dataclasses.replace(small().model, preprocess=form)
    frames = np.random.default_rng(0).integers(0, 256, (3, 4, 32, 32, 3), np.uint8)
    expected = np.stack([PREPROCESSING[form].clip(clip) for clip in frames])
    scaled = Objective(TVTS(config)).scaled(torch.from_numpy(frames))
    assert torch.equal(scaled, torch.from_numpy(expected))


def test_masks_follow_from_the_window_and_not_from_its_company() -> None:
    config = small()
    whole = feed_of(config, 4)
    parts = [feed_of(config, 2, rank=rank, world=2) for rank in (0, 1)]
    for _ in range(5):
        fed = next(whole)
        own = [next(part) for part in parts]
        assert fed.keys == own[0].keys + own[1].keys
        for name in ("frames", "texts", "keep"):
            both = [getattr(one.clips, name) for one in own]
            length = max(y.shape[-1] for y in both)
            same = [torch.nn.functional.pad(y, (0, length - y.shape[-1])) for y in both]
            assert torch.equal(getattr(fed.clips, name), torch.cat(same))


def test_masks_are_others_in_each_epoch_and_for_each_seed() -> None:
    config = small()
    feeds = [feed_of(config), feed_of(dataclasses.replace(config, seed=1)), feed_of(config)]
    feeds[2].epoch = 1
    masks = {tuple(feed.mask(["a"])[0].tolist()) for feed in feeds}
    assert len(masks) == 3
    assert all(len(set(mask)) == config.model.video.kept_patches for mask in masks)


def test_an_empty_transcript_is_refused() -> None:
    with pytest.raises(DataError, match="w5#5 has an empty transcript"):
        feed_of(small(), 22, texts={5: " \n"}).__next__()


def gradients(objective: Objective, feed: Feed) -> dict[str, Tensor]:
    objective.zero_grad()
    objective(next(feed).clips, None)["loss"].backward()
    return {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}


def test_recomputed_blocks_have_the_same_gradients() -> None:
    config = small()
    model = TVTS(config.model)
    kept = gradients(Objective(model), feed_of(config))
    recompute_blocks(model)
    again = gradients(Objective(model), feed_of(config))
    assert kept.keys() == again.keys()
    for name, gradient in kept.items():
        assert torch.equal(gradient, again[name]), name


def test_one_pass_over_both_streams_is_the_sum_of_two() -> None:
    config = small()
    objective = Objective(TVTS(config.model))
    windows, captions = next(feed_of(config)).clips, next(feed_of(config, 3, places=1)).clips
    together = objective(windows, captions)
    apart = objective(windows, None), objective(None, captions)
    assert together.keys() == {"loss", "contrastive", "sorting", "captions"}
    torch.testing.assert_close(together["loss"], apart[0]["loss"] + apart[1]["loss"])
    together["loss"].backward()
    assert all(p.grad is not None for p in objective.parameters() if p.requires_grad)


def test_parts_of_a_batch_give_the_mean_of_their_gradients() -> None:
    config = small(optimisation={"accumulation": 2})
    trainer = trainer_of(config)
    expected: dict[str, Tensor] = {}
    feed = feed_of(config, 2)
    for _ in range(2):
        for name, gradient in gradients(Objective(trainer.model), feed).items():
            expected[name] = expected.get(name, torch.zeros(())) + gradient / 2
    trainer.model.zero_grad()
    trainer.optimiser.step = lambda: None  # type: ignore[method-assign, assignment]
    trainer.advance(Meter(1, None))
    for name, parameter in Objective(trainer.model).named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", ["together", "official"])
def test_captions_move_the_sorting_head_in_the_official_form_only(form: str) -> None:
    """There the second update of a step has no gradient for it, but momentum and decay."""
    trainer = trainer_of(small(data={"captions": "made"}, optimisation={"streams": form}))
    seen: list[bool] = []

    def look(*_: object) -> None:
        every = [p.grad for p in trainer.model.sorter.parameters()]
        seen.append(all(gradient is not None and not gradient.any() for gradient in every))

    trainer.optimiser.register_step_pre_hook(look)
    trainer.advance(Meter(1, None))
    assert seen == ([False] if form == "together" else [False, True])


def test_a_sorting_loss_without_weight_leaves_the_head_as_it_is() -> None:
    trainer = trainer_of(small(model={"losses": {"sorting_weight": 0}}))
    before = [p.clone() for p in trainer.model.sorter.parameters()]
    trainer.advance(Meter(1, None))
    for old, new in zip(before, trainer.model.sorter.parameters(), strict=True):
        assert torch.equal(old, new)


def test_validation_masks_nothing_and_repeats() -> None:
    config = small()
    objective = Objective(TVTS(config.model))
    seen: list[object] = []
    objective.model.video.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    found = [
        validate(objective, feed_of(config, 2, count=9, masked=False), 6, Processes())
        for _ in range(2)
    ]
    assert seen == [None] * 6
    assert found[0] == found[1]
    assert found[0]["windows"] == 6


def test_validation_counts_windows_whose_transcripts_are_all_right() -> None:
    config = small()
    objective = Objective(TVTS(config.model))
    logits = torch.eye(4).repeat(2, 1, 1)
    logits[1, :2] = logits[1, :2].flip(0)  # of each second window two transcripts are exchanged
    objective.model.sorter.register_forward_hook(lambda *_: logits)
    feed = feed_of(config, 2, count=8, masked=False)
    found = validate(objective, feed, 100, Processes())
    assert found["sorting_accuracy"] == 0.5
    assert found["place_accuracy"] == 0.75
    assert found["windows"] == 8


def test_the_best_has_the_highest_accuracy_or_the_lowest_loss() -> None:
    """The released trainer keeps the checkpoint of the lowest accuracy as its best."""
    assert is_better("sorting_accuracy", 0.3, 0.2)
    assert not is_better("sorting_accuracy", 0.2, 0.3)
    assert is_better("loss", 2.0, 3.0)
    assert not is_better("loss", 3.0, 2.0)
    assert is_better("loss", 3.0, None)
    assert not is_better("loss", 3.0, 3.0)


def test_meter_tells_speed_waiting_and_the_share_of_the_peak() -> None:
    now = [0.0]
    meter = Meter(flops=10, peak=1000.0, clock=lambda: now[0])
    meter.windows += 20
    with meter.waiting():
        now[0] += 1.0
    now[0] += 3.0
    assert meter.look() == {"windows_per_s": 5.0, "data_wait": 0.25, "utilisation": 0.05}
    now[0] += 1.0
    assert meter.look()["windows_per_s"] == 0


def test_operations_of_a_window_count_its_captioned_clip() -> None:
    alone = PretrainConfig()
    both = dataclasses.replace(alone, data=dataclasses.replace(alone.data, captions="there"))
    window = training_flops(alone.model, transcripts=4).total
    assert flops_of_window(alone) == window
    assert flops_of_window(both) == window + training_flops(alone.model, transcripts=1).total


def test_a_log_that_goes_on_has_no_later_steps_and_no_half_line(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text("".join(json.dumps({"step": n}) + "\n" for n in range(6)) + '{"step": 2')
    cut(file, 3)
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [0, 1, 2, 3]
