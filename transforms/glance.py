"""A first look at the picture, through its keyframes alone: is it a still, how does it look?

Keyframes decode without the pictures between them, so a look costs a twentieth of decoding (and is
worth it before any speech recognition). Each is shrunk to a few gray pixels, and nothing more of it
is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, cast

import av.error
import numpy as np
from annotated_types import Ge, Le
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from reelscript.pipeline.errors import Reject
from reelscript.pipeline.stage import Live, Stage, threshold
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Seconds, Video
from reelscript.transforms.media import (
    Undecodable,
    decoded,
    frame_time_s,
    open_media,
    packets,
    stream_of,
)

WIDTH_PX, HEIGHT_PX = (
    36,
    32,
)  # of the small picture: four by four of its pixels are one of the hash's 9 x 8
HASHES = 16

Gray = NDArray[np.uint8]  # (HEIGHT_PX, WIDTH_PX)
Seen = list[tuple[Seconds, Gray]]  # from the start of the video's timeline


@dataclass(frozen=True)
class Glance(Stage):
    """How much of the time the picture stands still, and difference hashes of keyframes.

    Attributes:
        static_difference: two keyframes that differ by less, as the mean over pixels of the
            difference of luma on the scale 0 to 255, are the same picture. Encoding noise of a
            still measures up to 0.3, the face of somebody who speaks before a still background
            about 2.
        max_keyframes: no more are decoded; in a long video they are then thinned evenly.
        max_static_share: greatest share of the time between keyframes without a change; None: any.
    """

    static_difference: Annotated[float, Ge(0), Le(255)] = 0.5
    max_keyframes: Annotated[int, Ge(2), Le(100_000)] = 2000
    max_static_share: Annotated[float, Ge(0), Le(1)] | None = threshold(None)

    name: ClassVar[str] = "glance"
    rejects: ClassVar[tuple[str, ...]] = ("static",)
    reads: ClassVar[tuple[str, ...]] = (
        *("source_sha256", "video_stream", "start_s", "duration_s", "rotation_deg"),
    )
    writes: ClassVar[tuple[str, ...]] = ("keyframes", "static_share", "keyframe_hashes")

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""
        yield self._glance

    def judge(self, video: Video) -> None:
        """Raises Reject where the picture stands still for too much of the time."""
        limit, share = self.max_static_share, video.static_share
        if limit is not None and share is not None and share > limit:
            raise Reject("static", static_share=share, max_static_share=limit)

    def _glance(self, video: Video, workspace: Workspace) -> Video:
        duration_s = video.duration_s or 0.0
        try:
            seen = self._seen(workspace.media(video), video, duration_s)
        except Undecodable:
            seen = []  # its first picture decodes, or it would not be here; its keyframes do not
        return replace(
            video,
            keyframes=len(seen),
            static_share=static_share(seen, self.static_difference),
            keyframe_hashes="".join(f"{difference_hash(g):016x}" for g in spread(seen, duration_s))
            or None,
        )

    def _seen(self, path: Path, video: Video, duration_s: Seconds) -> Seen:
        """Returns the keyframes, small and gray and upright, in order of presentation."""
        start_s, quarters = video.start_s or 0.0, (video.rotation_deg or 0) // 90 % 4
        every_s = duration_s / self.max_keyframes
        shrink = VideoReformatter()
        seen: Seen = []
        with open_media(path) as container:
            stream = stream_of(container, video.video_stream or 0, VideoStream)
            stream.codec_context.skip_frame = "NONKEY"
            entries = _entries(packets(container, [stream]), every_s)
            for frame in decoded(stream, entries):
                at_s = frame_time_s(frame)
                if at_s is None or frame.is_corrupt or not 0 <= at_s - start_s <= duration_s:
                    continue
                gray = _small(shrink, cast(VideoFrame, frame), quarters)
                if gray is not None:
                    seen.append((at_s - start_s, gray))
                if len(seen) == self.max_keyframes:
                    break
        return sorted(seen, key=lambda one: one[0])


def _entries(source: Iterable[Packet[Stream]], every_s: Seconds) -> Iterator[Packet[Stream]]:
    """Yields the packets of keyframes that lie at least `every_s` apart."""
    last_s: Seconds | None = None
    for packet in source:
        if not packet.is_keyframe or packet.pts is None:
            continue
        at_s = float(packet.pts * packet.time_base)
        if last_s is None or abs(at_s - last_s) >= every_s:
            last_s = at_s
            yield packet


def _small(shrink: VideoReformatter, frame: VideoFrame, quarters: int) -> Gray | None:
    """Returns a picture as few gray pixels, upright, or None where it cannot be converted."""
    width, height = (HEIGHT_PX, WIDTH_PX) if quarters % 2 else (WIDTH_PX, HEIGHT_PX)
    try:
        small = shrink.reformat(
            frame, width, height, "gray", interpolation=Interpolation.AREA, threads=1
        )
    except (av.error.FFmpegError, ValueError):
        return None
    return np.rot90(cast(Gray, small.to_ndarray()), quarters).copy()


def static_share(seen: Seen, difference: float) -> float | None:
    """Returns the share (0..1) of the time from first to last keyframe in which nothing changes.

    The time from a keyframe to the next counts as still where they differ by less than `difference`
    (mean absolute difference of luma, 0..255). None with fewer than two keyframes.
    """
    still_s = whole_s = 0.0
    for (from_s, a), (to_s, b) in pairwise(seen):
        whole_s += to_s - from_s
        if np.abs(a.astype(np.int16) - b).mean() < difference:
            still_s += to_s - from_s
    return round(still_s / whole_s, 6) if whole_s > 0 else None


def spread(seen: Seen, duration_s: Seconds) -> list[Gray]:
    """Returns up to 16 keyframes: the nearest one to the middle of each sixteenth, each once."""
    if not seen:
        return []
    times = np.array([at_s for at_s, _ in seen])
    middles = (np.arange(HASHES) + 0.5) * duration_s / HASHES
    nearest = {int(np.abs(times - middle).argmin()) for middle in middles}
    return [seen[k][1] for k in sorted(nearest)]


def difference_hash(gray: Gray) -> int:
    """Returns the 64-bit difference hash: each bit says whether it grows darker to the right.

    The picture is averaged to 9 columns and 8 rows; bit by bit, from the top left, highest first,
    neighbours in a row are compared (N. Krawetz, "Kind of Like That", hackerfactor.com, 2013).
    """
    rows, columns = 8, 9
    small = gray.reshape(rows, HEIGHT_PX // rows, columns, WIDTH_PX // columns).mean(axis=(1, 3))
    bits = small[:, :-1] > small[:, 1:]
    return int("".join("1" if bit else "0" for bit in bits.reshape(-1)), 2)
