"""Sources whose every picture says its number, and what a test reads back of their passages."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Passage
from reelscript.schemas.sample import Encoding
from reelscript.schemas.video import Video
from reelscript.transforms.encode import Encode

WIDTH, HEIGHT = 128, 96
BITS = 8
Image = NDArray[np.uint8]


def opened(*arguments: Any, **more: Any) -> Any:
    """PyAV's container, of which a test knows more than its types say."""
    return av.open(*arguments, **more)


# Media whose every picture says its own number.


def numbered(index: int, width: int = WIDTH, height: int = HEIGHT) -> Image:
    """A grey picture in which `index` stands as 4 x 2 black or white fields, lowest bit first."""
    cells = np.array([index >> bit & 1 for bit in range(BITS)], np.uint8).reshape(2, 4) * 219 + 16
    rows, columns = np.arange(height) * 2 // height, np.arange(width) * 4 // width
    return cells[rows][:, columns]


def number_in(grey: Image) -> int:
    """The number that `numbered` wrote, from the middle of each field."""
    height, width = grey.shape
    rows, columns = [height // 4, 3 * height // 4], [width * (2 * c + 1) // 8 for c in range(4)]
    bits = [int(grey[r - 2 : r + 2, c - 2 : c + 2].mean() > 125) for r in rows for c in columns]
    return sum(bit << i for i, bit in enumerate(bits))


def beep(start_s: float, end_s: float, length_s: float, rate: int = 16000) -> NDArray[np.int16]:
    """Silence with a 1 kHz tone from `start_s` to `end_s`."""
    t = np.arange(round(length_s * rate)) / rate
    tone = np.sin(2 * np.pi * 1000 * t) * 12000 * ((t >= start_s) & (t < end_s))
    return tone.astype(np.int16)


def make_media(
    path: Path,
    ticks: Sequence[int],
    time_base: Fraction,
    picture: Callable[[int], Image] = numbered,
    sound: NDArray[np.int16] | None = None,
    sound_at_s: float = 0.0,
    codec: str = "libx264",
    fps: Fraction = Fraction(30),
    **options: str,
) -> Path:
    """Writes a source: picture i at `ticks[i] * time_base`, mono 16 kHz sound."""
    rate = 16000
    with opened(str(path), "w", options=options) as container:
        height, width = picture(0).shape
        video = container.add_stream(codec, rate=fps)
        video.width, video.height = width, height
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if codec == "libx264":
            video.options = {"preset": "ultrafast", "crf": "12", "bf": "2"}
        video.codec_context.time_base = time_base
        audio = None
        if sound is not None:
            name = "pcm_s16le" if path.suffix == ".mkv" else "aac"
            audio = container.add_stream(name, rate=rate, layout="mono")
        for i, tick in enumerate(ticks):
            grey = np.full((height * 3 // 2, width), 128, np.uint8)
            grey[:height] = picture(i)
            frame = av.VideoFrame.from_ndarray(grey, format="yuv420p")
            frame.pts, frame.time_base = tick, time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None and sound is not None:
            for at in range(0, len(sound), 1024):
                block = av.AudioFrame.from_ndarray(
                    sound[None, at : at + 1024], format="s16", layout="mono"
                )
                block.sample_rate, block.time_base = rate, Fraction(1, rate)
                block.pts = round(sound_at_s * rate) + at
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
    return path


def constant(path: Path, fps: Fraction, length_s: float, **more: Any) -> Path:
    return make_media(path, range(round(length_s * fps)), 1 / fps, fps=fps, **more)


# What a test knows of a source and of what came out.


def source_times(path: Path, stream: int | None = None) -> list[float]:
    """When each picture of a source is presented, by its packets alone."""
    with opened(str(path)) as container:
        video = container.streams.video[0] if stream is None else container.streams[stream]
        return sorted(
            float(p.pts * p.time_base) for p in container.demux(video) if p.pts is not None
        )


def expected_picture(times: Sequence[float], at_s: float) -> int:
    """The naive rule: the last picture whose time has come, to the ms of Matroska's clock."""
    return max([i for i, t in enumerate(times) if t <= at_s + 0.001], default=0)


@dataclass
class Output:
    """One mp4, decoded by plain PyAV."""

    encoding: Encoding
    data: bytes
    times: list[float]
    keys: list[float]
    grey: list[Image]
    fps: Fraction
    size: tuple[int, int]
    codecs: tuple[str, ...]
    sound: NDArray[np.float32]
    sound_s: float
    video_s: float
    colour_range: int

    @property
    def numbers(self) -> list[int]:
        return [number_in(g) for g in self.grey]


def read_mp4(encoding: Encoding, data: bytes, path: Path) -> Output:
    path.write_bytes(data)
    with opened(str(path)) as container:
        video = container.streams.video[0]
        frames = list(container.decode(video))
        context = video.codec_context
        fps, size = Fraction(video.average_rate), (context.width, context.height)
        video_s, colour_range = float(video.duration * video.time_base), context.color_range
        codecs = tuple(s.codec_context.name for s in container.streams)
        assert all(f.format.name == "yuv420p" for f in frames)
    sound, sound_s = np.zeros(0, np.float32), 0.0
    if len(codecs) > 1:
        with opened(str(path)) as container:
            audio = container.streams.audio[0]
            blocks = list(container.decode(audio))
            assert blocks[0].pts == 0
            sound = np.concatenate([b.to_ndarray()[0] for b in blocks])
            sound_s = float(audio.duration * audio.time_base)
    return Output(
        encoding=encoding,
        data=data,
        times=[float(f.time) for f in frames],
        keys=[float(f.time) for f in frames if f.key_frame],
        grey=[f.to_ndarray()[: f.height] for f in frames],
        fps=fps,
        size=size,
        codecs=codecs,
        sound=sound,
        sound_s=sound_s,
        video_s=video_s,
        colour_range=colour_range,
    )


class Bench:
    """A workspace and a source at hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = Workspace(Store(str(folder / "work")), folder / "scratch")

    def video(self, path: Path, *spans: tuple[float, float], **facts: Any) -> Video:
        """The record that the stages before would have made, from plain PyAV."""
        with opened(str(path)) as container:
            wanted = facts.get("video_stream", container.streams.video[0].index)
            video = next(s for s in container.streams.video if s.index == wanted)
            audio = next(iter(container.streams.audio), None)
            frame = next(container.decode(video))
            starts = [s.start_time * s.time_base for s in (video, audio) if s is not None]
            turn = round(frame.rotation) % 360
            size = (frame.width, frame.height) if turn % 180 == 0 else (frame.height, frame.width)
            found: dict[str, Any] = {
                "video_stream": video.index,
                "audio_stream": audio and audio.index,
                "audio_channels": audio and audio.channels,
                "start_s": float(min(starts)),
                "duration_s": float(container.duration / av.time_base),
                "fps": float(video.average_rate),
                "width_px": size[0],
                "height_px": size[1],
                "rotation_deg": turn,
            }
        passages = [Passage(f"v-{round(a * 1000):09d}", a, b, "train", [0]) for a, b in spans]
        return Video(
            video_id="v",
            url=path.name,
            location=str(path),
            source_sha256="0" * 64,
            passages=self.workspace.put_record(passages),
            **(found | facts),
        )

    def encode(self, video: Video, stage: Encode | None = None) -> list[Output]:
        with (stage or Encode()).open() as live:
            after = live(video, self.workspace)
        encodings = self.workspace.get_records(Encoding, after.encodings)
        return [read_mp4(e, self.workspace.get(e.mp4), self.folder / "read.mp4") for e in encodings]


def check_shape(out: Output, length_s: float, fps: Fraction) -> None:
    """Everything that holds for every mp4 whatever its source."""
    frames = max(1, round(length_s * fps))
    assert out.fps == fps
    assert len(out.times) == frames == out.encoding.frames
    assert out.times == pytest.approx([k / fps for k in range(frames)], abs=1e-6)
    assert out.video_s == pytest.approx(frames / fps, abs=1e-3)
    assert out.encoding.duration_s == pytest.approx(frames / fps)
    assert out.size == (out.encoding.width_px, out.encoding.height_px)
    assert min(out.size) == 256
    assert not any(side % 2 for side in out.size)
    assert out.codecs == (("h264", "aac") if out.encoding.has_audio else ("h264",))
    assert out.keys[0] == 0.0
    assert max(np.diff([*out.keys, out.video_s])) <= 1 + 1e-6
    assert out.colour_range != 2  # full; H.264 takes a stream that says nothing for limited
    boxes = top_boxes(out.data)
    assert boxes.index("moov") < boxes.index("mdat")
    assert b"Lavf" not in out.data
    assert b"Lavc" not in out.data
    assert b" threads=1 " in out.data  # what x264 writes of its settings
    assert out.encoding.mp4_bytes == len(out.data)
    if out.encoding.has_audio:
        assert out.sound_s == pytest.approx(frames / fps, abs=1e-4)
        assert 0 <= len(out.sound) - out.sound_s * 48000 < 1024 + 1


def top_boxes(data: bytes) -> list[str]:
    """The names of an mp4's outermost boxes, in order (ISO 14496-12, 4.2)."""
    at, names = 0, []
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        names.append(name.decode())
        at += size
    return names


def damaged(path: Path, bad: range, late: int | None = None) -> Path:
    """A source of 3 s at 25 fps of PNGs; those of `bad` are noise, `late` comes 1000 s late."""
    noise = np.random.default_rng(3).bytes(400)
    with opened(str(path), "w") as container:
        video = container.add_stream("png", rate=25)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "gray"
        for i in range(75):
            frame = av.VideoFrame.from_ndarray(numbered(i), format="gray")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            for packet in video.encode(frame):
                if i in bad:
                    worse = av.Packet(noise)
                    worse.stream, worse.time_base = video, packet.time_base
                    worse.pts, worse.dts = packet.pts, packet.dts
                    packet = worse
                packet.pts += 25_000 * (i == late)
                container.mux(packet)
    return path
