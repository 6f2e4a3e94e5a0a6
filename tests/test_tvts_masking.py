"""Masks: what is drawn, and that what is left out has no part in anything."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from reelscript.models.tvts.configs import VideoConfig, b16, b32, h14, v1
from reelscript.models.tvts.masking import draw_mask
from reelscript.models.tvts.model import TVTS
from tests.tvts_naive import clips, keep_of, randomised, tiny, v1_form


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def a_model(form: dict[str, Any] | None = None) -> TVTS:
    video = form or {}
    words = {"width": 16, "heads": 2} if video.get("sorted_tokens") == "unprojected" else {}
    model = TVTS(tiny(video, **words)).double()
    randomised(model)
    return model


# --- what is drawn ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("video", "size"),
    [(b32().video, (5, 49)), (b16().video, (5, 98)), (h14().video, (5, 76))],
    ids=["b32", "b16", "h14"],
)
def test_tube_keeps_so_many_patches_as_published(video: VideoConfig, size: tuple[int, int]) -> None:
    keep = draw_mask(5, video, generator=seeded())
    assert keep.shape == size
    assert keep.dtype == torch.int64


def test_frame_mask_of_the_first_version_is_drawn_anew_for_each_tubelet() -> None:
    keep = draw_mask(5, v1().video, generator=seeded())
    assert keep.shape == (5, 8, 49)
    rows = {tuple(sorted(row)) for row in keep.flatten(0, 1).tolist()}
    assert len(rows) == 5 * 8


@pytest.mark.parametrize("video", [b16().video, h14().video, v1().video], ids=["b16", "h14", "v1"])
def test_no_patch_is_kept_twice_and_each_is_one_of_the_frame(video: VideoConfig) -> None:
    keep = draw_mask(16, video, generator=seeded()).flatten(0, -2)
    assert keep.min() >= 0
    assert keep.max() < video.patches
    for row in keep.tolist():
        assert len(set(row)) == video.kept_patches


def test_samples_have_masks_of_their_own() -> None:
    keep = draw_mask(64, b16().video, generator=seeded())
    assert len({tuple(sorted(row)) for row in keep.tolist()}) == 64


def test_mask_is_determined_by_the_generator() -> None:
    first = draw_mask(8, b16().video, generator=seeded(1))
    assert torch.equal(first, draw_mask(8, b16().video, generator=seeded(1)))
    assert not torch.equal(first, draw_mask(8, b16().video, generator=seeded(2)))
    one = seeded(1)
    draw_mask(8, b16().video, generator=one)
    assert not torch.equal(first, draw_mask(8, b16().video, generator=one))


def test_drawing_with_a_generator_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    draw_mask(8, b16().video, generator=seeded())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("kind", ["tube", "frame"])
def test_every_patch_and_every_pair_is_kept_equally_often(kind: str, ratio: float) -> None:
    """Counts of a uniform subset: each patch n/N, each pair n(n-1)/(N(N-1)) of the draws."""
    video = dataclasses.replace(
        b16().video, image_px=64, frames=2, mask=kind, mask_ratio=ratio
    )  # 16 patches
    keep = draw_mask(4000, video, generator=seeded(3)).flatten(0, -2)
    kept = torch.zeros(len(keep), 16, dtype=torch.float64).scatter_(1, keep, 1.0)
    draws, n = len(keep), video.kept_patches
    together = kept.T @ kept
    for counts, share in (
        (together.diagonal(), n / 16),
        (together[~torch.eye(16, dtype=torch.bool)], n * (n - 1) / 16 / 15),
    ):
        deviation = (draws * share * (1 - share)) ** 0.5
        assert float((counts - draws * share).abs().max()) < 5 * deviation


def test_nothing_is_left_out_at_ratio_zero() -> None:
    keep = draw_mask(3, b32().video, generator=seeded())
    assert torch.equal(keep.sort(1).values, torch.arange(49).expand(3, 49))


# --- what becomes of it -------------------------------------------------------------------------


def pixels_of(video: VideoConfig, keep: Tensor, frames: int) -> Tensor:
    """Which pixels (B, T, 1, H, W) belong to kept patches, found patch by patch."""
    side, px = video.image_px // video.patch_px, video.patch_px
    kept = torch.zeros(len(keep), frames, 1, video.image_px, video.image_px, dtype=torch.bool)
    for sample, rows in enumerate(keep):
        for frame in range(frames):
            row = rows if rows.dim() == 1 else rows[frame // video.tubelet_frames]
            for place in row.tolist():
                y, x = px * (place // side), px * (place % side)
                kept[sample, frame, 0, y : y + px, x : x + px] = True
    return kept


FORMS: dict[str, dict[str, Any]] = {"tube": {}, "frame": v1_form()}


@pytest.mark.parametrize("form", FORMS)
def test_pixels_left_out_change_no_bit(form: str) -> None:
    model = a_model(FORMS[form])
    config, frames = model.config, model.config.video.frames
    clip, keep = clips(config, 3, frames), keep_of(config, 3, frames)
    kept = pixels_of(config.video, keep, frames)
    assert 0.3 < float(kept.double().mean()) < 0.7
    other = torch.where(kept, clip, clips(config, 3, frames, seed=9))
    there, same = model.video(clip, keep), model.video(other, keep)
    assert torch.equal(there.embedding, same.embedding)
    assert torch.equal(there.tokens, same.tokens)


@pytest.mark.parametrize("form", FORMS)
def test_patches_left_out_are_never_computed_with(form: str) -> None:
    model = a_model(FORMS[form])
    config, frames = model.config, model.config.video.frames
    clip, keep = clips(config, 3, frames), keep_of(config, 3, frames)
    kept = pixels_of(config.video, keep, frames)
    poisoned = torch.where(kept, clip, torch.nan)
    there, out = model.video(clip, keep), model.video(poisoned, keep)
    assert torch.equal(out.embedding, there.embedding)
    out.embedding.sum().backward()
    for name, weight in model.video.named_parameters():
        assert weight.grad is None or bool(weight.grad.isfinite().all()), name


@pytest.mark.parametrize("form", FORMS)
def test_every_kept_patch_of_every_frame_matters(form: str) -> None:
    model = a_model(FORMS[form])
    config, frames = model.config, model.config.video.frames
    video = config.video
    clip, keep = clips(config, 1, frames), keep_of(config, 1, frames)
    kept = pixels_of(video, keep, frames)[0, :, 0]
    there = model.video(clip, keep).embedding
    px = video.patch_px
    for frame in range(frames):
        for y in range(0, video.image_px, px):
            for x in range(0, video.image_px, px):
                other = clip.clone()
                other[0, frame, :, y : y + px, x : x + px] += 1.0
                changed = not torch.equal(model.video(other, keep).embedding, there)
                assert changed == bool(kept[frame, y, x]), (frame, y, x)


@pytest.mark.parametrize("form", FORMS)
def test_order_of_the_kept_patches_is_irrelevant(form: str) -> None:
    model = a_model(FORMS[form])
    config, frames = model.config, model.config.video.frames
    clip, keep = clips(config, 3, frames), keep_of(config, 3, frames)
    order = torch.randperm(keep.shape[-1], generator=seeded())
    for other in (keep[..., order], keep.sort(-1).values):
        there, turned = model.video(clip, keep), model.video(clip, other)
        torch.testing.assert_close(turned.embedding, there.embedding, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_keeping_every_patch_is_no_mask(form: str) -> None:
    model = a_model(FORMS[form] | {"mask_ratio": 0.0})
    config, frames = model.config, model.config.video.frames
    clip, keep = clips(config, 2, frames), keep_of(config, 2, frames)
    whole, kept = model.video(clip), model.video(clip, keep)
    torch.testing.assert_close(kept.embedding, whole.embedding, rtol=0, atol=1e-12)
    assert kept.tokens.shape == whole.tokens.shape


def test_tokens_are_those_of_the_kept_patches_and_of_the_clip() -> None:
    model = a_model()
    config = model.config
    clip = clips(config, 2, 4)
    assert model.video(clip, keep_of(config, 2, 4)).tokens.shape == (2, 1 + 4 * 4, 8)
    assert model.video(clip).tokens.shape == (2, 1 + 4 * 9, 8)
