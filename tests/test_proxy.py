"""Proxies: what is encoded of one is what is encoded of the source, picture by picture."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from reelscript.pipeline.stage import apply
from reelscript.schemas.clip import Passage
from reelscript.schemas.text import digest
from reelscript.schemas.video import Video
from reelscript.transforms.encode import Encode
from reelscript.transforms.probe import Probe

from .encode_made import (
    Bench,
    beep,
    check_shape,
    constant,
    make_media,
    opened,
    source_times,
)
from .media_made import make_media as make_any
from .media_made import rotate
from .proxy_made import check_both, check_same, noise, proxy_of, with_proxy

SHARED = Path(__file__).parents[2] / "shared" / "media"
NTSC = Fraction(30000, 1001)
MS = Fraction(1, 1000)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# The same pictures and the same sound.


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
@pytest.mark.parametrize("fps", [Fraction(25), NTSC, Fraction(50)], ids=str)
def test_proxy_of_a_constant_rate_gives_the_same_pictures(
    bench: Bench, fps: Fraction, kind: str
) -> None:
    """1.039 s: pictures at 25 fps are due 1 ms later, just as late as the clock still lets pass."""
    path = constant(bench.folder / f"source.{kind}", fps, 4.0, sound=noise(4.0), sound_at_s=0.0)
    spans = [(0.0, 1.0), (1.039, 2.4), (2.41, 4.0)]
    codec = {"mp4": "aac", "mkv": "pcm_s16le"}[kind]
    video = bench.video(path, *spans, fps=float(fps), audio_codec=codec)
    before = bench.encode(video)
    for a, b in zip(before, check_both(bench, video), strict=True):
        assert a.numbers == b.numbers


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
@pytest.mark.parametrize("seed", [7])
def test_proxy_keeps_every_picture_at_its_time(bench: Bench, kind: str, seed: int) -> None:
    gaps = np.random.default_rng(seed).choice([1, 17, 33, 40, 90, 1300], 30)
    path = make_media(bench.folder / f"source.{kind}", [0, *np.cumsum(gaps).tolist()], MS)
    times = source_times(path)
    video = bench.video(path, (0.155, 0.5 * times[-1]), (0.6 * times[-1], times[-1]), fps=24.7)
    small = with_proxy(bench, video)
    with opened(str(proxy_of(bench, small))) as container:
        frames = list(container.decode(video=0))
    assert [f.time for f in frames] == times  # to the last bit
    keys = [f.time for f in frames if f.key_frame]
    for at, then in pairwise(times):
        assert int(at) == int(then) or then in keys
    for a, b in zip(bench.encode(video), bench.encode(small), strict=True):
        assert a.numbers == b.numbers
        check_same(a, b)


@pytest.mark.parametrize("codec", ["aac", "other"])
@pytest.mark.parametrize(("picture_s", "sound_s"), [(1, 0.0), (0, 1.5), (7, 7.0), (70, 71.3)])
def test_proxy_keeps_picture_and_sound_where_they_start(
    bench: Bench, picture_s: int, sound_s: float, codec: str
) -> None:
    ticks = [1000 * picture_s + 40 * i for i in range(75)]
    path = make_media(
        bench.folder / f"late.{'mp4' if codec == 'aac' else 'mkv'}",
        ticks,
        MS,
        sound=noise(3.0),
        sound_at_s=sound_s,
    )
    start_s = min(float(picture_s), sound_s)
    video = bench.video(path, (0.0, 1.1), (1.219, 3.0), start_s=start_s, fps=25.0)
    before = bench.encode(video)
    after = check_both(bench, replace(video, audio_codec=codec))
    assert [o.numbers for o in after] == [o.numbers for o in before]


def test_proxy_of_a_clock_that_begins_before_zero(bench: Bench) -> None:
    path = constant(bench.folder / "early.mkv", Fraction(25), 2.0, sound=noise(2.0))
    video = bench.video(path, (0.5, 1.5), (1.6, 3.2), start_s=-1.25, duration_s=3.25)
    [first, second] = check_both(bench, video)
    assert first.numbers == [0] * 20 + list(range(1, 6))
    check_shape(second, 1.6, Fraction(25))


@pytest.mark.parametrize("extension", [".ts", ".flv", ".avi", ".mov", ".mkv", ".webm"])
def test_proxy_of_other_containers(bench: Bench, extension: str) -> None:
    """As the real stages say what is in them; the sound of some is copied, of others it is not."""
    path = make_any(bench.folder / f"any{extension}", beeps_s=[0.5, 1.4], audio_start_s=0.2)
    video = bench.video(path, (0.1, 0.9), (0.939, 1.9))
    with Probe().open() as live:
        probed, _ = apply(Probe(), live, replace(video, fps=None), bench.workspace)
    check_both(bench, probed)


@pytest.mark.parametrize("turn_deg", [90, 180, 270])
def test_proxy_is_upright(bench: Bench, turn_deg: int) -> None:
    path = rotate(constant(bench.folder / "lying.mp4", Fraction(25), 1.0), turn_deg)
    video = bench.video(path, (0.0, 1.0))
    assert video.rotation_deg == turn_deg
    small = with_proxy(bench, video)
    with opened(str(proxy_of(bench, small))) as container:
        frame = next(container.decode(video=0))
    assert frame.rotation == 0
    assert (frame.width, frame.height) == ((256, 342) if turn_deg % 180 else (342, 256))
    check_both(bench, video)


@pytest.mark.parametrize("size", [(181, 131), (66, 64), (1280, 720)])
def test_proxy_is_as_large_as_the_passages(bench: Bench, size: tuple[int, int]) -> None:
    path = make_any(
        bench.folder / "sized.mov", duration_s=1.0, size=size, codecs=("png", "aac"), fps=10
    )
    video = bench.video(path, (0.0, 1.0))
    [out] = check_both(bench, video)
    with opened(str(proxy_of(bench, with_proxy_of_store(bench, video)))) as container:
        context = container.streams.video[0].codec_context
        assert (context.width, context.height) == out.size


def with_proxy_of_store(bench: Bench, video: Video) -> Video:
    """The remembered result: the source need not be there."""
    return with_proxy(bench, replace(video, location="gone"))


def test_proxy_without_sound(bench: Bench) -> None:
    path = constant(bench.folder / "mute.mp4", Fraction(25), 2.0)
    [out] = check_both(bench, bench.video(path, (0.3, 2.0)))
    assert not out.encoding.has_audio


def test_proxy_copies_the_sound_it_can(bench: Bench) -> None:
    path = constant(bench.folder / "talk.mp4", Fraction(25), 2.0, sound=noise(2.0))
    video = bench.video(path, (0.0, 2.0), audio_codec="aac")
    small = with_proxy(bench, video)
    data = []
    for file in (path, proxy_of(bench, small)):
        with opened(str(file)) as container:
            data.append([bytes(p) for p in container.demux(audio=0) if p.size])
    assert data[0] == data[1]
    [a], [b] = bench.encode(video), bench.encode(small)
    assert (a.sound == b.sound).all()


def test_proxy_of_a_sound_that_changes_is_no_copy(bench: Bench) -> None:
    """An mp4 tells once how its AAC is to be decoded; in MPEG-TS every packet does."""
    for name, rate in (("a", 44100), ("b", 22050)):
        make_any(bench.folder / f"{name}.ts", beeps_s=[0.5], rate_hz=rate)
    path = bench.folder / "both.ts"
    path.write_bytes(b"".join((bench.folder / f"{n}.ts").read_bytes() for n in "ab"))
    video = bench.video(path, (0.0, 1.9), audio_codec="aac", duration_s=2.0)
    check_both(bench, video)


# Memory of earlier work.


def test_proxy_has_the_same_bytes_again(tmp_path: Path) -> None:
    path = constant(tmp_path / "source.mp4", NTSC, 2.0, sound=beep(0.5, 0.6, 2.0))
    made = []
    for name, codec in (("a", "aac"), ("b", "aac"), ("c", "none"), ("d", "none")):
        (tmp_path / name).mkdir()
        bench = Bench(tmp_path / name)
        made.append(with_proxy(bench, bench.video(path, audio_codec=codec)).proxy)
        assert [p for p in bench.workspace.scratch.rglob("*") if p.is_file()] == []
    assert made[0] == made[1]
    assert made[2] == made[3]


def test_encode_keys_depend_on_the_proxy_only_where_there_is_one(bench: Bench) -> None:
    path = constant(bench.folder / "source.mp4", Fraction(25), 1.0)
    video = bench.video(path, (0.0, 1.0))
    [wanted] = bench.workspace.get_records(Passage, video.passages)
    stage = Encode()
    names = "source_sha256 video_stream audio_stream audio_channels start_s duration_s fps"
    inputs = [getattr(video, n) for n in [*names.split(), "width_px", "height_px", "rotation_deg"]]
    plain = digest(["encode", stage.version, stage.settings(), inputs, 0.0, 1.0])
    assert stage.passage_key(video, wanted) == plain
    one, two = (stage.passage_key(replace(video, proxy=p * 64), wanted) for p in "12")
    assert len({plain, one, two}) == 3


# Real media.


@pytest.mark.skipif(not SHARED.exists(), reason="the shared media are not here")
@pytest.mark.parametrize(
    "name",
    [
        "derived/vfr_speech_autoeditor.mp4",
        "derived/rotated90_speech_jordi.mp4",
        "speech_en/nasa_webb_13s_multistream.mp4",
        "speech_en/grid_bbaf2n_3s.mpg",
        "action/flipping_pancake_k400.mkv",
    ],
)
def test_proxy_of_real_media(bench: Bench, name: str) -> None:
    path = bench.folder / Path(name).name
    path.write_bytes((SHARED / name).read_bytes())
    video = bench.video(path, (0.239, 1.0), (1.6, 2.1))
    with Probe().open() as live:
        probed, _ = apply(Probe(), live, video, bench.workspace)
    check_both(bench, probed)
