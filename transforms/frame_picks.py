"""Some frames of a video stream by their numbers, without decoding all others where that is safe.

A frame's number is its place in the order of presentation, as the packets of the file tell it.
Where the file has entries that are known to be clean, the decoder jumps to the last one before each
frame that is wanted; the frames are then those of a full decode, bit for bit. Whatever is not as
the index says makes it decode from the start.

```
entries    K.........K.........K.........     keyframes that refer to nothing before them
wanted         ^           ^        ^
decoded    -----       -----    (skipped) ...
```
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from reelscript.transforms.clean_entries import entry_test
from reelscript.transforms.media import decoded, open_media, packets, stream_of

Taken: TypeAlias = NDArray[np.uint8]
Take: TypeAlias = Callable[[VideoFrame], Taken]
Labelled: TypeAlias = Iterator[tuple[int, VideoFrame]]


class Unreliable(Exception):
    """A file is not as its index says: its frames have to be found another way."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameIndex:
    """The frames of a stream: a label for each, in order of presentation.

    Attributes:
        labels: int64 (frames,): when each is presented, in ticks; where a packet lacks that, they
            are numbered as they are decoded.
        timed: whether labels are times.
        entries: the times of clean keyframes, ascending; empty: decode from the start.
    """

    labels: NDArray[np.int64]
    timed: bool
    entries: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Picked:
    """What was taken of each wanted frame, in order.

    Attributes:
        taken: one a wanted frame. One that does not decode is stood in for by the last one before
            it that does, at the start by the first one after it.
        distinct: how many of the wanted frames did decode.
    """

    taken: list[Taken]
    distinct: int


def index_of(path: Path, stream: int) -> FrameIndex:
    """Returns the index of a video stream, read from its packets; nothing is decoded if they tell.

    Raises:
        Undecodable: there is no such stream, or nothing in it decodes.
    """
    times, entries = array("q"), array("q")
    with open_media(path) as container:
        video = stream_of(container, stream, VideoStream)
        is_clean = entry_test(container, video)
        timed = True
        for packet in packets(container, [video]):
            if packet.is_discard:
                continue
            if packet.pts is None:
                timed = False
                break
            times.append(packet.pts)
            if packet.is_keyframe and is_clean(packet):
                entries.append(packet.pts)
    if timed:
        return FrameIndex(np.sort(np.frombuffer(times, np.int64)), True, sorted(entries))
    return counted(path, stream)


def counted(path: Path, stream: int) -> FrameIndex:
    """Returns the index of a stream whose packets do not tell: all of it is decoded and counted."""
    with open_media(path) as container:
        frames = sum(1 for _ in decoded(stream_of(container, stream, VideoStream)))
    return FrameIndex(np.arange(frames), False)


def pick(path: Path, stream: int, index: FrameIndex, numbers: Sequence[int], take: Take) -> Picked:
    """Returns what `take` makes of some frames of a stream.

    Args:
        path: the file.
        stream: index of the video stream in it.
        index: of that stream.
        numbers: of the frames, ascending, each from 0 to below the frames there are.
        take: is called while a frame is at hand, and should keep little of it.

    Raises:
        Unreliable: times run backwards; `counted` gives an index that holds.
        Undecodable: no frame decodes.
    """
    wanted = [int(index.labels[number]) for number in numbers]
    if index.entries:
        try:
            with open_media(path) as container:
                return _jumping(container, stream, index.entries, wanted, take)
        except Unreliable:
            pass
    with open_media(path) as container:
        frames = _labelled(stream_of(container, stream, VideoStream), index.timed)
        return _in_order(frames, wanted, take)


def _jumping(
    container: InputContainer, stream: int, entries: Sequence[int], wanted: list[int], take: Take
) -> Picked:
    """Returns the wanted frames, each decoded from the last entry before it.

    Raises:
        Unreliable: a jump ends elsewhere, or a frame is not there.
    """
    video = stream_of(container, stream, VideoStream)
    frames, last, made = _labelled(video, True), -math.inf, dict[int, Taken]()
    for label in wanted:
        if label in made:
            continue
        place = bisect_right(entries, label) - 1
        if place >= 0 and entries[place] > last:
            frames = _entered(container, video, entries[place])
        found = next(((at, frame) for at, frame in frames if at >= label), None)
        if found is None or found[0] != label or found[1].is_corrupt:
            raise Unreliable
        last, made[label] = label, take(found[1])
    return Picked([made[label] for label in wanted], len(made))


def _entered(container: InputContainer, video: VideoStream, entry: int) -> Labelled:
    """Yields the frames from an entry on. Raises Unreliable where the jump ends elsewhere."""
    try:
        container.seek(entry, stream=video)
    except av.error.FFmpegError:
        raise Unreliable from None
    frames = _labelled(video, True)
    for at, frame in frames:
        if at < entry:  # leading pictures of the keyframe
            continue
        if at != entry:
            raise Unreliable
        yield at, frame
        break
    yield from frames


def _in_order(frames: Labelled, wanted: list[int], take: Take) -> Picked:
    """Returns the wanted frames of a stream that is decoded from its start.

    Raises:
        Unreliable: labels run backwards.
    """
    taken: list[Taken] = []
    exact: set[int] = set()
    before: VideoFrame | None = None
    last = -math.inf
    for at, frame in frames:
        if at < last:
            raise Unreliable
        last = at
        while len(taken) < len(wanted) and at > wanted[len(taken)]:  # that one did not decode
            taken.append(take(frame if before is None else before))
        while len(taken) < len(wanted) and at == wanted[len(taken)]:
            taken.append(taken[-1] if at in exact else take(frame))
            exact.add(at)
        if len(taken) == len(wanted):
            return Picked(taken, len(exact))
        before = frame
    if before is None:
        raise Unreliable
    stand_in = [take(before)] * (len(wanted) - len(taken))
    return Picked(taken + stand_in, len(exact))


def _labelled(video: VideoStream, timed: bool) -> Labelled:
    """Yields the frames that decode, with their times in ticks, or numbered.

    Raises:
        Unreliable: one has no time.
    """
    for number, frame in enumerate(decoded(video)):
        if not isinstance(frame, VideoFrame):
            continue
        if timed and frame.pts is None:
            raise Unreliable
        yield (frame.pts or 0) if timed else number, frame
