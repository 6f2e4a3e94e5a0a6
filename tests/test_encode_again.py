"""Encoding again, and encoding what is damaged: same bytes, no needless work, plain failures."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from reelscript.pipeline.errors import StageError
from reelscript.transforms.encode import Encode

from .encode_made import (
    HEIGHT,
    WIDTH,
    Bench,
    beep,
    check_shape,
    constant,
    damaged,
)

SHARED = Path(__file__).parents[2] / "shared" / "media"
NTSC = Fraction(30000, 1001)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# Memory of earlier work, and bytes that repeat.


def test_encode_gives_the_same_bytes_again(tmp_path: Path) -> None:
    path = constant(tmp_path / "source.mp4", NTSC, 3.0, sound=beep(0.5, 0.6, 3.0))
    outs = []
    for name in "ab":
        (tmp_path / name).mkdir()
        bench = Bench(tmp_path / name)
        outs.append(bench.encode(bench.video(path, (0.3, 1.4), (1.5, 2.7))))
    assert [o.data for o in outs[0]] == [o.data for o in outs[1]]
    assert outs[0][0].data != outs[0][1].data


def test_encode_passage_does_not_depend_on_its_neighbours(bench: Bench, tmp_path: Path) -> None:
    path = constant(bench.folder / "source.mp4", Fraction(50), 3.0, sound=beep(2.0, 2.1, 3.0))
    both = bench.encode(bench.video(path, (0.3, 1.51), (1.52, 2.7)))
    (tmp_path / "alone").mkdir()
    alone = Bench(tmp_path / "alone")
    [second] = alone.encode(alone.video(path, (1.52, 2.7)))
    assert both[1].data == second.data


def test_encode_known_passages_do_not_open_the_source(bench: Bench) -> None:
    path = constant(bench.folder / "source.mp4", Fraction(25), 3.0)
    first = bench.video(path, (0.0, 1.0), (1.0, 2.0))
    other = bench.video(path, (0.0, 1.0), (1.0, 2.5))
    outs = bench.encode(first)
    path.unlink()
    again = bench.encode(replace(first, video_id="elsewhere", location="gone.mp4"))
    assert [o.data for o in again] == [o.data for o in outs]
    with pytest.raises(FileNotFoundError):
        bench.encode(other)


def test_encode_lost_mp4_is_made_again(bench: Bench) -> None:
    path = constant(bench.folder / "source.mp4", Fraction(25), 1.0)
    video = bench.video(path, (0.0, 1.0))
    [out] = bench.encode(video)
    name = out.encoding.mp4
    bench.workspace.store.delete(f"objects/{name[:2]}/{name}")
    assert bench.encode(video)[0].data == out.data


def test_encode_other_settings_are_other_passages(bench: Bench) -> None:
    path = constant(bench.folder / "source.mp4", Fraction(25), 1.0)
    video = bench.video(path, (0.0, 1.0))
    [usual] = bench.encode(video)
    [small] = bench.encode(video, Encode(short_side_px=128, max_fps=10.0, keyframe_every_s=0.5))
    assert usual.size == (342, 256)
    assert small.size == (170, 128)
    assert small.fps == 10
    assert max(np.diff(small.keys)) <= 0.5


def test_encode_leaves_no_scratch(bench: Bench) -> None:
    path = constant(bench.folder / "source.mp4", Fraction(25), 1.0)
    bench.encode(bench.video(path, (0.0, 1.0)))
    assert [p for p in bench.workspace.scratch.rglob("*") if p.is_file()] == []


# Damage.


def test_encode_truncated_source_fails(bench: Bench) -> None:
    """The index comes first and promises 6 s; half of the media is there."""
    path = constant(
        bench.folder / "cut.mp4", Fraction(25), 6.0, sound=beep(1.0, 1.2, 6.0), movflags="faststart"
    )
    video = bench.video(path, (0.0, 2.0), (2.5, 5.5))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2])
    with pytest.raises(
        StageError, match=r"too early for the passage from 2\.50 to 5\.50 s"
    ) as error:
        bench.encode(video)
    assert error.value.kind == "decode_failed"
    assert [p for p in bench.workspace.scratch.rglob("*") if p.is_file()] == []


def test_encode_a_few_bad_packets_are_passed_over(bench: Bench) -> None:
    path = damaged(bench.folder / "spots.mov", range(30, 34))
    [out] = bench.encode(bench.video(path, (0.0, 3.0), fps=25.0))
    assert out.numbers == [*range(30), *[29] * 4, *range(34, 75)]


def test_encode_a_hole_in_the_picture_fails(bench: Bench) -> None:
    path = damaged(bench.folder / "hole.mov", range(30, 60))
    with pytest.raises(StageError, match=r"no picture decodes from 1\.20 s to 2\.40 s"):
        bench.encode(bench.video(path, (0.5, 3.0), fps=25.0))
    [out] = bench.encode(bench.video(path, (2.4, 3.0), fps=25.0))  # what lies behind it is whole
    assert out.numbers == list(range(60, 75))


def test_encode_nothing_decodes_fails(bench: Bench) -> None:
    path = damaged(bench.folder / "noise.mov", range(1, 75))
    video = bench.video(path, (0.0, 3.0), fps=25.0)
    damaged(path, range(75))
    with pytest.raises(StageError) as error:
        bench.encode(video)
    assert error.value.kind == "decode_failed"


def test_encode_text_is_no_source(bench: Bench) -> None:
    path = constant(bench.folder / "source.mp4", Fraction(25), 1.0)
    video = bench.video(path, (0.0, 1.0))
    path.write_text("no media at all\n" * 50)
    with pytest.raises(StageError) as error:
        bench.encode(video)
    assert error.value.kind == "decode_failed"


def test_encode_refuses_giant_pictures(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    path = constant(bench.folder / "source.mp4", Fraction(25), 1.0)
    video = bench.video(path, (0.0, 1.0))
    monkeypatch.setattr("reelscript.transforms.frame_clock.MAX_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(StageError, match="128 x 96 px") as error:
        bench.encode(video)
    assert error.value.kind == "frame_too_large"


@pytest.mark.skipif(not SHARED.exists(), reason="the shared media are not here")
def test_encode_real_truncated_file_is_judged_by_what_decodes(bench: Bench) -> None:
    """Its header promises 36.4 s."""
    path = SHARED / "derived/truncated_faststart_de.mp4"
    [out] = bench.encode(bench.video(path, (0.5, 6.0)))
    check_shape(out, 5.5, Fraction(25))
    with pytest.raises(StageError, match="too early for the passage"):
        bench.encode(bench.video(path, (30.0, 36.0)))
