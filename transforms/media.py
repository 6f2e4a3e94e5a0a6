"""The one door through which a source media file is opened: that file, and nothing else.

A media file may be a script in disguise: a playlist or a concat list that names other files or the
network. So only demuxers of self-contained files are let in, and only the file protocol. Sizes are
bounded before anything is decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TypeVar, cast

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.frame import Frame
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from reelscript.transforms.mp4_claims import overclaim

MAX_PIXELS = 8192 * 4320  # DCI 8K; one decoded picture of it takes about 50 MB (yuv420p)
MAX_JUMP_S = 600.0  # what claims to lie further behind what came before it lies about its time
MAX_READ_ERRORS = 64  # damaged stretches of one file that are stepped over
DEMUXERS = (
    *(
        "mov",
        "matroska",
        "webm",
        "avi",
        "mpeg",
        "mpegts",
        "flv",
        "ogg",
        "asf",
    ),  # the extensions of the contract
    *("mp3", "wav", "flac", "aac"),  # sound alone, so that it can be called by its name: no video
)
_CONTAINER_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(DEMUXERS),
    "max_streams": "100",
    "probesize": "10000000",  # bytes read to find out what the streams are
    "analyzeduration": "10000000",  # microseconds
}
_CODEC_OPTIONS = {"max_pixels": str(MAX_PIXELS)}

S = TypeVar("S", bound=Stream)


class Undecodable(Exception):
    """The file is no media file, or is damaged beyond use, or wants what is not allowed to it."""


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Gives the opened file; each stream decodes on one thread.

    A file whose demuxer is not in `DEMUXERS` (playlists, concat scripts, image sequences, captures)
    is refused, and so is every protocol but `file`.

    Raises:
        Undecodable: FFmpeg cannot open it, or an error of FFmpeg's left the `with` block.
        OSError: there is no such file, or it may not be read.
    """
    if not path.is_file():
        if path.exists():
            raise Undecodable("it is no regular file")
        raise FileNotFoundError(f"there is no file {path.name}")
    if claim := overclaim(path):
        raise Undecodable(claim)
    try:
        # An absolute path starts with a slash: no name can pass for a protocol such as concat:
        with av.open(
            str(path.absolute()),
            options=_CODEC_OPTIONS,
            container_options=_CONTAINER_OPTIONS,
            metadata_errors="replace",
        ) as container:
            for stream in container.streams:
                if isinstance(stream, AudioStream | VideoStream) and has_decoder(stream):
                    stream.codec_context.thread_type = "NONE"
                    stream.codec_context.thread_count = 1
                    stream.codec_context.options = dict(_CODEC_OPTIONS)
            yield container
    except av.error.FFmpegError as error:
        raise Undecodable(str(error.strerror or error)) from error


def has_decoder(stream: Stream) -> bool:
    """Returns whether this FFmpeg can decode the stream's codec."""
    return cast(object, stream.codec_context) is not None


def stream_of(container: InputContainer, index: int, kind: type[S]) -> S:
    """Returns the stream with that index, of that kind, with a decoder.

    Raises:
        Undecodable: there is none.
    """
    if index < len(container.streams):
        stream = container.streams[index]
        if isinstance(stream, kind) and has_decoder(stream):
            return stream
    raise Undecodable(f"stream {index} is no {kind.__name__} that can be decoded")


def frame_time_s(frame: Frame) -> float | None:
    """Returns when a frame is presented, in seconds on the container's clock; None: not said."""
    pts = frame.pts if frame.pts is not None else frame.dts
    return None if pts is None or frame.time_base is None else float(pts * frame.time_base)


def packets(container: InputContainer, streams: Iterable[Stream]) -> Iterator[Packet[Stream]]:
    """Yields the packets of some streams as they lie in the file, stepping over damaged stretches.

    Flushing packets, which hold nothing, are left out.
    """
    wanted = tuple(streams)
    for _ in range(MAX_READ_ERRORS):
        try:
            yield from (packet for packet in container.demux(wanted) if packet.size)
        except av.error.FFmpegError:
            continue  # demux() goes on behind what it could not read
        return


def decoded(stream: S, these: Iterable[Packet[Stream]] | None = None) -> Iterator[Frame]:
    """Yields the frames of a stream as they are presented; packets that do not decode are skipped.

    Args:
        stream: of a container given by `open_media`.
        these: its packets; default: all that the container still holds.

    Raises:
        Undecodable: there were packets, and none of them gave a frame.
    """
    codec = cast(AudioStream | VideoStream, stream).codec_context
    source = packets(cast(InputContainer, stream.container), [stream]) if these is None else these
    frames = tried = 0
    for packet in _and_flush(source):
        tried += packet is not None
        try:
            found: list[Frame] = list(codec.decode(packet))
        except (av.error.FFmpegError, ValueError):
            continue
        frames += len(found)
        for frame in found:
            frame.time_base = cast(Fraction, stream.time_base)  # a flushed one comes without
            yield frame
    if tried and not frames:
        raise Undecodable(f"none of {tried} packets of stream {stream.index} decodes")


def _and_flush(source: Iterable[Packet[Stream]]) -> Iterator[Packet[Stream] | None]:
    """Yields the packets and then None, by which a decoder gives the frames that it holds back."""
    yield from source
    yield None
