"""Which picture is on display when: one pass over a video stream, asked at ascending times.

A picture stands from its own time until that of the next one, whatever the stream says of its rate.
So a stream of constant rate comes out of one of variable rate, just as a player would show it.

```
decoded    A.......B..C..............D        the last one stands to the end
asked      ^    ^    ^    ^    ^    ^
given      A    A    C    C    C    D
```
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import av.error
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from reelscript.pipeline.errors import StageError
from reelscript.schemas.video import Seconds
from reelscript.transforms.media import MAX_JUMP_S, MAX_PIXELS, frame_time_s, packets, stream_of

CLOCK_S = 0.001  # Matroska rounds every time to 1 ms: a picture due within that is on display
MAX_HOLE_S = 0.5  # for which a picture may stand in for others that could not be decoded


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture; times from the start of the video's timeline.

    `after_damage`: what should have come right before it could not be decoded.
    """

    time_s: Seconds
    end_s: Seconds  # by its own duration; where it is the last one, that is where the stream ends
    frame: VideoFrame
    after_damage: bool


class FrameClock:
    """The picture on display at any of a row of ascending times.

    Decodes from the first packet on, in order, without a seek (after one, some files give green
    pictures), and one picture further than it is asked. Keeps two pictures.

    Args:
        container: opened for this alone.
        stream: index of the video stream.
        start_s: start of the video's timeline, on the container's clock.

    Attributes:
        stream: the stream; its codec context knows the colours.

    Raises:
        StageError: `frame_too_large`, or `decode_failed`: nothing decodes.
        Undecodable: there is no such video stream.
    """

    def __init__(self, container: InputContainer, stream: int, start_s: Seconds) -> None:
        self.stream = stream_of(container, stream, VideoStream)
        context = self.stream.codec_context
        if context.width * context.height > MAX_PIXELS:
            raise _too_large(context.width, context.height)
        self._container = container
        self._start_s = start_s
        self._damaged = False  # packets failed since the last picture
        self._pictures = self._decode()
        first = next(self._pictures, None)
        if first is None:
            raise StageError(
                "decode_failed", f"no picture of video stream {stream} could be decoded"
            )
        self._shown = first
        self._next: Picture | None = next(self._pictures, None)

    @property
    def damaged(self) -> bool:
        """Whether what should have come after the last picture so far could not be decoded."""
        return self._damaged

    @property
    def end_s(self) -> Seconds:
        """Where the last picture ends; infinite while others are to come."""
        return math.inf if self._next else self._shown.end_s

    def at(self, time_s: Seconds) -> VideoFrame:
        """Returns the picture on display: before the first one the first, after the last the last.

        Args:
            time_s: from the start of the video's timeline; not before the time of the call before.

        Raises:
            StageError: `decode_failed`: what should be on display could not be decoded, and what
                came before it ended more than `MAX_HOLE_S` ago.
        """
        while self._next is not None and self._next.time_s <= time_s + CLOCK_S:
            self._step(self._next)
        damaged = self._next.after_damage if self._next else self._damaged
        if damaged and time_s > self._shown.end_s + MAX_HOLE_S:
            until = f"{self._next.time_s:.2f} s" if self._next else "the end"
            raise StageError(
                "decode_failed", f"no picture decodes from {self._shown.end_s:.2f} s to {until}"
            )
        return self._shown.frame

    def rest(self) -> Iterator[Picture]:
        """Yields the picture on display and all that follow."""
        yield self._shown
        while self._next is not None:
            self._step(self._next)
            yield self._shown

    def _step(self, upcoming: Picture) -> None:
        self._shown, self._next = upcoming, next(self._pictures, None)

    def _decode(self) -> Iterator[Picture]:
        """Yields the pictures in the order in which they are shown."""
        last_s = -math.inf
        usual_s = float(1 / self.stream.average_rate) if self.stream.average_rate else 0.04
        for frame in self._frames():
            if frame.width * frame.height > MAX_PIXELS:
                raise _too_large(frame.width, frame.height)
            at_s = frame_time_s(frame)
            time_s = max(0.0, last_s + usual_s) if at_s is None else at_s - self._start_s
            if time_s > max(0.0, last_s) + MAX_JUMP_S:
                continue  # it lies about its time, and would stand in the way of all that follow
            last_s = max(last_s, time_s)  # a clock that runs backwards stands still
            stands_s = float((frame.duration or 0) * (frame.time_base or 0)) or usual_s
            yield Picture(last_s, last_s + stands_s, frame, self._damaged)
            self._damaged = False

    def _frames(self) -> Iterator[VideoFrame]:
        """Yields the frames of all packets that decode; remembers that others did not."""
        for packet in chain(packets(self._container, [self.stream]), [None]):
            try:
                frames = self.stream.codec_context.decode(packet)
            except (av.error.FFmpegError, ValueError):  # what follows may be whole
                self._damaged = True
                continue
            for frame in frames:
                frame.time_base = self.stream.time_base  # a flushed frame comes without one
                yield frame


def _too_large(width_px: int, height_px: int) -> StageError:
    found = f"a picture of {width_px} x {height_px} px"
    return StageError("frame_too_large", f"{found} has more than {MAX_PIXELS} px")
