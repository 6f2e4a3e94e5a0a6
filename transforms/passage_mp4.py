"""One mp4: upright pictures of one size at a constant rate, and sound; always the same bytes."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from reelscript.pipeline.attempts import storage_error
from reelscript.pipeline.errors import StageError, StorageError
from reelscript.transforms.mp4_format import Format

LAYOUTS = {1: "mono", 2: "stereo"}
STRONG_SHRINK = (
    2.0  # from here on area averaging: half the cost of bicubic at 1080p, and no ringing
)
SMPTE170M = 6  # ITU-T H.273: the matrix of ITU-R BT.601
# bitexact: no version in the file. The timescale makes the edit lists exact to the sample; the
# default of 1000 cuts up to 1 ms of sound.
MUXER = {"movflags": "+faststart", "fflags": "+bitexact", "movie_timescale": "48000"}


@dataclass(frozen=True, slots=True)
class Colours:
    """Primaries, transfer and matrix (numbers of ITU-T H.273): passed on, never converted."""

    primaries: int
    transfer: int
    matrix: int

    @classmethod
    def of(cls, context: av.VideoCodecContext) -> Colours:
        """Returns those of a decoder; RGB (matrix 0) is converted to the matrix of BT.601."""
        matrix = context.colorspace or SMPTE170M
        return cls(int(context.color_primaries), int(context.color_trc), int(matrix))


class Upright:
    """Decoded pictures made upright 8-bit 4:2:0 pictures of limited range and one size.

    Args:
        width_px, height_px: of the upright picture; even.
        rotation_deg: counter-clockwise turn that makes a decoded picture upright: 0, 90, 180, 270.
    """

    def __init__(self, width_px: int, height_px: int, rotation_deg: int) -> None:
        self._quarters = rotation_deg // 90 % 4
        lies = self._quarters % 2 == 1
        self._width_px, self._height_px = (height_px, width_px) if lies else (width_px, height_px)
        self._scaler = VideoReformatter()
        self._made_of: VideoFrame | None = None
        self._made: VideoFrame | None = None

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """Returns the picture to encode; for the frame of the call before, the one made then."""
        if self._made is None or frame is not self._made_of:
            self._made_of, self._made = frame, self._make(frame)
        return self._made

    def _make(self, frame: VideoFrame) -> VideoFrame:
        shrink = min(frame.width / self._width_px, frame.height / self._height_px)
        small = self._scaler.reformat(
            frame,
            self._width_px,
            self._height_px,
            "yuv420p",
            # One matrix in and out: only RGB is converted, and no odd tag stops the scaler.
            src_colorspace=Colorspace.ITU601,
            dst_colorspace=Colorspace.ITU601,
            interpolation=Interpolation.AREA if shrink >= STRONG_SHRINK else Interpolation.BICUBIC,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        return small if self._quarters == 0 else turned(small, self._quarters)


def turned(frame: VideoFrame, quarters: int) -> VideoFrame:
    """Returns a yuv420p picture of even sides, turned counter-clockwise by so many quarters."""
    width, height = frame.width, frame.height
    luma, chroma = height * width, height * width // 4
    flat = frame.to_ndarray().reshape(-1)  # Y, U, V one after the other
    planes = (
        flat[:luma].reshape(height, width),
        flat[luma : luma + chroma].reshape(height // 2, width // 2),
        flat[luma + chroma :].reshape(height // 2, width // 2),
    )
    wide = height if quarters % 2 else width
    joined = np.concatenate([np.rot90(plane, quarters).reshape(-1) for plane in planes])
    return VideoFrame.from_ndarray(joined.reshape(-1, wide), format="yuv420p")


# x264 (of PyAV 18.1) with AVX-512 assembly gave other bytes at each run for the same pictures.
ASSEMBLY = {"x264-params": "asm=SSE4"} if platform.machine() in ("x86_64", "AMD64") else {}


def write_mp4(
    path: Path,
    form: Format,
    pictures: Iterable[VideoFrame],
    colours: Colours,
    sound: NDArray[np.int16] | None,
) -> None:
    """Writes an mp4 whose time 0 is the first picture and the first sample of sound.

    The index lies before the media, and packets stand in the order of their decoding times.
    The delays of B-frames and of the AAC encoder (1024 samples) are taken back by edit lists.

    Args:
        path: where to; the folder exists.
        form: what it is to be.
        pictures: as `Upright` makes them; one may come several times running.
        colours: of the pictures.
        sound: (samples, channels), as long as the pictures; None: no sound.

    Raises:
        StageError: `encode_failed`: an encoder refuses.
        StorageError: the disk refuses.
    """
    try:
        with av.open(str(path), "w", format="mp4", options=MUXER) as container:
            packets = _video_packets(container, form, pictures, colours)
            if sound is not None:
                packets += _audio_packets(container, form, sound)
            for packet in sorted(packets, key=decoding_order):
                container.mux(packet)
    except av.error.FFmpegError as error:
        raise not_written(path, error) from error


def not_written(path: Path, error: av.error.FFmpegError) -> StageError | StorageError:
    """Returns who is to blame for an mp4 that could not be written: its picture, or the disk."""
    if isinstance(error, OSError):
        return storage_error(f"write {path}", error, path.parent)
    return StageError("encode_failed", f"{path.name}: {error.strerror or error}")


def decoding_order(packet: Packet[Stream]) -> tuple[float, int]:
    """Returns what the packets of an mp4 are sorted by."""
    return float((packet.dts or 0) * packet.time_base), packet.stream_index


def _video_packets(
    container: OutputContainer, form: Format, pictures: Iterable[VideoFrame], colours: Colours
) -> list[Packet[Stream]]:
    stream = h264_stream(container, form, colours, 1 / form.fps)
    packets: list[Packet[Stream]] = []
    for k, picture in enumerate(pictures):
        picture.pts, picture.time_base = k, stream.codec_context.time_base
        picture.pict_type = 0  # else the source's keyframes would be forced on the encoder
        packets += stream.encode(picture)
    return packets + stream.encode(None)


def h264_stream(
    container: OutputContainer, form: Format, colours: Colours, tick_s: Fraction, **options: str
) -> VideoStream:
    """Returns a new stream of H.264, encoded on one thread: the same bytes every time.

    Args:
        container: where it is to be.
        form: what it is to be.
        colours: of its pictures.
        tick_s: in which its pictures are timed.
        options: more of them for x264.
    """
    stream = container.add_stream("libx264", rate=form.fps)
    context = stream.codec_context
    stream.width, stream.height, stream.pix_fmt = form.width_px, form.height_px, "yuv420p"
    # a53cc: captions inside the source's pictures are not carried over; nobody has judged them.
    usual = {"preset": form.preset, "crf": str(form.crf), "a53cc": "0"}
    if form.tune is not None:
        usual["tune"] = form.tune
    stream.options = {**usual, **ASSEMBLY, **options}
    context.gop_size = form.keyframe_every
    context.time_base = tick_s
    context.thread_type, context.thread_count = "NONE", 1  # x264 gives other bytes with two threads
    context.flags |= Flags.bitexact | Flags.closed_gop
    context.color_range = ColorRange.MPEG
    context.color_primaries, context.color_trc = colours.primaries, colours.transfer
    context.colorspace = colours.matrix
    return stream


def _audio_packets(
    container: OutputContainer, form: Format, sound: NDArray[np.int16]
) -> list[Packet[Stream]]:
    stream = aac_stream(container, form)
    return [*stream.encode(sound_frame(sound, form, 0)), *stream.encode(None)]


def aac_stream(container: OutputContainer, form: Format) -> AudioStream:
    """Returns a new stream of AAC."""
    layout = LAYOUTS[form.audio_channels]
    stream = container.add_stream("aac", rate=form.audio_rate_hz, layout=layout)
    stream.bit_rate = form.audio_bits_per_s
    # The "fast" coder costs 0.4 of the default one; FFmpeg's manual prefers it from 64 kb/s on.
    stream.options = {"aac_coder": "fast"}
    stream.codec_context.flags |= Flags.bitexact
    return stream


def sound_frame(sound: NDArray[np.int16], form: Format, first: int) -> av.AudioFrame:
    """Returns sound (samples, channels) for an encoder; sample 0 is sample `first` of the mp4."""
    layout = LAYOUTS[form.audio_channels]
    frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="s16", layout=layout)
    frame.sample_rate = form.audio_rate_hz
    frame.pts, frame.time_base = first, Fraction(1, form.audio_rate_hz)
    return frame
