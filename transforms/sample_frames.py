"""The middle frames of a video's equal intervals, resized and cropped for a network.

The crops are left as `frames.npz` in the scratch folder of the video: a few MB, which whoever runs
the stage reads before it removes the folder.

What a frame is: a picture of the chosen stream in order of presentation, by its number, not by its
time, as the released evaluation counts (arXiv 2305.14173); so in a video of variable rate the
intervals hold equally many pictures, not equally much time. It is upright (a rotation that the file
asks for is done) and RGB as FFmpeg converts it, BT.601 unless it is tagged; pixels that are not
square are made so by `clean` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, ClassVar, Literal, cast

import av.error
import numpy as np
from annotated_types import Ge, Le
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from reelscript.models.tvts.frames import PREPROCESSING, Pixels, middle_frames
from reelscript.pipeline.errors import StageError
from reelscript.pipeline.stage import Live, Stage
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.transforms.frame_picks import Picked, Unreliable, counted, index_of, pick
from reelscript.transforms.media import MAX_PIXELS, Undecodable, open_media, stream_of
from reelscript.transforms.probe import shown_size

FILE = "frames.npz"
MAX_ASPECT = 64  # longer strips are no videos, and would be resized to gigabytes
LEAST_SHARE = 0.5  # of the wanted frames has to decode


@dataclass(frozen=True)
class SampleFrames(Stage):
    """The middle frames of equal intervals of the whole video, resized and cropped.

    Attributes:
        count: how many frames.
        image_px: side of the crop.
        preprocess: how they are resized: see `models/tvts/frames.py`.
    """

    count: Annotated[int, Ge(1), Le(1024)] = 12
    image_px: Annotated[int, Ge(16), Le(2048)] = 224
    preprocess: Literal["official", "clean"] = "official"

    name: ClassVar[str] = "sample_frames"
    remembers: ClassVar[bool] = False
    reads: ClassVar[tuple[str, ...]] = ("source_sha256", "video_stream", "duration_s")
    writes: ClassVar[tuple[str, ...]] = ()

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""
        yield self._sample

    def _sample(self, video: Video, workspace: Workspace) -> Video:
        try:
            picked, wanted = self.picked(workspace.media(video), video.video_stream or 0)
        except (Undecodable, Unreliable) as error:
            raise StageError("decode_failed", str(error) or "no frame decodes") from error
        if not wanted or picked.distinct < LEAST_SHARE * wanted:
            raise StageError("decode_failed", f"{picked.distinct} of {wanted} frames decode")
        crops = np.stack(picked.taken)  # (n, px, px, 3)
        np.savez(workspace.scratch_of(video) / FILE, crops=crops, distinct=picked.distinct)
        return video

    def picked(self, path: Path, stream: int) -> tuple[Picked, int]:
        """Returns the crops of a file's middle frames, and how many there should be.

        Raises:
            Undecodable, Unreliable: no frame decodes.
            StageError: the picture is too large, or too long a strip.
        """
        index = index_of(path, stream)
        take = _Take(self, _pixel_aspect(path, stream))
        numbers = middle_frames(len(index.labels), self.count)
        try:
            return pick(path, stream, index, numbers, take), len(numbers)
        except Unreliable:
            index = counted(path, stream)
            numbers = middle_frames(len(index.labels), self.count)
            return pick(path, stream, index, numbers, take), len(numbers)


class _Take:
    """Makes a crop of a decoded frame.

    Args:
        stage: says how.
        pixel: width of a pixel by its height.
    """

    def __init__(self, stage: SampleFrames, pixel: Fraction) -> None:
        self._stage = stage
        self._pixel = pixel
        self._colours = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Pixels:
        short, long = sorted((frame.width, frame.height))
        if short * long > MAX_PIXELS or long > MAX_ASPECT * short:
            size = f"a picture of {frame.width} x {frame.height} px"
            raise StageError("frame_too_large", f"{size}: at most {MAX_PIXELS} px, {MAX_ASPECT}:1")
        quarters = round(frame.rotation / 90) % 4
        width, height = shown_size(frame.width, frame.height, self._pixel)
        upright = np.rot90(self._rgb(frame), quarters)  # (H, W, 3)
        shown = (width, height) if quarters % 2 else (height, width)
        return PREPROCESSING[self._stage.preprocess].crop(upright, self._stage.image_px, shown)

    def _rgb(self, frame: VideoFrame) -> Pixels:
        try:
            made = self._colours.reformat(frame, format="rgb24", threads=1).to_ndarray()
        except (av.error.FFmpegError, ValueError) as error:
            raise StageError("decode_failed", f"{frame.format.name} gives no RGB") from error
        return cast(Pixels, made)


def _pixel_aspect(path: Path, stream: int) -> Fraction:
    """Returns the width of a pixel by its height, as the stream states it."""
    with open_media(path) as container:
        return stream_of(container, stream, VideoStream).sample_aspect_ratio or Fraction(1)
