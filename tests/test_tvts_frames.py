"""Which frames, and what becomes of their pixels: against the rules written out by hand."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelscript.models.tvts.frames import (
    CLEAN,
    OFFICIAL,
    clean,
    middle_frames,
    official,
    resized_size,
)

pytest.importorskip("PIL")

# Odd sizes: no new pixel has its middle between two old ones, where roundings would decide.
SIZES = [(241, 321), (321, 241), (271, 273), (97, 501), (37, 37)]


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def under_middles(size: int, resized: int) -> list[int]:
    """Which pixel lies under the middle of each new one: floor((k + 1/2) size / resized)."""
    return [(2 * k + 1) * size // (2 * resized) for k in range(resized)]


def official_by_hand(frame: NDArray[np.uint8], px: int) -> NDArray[np.float64]:
    """Pixel by pixel: short side to int(1.2 px), long side rounded down, centre crop, scale."""
    height, width = frame.shape[:2]
    short = int(px * 1.2)
    rows = short if height <= width else int(short * height / width)
    columns = int(short * width / height) if height <= width else short
    top, left = round((rows - px) / 2.0), round((columns - px) / 2.0)
    down, across = under_middles(height, rows), under_middles(width, columns)
    made = np.zeros((3, px, px))
    for y in range(px):
        for x in range(px):
            for c, (mean, std) in enumerate(
                zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
            ):
                level = frame[down[top + y], across[left + x], c]
                made[c, y, x] = (level / 255 - mean) / std
    return made


def test_middle_frames_of_twelve_intervals_are_those_counted_by_hand() -> None:
    assert middle_frames(120, 12) == [4, 14, 24, 34, 44, 54, 64, 74, 84, 94, 104, 114]
    assert middle_frames(12, 12) == list(range(12))
    assert middle_frames(36, 12) == [1 + 3 * k for k in range(12)]
    assert middle_frames(25, 2) == [5, 18]  # 0..11 and 12..24


@given(total=st.integers(1, 3000), count=st.integers(1, 64))
def test_middle_frames_lie_in_the_middle_of_intervals_that_share_out_the_video(
    total: int, count: int
) -> None:
    parts = min(count, total)
    intervals: list[list[int]] = [[] for _ in range(parts)]
    for number in range(total):  # frame n belongs to the last interval that begins at n or before
        place = max(k for k in range(parts) if k * total // parts <= number)
        intervals[place].append(number)
    expected = [interval[(len(interval) - 1) // 2] for interval in intervals]
    assert middle_frames(total, count) == expected


def test_middle_frames_of_a_short_video_are_all_it_has() -> None:
    assert middle_frames(1, 12) == [0]
    assert middle_frames(5, 12) == [0, 1, 2, 3, 4]
    assert middle_frames(0, 12) == []
    with pytest.raises(ValueError, match="expected 1 or more"):
        middle_frames(5, 0)


@pytest.mark.parametrize(
    ("height", "width", "short", "expected"),
    [
        (1080, 1920, 268, (268, 476)),
        (1920, 1080, 268, (476, 268)),
        (240, 320, 268, (268, 357)),
        (100, 100, 224, (224, 224)),
        (333, 721, 224, (224, 484)),
    ],
)
def test_resized_size_rounds_the_long_side_down(
    height: int, width: int, short: int, expected: tuple[int, int]
) -> None:
    assert resized_size(height, width, short) == expected


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_official_is_the_rule_pixel_by_pixel(height: int, width: int) -> None:
    frames = np.stack([noise(height, width, seed) for seed in range(2)])
    made = official(frames, 32)
    assert (made.dtype, made.shape) == (np.float32, (2, 3, 32, 32))
    for frame, found in zip(frames, made, strict=True):
        np.testing.assert_allclose(found, official_by_hand(frame, 32), atol=1e-6)


def test_official_crop_of_1080p_is_where_it_is_by_hand() -> None:
    frame = np.zeros((1080, 1920, 3), np.uint8)
    frame[..., 0] = (np.arange(1080) % 256)[:, None]
    frame[..., 1] = (np.arange(1920) % 256)[None]
    crop = OFFICIAL.crop(frame, 224)
    assert crop.shape == (224, 224, 3)
    assert crop[0, 0, 0] == int(22.5 * 1080 / 268) % 256  # row 22 of 268
    assert crop[0, 0, 1] == int(126.5 * 1920 / 476) % 256  # column 126 of 476


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_clean_is_bicubic_with_antialiasing_as_torch_has_it(height: int, width: int) -> None:
    torch = pytest.importorskip("torch")
    across = np.linspace(40, 200, width)[None, :, None]
    soft = (across + 0.1 * noise(height, width)).astype(np.uint8)  # far from black and white
    rows, columns = resized_size(height, width, 32)
    given_ = torch.from_numpy(soft).permute(2, 0, 1)[None].double()
    resized = torch.nn.functional.interpolate(
        given_, (rows, columns), mode="bicubic", antialias=True, align_corners=False
    )[0].permute(1, 2, 0)
    top, left = round((rows - 32) / 2), round((columns - 32) / 2)
    wanted = resized[top : top + 32, left : left + 32].numpy()
    assert np.abs(wanted - CLEAN.crop(soft, 32)).max() <= 1.01  # two roundings to whole levels


@pytest.mark.parametrize("level", [0, 1, 130, 254, 255])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_clean_leaves_what_is_even(height: int, width: int, level: int) -> None:
    even = np.full((height, width, 3), level, np.uint8)
    assert (CLEAN.crop(even, 32) == level).all()


@pytest.mark.parametrize(("width", "px"), [(241, 60), (100, 50), (64, 64), (40, 120)])
def test_clean_leaves_a_slope_a_slope_inside(width: int, px: int) -> None:
    """A symmetric kernel gives of a slope its value at the middle of the new pixel."""
    slope = np.round(np.arange(width) * 240 / (width - 1))
    frame = np.repeat(np.tile(slope, (width, 1))[..., None], 3, axis=2).astype(np.uint8)
    middles = (np.arange(px) + 0.5) * width / px - 0.5
    edge = 2 + 2 * px // width  # where the kernel is cut
    apart = CLEAN.crop(frame, px) - (middles * 240 / (width - 1))[None, :, None]
    assert np.abs(apart[edge:-edge, edge:-edge]).max() <= 1.01  # rounded before and after


def test_clean_does_not_alias_and_official_does() -> None:
    """Stripes of one pixel become grey; of nearest pixels each is black or white."""
    stripes = np.zeros((200, 200, 3), np.uint8)
    stripes[:, ::2] = 255
    grey = CLEAN.crop(stripes, 40)[4:-4, 4:-4].astype(int)
    assert np.abs(grey - 127.5).max() < 10
    assert set(np.unique(OFFICIAL.crop(stripes, 40))) <= {0, 255}


def test_clean_has_the_scale_of_clip() -> None:
    grey = np.full((1, 64, 80, 3), 130, np.uint8)
    expected = (130 / 255 - np.array([0.48145466, 0.4578275, 0.40821073])) / np.array(
        [0.26862954, 0.26130258, 0.27577711]
    )
    np.testing.assert_allclose(clean(grey, 32)[0, :, 16, 16], expected, atol=1e-6)


def test_clean_makes_pixels_square_and_official_does_not() -> None:
    """A disc in a picture of pixels twice as wide as high: round again under clean alone."""
    rows, columns = np.mgrid[0:64, 0:32]
    disc = ((rows - 31.5) ** 2 + (2 * (columns - 15.5)) ** 2 < 24**2).astype(np.uint8) * 255
    frame = np.repeat(disc[..., None], 3, axis=2)
    light = CLEAN.crop(frame, 64, (64, 64))[..., 0] > 127
    assert abs(int(light[32].sum()) - int(light[:, 32].sum())) <= 2
    same = OFFICIAL.crop(frame, 20)
    np.testing.assert_array_equal(OFFICIAL.crop(frame, 20, (64, 64)), same)


def test_a_short_clip_ends_in_zeros_under_official() -> None:
    crops = np.stack([OFFICIAL.crop(noise(40, 50, seed), 32) for seed in range(2)])
    made = OFFICIAL.clip(crops, 5)
    assert made.shape == (5, 3, 32, 32)
    np.testing.assert_array_equal(made[:2], OFFICIAL.clip(crops))
    assert not made[2:].any()


def test_a_short_clip_repeats_its_frames_evenly_under_clean() -> None:
    crops = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (10, 20, 30)])
    red = CLEAN.clip(crops, 6)[:, 0, 0, 0] * 0.26862954 + 0.48145466
    assert np.rint(red * 255).tolist() == [10, 10, 20, 20, 30, 30]
    assert CLEAN.clip(crops, 7).shape == (7, 3, 32, 32)


def test_crop_is_the_same_of_a_view() -> None:
    """Upright frames come as views of turned ones."""
    turned = np.rot90(noise(61, 45))
    for way in (OFFICIAL, CLEAN):
        np.testing.assert_array_equal(
            way.crop(turned, 32), way.crop(np.ascontiguousarray(turned), 32)
        )


def test_crop_without_pillow_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'reelscript\[train\]'"):
        OFFICIAL.crop(noise(40, 50), 32)
