"""Which frames of a video are sampled, whatever its container, and what comes of damaged ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from reelscript.models.tvts.frames import middle_frames
from reelscript.pipeline.stage import apply
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.transforms import frame_picks
from reelscript.transforms.find_picture import FindPicture
from reelscript.transforms.frame_picks import FrameIndex, counted, index_of, pick
from reelscript.transforms.media import decoded
from reelscript.transforms.sample_frames import FILE, SampleFrames
from tests.media_made import make_media, number_in, picture, rotate

pytest.importorskip("PIL")

EXTENSIONS = [".mp4", ".mkv", ".webm", ".ts", ".mpg", ".avi", ".flv"]


def numbers_at(path: Path, index: FrameIndex, count: int = 12) -> list[int]:
    """The numbers burnt into the middle frames of a file."""
    wanted = middle_frames(len(index.labels), count)

    def take(frame: av.VideoFrame) -> NDArray[np.uint8]:
        return np.array(divmod(number_in(frame), 256), np.uint8)

    taken = pick(path, 0, index, wanted, take).taken
    return [int(high) * 256 + int(low) for high, low in taken]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_sampled_frames_are_the_middle_ones_in_every_container(
    tmp_path: Path, extension: str
) -> None:
    path = make_media(tmp_path / f"a{extension}", duration_s=6, keyframe_every=10, audio=False)
    index = index_of(path, 0)
    assert numbers_at(path, index) == middle_frames(150, 12)
    assert numbers_at(path, counted(path, 0)) == middle_frames(150, 12)
    assert bool(index.entries) == (extension in (".mp4", ".mkv", ".webm"))


def test_sampling_jumps_over_what_it_does_not_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_media(tmp_path / "a.mp4", duration_s=24, keyframe_every=10, audio=False)
    index, seen = index_of(path, 0), 0

    def counting(*asked: Any) -> Any:
        nonlocal seen
        for frame in decoded(*asked):
            seen += 1
            yield frame

    monkeypatch.setattr(frame_picks, "decoded", counting)
    assert numbers_at(path, index) == middle_frames(600, 12)
    assert seen <= 12 * 10
    assert numbers_at(path, dataclasses.replace(index, entries=())) == middle_frames(600, 12)


def test_sampling_counts_frames_and_not_time(tmp_path: Path) -> None:
    """Ninety frames in the first second, ten in the nine that follow."""
    times = [k / 90 for k in range(90)] + [1 + 0.9 * k for k in range(10)]
    path = make_media(tmp_path / "a.mp4", times_s=times, audio=False)
    assert numbers_at(path, index_of(path, 0), 10) == middle_frames(100, 10)


@pytest.mark.parametrize("wrong", ["shifted", "all", "beyond"])
def test_sampling_does_not_believe_entries_that_are_none(tmp_path: Path, wrong: str) -> None:
    path = make_media(tmp_path / "a.mp4", duration_s=6, keyframe_every=30, audio=False)
    index = index_of(path, 0)
    labels = index.labels.tolist()
    entries = {
        "shifted": [entry + 1 for entry in index.entries],
        "all": labels,
        "beyond": [0, labels[20] * 50],
    }[wrong]
    lying = dataclasses.replace(index, entries=entries)
    assert numbers_at(path, lying) == middle_frames(150, 12)


@pytest.mark.parametrize(
    ("codec", "how"),
    [("libx264", "open-gop=1"), ("libx264", "intra-refresh=1"), ("libx265", "open-gop=1")],
)
def test_sampling_from_keyframes_that_are_no_clean_entries_is_as_from_the_start(
    tmp_path: Path, codec: str, how: str
) -> None:
    """Open groups: pictures lean across keyframes. Intra refresh: keyframes are not whole."""
    path = tmp_path / "a.mkv"
    params = f"{how}:keyint=12:min-keyint=12:bframes=3:scenecut=0:log-level=none"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 192, 112, "yuv420p"
        stream.codec_context.options = {"preset": "ultrafast", f"{codec[3:]}-params": params}
        for number in range(120):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        out.mux(stream.encode(None))
    index = index_of(path, 0)
    whole = dataclasses.replace(index, entries=())
    wanted = middle_frames(120, 12)

    def levels(frame: av.VideoFrame) -> NDArray[np.uint8]:
        return np.asarray(frame.to_ndarray(), np.uint8)

    same = [pick(path, 0, i, wanted, levels).taken for i in (index, whole)]
    assert all(np.array_equal(a, b) for a, b in zip(*same, strict=True))
    assert numbers_at(path, index) == wanted
    assert (len(index.entries) > 5) == (codec == "libx265")  # CRA is clean for what follows it


# The stage.


@pytest.fixture
def sampled(tmp_path: Path) -> Callable[..., tuple[Video, Any]]:
    """Gives a function that finds and samples the frames of a file, as a worker does."""
    workspace = Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")

    def run(path: Path, stage: SampleFrames) -> tuple[Video, Any]:
        video = Video(video_id="a", url=path.name, location=str(path))
        for each in (FindPicture(), stage):
            with each.open() as live:
                if video.pending:
                    video, timing = apply(each, live, video, workspace)
                    assert timing.trace is None, timing.trace
        if not video.pending:
            return video, None
        with np.load(workspace.scratch_of(video) / FILE) as held:
            return video, (held["crops"], int(held["distinct"]))

    return run


def test_sample_of_a_video_of_one_frame_is_that_frame(tmp_path: Path, sampled: Any) -> None:
    path = make_media(tmp_path / "a.mp4", times_s=[0.0], audio=False)
    video, (crops, distinct) = sampled(path, SampleFrames(12, 32))
    assert (len(crops), distinct, video.frames) == (1, 1, 1)


@pytest.mark.parametrize("preprocess", ["official", "clean"])
def test_sample_is_upright(tmp_path: Path, sampled: Any, preprocess: Any) -> None:
    stage = SampleFrames(3, 64, preprocess)
    plain = make_media(tmp_path / "a.mp4", size=(112, 192), audio=False)
    turned = make_media(tmp_path / "b.mp4", size=(112, 192), turn_deg=270, audio=False)
    _, (upright, _) = sampled(plain, stage)
    _, (lying, _) = sampled(turned, stage)
    _, (righted, _) = sampled(rotate(turned, 90), stage)
    apart = np.abs(upright.astype(int) - righted).mean()
    assert apart < 6  # two encodings of one picture
    assert np.abs(upright.astype(int) - lying).mean() > 4 * apart


def test_sample_of_a_video_with_a_hole_says_how_many_frames_it_saw(
    tmp_path: Path, sampled: Any
) -> None:
    path = make_media(tmp_path / "a.mp4", duration_s=12, keyframe_every=25, audio=False)
    data = bytearray(path.read_bytes())
    begin, size = data.index(b"mdat") + 4, len(data) // 4
    data[begin + size : begin + 2 * size] = bytes([0xA5]) * size
    path.write_bytes(data)
    _, (crops, distinct) = sampled(path, SampleFrames(12, 32))
    assert len(crops) == 12
    assert 6 <= distinct < 12


def test_sample_of_a_video_that_hardly_decodes_has_failed(tmp_path: Path, sampled: Any) -> None:
    path = make_media(tmp_path / "a.mp4", duration_s=12, keyframe_every=500, audio=False)
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 4
    data[begin + 40 : begin + len(data) // 2] = bytes(len(data) // 2 - 40)
    path.write_bytes(data)
    video, _ = sampled(path, SampleFrames(12, 32))
    assert (video.outcome, video.reason) == ("failed", "decode_failed")


def test_sample_refuses_a_strip(tmp_path: Path, sampled: Any) -> None:
    path = make_media(
        tmp_path / "a.mov", duration_s=0.2, size=(2200, 16), audio=False, codecs=("png", "aac")
    )
    video, _ = sampled(path, SampleFrames(2, 32))
    assert (video.outcome, video.reason) == ("failed", "frame_too_large")
