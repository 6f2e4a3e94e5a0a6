"""A span of a video, its packets copied: its timeline begins where it was asked to."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.transforms.audio import whole_audio_16k
from reelscript.transforms.excerpt import cut_span
from reelscript.transforms.frame_clock import FrameClock
from reelscript.transforms.media import open_media
from reelscript.transforms.probe import Probe
from tests.media_made import CODECS, beeps_in, make_media, number_in, picture

LONGEST_WAY_S = 2  # between keyframes
SPANS_S = ((0.0, 2.0), (3.02, 5.0), (7.5, 9.98), (10.0, 12.0))


def probed(path: Path) -> Video:
    video = Video(video_id="a", url="a", location=str(path))
    with Probe().open() as live:
        return live(video, Workspace(Store("memory://unused"), path.parent))


def numbers(path: Path, video: Video, times_s: list[float]) -> list[int]:
    with open_media(path) as container:
        clock = FrameClock(container, video.video_stream or 0, video.start_s or 0.0)
        return [number_in(clock.at(at)) for at in times_s]


def make_reordered(path: Path) -> Path:
    """Writes 12 s of pictures that are not decoded in the order in which they are shown."""
    with av.open(str(path), "w", format="matroska") as out:
        stream: Any = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 192, 112, "yuv420p"
        stream.gop_size = 25 * LONGEST_WAY_S
        stream.options = {"preset": "veryfast", "bf": "3", "sc_threshold": "0"}
        for k in range(300):
            frame = av.VideoFrame.from_ndarray(picture(k), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def check_spans(path: Path, whole: Video, tmp_path: Path) -> None:
    target = tmp_path / "span.mkv"
    for begin_s, end_s in SPANS_S:
        part = cut_span(path, target, whole, begin_s, end_s)
        at_s = [k / 25 + 0.02 for k in range(int((end_s - begin_s) * 25))]
        assert numbers(target, part, at_s) == numbers(path, whole, [begin_s + t for t in at_s])
        assert part.duration_s == end_s - begin_s
        if part.audio_stream is not None and begin_s > 0:
            start_s = part.start_s or 0.0
            heard = whole_audio_16k(target, part.audio_stream, start_s, end_s - begin_s)
            [beep_s] = beeps_in(heard, 16000)
            assert beep_s == pytest.approx(0.7, abs=0.06)  # AVI hides the delay of MP3


@pytest.mark.parametrize("suffix", sorted(set(CODECS) - {".flv"}))  # none can seek in that
def test_span_shows_and_sounds_as_the_video_whatever_the_container(
    tmp_path: Path, suffix: str
) -> None:
    beeps_s = [begin_s + 0.7 for begin_s, _ in SPANS_S]
    path = tmp_path / f"whole{suffix}"
    make_media(path, duration_s=12.2, beeps_s=beeps_s, keyframe_every=25 * LONGEST_WAY_S)
    check_spans(path, probed(path), tmp_path)


def test_span_of_reordered_pictures_begins_at_the_keyframe_before_it(tmp_path: Path) -> None:
    silent = Video(video_id="a", url="a", location="", video_stream=0, start_s=0.0, duration_s=12.0)
    check_spans(make_reordered(tmp_path / "whole.mkv"), silent, tmp_path)
