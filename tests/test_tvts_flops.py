"""The count of operations, against published figures and against a count of what torch runs."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from reelscript.models.tvts import configs
from reelscript.models.tvts.configs import TVTSConfig, official
from reelscript.models.tvts.flops import forward_flops, training_flops
from reelscript.models.tvts.model import TVTS

GIGA, TERA = 1e9, 1e12


def with_mask(config: TVTSConfig, ratio: float) -> TVTSConfig:
    return dataclasses.replace(config, video=dataclasses.replace(config.video, mask_ratio=ratio))


# Counted by hand for the published configurations: forward of the video tower and of the sorting
# head in 1e9, forward and backward of a clip with four transcripts and of one with a caption in
# 1e12, text gradients as in the official code.
PUBLISHED = [
    ("b32", 0.0, 138, 8.9, 0.492, 0.425),
    ("b16", 0.0, 556, 52.4, 1.876, 1.679),
    ("b16", 0.5, 275, 20.6, 0.939, 0.836),
    ("h14", 0.0, 5305, 232.3, 17.03, 16.02),
    ("h14", 0.5, 2624, 96.9, 8.58, 7.97),
    ("h14", 0.7, 1553, 53.0, 5.24, 4.76),
]


@pytest.mark.parametrize(
    ("name", "ratio", "video", "sorting", "sorted_clip", "captioned"), PUBLISHED
)
def test_flops_are_those_of_the_published_configurations(
    name: str, ratio: float, video: float, sorting: float, sorted_clip: float, captioned: float
) -> None:
    config = official(with_mask(configs.named(name), ratio))

    once = forward_flops(config)

    assert once.video / GIGA == pytest.approx(video, rel=2e-3)
    assert once.sorting / GIGA == pytest.approx(sorting, rel=4e-3)
    assert training_flops(config).total / TERA == pytest.approx(sorted_clip, rel=1.5e-3)
    assert training_flops(config, transcripts=1).total / TERA == pytest.approx(
        captioned, rel=1.5e-3
    )


@pytest.mark.parametrize(
    ("ratio", "video", "sorting", "sorted_clip"),
    [(0.75, 76, 12.2, 0.313), (0.0, 361, 59.7, 1.310)],
)
def test_flops_of_the_first_version_are_the_published_ones(
    ratio: float, video: float, sorting: float, sorted_clip: float
) -> None:
    config = with_mask(configs.v1(), ratio)

    once = forward_flops(config, tokens=50)

    assert once.video / GIGA == pytest.approx(video, rel=5e-3)
    assert once.text / GIGA == pytest.approx(4 * 4.29, rel=2e-3)
    assert once.sorting / GIGA == pytest.approx(sorting, rel=4e-3)
    assert training_flops(config, tokens=50).total / TERA == pytest.approx(sorted_clip, rel=3e-3)


def test_flops_of_fewer_frames_are_fewer() -> None:
    config = with_mask(configs.b16(), 0.0)
    image = forward_flops(config, frames=1, transcripts=1)
    clip = forward_flops(config, transcripts=1)
    assert 12 * image.video == pytest.approx(clip.video, rel=0.05)
    assert image.text == clip.text


def test_stopping_at_the_frozen_blocks_saves_text_operations() -> None:
    stopped = training_flops(configs.b16())
    through = training_flops(official(configs.b16()))

    assert stopped.total / TERA == pytest.approx(0.920, rel=1.5e-3)
    assert stopped.text < through.text
    assert stopped.video == through.video


@pytest.mark.parametrize("name", ["debug", "tubelets"])
def test_flops_are_those_that_torch_runs(name: str) -> None:
    config = with_mask(configs.debug(), 0.0)
    if name == "tubelets":
        video = dataclasses.replace(config.video, attention="joint", tubelet_frames=2)
        config = dataclasses.replace(config, video=video)
    model = TVTS(config)

    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counted,
        torch.no_grad(),
    ):
        model.video(torch.zeros(1, 12, 3, 96, 96))
        model.text(torch.ones(4, 77, dtype=torch.int64))

    expected = forward_flops(config, masked=False)
    assert counted.get_total_flops() == expected.video + expected.text
