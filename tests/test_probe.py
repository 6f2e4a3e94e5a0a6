"""What the probe finds in files that tell the truth, that lie, and that mean harm."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelscript.pipeline.errors import Reject
from reelscript.pipeline.stage import apply
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.transforms.glance import Glance
from reelscript.transforms.media import DEMUXERS, Undecodable, open_media
from reelscript.transforms.probe import Probe, shown_size
from reelscript.transforms.tracks import Track
from tests.media_made import (
    CODECS,
    make_bomb,
    make_concat_script,
    make_cover_first,
    make_media,
    make_playlist,
    number_in,
    rotate,
)

SHARED = Path(__file__).parents[2] / "shared" / "media"
real_media = pytest.mark.skipif(not SHARED.is_dir(), reason="the real media are not here")
Probed = Callable[..., Video]


@pytest.fixture
def probed(tmp_path: Path) -> Probed:
    """Gives a function that runs the stage on a file as a build does."""
    workspace = Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")

    def run(path: Path, stage: Probe | None = None, language: str | None = None) -> Video:
        stage = stage or Probe()
        video = Video(
            video_id="a",
            url="a",
            location=str(path),
            source_sha256=str(path),
            stated_language=language,
        )
        with stage.open() as live:
            after, timing = apply(stage, live, video, workspace)
        assert timing.trace is None, timing.trace
        return after

    return run


def ends_by_decoding(path: Path, video_stream: int, audio_stream: int) -> tuple[float, float]:
    """Returns first and last moment by decoding everything: the oracle of start and duration."""
    begins, ends = [], []
    for index in (video_stream, audio_stream):
        with av.open(str(path)) as container:
            stream = container.streams[index]
            spans = []
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    continue
                for f in frames:
                    lasts = f.samples / f.sample_rate if isinstance(f, av.AudioFrame) else 0.0
                    at = float(f.pts * stream.time_base)
                    spans.append((at, at + lasts))
        begins.append(min(b for b, _ in spans))
        end = max(e for _, e in spans)
        ends.append(end + (0 if index == audio_stream else spans_step(spans)))
    return min(begins), min(ends)


def spans_step(spans: list[tuple[float, float]]) -> float:
    return float(np.median(np.diff(sorted(b for b, _ in spans)))) if len(spans) > 1 else 0.0


@pytest.mark.parametrize("extension", CODECS)
def test_probe_finds_the_same_facts_in_every_container(
    tmp_path: Path, probed: Probed, extension: str
) -> None:
    path = make_media(tmp_path / f"a{extension}", duration_s=2, size=(208, 112), channels=2)
    video = probed(path)
    assert video.pending
    assert (video.width_px, video.height_px, video.rotation_deg) == (208, 112, 0)
    assert (video.fps, video.variable_fps, video.frames) == (25.0, False, 50)
    assert video.duration_s == pytest.approx(2.0, abs=0.05)
    assert video.audio_channels == 2
    assert video.audio_rate_hz in (44100, 48000)
    begin_s, end_s = ends_by_decoding(path, video.video_stream or 0, video.audio_stream or 0)
    assert video.start_s == pytest.approx(begin_s, abs=0.001)
    assert video.duration_s == pytest.approx(end_s - begin_s, abs=0.03)


@pytest.mark.parametrize("extension", [".ts", ".mpg", ".mkv", ".mp4"])
def test_probe_starts_where_something_is_first_shown_or_heard(
    tmp_path: Path, probed: Probed, extension: str
) -> None:
    path = make_media(
        tmp_path / f"a{extension}", duration_s=3, video_start_s=1.4, audio_start_s=2.0
    )
    video = probed(path)
    begin_s, _ = ends_by_decoding(path, video.video_stream or 0, video.audio_stream or 0)
    assert video.start_s == pytest.approx(begin_s, abs=0.001)
    if extension != ".mpg":  # its muxer moves the clock
        assert video.start_s == pytest.approx(1.4, abs=0.001)


def test_probe_takes_the_end_of_what_ends_earlier(tmp_path: Path, probed: Probed) -> None:
    short_sound = make_media(tmp_path / "a.mp4", duration_s=4, audio_duration_s=2.5)
    short_picture = make_media(tmp_path / "b.mp4", duration_s=2, audio_duration_s=3.5)
    assert probed(short_sound).duration_s == pytest.approx(2.5, abs=0.03)
    assert probed(short_picture).duration_s == pytest.approx(2.0, abs=0.03)


def test_probe_rejects_what_is_never_seen_and_heard_together(
    tmp_path: Path, probed: Probed
) -> None:
    path = make_media(tmp_path / "a.mkv", duration_s=2, audio_start_s=30, audio_duration_s=2)
    assert probed(path).reason == "too_short"


@pytest.mark.parametrize(
    "fps", ["24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60"]
)
@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
def test_probe_knows_well_known_rates(
    tmp_path: Path, probed: Probed, fps: str, extension: str
) -> None:
    path = make_media(tmp_path / f"a{extension}", duration_s=2.5, fps=Fraction(fps), size=(48, 32))
    video = probed(path)
    assert video.fps == pytest.approx(float(Fraction(fps)), abs=1e-6)
    assert video.variable_fps is False


def track(starts: list[int], time_base: Fraction) -> Track:
    """Returns a track that presents one picture at each tick of `starts`."""
    when = np.sort(np.array(starts, np.int64))
    none = Disposition(0)
    return Track(0, "h264", none, None, 4, 4, 0, 0, time_base, when, np.zeros(len(when), np.int64))


@settings(max_examples=60, deadline=None)
@given(
    fps=st.sampled_from([Fraction(n) for n in (10, 15, 24, 25, 30, 50, 60)])
    | st.sampled_from([Fraction(n * 1000, 1001) for n in (24, 30, 60)]),
    clock=st.sampled_from([1000, 15360, 90000, 1_000_000]),
    count=st.integers(100, 400),
    first=st.integers(-50_000, 50_000),
    dropped=st.sets(st.integers(1, 90), max_size=1),
)
def test_probe_sees_through_the_rounding_of_a_container(
    fps: Fraction, clock: int, count: int, first: int, dropped: set[int]
) -> None:
    starts = [first + round(k / fps * clock) for k in range(count) if k not in dropped]
    found, variable = track(starts, Fraction(1, clock)).fps()
    assert found == pytest.approx(float(fps), rel=1e-9)
    assert not variable


def test_probe_tells_a_variable_rate_from_a_constant_one(tmp_path: Path, probed: Probed) -> None:
    steps = np.resize([0.04, 0.04, 0.08, 0.04, 0.12], 60)
    path = make_media(tmp_path / "a.mp4", times_s=[0.0, *np.cumsum(steps)], duration_s=3)
    video = probed(path)
    assert video.variable_fps is True
    assert video.fps == 25.0
    assert video.frames == 61


def test_probe_takes_one_picture_for_as_long_as_it_stands(tmp_path: Path, probed: Probed) -> None:
    still = make_media(tmp_path / "a.mp4", times_s=[0.0, 3.0], fps=25, duration_s=4)
    video = probed(still)
    assert video.fps is not None
    assert 0 < video.fps <= 1
    assert video.pending


@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_probe_turns_the_picture_as_the_file_says(
    tmp_path: Path, probed: Probed, turn_deg: int
) -> None:
    """The picture is stored turned the other way; turned by what the probe says it can be read."""
    path = make_media(tmp_path / "a.mp4", turn_deg=-turn_deg % 360, numbers=[1234] * 50)
    video = probed(rotate(path, turn_deg))
    assert video.rotation_deg == turn_deg
    assert (video.width_px, video.height_px) == (192, 112)
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    upright = np.ascontiguousarray(np.rot90(stored, video.rotation_deg // 90))
    assert number_in(av.VideoFrame.from_ndarray(upright, format="rgb24")) == 1234


@pytest.mark.parametrize(
    ("pixel", "shown"),
    [
        (Fraction(1), (720, 576)),
        (Fraction(16, 15), (768, 576)),  # PAL, 4:3
        (Fraction(8, 9), (720, 648)),  # NTSC, 4:3: the height grows
        (Fraction(2841, 2840), (720, 576)),
        (Fraction(1, 1000), (720, 576)),
        (Fraction(10**9), (720, 576)),
    ],
)
def test_probe_gives_the_size_in_square_pixels(pixel: Fraction, shown: tuple[int, int]) -> None:
    assert shown_size(720, 576, pixel) == shown


def test_probe_passes_over_cover_art(tmp_path: Path, probed: Probed) -> None:
    video = probed(make_cover_first(tmp_path / "a.mp4"))
    assert (video.video_stream, video.width_px, video.frames) == (1, 192, 50)


def test_probe_takes_the_sound_in_the_stated_language(tmp_path: Path, probed: Probed) -> None:
    path = make_media(tmp_path / "a.mkv", languages=("ger", "eng", "fre"))
    assert probed(path, language="en").audio_stream == 2
    assert probed(path, language="fr").audio_stream == 3
    assert probed(path, language="de").audio_stream == 1
    assert probed(path).audio_stream == 1
    assert probed(path, language="ja").audio_stream == 1


def test_probe_rejects_without_picture_or_sound(tmp_path: Path, probed: Probed) -> None:
    assert probed(make_media(tmp_path / "a.mp4", audio=False)).reason == "no_audio"
    assert probed(make_media(tmp_path / "b.mp4", video=False)).reason == "no_video"
    only_cover = make_media(tmp_path / "c.mkv", duration_s=1, video=False)
    assert probed(only_cover).reason == "no_video"


def test_probe_length_judges_without_measuring_again(tmp_path: Path, probed: Probed) -> None:
    path = make_media(tmp_path / "a.mp4", duration_s=2)
    assert probed(path).pending
    path.unlink()  # what follows comes from the store
    short, long = probed(path, Probe(min_s=3.0)), probed(path, Probe(max_s=1.5))
    assert (short.reason, long.reason) == ("too_short", "too_long")
    assert short.detail is not None
    assert "min_s=3.0" in short.detail
    assert short.duration_s == pytest.approx(2.0, abs=0.01)


def test_probe_a_missing_file_is_a_failure_not_a_reject(tmp_path: Path, probed: Probed) -> None:
    with pytest.raises(AssertionError, match="FileNotFoundError"):
        probed(tmp_path / "none.mp4")


def test_probe_bounds_the_packets_it_reads(tmp_path: Path, probed: Probed) -> None:
    path = make_media(tmp_path / "a.mp4", duration_s=2)
    assert probed(path, Probe(max_packets=100)).reason == "too_long"


# Containers that lie.


def test_probe_believes_packets_not_the_header_of_a_cut_file(
    tmp_path: Path, probed: Probed
) -> None:
    path = make_media(tmp_path / "a.mp4", duration_s=8, muxer={"movflags": "+faststart"})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with av.open(str(path)) as container:
        assert container.duration == pytest.approx(8e6, rel=0.01)  # the header's claim
    video = probed(path)
    begin_s, end_s = ends_by_decoding(path, 0, 1)
    assert video.duration_s == pytest.approx(end_s - begin_s, abs=0.1)
    assert 2 < (video.duration_s or 0) < 6


def remuxed(path: Path, made: Path, retime: Callable[[float], float]) -> Path:
    """Writes the packets of a file with other times."""
    with av.open(str(made)) as source, av.open(str(path), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.pts is None:
                continue
            at_s = retime(float(packet.pts * packet.time_base))
            packet.pts = packet.dts = round(at_s / packet.time_base)
            packet.stream = streams[packet.stream_index]
            out.mux(packet)
    return path


def test_probe_leaves_out_what_jumps_by_hours(tmp_path: Path, probed: Probed) -> None:
    made = make_media(tmp_path / "made.mkv", duration_s=4)
    path = remuxed(tmp_path / "a.mkv", made, lambda t: t if t < 3 else t + 5 * 3600)
    assert probed(path).duration_s == pytest.approx(3.0, abs=0.05)


def test_probe_counts_a_pause_in_the_picture(tmp_path: Path, probed: Probed) -> None:
    path = make_media(tmp_path / "a.mkv", times_s=[0.0, 0.04, 0.08, 30.0, 60.0], duration_s=60)
    assert probed(path).duration_s == pytest.approx(60.0, abs=0.05)


# Files that mean harm.


def test_media_playlists_and_scripts_reach_no_other_file(tmp_path: Path, probed: Probed) -> None:
    target = make_media(tmp_path / "secret.ts", duration_s=2)
    with av.open(str(make_playlist(tmp_path / "real.m3u8", target))) as container:
        assert container.streams.video  # FFmpeg by itself would follow
    for make in (make_playlist, make_concat_script):
        path = make(tmp_path / "harmless.mp4", target)
        assert probed(path, Probe()).reason == "undecodable"
        path.unlink()


def test_media_only_self_contained_containers_are_let_in() -> None:
    outside = {"hls", "concat", "dash", "image2", "sdp", "rtsp", "applehttp", "lavfi", "imf", "tty"}
    assert not outside & set(DEMUXERS)


@pytest.mark.parametrize(
    "name",
    ["%03d.mp4", "concat:a|b.mp4", "http:..mp4", "ü ß\n'\".mp4", "-i.mp4", "a*.mp4", "\udcff.mp4"],
)
def test_media_odd_file_names_are_plain_names(tmp_path: Path, probed: Probed, name: str) -> None:
    made = make_media(tmp_path / "made.mp4", duration_s=1.5, size=(48, 32))
    path = tmp_path / name
    os.rename(made, path)  # noqa: PTH104 - a name that is not UTF-8
    with open_media(path) as container:
        assert container.streams.video
    video = Video(video_id="a", url="a", location="a")
    workspace: Any = type("W", (), {"media": lambda _self, _video: path})()
    with Probe().open() as live:
        assert live(video, workspace).frames == 38


@pytest.mark.parametrize("kind", ["folder", "fifo", "empty", "text", "zeros"])
def test_media_what_is_no_media_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.mp4"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)  # opening it would wait for ever
    else:
        path.write_bytes({"empty": b"", "text": b"not a video\n" * 99, "zeros": bytes(9999)}[kind])
    with pytest.raises(Undecodable), open_media(path):
        pass


def test_probe_refuses_a_picture_that_says_it_is_huge(tmp_path: Path, probed: Probed) -> None:
    path = make_bomb(tmp_path / "a.mp4", claimed=(20000, 20000), real=(20000, 20000))
    assert probed(path).reason in ("too_large", "undecodable")
    assert probed(make_media(tmp_path / "b.mp4"), Probe(max_pixels=100)).reason == "too_large"


@pytest.mark.parametrize("count", [100_000, 20_000_000, 2**31])
def test_media_an_index_of_more_samples_than_bytes_is_refused(
    tmp_path: Path, probed: Probed, count: int
) -> None:
    path = make_media(tmp_path / "a.mp4", size=(48, 32))
    written = bytearray(path.read_bytes())
    at = written.index(b"stsz") + 8
    written[at : at + 8] = struct.pack(">II", 1, count)  # so many samples of one byte
    path.write_bytes(written)
    video = probed(path)
    assert video.reason == "undecodable"
    assert "its index claims" in (video.detail or "")


def test_media_a_long_table_of_pcm_is_no_bomb(tmp_path: Path, probed: Probed) -> None:
    path = make_media(
        tmp_path / "a.mov", duration_s=2, rate_hz=192000, codecs=("libx264", "pcm_s16le")
    )
    assert probed(path).pending
    assert probed(path).audio_rate_hz == 192000


def test_media_a_fragmented_file_is_read(tmp_path: Path, probed: Probed) -> None:
    fragmented = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    video = probed(make_media(tmp_path / "a.mp4", duration_s=3, muxer=fragmented))
    assert (video.frames, video.duration_s) == (75, pytest.approx(3.0, abs=0.05))


def test_probe_a_bomb_that_looks_small_takes_no_memory(tmp_path: Path) -> None:
    """A gigapixel behind a header of 64 x 64 would take a gigabyte; the process stays far below."""
    path = make_bomb(tmp_path / "a.mp4", claimed=(64, 64), real=(32000, 32000))
    code = """
