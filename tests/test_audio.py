"""Sound on the video's clock, heard by where beeps land."""

from __future__ import annotations

import math
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelscript.transforms.audio import read_audio, whole_audio_16k
from reelscript.transforms.media import Undecodable
from tests.media_made import CODECS, beeps_in, make_media, make_raw_sound

SHARED = Path(__file__).parents[2] / "shared" / "media"
MS = 0.001
BEEPS_S = (1.0, 2.0, 2.5)
ON_TIME = pytest.approx(BEEPS_S, abs=5 * MS)


def index_and_start(path: Path) -> tuple[int, float]:
    """Returns the index of the first sound stream, and when the first picture is shown."""
    with av.open(str(path)) as container:
        index = container.streams.audio[0].index
        first = next(container.decode(video=0))
        return index, float(first.pts * first.time_base)


def heard(path: Path, duration_s: float = 3.0) -> np.ndarray:
    index, start_s = index_and_start(path)
    return whole_audio_16k(path, index, start_s, duration_s)


# AVI counts sound from its start and cannot say that it is late.
@pytest.mark.parametrize("extension", [e for e in CODECS if e != ".avi"])
def test_audio_that_starts_late_is_heard_on_the_clock_of_the_picture(
    tmp_path: Path, extension: str
) -> None:
    path = make_media(tmp_path / f"a{extension}", duration_s=3, audio_start_s=0.7, beeps_s=BEEPS_S)
    samples = heard(path)
    assert samples.shape == (48000,)
    assert beeps_in(samples, 16000) == ON_TIME
    assert not samples[: int(0.6 * 16000)].any()


@pytest.mark.parametrize("extension", CODECS)
def test_audio_priming_of_the_encoder_is_not_heard(tmp_path: Path, extension: str) -> None:
    path = make_media(tmp_path / f"a{extension}", duration_s=3, beeps_s=BEEPS_S)
    # Some containers cannot say how long it is: 1024 samples of AAC, 1105 of MP3, 481 of MP2
    priming_s = {".ts": 1024, ".flv": 1024, ".avi": 1105, ".mpg": 481}.get(extension, 0) / 44100
    found = np.array(beeps_in(heard(path), 16000))
    off = np.abs(found - BEEPS_S)
    late = np.abs(found - priming_s - BEEPS_S)
    assert np.minimum(off, late).max() < 5 * MS
    if not priming_s:
        assert off.max() < 5 * MS


def test_audio_before_the_start_is_cut(tmp_path: Path) -> None:
    path = make_media(tmp_path / "a.mp4", duration_s=3, beeps_s=BEEPS_S)
    samples = whole_audio_16k(path, 1, 1.5, 1.5)
    assert beeps_in(samples, 16000) == pytest.approx([0.5, 1.0], abs=5 * MS)


def test_audio_start_before_the_stream_is_silence(tmp_path: Path) -> None:
    path = make_media(tmp_path / "a.mp4", duration_s=3, beeps_s=BEEPS_S)
    samples = whole_audio_16k(path, 1, -2.0, 5.0)
    assert beeps_in(samples, 16000) == pytest.approx([3.0, 4.0, 4.5], abs=5 * MS)


@pytest.mark.parametrize("extension", [".mp4", ".mkv", ".ts"])
def test_audio_lost_packets_leave_a_hole_and_shift_nothing(tmp_path: Path, extension: str) -> None:
    path = make_media(
        tmp_path / f"a{extension}",
        *(),
        duration_s=3,
        beeps_s=BEEPS_S,
        holes_s=[(0.3, 0.8), (1.2, 1.9)],
    )
    samples = heard(path)
    assert beeps_in(samples, 16000) == pytest.approx(
        BEEPS_S, abs=25 * MS if extension == ".ts" else 5 * MS
    )
    assert not samples[int(1.3 * 16000) : int(1.85 * 16000)].any()


def ramp(first: int, count: int) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.int16)


def at_8000(path: Path, start_s: float = 0.0, max_s: float | None = None) -> np.ndarray:
    return np.concatenate([b[:, 0] for b in read_audio(path, 0, start_s, 8000, 1, max_s)])


