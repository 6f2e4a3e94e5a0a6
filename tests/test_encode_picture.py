"""The picture of encoded passages: size, shape, turn, range, keyframes."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.pipeline.errors import StageError
from reelscript.transforms.mp4_format import output_size

from .encode_made import (
    HEIGHT,
    WIDTH,
    Bench,
    Output,
    check_shape,
    constant,
    numbered,
    opened,
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_encode_source_keyframes_are_not_taken_over(bench: Bench) -> None:
    """Every picture of MJPEG is a keyframe; the encoder is to choose its own."""
    path = constant(
        bench.folder / "intra.mkv", Fraction(25), 2.0, codec="mjpeg", picture=lambda _: numbered(5)
    )
    [out] = bench.encode(bench.video(path, (0.0, 2.0), fps=25.0))
    assert out.keys == [0.0, 1.0]


def test_encode_oblong_pixels_become_square(bench: Bench) -> None:
    """The record's size is that of square pixels; the stored picture may have others."""
    path = constant(bench.folder / "wide.mp4", Fraction(25), 0.4)
    [out] = bench.encode(bench.video(path, (0.0, 0.4), width_px=2 * WIDTH))
    assert out.size == (682, 256)
    assert out.numbers == list(range(10))


def corners(out: Output) -> list[int]:
    """Which of its corners are white: top left, top right, bottom left, bottom right."""
    grey = out.grey[0]
    places = [(8, 8), (8, -8), (-8, 8), (-8, -8)]
    return [i for i, (r, c) in enumerate(places) if grey[r, c] > 125]


@pytest.mark.parametrize("quarters_clockwise", [0, 1, 2, 3])
def test_encode_turns_the_picture_upright(bench: Bench, quarters_clockwise: int) -> None:
    """The track header says how far a player turns the stored picture (ISO 14496-12, 8.3.2)."""
    upright = np.full((72, 128), 16, np.uint8)
    upright[:36, :64] = 235
    stored = np.ascontiguousarray(np.rot90(upright, quarters_clockwise))  # counter-clockwise
    path = constant(bench.folder / "turned.mp4", Fraction(25), 1.0, picture=lambda _: stored)
    path.write_bytes(with_matrix(path.read_bytes(), quarters_clockwise))
    [out] = bench.encode(bench.video(path, (0.0, 1.0)))
    check_shape(out, 1.0, Fraction(25))
    assert out.size == (456, 256)
    assert corners(out) == [0]


def with_matrix(mp4: bytes, quarters_clockwise: int) -> bytes:
    """The file with another matrix in its track header: x' = ax + cy, y' = bx + dy, y down."""
    a, b, c, d = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)][quarters_clockwise]
    at = mp4.index(b"tkhd") + 4 + 40
    one = 1 << 16
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    return mp4[:at] + matrix + mp4[at + 36 :]


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((426, 240), (454, 256)),
        ((90, 160), (256, 456)),
        ((854, 480), (456, 256)),
        ((66, 66), (256, 256)),
    ],
)
def test_encode_size_has_the_short_side_asked_for(
    bench: Bench, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    path = constant(
        bench.folder / "sized.mp4", Fraction(5), 1.0, picture=lambda i: numbered(i, *size)
    )
    [out] = bench.encode(bench.video(path, (0.0, 1.0)))
    assert out.size == wanted
    check_shape(out, 1.0, Fraction(5))
    assert out.numbers == [0, 1, 2, 3, 4]


@given(st.integers(2, 8192), st.integers(2, 4320), st.sampled_from([224, 256, 480]))
def test_encode_size_keeps_the_aspect(width: int, height: int, short: int) -> None:
    if max(width, height) > 16 * min(width, height):
        with pytest.raises(StageError, match="16:1"):
            output_size(width, height, short)
        return
    out = output_size(width, height, short)
    assert min(out) == short
    assert not any(side % 2 for side in out)
    assert (out[0] >= out[1]) == (width >= height) or out[0] == out[1]
    assert max(out) == pytest.approx(short * max(width, height) / min(width, height), abs=1.01)


def test_encode_full_range_becomes_limited(bench: Bench) -> None:
    """MJPEG is full-range: white is 255 in it, and 235 in what comes out."""
    white = np.full((HEIGHT, WIDTH), 255, np.uint8)
    path = constant(
        bench.folder / "full.mkv", Fraction(25), 0.6, picture=lambda _: white, codec="mjpeg"
    )
    with opened(str(path)) as container:
        frame = next(container.decode(video=0))
        stored = int(frame.to_ndarray()[10, 10])
    [out] = bench.encode(bench.video(path, (0.0, 0.6)))
    check_shape(out, 0.6, Fraction(25))
    assert out.grey[3].mean() == pytest.approx(16 + stored * 219 / 255, abs=1.5)
