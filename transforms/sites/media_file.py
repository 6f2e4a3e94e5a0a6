"""Files as a site sends them: how much of them is there, and picture and sound put together."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import cast

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from reelscript.pipeline.errors import StageError
from reelscript.schemas.video import Seconds
from reelscript.transforms.media import Undecodable, open_media, packets

MUXER = {"fflags": "+bitexact"}  # no random ids: the same parts give the same bytes
SAME_CLOCK_S = 0.5
"""Streams of one clock begin closer together than this (delayed frames, padding of the encoder);
those further apart count from different zeros, as packed sound of HLS does beside MPEG-TS."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long a file plays, and how long it says it would, in seconds; None: it does not say."""

    played_s: Seconds
    stated_s: Seconds | None


def lengths(path: Path) -> Lengths | None:
    """Returns how long a file plays by its packets, None where it cannot be opened.

    Nothing is decoded.
    """
    try:
        with open_media(path) as container:
            streams = _pictures_and_sounds(container)
            stated_s = max((s for s in map(_stated_s, streams) if s is not None), default=None)
            first_s, last_s = inf, -inf
            for packet in packets(container, streams):
                begin_s, end_s = _span_s(packet)
                first_s, last_s = min(first_s, begin_s), max(last_s, end_s)
            return Lengths(max(0.0, last_s - first_s), stated_s)
    except Undecodable:
        return None


def merge(picture: Path, sound: Path, target: Path) -> None:
    """Writes the picture of one file and the sound of another into a Matroska file, as they are.

    Raises:
        StageError: `merge_failed`.
        OSError: it cannot be written.
    """
    try:
        with (
            open_media(picture) as pictures,
            open_media(sound) as sounds,
            av.open(str(target), "w", format="matroska", options=MUXER) as merged,
        ):
            sources: list[Stream] = [*pictures.streams.video[:1], *sounds.streams.audio[:1]]
            if len(sources) < 2:
                raise StageError("merge_failed", "one of them holds neither picture nor sound")
            starts_s = [_start_s(stream) for stream in sources]
            if max(starts_s) - min(starts_s) <= SAME_CLOCK_S:
                starts_s = [min(starts_s)] * 2
            targets = [merged.add_stream_from_template(s, opaque=True) for s in sources]
            moved = map(_moved, sources, targets, starts_s)
            for packet in heapq.merge(*moved, key=_due):
                merged.mux(packet)
    except (Undecodable, av.error.FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and error.filename == str(target):
            raise OSError(error.errno, error.strerror) from error
        raise StageError("merge_failed", f"picture and sound do not fit: {error}") from error


def _pictures_and_sounds(container: InputContainer) -> list[VideoStream | AudioStream]:
    """Returns the first stream of each kind, the picture first."""
    return [*container.streams.video[:1], *container.streams.audio[:1]]


def _moved(source: Stream, target: Stream, zero_s: Seconds) -> Iterator[Packet[Stream]]:
    """Yields the packets of a stream for another one, on a clock that begins at `zero_s`.

    Segments that overlap a little, as those of HLS may, are moved behind each other.

    Raises:
        StageError: `merge_failed`: its times are missing, or run back.
    """
    last = None
    for packet in packets(cast(InputContainer, source.container), [source]):
        if packet.pts is None or packet.dts is None:
            raise StageError("merge_failed", f"{source.type} without times")
        ticks = round(zero_s / packet.time_base)
        packet.pts -= ticks
        packet.dts -= ticks
        if last is not None and packet.dts <= last:
            if (last - packet.dts) * packet.time_base > SAME_CLOCK_S:
                raise StageError("merge_failed", f"{source.type} whose time runs back")
            packet.dts = last + 1
            packet.pts = max(packet.pts, packet.dts)
        last = packet.dts
        packet.stream = target
        yield packet


def _due(packet: Packet[Stream]) -> tuple[float, int]:
    return float((packet.dts or 0) * packet.time_base), packet.stream_index


def _start_s(stream: Stream) -> Seconds:
    return float((stream.start_time or 0) * (stream.time_base or 0))


def _stated_s(stream: Stream) -> Seconds | None:
    if stream.duration is None or stream.time_base is None:
        return None
    return float(stream.duration * stream.time_base)


def _span_s(packet: Packet[Stream]) -> tuple[Seconds, Seconds]:
    """Returns when a packet begins and ends; neither where it does not say."""
    at = packet.pts if packet.pts is not None else packet.dts
    if at is None:
        return inf, -inf
    return float(at * packet.time_base), float((at + (packet.duration or 0)) * packet.time_base)