def test_audio_jitter_of_timestamps_is_not_acted_upon(tmp_path: Path) -> None:
    late_s = [0, 0.03, -0.02, 0.035, 0]
    pieces = [(k * 0.1 + late_s[k], ramp(k * 800, 800)) for k in range(5)]
    assert np.array_equal(at_8000(make_raw_sound(tmp_path / "a.mkv", pieces)), ramp(0, 4000))


def test_audio_that_is_said_twice_is_heard_once(tmp_path: Path) -> None:
    pieces = [
        (0.0, ramp(0, 4000)),
        (0.4, ramp(3200, 2400)),
    ]  # 0.1 s of the second lies in the first
    assert np.array_equal(at_8000(make_raw_sound(tmp_path / "a.mkv", pieces)), ramp(0, 5600))


def test_audio_one_timestamp_that_lies_costs_only_its_own_sound(tmp_path: Path) -> None:
    pieces = [(0.0, ramp(0, 800)), (18000.0, ramp(800, 800)), (0.2, ramp(1600, 800))]
    found = at_8000(make_raw_sound(tmp_path / "a.mkv", pieces))
    assert np.array_equal(found, np.concatenate([ramp(0, 800), np.zeros(800), ramp(1600, 800)]))


def test_audio_that_claims_to_start_in_a_year_is_bounded(tmp_path: Path) -> None:
    path = make_raw_sound(tmp_path / "a.mkv", [(3e7, ramp(0, 800))])
    assert not whole_audio_16k(path, 0, 0.0, 2.0).any()
    assert sum(len(b) for b in read_audio(path, 0, 0.0, 8000, 1, 2.0)) == 0


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    gaps=st.lists(st.integers(-300, 1500), min_size=1, max_size=8),
    start_ms=st.integers(-500, 800),
    sizes=st.lists(st.integers(20, 400), min_size=9, max_size=9),
)
def test_audio_places_every_sample_like_a_painter(
    tmp_path: Path, gaps: list[int], start_ms: int, sizes: list[int]
) -> None:
    """The oracle paints each piece at its time on a wall, where nothing is painted over."""
    gaps = [g if abs(g) > 41 else 0 for g in gaps]  # what is less is jitter
    at_ms, pieces = 1000, []
    for k, size_ms in enumerate(sizes[: len(gaps)]):
        at_ms = max(0, at_ms + gaps[k])
        pieces.append((at_ms / 1000, np.full(size_ms * 8, k + 1)))
        at_ms += size_ms
    length = max((round(t * 1000) - start_ms) * 8 + len(p) for t, p in pieces)
    wall = np.zeros(max(0, length), np.int16)
    painted = 0
    for at_s, piece in pieces:
        first = (round(at_s * 1000) - start_ms) * 8
        for k, value in enumerate(piece):
            if first + k >= painted:
                wall[first + k] = value
        painted = max(painted, first + len(piece))
    path = make_raw_sound(tmp_path / "a.mkv", pieces)
    blocks = [b[:, 0] for b in read_audio(path, 0, start_ms / 1000, 8000, 1)]
    found = np.concatenate(blocks) if blocks else np.zeros(0)
    assert np.array_equal(found, wall)


def test_audio_is_as_long_as_asked_whatever_there_is(tmp_path: Path) -> None:
    path = make_media(tmp_path / "a.mp4", duration_s=2, beeps_s=(1.0,))
    for duration_s in (0.0, 0.33333, 1.0, 2.0, 7.77777):
        assert len(whole_audio_16k(path, 1, 0.0, duration_s)) == round(duration_s * 16000)


def test_audio_comes_in_blocks_of_bounded_size(tmp_path: Path) -> None:
    path = make_media(tmp_path / "a.mp4", duration_s=4, audio_start_s=3.0, beeps_s=(3.5,))
    blocks = list(read_audio(path, 1, -60.0, 48000, 2, max_s=63.9))
    assert all(b.dtype == np.int16 and b.shape[1] == 2 for b in blocks)
    assert max(len(b) for b in blocks) <= 10 * 48000
    assert sum(len(b) for b in blocks) == round(63.9 * 48000)


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_audio_resampled_keeps_the_tone_and_its_length(
    tmp_path: Path, rate_hz: int, channels: int
) -> None:
    path = make_media(
        tmp_path / "a.mov",
        duration_s=2,
        beeps_s=(0.5,),
        rate_hz=rate_hz,
        channels=channels,
        codecs=("libx264", "pcm_s16le"),
    )
    samples = heard(path, 2.0)
    assert beeps_in(samples, 16000) == pytest.approx([0.5], abs=MS)
    beep = samples[8000:8800].astype(float)
    peak = np.abs(np.fft.rfft(beep)).argmax() * 16000 / len(beep)
    assert peak == pytest.approx(1000, abs=25)
    assert np.abs(beep).max() == pytest.approx(16000, rel=0.1)


