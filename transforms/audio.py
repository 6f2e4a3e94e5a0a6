"""Sound on the video's clock.

An audio stream may start later than the picture, have holes, overlap itself, or jump. What a
decoder gives, put end to end, then comes too early, and so would every word. Here each decoded
frame is placed by its presentation time:

```
container clock     start_s
                       |--- silence ---|##### run #####|- silence -|#### run ####|
audio frames                           a a a a a a a a  (a hole)    a a a a a a
```

A run is a stretch of frames that follow one another; it is resampled as a whole, so that no click
arises inside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import cast

import av.error
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from reelscript.schemas.video import Seconds
from reelscript.transforms.media import MAX_JUMP_S, decoded, frame_time_s, open_media, stream_of

JITTER_S = 0.04  # timestamps that are off by less are rounding: one picture at 25 fps
BLOCK_S = 1.0  # how much is resampled at once
SPEECH_RATE_HZ = 16000
LAYOUTS = {1: "mono", 2: "stereo"}

Samples = NDArray[np.int16]  # (samples, channels)


def read_audio(
    path: Path,
    stream: int,
    start_s: Seconds,
    rate_hz: int,
    channels: int,
    max_s: Seconds | None = None,
) -> Iterator[Samples]:
    """Yields the sound of one stream in consecutive blocks (samples, channels) of about a second.

    Sample k of all blocks put together is what is heard at `start_s + k / rate_hz` on the
    container's clock. Where the stream has nothing there is silence; what lies before `start_s`,
    and what a stream says twice, is cut. Packets that do not decode leave a hole. Timestamps that
    are off by less than `JITTER_S` are not acted upon.

    Args:
        path: the media file.
        stream: index of the audio stream in the container.
        start_s: where sample 0 lies, in seconds on the container's clock.
        rate_hz: samples a second to give.
        channels: 1 or 2; others are mixed down or spread by FFmpeg's rules.
        max_s: give no more than this, and pass over frames that claim to lie beyond it. Without it,
            a stream that claims to start in a year is preceded by a year of silence.

    Raises:
        Undecodable: the file cannot be opened, the stream is no audio, or nothing in it decodes.
    """
    end = None if max_s is None else round(max_s * rate_hz)
    given = 0  # samples yielded so far
    for first, block in _placed(path, stream, start_s, rate_hz, channels):
        block = block[max(0, given - first) :]
        if not len(block) or (end is not None and first >= end):
            continue
        for piece in chain(_silence(given, first, rate_hz, channels), [block]):
            piece = piece if end is None else piece[: end - given]
            given += len(piece)
            yield piece
            if given == end:
                return


def whole_audio_16k(path: Path, stream: int, start_s: Seconds, duration_s: Seconds) -> Samples:
    """Returns mono sound at 16 kHz from `start_s` on: `round(duration_s * 16000)` samples, flat.

    Placed as in `read_audio`; behind the end of the stream lies silence.
    """
    whole = np.zeros(round(duration_s * SPEECH_RATE_HZ), np.int16)
    at = 0
    for block in read_audio(path, stream, start_s, SPEECH_RATE_HZ, 1, max_s=duration_s):
        whole[at : at + len(block)] = block[:, 0]
        at += len(block)
    return whole


def _silence(given: int, first: int, rate_hz: int, channels: int) -> Iterator[Samples]:
    """Yields zeros from sample `given` to sample `first`, in pieces of at most ten seconds."""
    for at in range(given, first, 10 * rate_hz):
        yield np.zeros((min(10 * rate_hz, first - at), channels), np.int16)


def _placed(
    path: Path, stream: int, start_s: Seconds, rate_hz: int, channels: int
) -> Iterator[tuple[int, Samples]]:
    """Yields resampled blocks, each with the number of its first sample (it may be negative)."""
    run: _Run | None = None
    furthest_s = math.inf  # how far the stream has come
    with open_media(path) as container:
        for frame in decoded(stream_of(container, stream, AudioStream)):
            frame = cast(AudioFrame, frame)
            at_s = frame_time_s(frame)
            if at_s is not None and at_s > furthest_s + MAX_JUMP_S:
                continue
            ahead_s = 0.0 if run is None or at_s is None else at_s - run.end_s
            if run is None or abs(ahead_s) > JITTER_S or not run.fits(frame):
                # A frame without a time goes on where the last one ended.
                begin_s = at_s if at_s is not None else start_s if run is None else run.end_s
                if run is not None:
                    yield from run.finish()
                run = _Run(frame, begin_s, start_s, rate_hz, channels)
            yield from run.add(frame)
            furthest_s = run.end_s if furthest_s == math.inf else max(furthest_s, run.end_s)
        if run is not None:
            yield from run.finish()


class _Run:
    """Frames that follow one another, of one format, on their way through one resampler."""

    def __init__(
        self, frame: AudioFrame, begin_s: Seconds, start_s: Seconds, rate_hz: int, channels: int
    ) -> None:
        self.format = _format(frame)
        self.begin_s = begin_s
        self.taken = 0  # samples in, at the source's rate
        self.next = round((begin_s - start_s) * rate_hz)  # where the next sample out belongs
        self.channels = channels
        self.fifo = AudioFifo()
        self.resampler = AudioResampler(format="s16", layout=LAYOUTS[channels], rate=rate_hz)

    @property
    def end_s(self) -> Seconds:
        """Where the next frame should start, on the container's clock."""
        return self.begin_s + self.taken / self.format[2]

    def fits(self, frame: AudioFrame) -> bool:
        """Returns whether the frame has the format of those before it."""
        return _format(frame) == self.format

    def add(self, frame: AudioFrame) -> Iterator[tuple[int, Samples]]:
        """Takes a frame; yields what has come out, once there is a block's worth."""
        self.taken += frame.samples
        frame.pts = None  # it is placed; the resampler must not place it again
        self.fifo.write(frame)
        if self.fifo.samples >= BLOCK_S * self.format[2]:
            yield from self._resampled(self.fifo.read())

    def finish(self) -> Iterator[tuple[int, Samples]]:
        """Yields the rest."""
        yield from self._resampled(self.fifo.read(partial=True))
        yield from self._resampled(None)

    def _resampled(self, frame: AudioFrame | None) -> Iterator[tuple[int, Samples]]:
        if frame is not None:
            frame.pts = None
        try:
            out = self.resampler.resample(frame)
        except av.error.FFmpegError:  # a layout that cannot be mixed: a hole, not the end
            return
        for block in out:
            samples = cast(Samples, block.to_ndarray().reshape(-1, self.channels))
            yield self.next, samples
            self.next += len(samples)


def _format(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate
