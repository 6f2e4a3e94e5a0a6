"""Frames of windows: which ones, from which member, cut how; against decoding everything."""

from __future__ import annotations

import io
import zlib
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reelscript
from reelscript.reading.crops import CLEAN, CROPS, OFFICIAL, Pixels
from reelscript.reading.frames import closest, on_display, pictures

from .corpus_made import FPS, LEVELS
from .windows_made import Made, second_clips, write_corpus


@cache
def moving(frames: int = 40, size: tuple[int, int] = (120, 90), **options: str) -> bytes:
    """An mp4 of noise that moves, with B-frames that others are predicted from and that are not."""
    out = io.BytesIO()
    noise = (
        np.random.default_rng(0).integers(0, 255, (size[1] * 2, size[0] * 3, 3)).astype(np.uint8)
    )
    noise = noise.repeat(4, 0).repeat(4, 1)
    with av.open(out, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.gop_size, stream.options = 10, {"bf": "3", "b-pyramid": "normal"} | options
        stream.codec_context.thread_count = 1
        for n in range(frames):
            image = np.ascontiguousarray(noise[n : n + size[1], 2 * n : 2 * n + size[0]])
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def digest(frame: av.VideoFrame) -> Pixels:
    return np.array(
        [zlib.crc32(frame.to_ndarray()) % 256, zlib.crc32(frame.to_ndarray()) >> 24], np.uint8
    )


@settings(max_examples=60, deadline=None)
@given(chosen=st.lists(st.integers(0, 39), min_size=1, max_size=12), entries=st.booleans())
def test_windows_frames_left_out_change_nothing(chosen: list[int], entries: bool) -> None:
    with av.open(io.BytesIO(moving())) as container:
        all_frames = [digest(frame) for frame in container.decode(video=0)]
    found = pictures(moving(), lambda _: chosen, digest, entries)
    assert (found == np.stack([all_frames[number] for number in chosen])).all()


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.floats(0.01, 2), min_size=1, max_size=20),
    times=st.lists(st.floats(0, 30), max_size=8),
)
def test_windows_frame_that_is_closest(steps: list[float], times: list[float]) -> None:
    stamps = [float(t) for t in np.cumsum(steps) - steps[0]]
    for time_s, number in zip(times, closest(stamps, times), strict=True):
        nearest = min(abs(stamp - time_s) for stamp in stamps)
        assert abs(stamps[number] - time_s) == pytest.approx(nearest)
    for time_s, number in zip(times, on_display(stamps, times), strict=True):
        assert number == max(0, sum(stamp <= time_s + 0.0005 for stamp in stamps) - 1)


def one_frame() -> av.VideoFrame:
    with av.open(io.BytesIO(moving())) as container:
        return next(container.decode(video=0))


def waves(height: int, width: int) -> av.VideoFrame:
    """A picture of greys: colours are stored at half the size, and shrink otherwise in Pillow."""
    y, x = np.mgrid[:height, :width]
    grey = 128 + 60 * np.sin(y / 7 + 1) + 60 * np.sin((x + y) / 9)
    image = grey.astype(np.uint8)[..., None].repeat(3, axis=-1)
    return av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")


@pytest.mark.parametrize("px", [30, 48, 75])
@pytest.mark.parametrize("short", ["landscape", "portrait"])
def test_windows_crops_are_those_of_the_network(px: int, short: str) -> None:
    """Without chance both are what `models/tvts/frames.py` makes with Pillow."""
    from reelscript.models.tvts.frames import PREPROCESSING

    frame = waves(*((90, 120) if short == "landscape" else (120, 90)))
    image = frame.to_ndarray(format="rgb24")
    for name, crop in CROPS.items():
        cut = crop.square(px, None).cutter()(frame)
        expected = PREPROCESSING[name].crop(image, px)
        assert cut.shape == expected.shape == (px, px, 3)
        if crop.nearest:
            assert (cut == expected).all()
        elif px % 2 == 0:
            assert np.abs(cut.astype(int) - expected).mean() < 1.5


def test_windows_crops_by_chance_reach_everywhere() -> None:
    frame = one_frame()
    whole = OFFICIAL.square(75, None)  # 90 high: frames are as they are
    assert whole.short_px == 90
    image = frame.to_ndarray(format="rgb24")
    corners, zooms = set(), set()
    for seed in range(400):
        square = OFFICIAL.square(75, np.random.default_rng(seed))
        cut = square.cutter()(frame)
        found = [
            (y, x)
            for y in range(16)
            for x in range(46)
            if (image[y, x] == cut[0, 0]).all() and (image[y : y + 75, x : x + 75] == cut).all()
        ]
        assert found
        corners |= set(found)
        zooms.add(CLEAN.square(75, np.random.default_rng(seed)).short_px)
    assert {y for y, _ in corners} == set(range(16))
    assert {x for _, x in corners} == set(range(46))
    assert zooms == set(range(75, 90))


def luma_frames(step: Any) -> list[int]:
    """Which frames of a made mp4 these are, from their grey (studio range: 16 to 235)."""
    grey = step["frames"].astype(float).mean((1, 2, 3)) * 219 / 255
    return [round(level / LEVELS) for level in grey]


@pytest.mark.parametrize("crop", ["clean", "official"])
@pytest.mark.parametrize("member", ["mp4", "frames"])
def test_windows_frames_are_those_on_display(tmp_path: Path, member: str, crop: str) -> None:
    """3.5 s at 10 a second: every frame has a grey of its own."""
    samples = [
        Made("x_a", 3.5, second_clips(3), "train-000000.tar", frames=member == "frames"),
        Made("x_b", 3.5, second_clips(3), "train-000000.tar"),
    ]
    folder = write_corpus(tmp_path / "corpus", samples)
    read = reelscript.open(folder).windows(k=3, frames=9, px=32, crop=crop)
    for _ in range(5):
        for step in read:
            times = step["times_s"]
            if step["key"] == "x_a" and member == "frames":
                assert np.abs(np.array(luma_frames(step)) - times * FPS).max() <= 0.5 + 1e-9
            else:
                assert luma_frames(step) == [int(t * FPS + 0.005) for t in times]


def test_windows_are_read_from_the_frames_member_alone(tmp_path: Path) -> None:
    samples = [Made("x_a", 3.5, second_clips(3), "train-000000.tar", frames=True)]
    folder = write_corpus(tmp_path / "corpus", samples)
    row = reelscript.open(folder).samples.to_pylist()[0]
    path = folder / "shards" / "train-000000.tar"
    data = bytearray(path.read_bytes())
    data[row["mp4_offset"] : row["mp4_offset"] + row["mp4_size"]] = bytes(row["mp4_size"])
    path.write_bytes(data)
    assert len(list(reelscript.open(folder).windows(k=3, frames=3, px=32))) == 1