@pytest.mark.parametrize("channels", [3, 6])
def test_audio_of_many_channels_is_mixed_down(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "a.wav"
    wave = (8000 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)).astype("<i2")
    data = np.repeat(wave[:, None], channels, axis=1).tobytes()
    head = (
        b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    )
    head += (
        np.array([1, channels], "<u2").tobytes()
        + np.array([8000, 16000 * channels], "<u4").tobytes()
    )
    head += (
        np.array([2 * channels, 16], "<u2").tobytes() + b"data" + len(data).to_bytes(4, "little")
    )
    path.write_bytes(head + data)  # a plain WAV does not say which channel is which
    samples = whole_audio_16k(path, 0, 0.0, 1.0)
    assert np.abs(samples).max() > 2000


def test_audio_that_changes_its_format_on_the_way_is_heard_on(tmp_path: Path) -> None:
    parts = [
        make_media(tmp_path / f"{r}.ts", duration_s=2, beeps_s=(0.5, 1.5), rate_hz=r)
        for r in (44100, 22050)
    ]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(p.read_bytes() for p in parts))
    index, start_s = index_and_start(path)
    samples = whole_audio_16k(path, index, start_s, 2.0)
    assert beeps_in(samples, 16000) == pytest.approx([0.5, 1.5], abs=30 * MS)


def test_audio_packets_that_do_not_decode_leave_a_hole(tmp_path: Path) -> None:
    path = make_media(tmp_path / "a.mkv", duration_s=3, beeps_s=BEEPS_S, codecs=("libx264", "flac"))
    with av.open(str(path)) as container:
        bad = [
            p
            for p in container.demux(audio=0)
            if p.pts is not None and 1.2 < p.pts * p.time_base < 1.8
        ]
        pieces = [bytes(p) for p in bad]
    data = path.read_bytes()
    for piece in pieces:
        data = data.replace(piece, b"\x00" * len(piece))
    path.write_bytes(data)
    assert beeps_in(heard(path), 16000) == ON_TIME


def test_audio_of_which_nothing_decodes_is_refused(tmp_path: Path) -> None:
    path = make_media(tmp_path / "a.mkv", duration_s=1, codecs=("libx264", "flac"))
    with av.open(str(path)) as container:
        pieces = [bytes(p) for p in container.demux(audio=0) if p.size]
    data = path.read_bytes()
    for piece in pieces:
        data = data.replace(piece, b"\x00" * len(piece))
    path.write_bytes(data)
    with pytest.raises(Undecodable, match="packets"):
        heard(path, 1.0)


@pytest.mark.parametrize("stream", [0, 7, -1])
def test_audio_of_a_stream_that_is_no_sound_is_refused(tmp_path: Path, stream: int) -> None:
    path = make_media(tmp_path / "a.mp4", duration_s=1, languages=("eng",))
    with pytest.raises(Undecodable):
        whole_audio_16k(path, stream if stream >= 0 else 0, 0.0, 1.0)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real media are not here")
@pytest.mark.parametrize(
    ("name", "stream"),
    [
        ("composite/public_libri_orchard_a_en.mp4", 1),
        ("speech_en/nasa_webb_13s_multistream.mp4", 4),
    ],
)
def test_audio_of_real_media_equals_a_plain_decode(name: str, stream: int) -> None:
    path = SHARED / name
    resampler = av.AudioResampler(format="s16", layout="mono", rate=16000)
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams[stream]))
        blocks = [b for f in [*frames, None] for b in resampler.resample(f)]
    plain = np.concatenate([b.to_ndarray()[0] for b in blocks])
    samples = whole_audio_16k(path, stream, 0.0, len(plain) / 16000)
    assert math.isclose(float(frames[0].time), 0.0)
    assert np.array_equal(samples, plain)