import resource, sys
from reelscript.transforms.probe import Probe
from reelscript.pipeline.errors import Reject
from reelscript.schemas.video import Video
from pathlib import Path
class W:
    def media(self, video): return Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    with Probe().open() as live: live(Video(video_id="a", url="a", location="a"), W())
except Reject as no: print(no.reason, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    out = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    reason, grown_kb = out.stdout.split()
    assert reason == "undecodable"
    assert int(grown_kb) < 200_000


@pytest.fixture(scope="module")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("small")
    made = {e: make_media(folder / f"a{e}", duration_s=1, size=(48, 32)) for e in CODECS}
    return {extension: path.read_bytes() for extension, path in made.items()}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    extension=st.sampled_from(sorted(CODECS)),
    damages=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=20),
    kept_share=st.floats(0, 1),
)
def test_probe_damaged_files_are_measured_or_rejected(
    tmp_path: Path,
    small_files: dict[str, bytes],
    extension: str,
    damages: list[tuple[float, int]],
    kept_share: float,
) -> None:
    whole = bytearray(small_files[extension])
    for place, value in damages:
        whole[round(place * (len(whole) - 1))] = value
    path = tmp_path / f"a{extension}"
    path.write_bytes(whole[: round(kept_share * len(whole))])
    workspace: Any = type("W", (), {"media": lambda _self, _video: path})()
    video = Video(video_id="a", url="a", location="a")
    try:
        with Probe().open() as probe, Glance().open() as glance:
            video = glance(probe(video, workspace), workspace)
    except Reject:
        return
    assert (video.duration_s or 0) >= 0
    assert (video.fps or 0) > 0
    assert video.keyframes is not None


