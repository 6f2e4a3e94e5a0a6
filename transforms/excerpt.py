"""A short piece of a video, its packets copied as they are: to try what a whole one would cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from reelscript.schemas.video import Seconds, Video
from reelscript.transforms.media import Undecodable, open_media, packets, stream_of

INTERLEAVED_S = 10.0  # picture and sound of one moment lie in the file at most so far apart


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
    try:
        with open_media(source) as container, av.open(str(target), "w", format="matroska") as out:
            picture = stream_of(container, video.video_stream or 0, VideoStream)
            sound = stream_of(container, video.audio_stream or 0, AudioStream)
            copies = {
                s.index: out.add_stream_from_template(s, opaque=True) for s in (picture, sound)
            }
            written = 0
            for packet in _piece(container, picture, sound, begin_s, max_s):
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
                written += 1
    except (av.error.FFmpegError, ValueError) as error:  # ValueError: what PyAV cannot copy
        raise Undecodable(f"no excerpt of it can be cut: {error}") from error
    if not written:
        raise Undecodable("no excerpt of it can be cut: no keyframe near its middle")
    return target


def _piece(
    container: InputContainer,
    picture: VideoStream,
    sound: AudioStream,
    begin_s: Seconds,
    max_s: Seconds,
) -> Iterator[Packet[Stream]]:
    """Yields the packets from the keyframe before `begin_s` on, in time for `max_s`."""
    container.seek(round(begin_s * av.time_base))  # backward, to a keyframe
    first_s: Seconds | None = None
    for packet in packets(container, [picture, sound]):
        if packet.pts is None or packet.dts is None:
            continue
        at_s = float(packet.pts * packet.time_base)
        if first_s is None:
            if packet.stream_index != picture.index or not packet.is_keyframe:
                continue
            first_s = at_s
        if at_s > first_s + max_s + INTERLEAVED_S:
            return
        if first_s <= at_s < first_s + max_s:
            shift = round(first_s / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            yield packet
