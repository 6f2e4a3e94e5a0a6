"""Proxies of damaged sources: what fails, and what is on display, is as with the source."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.pipeline.errors import StorageError
from reelscript.transforms.encode import Encode
from reelscript.transforms.frame_clock import FrameClock, Picture
from reelscript.transforms.mp4_format import Format
from reelscript.transforms.passage_mp4 import Colours, write_mp4
from reelscript.transforms.proxy import Proxy
from reelscript.transforms.proxy_mp4 import _row

from .encode_made import Bench, beep, constant, damaged
from .proxy_made import check_both, failure, with_proxy


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# The same failures.


def test_proxy_of_a_few_bad_packets(bench: Bench) -> None:
    path = damaged(bench.folder / "spots.mov", range(30, 34), late=20)
    [out] = check_both(bench, bench.video(path, (0.0, 3.0), fps=25.0))
    assert out.numbers == [*range(20), 19, *range(21, 30), *[29] * 4, *range(34, 75)]


@pytest.mark.parametrize(
    ("bad", "spans"),
    [(range(30, 60), [(0.5, 3.0)]), (range(50, 75), [(0.5, 1.4), (1.5, 2.9)])],
    ids=["hole", "end"],
)
def test_proxy_of_a_hole_has_the_hole(
    bench: Bench, bad: range, spans: list[tuple[float, float]]
) -> None:
    path = damaged(bench.folder / "hole.mov", bad)
    video = bench.video(path, *spans, fps=25.0)
    small = with_proxy(bench, video)
    said = failure(bench, Encode(), video)
    assert said[0] == "decode_failed"
    assert failure(bench, Encode(), small) == said
    whole = bench.video(path, (2.4, 3.0) if 60 not in bad else (0.1, 1.9), fps=25.0)
    [a], [b] = bench.encode(whole), bench.encode(replace(whole, proxy=small.proxy))
    assert a.numbers == b.numbers


@pytest.mark.parametrize("sound", [True, False])
def test_proxy_of_half_a_file_is_half_a_proxy(bench: Bench, sound: bool) -> None:
    path = constant(
        bench.folder / "cut.mp4",
        Fraction(25),
        6.0,
        sound=beep(1.0, 1.2, 6.0) if sound else None,
        movflags="faststart",
    )
    video = bench.video(path, (0.0, 2.0), (2.5, 5.5), audio_codec="aac")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2])
    small = with_proxy(bench, video)
    said = failure(bench, Encode(), video)
    assert said[0] == "decode_failed"
    assert "too early for the passage" in str(said[1])
    assert failure(bench, Encode(), small) == said


def test_proxy_of_what_does_not_decode_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    path = constant(bench.folder / "source.mp4", Fraction(25), 1.0)
    video = bench.video(path, (0.0, 1.0))
    assert failure(bench, Proxy(), replace(video, width_px=4000))[0] == "aspect"
    monkeypatch.setattr("reelscript.transforms.frame_clock.MAX_PIXELS", 100)
    assert failure(bench, Proxy(), video)[0] == "frame_too_large"
    monkeypatch.undo()
    path.write_text("no media at all\n" * 50)
    assert failure(bench, Proxy(), video)[0] == "decode_failed"
    assert [p for p in bench.workspace.scratch.rglob("*") if p.is_file()] == []


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is of Linux")
def test_encode_full_disk_is_no_fault_of_the_video() -> None:
    form = Format(64, 64, Fraction(25), 25, "veryfast", 23.0, 48000, 0, 96000)
    pictures = [av.VideoFrame(64, 64, "yuv420p")]
    with pytest.raises(StorageError, match="disk is full"):
        write_mp4(Path("/dev/full"), form, pictures, Colours(2, 2, 2), None)


# What is on display, by a naive rule.


@dataclass
class FakeClock:
    """Pictures that were never decoded."""

    pictures: list[Picture]
    damaged: bool

    def rest(self) -> Iterator[Picture]:
        yield from self.pictures


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.integers(1, 12), st.booleans()), min_size=1, max_size=12
    ),
    st.booleans(),
)
def test_proxy_row_shows_what_the_source_shows(
    made: list[tuple[int, int, bool]], damaged_end: bool
) -> None:
    """Times in whole ticks of 0.1 s, some of them equal; pictures are their own numbers."""
    at, pictures = 0, []
    for number, (gap, stands, after_damage) in enumerate(made):
        at += gap
        frame = cast(Any, number)
        pictures.append(Picture(at / 10, (at + stands) / 10, frame, after_damage))
    clock = FakeClock(pictures, damaged_end)
    row = list(_row(cast(FrameClock, clock), 0.0, 10))
    assert [begin for begin, _, _ in row] == sorted({begin for begin, _, _ in row})
    assert all(begin < end for begin, end, _ in row)
    assert all(end == then for (_, end, _), (then, _, _) in pairwise(row))
    for tick in range(at + 1):
        shown = max((i for i, p in enumerate(pictures) if p.time_s <= tick / 10), default=0)
        later = pictures[shown + 1 :]
        hole = bool(later) and later[0].after_damage and tick / 10 >= pictures[shown].end_s
        found = [cast(Any, f) for begin, end, f in row if begin <= tick < end]
        first = round(pictures[0].time_s * 10)
        if tick >= first:
            assert found == [None if hole else shown], (tick, row)
    assert (row[-1][2] is None) == damaged_end
