"""A short piece of a video, its packets copied as they are: to try what a whole one would cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from reelscript.schemas.video import Seconds, Video
from reelscript.transforms.frame_clock import CLOCK_S
from reelscript.transforms.media import Undecodable, open_media, packets, stream_of

INTERLEAVED_S = 10.0  # picture and sound of one moment lie in the file at most so far apart
LATE_S = 0.5  # a span may begin so long before its first picture
BACK_S = (0.0, 2.0, 10.0)  # seeks, one after the other: MPEG-TS has no index that knows keyframes
REORDERED_S = 1.0  # more than pictures are ever shown after their turn to be decoded


def cut_excerpt(source: Path, target: Path, video: Video, max_s: Seconds) -> Path:
    """Returns a file with at most `max_s` of a video, from a keyframe near its middle on.

    A video that is no longer than that is its own excerpt: then `source` is returned.

    Args:
        source: the video as a file.
        target: where to write, as Matroska, which holds nearly every codec.
        video: as probed.
        max_s: of its duration.

    Raises:
        Undecodable: it cannot be read, or Matroska does not take its codecs.
    """
    duration_s = video.duration_s or 0.0
    if duration_s <= max_s:
        return source
    begin_s = (video.start_s or 0.0) + (duration_s - max_s) / 2
    _cut(source, target, video, begin_s, lambda first_s: first_s + max_s)
    return target


def cut_span(source: Path, target: Path, video: Video, begin_s: Seconds, end_s: Seconds) -> Video:
    """Returns the record of a file that holds a span of a video, from the keyframe before it on.

    The record's timeline begins at `begin_s`: time 0 of it is `begin_s` of the video.

    Args:
        source: the video as a file.
        target: where to write, as Matroska.
        video: as probed.
        begin_s: on the video's timeline.
        end_s: likewise.

    Raises:
        Undecodable: it cannot be read there, or Matroska does not take its codecs.
    """
    zero_s = (video.start_s or 0.0) + begin_s
    last_s = zero_s + end_s - begin_s + INTERLEAVED_S / 10
    for back_s in BACK_S:
        try:
            first_s = _cut(source, target, video, zero_s - back_s, lambda _: last_s)
        except Undecodable:
            if back_s == BACK_S[-1]:
                raise
        else:
            if first_s <= zero_s + CLOCK_S:
                break
    if first_s > zero_s + LATE_S:
        raise Undecodable(f"no keyframe was found before {begin_s:.2f} s")
    return replace(
        video,
        start_s=zero_s - first_s,
        video_stream=0,
        audio_stream=None if video.audio_stream is None else 1,
        duration_s=end_s - begin_s,
    )


def _cut(
    source: Path,
    target: Path,
    video: Video,
    begin_s: Seconds,
    end_of: Callable[[Seconds], Seconds],
) -> Seconds:
    """Writes packets from the keyframe before `begin_s` on, and returns where that lies.

    Args:
        source: the video as a file.
        target: where to write.
        video: as probed.
        begin_s: on the container's clock.
        end_of: gives the end of the piece, once its beginning is known, on the same clock.
    """
    try:
        with open_media(source) as container, av.open(str(target), "w", format="matroska") as out:
            streams = _streams(container, video)
            copies = {s.index: out.add_stream_from_template(s, opaque=True) for s in streams}
            cut_s: Seconds | None = None
            for packet, first_s in _piece(container, streams, begin_s, end_of):
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
                cut_s = first_s
    except (av.error.FFmpegError, ValueError) as error:  # ValueError: what PyAV cannot copy
        raise Undecodable(f"no excerpt of it can be cut: {error}") from error
    if cut_s is None:
        raise Undecodable("no excerpt of it can be cut: no keyframe near its middle")
    return cut_s


def _streams(container: InputContainer, video: Video) -> list[Stream]:
    """Returns the picture and, if there is one, the sound."""
    streams: list[Stream] = [stream_of(container, video.video_stream or 0, VideoStream)]
    if video.audio_stream is not None:
        streams.append(stream_of(container, video.audio_stream, AudioStream))
    return streams


def _piece(
    container: InputContainer,
    streams: Sequence[Stream],
    begin_s: Seconds,
    end_of: Callable[[Seconds], Seconds],
) -> Iterator[tuple[Packet[Stream], Seconds]]:
    """Yields the packets from the keyframe before `begin_s` on, each with where that lies."""
    container.seek(round(begin_s * av.time_base))  # backward, to a keyframe
    first_s: Seconds | None = None
    untold = 0
    for packet in packets(container, streams):
        if packet.pts is None:
            continue
        at_s = float(packet.pts * packet.time_base)
        if first_s is None:
            if packet.stream_index != streams[0].index or not packet.is_keyframe:
                continue
            first_s = at_s
        if at_s > end_of(first_s) + INTERLEAVED_S:
            return
        if first_s <= at_s < end_of(first_s):
            shift = round(first_s / packet.time_base)
            if packet.dts is None:
                # After a seek Matroska does not tell it of the first pictures, until it has seen
                # how far they are reordered.
                packet.dts = shift - round(REORDERED_S / packet.time_base) + untold
                untold += 1
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            yield packet, first_s
