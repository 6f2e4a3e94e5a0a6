"""Encoded passages, read back by plain PyAV and compared with what naive formulas expect."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelscript.transforms.mp4_format import output_fps
from reelscript.transforms.sound_tape import SoundTape

from .encode_made import (
    HEIGHT,
    WIDTH,
    Bench,
    Image,
    Output,
    beep,
    check_shape,
    constant,
    damaged,
    expected_picture,
    make_media,
    opened,
    source_times,
)

SHARED = Path(__file__).parents[2] / "shared" / "media"
NTSC = Fraction(30000, 1001)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# The clock.

CLOCKS = [
    ("25", Fraction(25), Fraction(25), "mp4"),
    ("29.97", NTSC, NTSC, "mp4"),
    ("23.976 in mkv", Fraction(24000, 1001), Fraction(24000, 1001), "mkv"),
    ("30 in mkv", Fraction(30), Fraction(30), "mkv"),
    ("50", Fraction(50), Fraction(30), "mp4"),
    ("59.94", Fraction(60000, 1001), Fraction(30), "mp4"),
    ("5", Fraction(5), Fraction(5), "mp4"),
]


@pytest.mark.parametrize(
    ("source", "wanted", "kind"), [c[1:] for c in CLOCKS], ids=[c[0] for c in CLOCKS]
)
def test_encode_shows_the_picture_that_was_on_display(
    bench: Bench, source: Fraction, wanted: Fraction, kind: str
) -> None:
    path = constant(bench.folder / f"source.{kind}", source, 4.2)
    spans = [(0.0, 1.0), (1.217, 2.4), (2.4, 4.01)]
    times = source_times(path)
    for out, (start, end) in zip(
        bench.encode(bench.video(path, *spans, fps=float(source))), spans, strict=True
    ):
        check_shape(out, end - start, wanted)
        assert out.numbers == [
            expected_picture(times, start + k / wanted) for k in range(len(out.times))
        ]


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_encode_variable_rate_becomes_constant(bench: Bench, kind: str) -> None:
    gaps = np.random.default_rng(7).choice([17, 33, 40, 90, 700], 60, p=[0.3, 0.3, 0.2, 0.15, 0.05])
    path = make_media(
        bench.folder / f"source.{kind}", [0, *np.cumsum(gaps).tolist()], Fraction(1, 1000)
    )
    times = source_times(path)
    end = round(times[-1], 3)
    [out] = bench.encode(bench.video(path, (0.155, end), fps=24.7))
    check_shape(out, end - 0.155, output_fps(24.7, 30))
    assert out.numbers == [
        expected_picture(times, 0.155 + k / out.fps) for k in range(len(out.times))
    ]


def test_encode_late_picture_is_shown_from_the_start(bench: Bench) -> None:
    """Sound from 0 s, the first picture at 1 s: until then the first picture stands."""
    path = make_media(
        bench.folder / "late.mkv",
        [1000 + 40 * i for i in range(50)],
        Fraction(1, 1000),
        sound=beep(0.2, 0.3, 3.0),
    )
    [out] = bench.encode(bench.video(path, (0.0, 2.5), fps=25.0, start_s=0.0))
    check_shape(out, 2.5, Fraction(25))
    assert out.numbers[:26] == [0] * 26
    assert out.numbers[26:] == list(range(1, 38))[: len(out.numbers) - 26]


def test_encode_picture_from_next_year_is_passed_over(bench: Bench) -> None:
    """One wrong timestamp must not freeze the picture for all that follows."""
    path = damaged(bench.folder / "jump.mov", bad=range(0), late=20)
    [out] = bench.encode(bench.video(path, (0.0, 3.0), fps=25.0))
    assert out.numbers == [*range(20), 19, *range(21, 75)]


def test_encode_last_picture_stands_while_sound_goes_on(bench: Bench) -> None:
    path = constant(bench.folder / "short.mkv", Fraction(25), 2.0, sound=beep(3.5, 3.6, 4.0))
    [out] = bench.encode(bench.video(path, (1.0, 4.0), fps=25.0))
    check_shape(out, 3.0, Fraction(25))
    assert out.numbers == [*range(25, 50), *[49] * 50]


@pytest.mark.parametrize(
    ("given_fps", "wanted"),
    [
        (29.97002997002997, NTSC),
        (29.97, NTSC),
        (23.976, Fraction(24000, 1001)),
        (30.0, Fraction(30)),
        (59.94, Fraction(30)),
        (12.5, Fraction(25, 2)),
        (14.985, Fraction(15000, 1001)),
        (1.0, Fraction(4)),
    ],
)
def test_encode_rate_is_the_fraction_that_is_meant(given_fps: float, wanted: Fraction) -> None:
    assert output_fps(given_fps, 30.0) == wanted


@given(st.floats(4, 30))
def test_encode_any_rate_is_kept_closely(fps: float) -> None:
    assert float(output_fps(fps, 30.0)) == pytest.approx(fps, rel=1.1e-4)


# The sound.


@pytest.mark.parametrize("kind", ["mkv", "mp4"])
def test_encode_flash_and_beep_stay_together(bench: Bench, kind: str) -> None:
    """The picture turns white at 3.2 s and a tone begins; the passage begins at 1.337 s."""
    path = constant(
        bench.folder / f"flash.{kind}",
        Fraction(25),
        5.0,
        picture=lambda i: np.full((HEIGHT, WIDTH), 235 if i >= 80 else 16, np.uint8),
        sound=beep(3.2, 3.6, 5.0),
    )
    spans = [(0.1, 1.1), (1.337, 4.8)]
    silent, out = bench.encode(bench.video(path, *spans))
    for o, (start, end) in zip((silent, out), spans, strict=True):
        check_shape(o, end - start, Fraction(25))
    assert np.abs(silent.sound).max() < 0.01
    flash_s = next(t for t, g in zip(out.times, out.grey, strict=True) if g.mean() > 125)
    assert 0 <= flash_s - (3.2 - 1.337) < 1 / 25
    assert onset_s(out.sound) == pytest.approx(3.2 - 1.337, abs=0.01)
    assert offset_s(out.sound) == pytest.approx(3.6 - 1.337, abs=0.01)


def test_encode_late_sound_keeps_its_place(bench: Bench) -> None:
    path = constant(
        bench.folder / "late.mkv", Fraction(25), 5.0, sound=beep(1.0, 1.2, 3.0), sound_at_s=1.5
    )
    before, out = bench.encode(bench.video(path, (0.0, 1.2), (1.3, 4.4)))
    assert before.encoding.has_audio
    assert not before.sound.any()
    assert onset_s(out.sound) == pytest.approx(1.5 + 1.0 - 1.3, abs=0.01)


def test_encode_container_clock_may_start_anywhere(bench: Bench) -> None:
    path = make_media(
        bench.folder / "offset.mkv",
        [7000 + 40 * i for i in range(100)],
        Fraction(1, 1000),
        sound=beep(2.0, 2.2, 4.0),
        sound_at_s=7.0,
    )
    [out] = bench.encode(bench.video(path, (1.0, 3.5), fps=25.0))
    assert out.numbers == list(range(25, 87))
    assert onset_s(out.sound) == pytest.approx(1.0, abs=0.01)


def onset_s(sound: NDArray[np.float32]) -> float:
    return float(np.flatnonzero(np.abs(sound) > 0.1)[0]) / 48000


def offset_s(sound: NDArray[np.float32]) -> float:
    return float(np.flatnonzero(np.abs(sound) > 0.1)[-1]) / 48000


def test_encode_without_sound_has_no_sound_track(bench: Bench) -> None:
    path = constant(bench.folder / "mute.mp4", Fraction(25), 2.0)
    [out] = bench.encode(bench.video(path, (0.0, 2.0)))
    assert not out.encoding.has_audio
    check_shape(out, 2.0, Fraction(25))


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=20),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 80)), min_size=1, max_size=6),
)
def test_sound_tape_takes_what_slicing_would(
    blocks: list[int], takes: list[tuple[int, int]]
) -> None:
    whole = np.arange(1, 2 * sum(blocks) + 1, dtype=np.int16).reshape(-1, 2)
    tape = SoundTape(iter(np.split(whole, np.cumsum(blocks)[:-1])), rate_hz=10, channels=2)
    padded = np.concatenate([whole, np.zeros((2000, 2), np.int16)])
    at = 0
    for skip, samples in takes:
        first = max(0, at + skip - 10)  # up to a second (10 samples) back
        assert (tape.take(first, samples) == padded[first : first + samples]).all()
        at = max(at, first + samples)
    assert tape.end_s in (len(whole) / 10, float("inf"))


# Real media.

REAL: list[tuple[str, int, tuple[tuple[float, float], ...]]] = [
    ("derived/vfr_speech_autoeditor.mp4", 0, ((3.111, 6.5), (20.05, 23.0))),
    ("derived/rotated90_speech_jordi.mp4", 0, ((0.5, 3.0), (6.02, 9.9))),
    ("speech_en/nasa_webb_13s_multistream.mp4", 3, ((0.0, 4.0), (9.5, 13.0))),
]


def real_pictures(path: Path, stream: int, out: Output) -> Iterator[tuple[float, Image]]:
    """Every picture of a source, turned upright by numpy, as large as the output."""
    with opened(str(path)) as container:
        video = next(s for s in container.streams.video if s.index == stream)
        for frame in container.decode(video):
            quarters = round(frame.rotation / 90) % 4
            width, height = out.size if quarters % 2 == 0 else out.size[::-1]
            planes = frame.reformat(width, height, "yuv420p").to_ndarray()
            yield float(frame.time), np.rot90(planes[:height], quarters)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared media are not here")
@pytest.mark.parametrize(("name", "stream", "spans"), REAL, ids=[r[0] for r in REAL])
def test_encode_real_media(
    bench: Bench, name: str, stream: int, spans: tuple[tuple[float, float], ...]
) -> None:
    path = SHARED / name
    video = bench.video(path, *spans, video_stream=stream)
    outs = bench.encode(video)
    pictures = list(real_pictures(path, stream, outs[0]))
    times = [t for t, _ in pictures]
    for out, (start, end) in zip(outs, spans, strict=True):
        check_shape(out, end - start, output_fps(video.fps or 0, 30.0))
        for k in range(0, len(out.grey), 5):
            i = expected_picture(times, start + k / out.fps)
            near = range(max(0, i - 2), min(len(times), i + 3))
            off = {j: float(np.abs(out.grey[k].astype(int) - pictures[j][1]).mean()) for j in near}
            assert off[i] < 5, (k, off)
            assert off[i] <= min(off.values()) + 0.3, (k, off)
