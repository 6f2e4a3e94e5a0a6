"""Which keyframes a decoder can enter a stream at, with the same pictures as from its start.

A container's word for it is not enough: it calls a picture a keyframe that later pictures reach
across (an open group), or that becomes whole over time (intra refresh).
"""

from __future__ import annotations

from collections.abc import Callable

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

INDEXED = ("mov", "matroska")  # containers that FFmpeg seeks by an index, to the tick
# Streams of these enter at any packet that the container calls a keyframe: their formats have no
# other kind of it. H.264 and HEVC have, so there the packet itself is looked at.
ALWAYS_CLEAN = ("vp8", "vp9", "av1", "mjpeg", "png")
IDR = 5  # nal_unit_type of H.264 (ITU-T H.264, table 7-1): a picture that nothing reaches across
H264_PICTURES = range(1, 6)
IRAP = range(16, 22)  # of HEVC (ITU-T H.265, table 7-1): what follows in presentation is clean
HEVC_PICTURES = range(32)


def entry_test(container: InputContainer, video: VideoStream) -> Callable[[Packet[Stream]], bool]:
    """Returns what tells whether a keyframe's packet needs nothing of what comes before it."""
    codec, extra = video.codec_context.codec.canonical_name, video.codec_context.extradata or b""
    if container.format.name.split(",")[0] not in INDEXED:
        return lambda _: False
    if codec in ALWAYS_CLEAN:
        return lambda _: True
    if codec == "h264" and len(extra) > 4 and extra[0] == 1:  # ISO 14496-15, 5.3.3.1.2
        size_bytes = (extra[4] & 3) + 1
        return lambda packet: (
            _first_picture(bytes(packet), size_bytes, 0x1F, 0, H264_PICTURES) == IDR
        )
    if codec == "hevc" and len(extra) > 21 and extra[0] == 1:  # ISO 14496-15, 8.3.3.1.2
        size_bytes = (extra[21] & 3) + 1
        return lambda packet: (
            _first_picture(bytes(packet), size_bytes, 0x7E, 1, HEVC_PICTURES) in IRAP
        )
    return lambda _: False


def _first_picture(data: bytes, size_bytes: int, mask: int, shift: int, pictures: range) -> int:
    """Returns the type of the first NAL unit with a part of a picture; -1 where there is none."""
    at = 0
    while at + size_bytes < len(data):
        kind = (data[at + size_bytes] & mask) >> shift
        if kind in pictures:
            return kind
        at += size_bytes + int.from_bytes(data[at : at + size_bytes], "big")
    return -1
