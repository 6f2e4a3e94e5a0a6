"""What a look at the keyframes tells, against pictures of which everything is known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.pipeline.stage import apply
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.transforms.glance import (
    HEIGHT_PX,
    WIDTH_PX,
    Glance,
    difference_hash,
    spread,
    static_share,
)
from reelscript.transforms.probe import Probe
from tests.media_made import make_bomb, make_media, rotate

SHARED = Path(__file__).parents[2] / "shared" / "media"
Glanced = Callable[..., Video]


@pytest.fixture
def glanced(tmp_path: Path) -> Glanced:
    """Gives a function that probes a file and then glances at it, as a build does."""
    workspace = Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")

    def run(path: Path, stage: Glance | None = None) -> Video:
        video = Video(video_id="a", url="a", location=str(path), source_sha256=str(path))
        for each in (Probe(), stage or Glance()):
            with each.open() as live:
                video, timing = apply(each, live, video, workspace)
            assert timing.trace is None, timing.trace
            assert video.pending or each.name == "glance", video.detail
        return video

    return run


def hashes(video: Video) -> list[int]:
    text = video.keyframe_hashes or ""
    return [int(text[k : k + 16], 16) for k in range(0, len(text), 16)]


def bits_apart(one: int, other: int) -> int:
    return (one ^ other).bit_count()


@pytest.mark.parametrize("extension", [".mp4", ".mkv", ".webm", ".ts", ".mpg", ".avi", ".flv"])
def test_glance_counts_keyframes_and_sees_movement(
    tmp_path: Path, glanced: Glanced, extension: str
) -> None:
    path = make_media(tmp_path / f"a{extension}", duration_s=4, keyframe_every=10)
    video = glanced(path)
    assert video.keyframes == 10
    assert video.static_share == 0.0
    assert len(hashes(video)) == 10


def test_glance_a_still_picture_is_static_all_the_time(tmp_path: Path, glanced: Glanced) -> None:
    video = glanced(make_media(tmp_path / "a.mp4", duration_s=4, kind="still", keyframe_every=10))
    assert video.static_share == 1.0
    assert len(set(hashes(video))) == 1


def test_glance_slides_are_static_between_their_changes(tmp_path: Path, glanced: Glanced) -> None:
    """A keyframe a second for 10 s, a new picture at 3 s and at 7 s: 2 of 9 gaps change."""
    numbers = [5] * 75 + [900] * 100 + [2222] * 75
    video = glanced(make_media(tmp_path / "a.mp4", duration_s=10, numbers=numbers))
    assert video.keyframes == 10
    assert video.static_share == pytest.approx(7 / 9, abs=1e-6)


def test_glance_one_keyframe_says_nothing_of_movement(tmp_path: Path, glanced: Glanced) -> None:
    video = glanced(make_media(tmp_path / "a.mp4", duration_s=2, keyframe_every=500))
    assert (video.keyframes, video.static_share) == (1, None)
    assert len(hashes(video)) == 1


def test_glance_thins_many_keyframes_evenly(tmp_path: Path, glanced: Glanced) -> None:
    path = make_media(tmp_path / "a.mp4", duration_s=6, keyframe_every=1, size=(48, 32))
    video = glanced(path, Glance(max_keyframes=20))
    assert 15 <= (video.keyframes or 0) <= 20
    assert len(hashes(video)) >= 14


def test_glance_threshold_rejects_stills_without_looking_again(
    tmp_path: Path, glanced: Glanced
) -> None:
    path = make_media(tmp_path / "a.mp4", duration_s=3, kind="still")
    assert glanced(path).pending
    path.unlink()  # what follows comes from the store
    video = glanced(path, Glance(max_static_share=0.9))
    assert (video.outcome, video.stage, video.reason) == ("rejected", "glance", "static")
    assert glanced(path, Glance(max_static_share=1.0)).pending


def test_glance_another_encoding_has_nearly_the_same_hashes(
    tmp_path: Path, glanced: Glanced
) -> None:
    numbers = [k // 25 * 333 for k in range(150)]
    one = glanced(make_media(tmp_path / "a.mp4", numbers=numbers, duration_s=6))
    two = glanced(make_media(tmp_path / "b.webm", numbers=numbers, duration_s=6))
    apart = [bits_apart(a, b) for a, b in zip(hashes(one), hashes(two), strict=True)]
    assert max(apart) <= 6
    others = [bits_apart(a, b) for a, b in pairwise(hashes(one))]
    assert min(others) > 6


@pytest.mark.parametrize("turn_deg", [90, 180, 270])
def test_glance_looks_at_the_picture_upright(
    tmp_path: Path, glanced: Glanced, turn_deg: int
) -> None:
    plain = make_media(tmp_path / "a.mp4", duration_s=2)
    turned = make_media(tmp_path / "b.mp4", duration_s=2, turn_deg=-turn_deg % 360)
    found = hashes(glanced(rotate(turned, turn_deg)))
    apart = [bits_apart(a, b) for a, b in zip(hashes(glanced(plain)), found, strict=True)]
    assert max(apart) <= 6


def test_glance_keyframes_that_do_not_decode_are_passed_over(
    tmp_path: Path, glanced: Glanced
) -> None:
    path = make_media(tmp_path / "a.mkv", duration_s=4, keyframe_every=25)
    with av.open(str(path)) as container:
        keys = [bytes(p) for p in container.demux(video=0) if p.size and p.is_keyframe]
    path.write_bytes(path.read_bytes().replace(keys[2], bytes(len(keys[2]))))
    assert glanced(path).keyframes == 3


def test_glance_a_bomb_among_the_keyframes_is_passed_over(tmp_path: Path) -> None:
    path = make_bomb(tmp_path / "a.mp4", claimed=(64, 64), real=(20000, 20000))
    workspace: Any = type("W", (), {"media": lambda _self, _video: path})()
    video = Video(video_id="a", url="a", location="a", video_stream=0, start_s=0.0, duration_s=2.0)
    with Glance().open() as live:
        video = live(video, workspace)
    assert (video.keyframes, video.static_share, video.keyframe_hashes) == (0, None, None)


grays = st.integers(0, 2**32 - 1).map(
    lambda seed: (
        np.random.default_rng(seed).integers(0, 256, (HEIGHT_PX, WIDTH_PX)).astype(np.uint8)
    )
)


@settings(max_examples=50, deadline=None)
@given(gray=grays)
def test_glance_hash_equals_the_one_of_plain_loops(gray: np.ndarray) -> None:
    bits = ""
    for row in range(8):
        means = [
            sum(int(gray[row * 4 + y, column * 4 + x]) for y in range(4) for x in range(4))
            for column in range(9)
        ]
        bits += "".join("1" if a > b else "0" for a, b in pairwise(means))
    assert difference_hash(gray) == int(bits, 2)


@settings(max_examples=50, deadline=None)
@given(
    steps=st.lists(st.tuples(st.floats(0.1, 10), st.booleans()), min_size=1, max_size=30),
    level=st.integers(0, 100),
)
def test_glance_static_share_is_the_time_without_change(
    steps: list[tuple[float, bool]], level: int
) -> None:
    at_s, seen = 0.0, [(0.0, np.full((HEIGHT_PX, WIDTH_PX), level, np.uint8))]
    for lasts_s, changes in steps:
        at_s += lasts_s
        seen.append((at_s, seen[-1][1] ^ 64 if changes else seen[-1][1]))
    still_s = sum(lasts_s for lasts_s, changes in steps if not changes)
    assert static_share(seen, 0.5) == pytest.approx(still_s / at_s, abs=2e-6)


@settings(max_examples=50, deadline=None)
@given(times=st.lists(st.floats(0, 100), min_size=1, max_size=50, unique=True))
def test_glance_spread_keeps_order_and_takes_each_once(times: list[float]) -> None:
    gray = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    seen = [(t, gray.copy()) for t in sorted(times)]
    found = [id(g) for g in spread(seen, 100.0)]
    place = {id(g): k for k, (_, g) in enumerate(seen)}
    order = [place[g] for g in found]
    assert order == sorted(set(order))
    assert 1 <= len(found) <= 16
    assert len(found) == len(seen) or len(seen) > 1


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real media are not here")
@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("speech_en/manifesto_librivox_88s.mp4", 1.0, 1.0),
        ("speech_en/laion400m_talk_123s.mp4", 0.6, 0.9),
        ("speech_xx/datajuicer_office_zh_50s_portrait.mp4", 0.0, 0.0),
        ("composite/public_libri_orchard_a_en.mp4", 0.0, 0.0),
        ("speech_en/grid_bbaf2n_3s.mpg", 0.0, 0.0),
    ],
)
def test_glance_of_real_media(glanced: Glanced, name: str, least: float, most: float) -> None:
    share = glanced(SHARED / name).static_share
    assert share is not None
    assert least <= share <= most