# Real media.

EXPECTED = {
    "derived/zero_bytes.mp4": "undecodable",
    "derived/text_not_video.mp4": "undecodable",
    "robust/no_streams.webm": "undecodable",
    "robust/audio_only.mp4": "no_video",
    "audio_ref/jfk.flac": "no_video",
    "robust/corrupted_decord.mp4": "no_audio",
    "robust/delayed_start.mp4": "no_audio",
    "robust/h265_video.mp4": "no_audio",
    "robust/vfr_torchcodec_15s.mp4": "no_audio",
    "no_speech/noaudio_dog_14s.mp4": "no_audio",
    "action/dog_in_snow_8s.mp4": "no_audio",
    "action/shuttle_10s.webm": "no_audio",
}


@real_media
@pytest.mark.parametrize(("name", "reason"), EXPECTED.items())
def test_probe_rejects_real_media_for_what_they_lack(
    probed: Probed, name: str, reason: str
) -> None:
    video = probed(SHARED / name)
    assert (video.outcome, video.stage, video.reason) == ("rejected", "probe", reason)


TRUE = {  # what decoding shows, whatever the header says
    "robust/insane_duration_fragmented.mp4": {"frames": 30, "video_stream": 0},
    "derived/truncated_faststart_de.mp4": {"fps": 25.0, "variable_fps": False},
    "robust/coverart_two_video_streams.mp4": {"video_stream": 0, "video_codec": "h264"},
    "speech_en/nasa_webb_13s_multistream.mp4": {"video_stream": 3, "audio_stream": 4},
    "derived/rotated90_speech_jordi.mp4": {"width_px": 720, "height_px": 1080, "rotation_deg": 90},
    "speech_en/grid_bbaf2n_3s.mpg": {"video_codec": "mpeg1video", "audio_codec": "mp2"},
    "robust/av1_15s.mp4": {"video_codec": "av1", "video_stream": 1, "audio_stream": 0},
    "robust/subtitles_inside.mkv": {"fps": 20.0, "container": "matroska"},
    "no_speech/bbb_30s.webm": {"fps": 24.0, "variable_fps": False},
    "speech_xx/mdn_chroma_fr_24s.mp4": {"fps": pytest.approx(60000 / 1001)},
    "action/flipping_pancake_k400.mkv": {"fps": 30.0, "variable_fps": False},
    "speech_xx/datajuicer_office_zh_50s_portrait.mp4": {"width_px": 362, "height_px": 640},
}


@real_media
@pytest.mark.parametrize(("name", "facts"), TRUE.items())
def test_probe_says_of_real_media_what_decoding_shows(
    probed: Probed, name: str, facts: dict[str, Any]
) -> None:
    video = probed(SHARED / name)
    assert {key: getattr(video, key) for key in facts} == facts
    assert video.video_stream is not None
    assert video.audio_stream is not None
    begin_s, end_s = ends_by_decoding(SHARED / name, video.video_stream, video.audio_stream)
    assert video.start_s == pytest.approx(begin_s, abs=0.001)
    assert video.duration_s == pytest.approx(end_s - begin_s, abs=0.1)
