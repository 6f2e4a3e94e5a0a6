"""Writes a proxy: the pictures of a source with the times that they have, and finished sound.

Without B-frames, so that packets stand in the order of the pictures, and a picture lasts in the mp4
exactly until the next one. Where pictures of the source did not decode, there is a packet that does
not decode either: whoever reads the proxy meets the same hole.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from reelscript.schemas.video import Seconds
from reelscript.transforms.frame_clock import FrameClock
from reelscript.transforms.media import open_media, packets, stream_of
from reelscript.transforms.mp4_format import Format
from reelscript.transforms.passage_mp4 import (
    Colours,
    Upright,
    decoding_order,
    h264_stream,
    not_written,
)

MIN_TICKS_PER_S = 10_000  # FFmpeg doubles those of a picture track until they are so many
MAX_TICKS_PER_S = 3_500_000  # 600 s (MAX_JUMP_S) of them must fit 31 bits
MAX_MOVIE_TICKS_PER_S = 2**31 - 1
UNDECODABLE = b"\0\0\0\1\x1f\xff\xff\xff"  # a NAL unit of a type that is none (ITU-T H.264, 7.4.1)
Row = Iterator[tuple[int, int, VideoFrame | None]]


def write_proxy(
    path: Path,
    clock: FrameClock,
    form: Format,
    rotation_deg: int,
    begin_s: Seconds,
    sound: Path | None,
) -> None:
    """Writes the proxy: stream 0 is the picture, stream 1 the sound.

    Args:
        path: where to; the folder exists.
        clock: of the source; all its pictures are taken.
        form: what the picture is to be; its rate is a mere hint.
        rotation_deg: counter-clockwise turn that makes a decoded picture upright.
        begin_s: where the video's timeline starts on the proxy's clock.
        sound: a file that holds the sound, on the proxy's clock; None: no sound.

    Raises:
        StageError: `encode_failed`: an encoder refuses; what `clock` raises.
        StorageError: the disk refuses.
    """
    upright = Upright(form.width_px, form.height_px, rotation_deg)
    if sound is None:
        _write(path, clock, form, upright, begin_s, None)
        return
    with open_media(sound) as heard:
        _write(path, clock, form, upright, begin_s, stream_of(heard, 0, AudioStream))


def _write(
    path: Path,
    clock: FrameClock,
    form: Format,
    upright: Upright,
    begin_s: Seconds,
    sound: AudioStream | None,
) -> None:
    ticks_per_s = _ticks_per_s(Fraction(clock.stream.time_base or 1))
    colours = Colours.of(clock.stream.codec_context)
    try:
        with av.open(str(path), "w", format="mp4", options=_muxer(ticks_per_s, sound)) as out:
            stream = h264_stream(out, form, colours, Fraction(1, ticks_per_s), bf="0")
            tracks = [_encoded(stream, _row(clock, begin_s, ticks_per_s), upright, ticks_per_s)]
            if sound is not None:
                tracks.append(_copied(sound, out.add_stream_from_template(sound)))
            for packet in heapq.merge(*tracks, key=decoding_order):
                out.mux(packet)
    except av.error.FFmpegError as error:
        raise not_written(path, error) from error


def _ticks_per_s(tick_s: Fraction) -> int:
    """Returns a clock in which every time of the source's clock is a whole number, if there is one.

    So a picture has the same time to the last bit, and none that is due at just the time at which
    it is asked for comes a picture later.
    """
    ticks = tick_s.denominator
    if ticks > MAX_TICKS_PER_S:
        return 1_000_000
    while ticks < MIN_TICKS_PER_S:
        ticks *= 2
    return ticks


def _muxer(ticks_per_s: int, sound: AudioStream | None) -> dict[str, str]:
    """Returns the muxer's options: tracks start exactly where they should (edit lists)."""
    rate_hz = 1 if sound is None else Fraction(sound.time_base or 1).denominator
    both = math.lcm(ticks_per_s, rate_hz)
    movie = both if both <= MAX_MOVIE_TICKS_PER_S else ticks_per_s
    return {"fflags": "+bitexact", "movie_timescale": str(movie)}


def _row(clock: FrameClock, begin_s: Seconds, ticks_per_s: int) -> Row:
    """Yields pictures with the ticks at which they begin and end; None for a picture: a hole.

    Of pictures with one and the same time only the last is ever on display: the others are left
    out.
    """

    def tick(time_s: Seconds) -> int:
        return max(0, round((time_s + begin_s) * ticks_per_s))

    pictures = clock.rest()
    shown = next(pictures)
    for picture in pictures:
        begin, end, after = tick(shown.time_s), tick(shown.end_s), tick(picture.time_s)
        if begin < after:
            hole = picture.after_damage and begin < end < after
            yield begin, end if hole else after, shown.frame
            if hole:
                yield end, after, None
        shown = picture
    begin, end = tick(shown.time_s), max(tick(shown.end_s), tick(shown.time_s) + 1)
    yield begin, end, shown.frame
    if clock.damaged:
        yield end, end + 1, None


def _encoded(
    stream: VideoStream, row: Row, upright: Upright, ticks_per_s: int
) -> Iterator[Packet[Stream]]:
    """Yields the packets of the picture, and those of the holes in between."""
    lasts: dict[int, int] = {}  # of the pictures that are inside the encoder
    holes: deque[int] = deque()

    def in_order(made: list[Packet[Stream]]) -> Iterator[Packet[Stream]]:
        for packet in made:
            at = packet.pts or 0
            while holes and holes[0] < at:
                yield _hole(stream, holes.popleft())
            packet.duration = lasts.pop(at)
            yield packet

    second = None
    for begin, end, frame in row:
        if frame is None:
            holes.append(begin)
            continue
        lasts[begin] = end - begin
        picture = upright(frame)
        picture.pts, picture.time_base = begin, stream.codec_context.time_base
        first = second != begin // ticks_per_s  # of a second: a keyframe
        second = begin // ticks_per_s
        picture.pict_type = PictureType.I if first else PictureType.NONE
        yield from in_order(stream.encode(picture))
    yield from in_order(stream.encode(None))
    yield from (_hole(stream, at) for at in holes)


def _hole(stream: VideoStream, at: int) -> Packet[Stream]:
    packet: Packet[Stream] = Packet(UNDECODABLE)
    packet.stream, packet.time_base = stream, stream.codec_context.time_base
    packet.pts = packet.dts = at
    packet.duration = 1
    return packet


def _copied(source: AudioStream, target: AudioStream) -> Iterator[Packet[Stream]]:
    """Yields the packets of a stream for another one."""
    container = source.container
    assert isinstance(container, InputContainer)
    for packet in packets(container, [source]):
        packet.stream = target
        yield packet
