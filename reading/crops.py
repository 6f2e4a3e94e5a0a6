"""Squares cut from frames: uint8, ready to be put on the scale of a network.

```
frame (H, W) --resize: short side px * zoom--> (h, w) --crop--> (px, px)
```

`official` is what the released TVTSv2 was trained with (arXiv 2305.14173, the released code): the
short side to 1.2 times the crop by the nearest pixel, as Pillow finds it. `clean` is bicubic with
antialiasing; in training the short side is 1 to 1.2 times the crop, drawn, and else the crop
itself, as CLIP has it. In both the place of the crop is drawn in training, one for all frames of a
window, and the centre otherwise. Neither mirrors: what is said names left and right, and pictures
hold writing. The scale (mean, deviation) is left to the caller, who has a GPU for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from reelscript.reading.frames import rgb

Pixels = NDArray[np.uint8]
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Crop:
    """One way to cut squares from frames.

    Attributes:
        nearest: by the nearest pixel; else bicubic.
        zoom: the short side before the crop, as a multiple of the crop.
        drawn_zoom: the same in training: from, to.
    """

    nearest: bool
    zoom: float
    drawn_zoom: Span

    def square(self, px: int, numbers: np.random.Generator | None) -> Square:
        """Returns the square of one window: drawn, or the one in the centre without `numbers`."""
        if numbers is None:
            return Square(px, int(px * self.zoom), self.nearest, None)
        low, high = self.drawn_zoom
        zoom = low + (high - low) * float(numbers.random())
        y, x = (float(part) for part in numbers.random(2))
        return Square(px, int(px * zoom), self.nearest, (y, x))


@dataclass(frozen=True, slots=True)
class Square:
    """Where a square is cut from each frame of a window.

    Attributes:
        px: its side.
        short_px: the short side of the frame before it is cut.
        nearest: by the nearest pixel.
        place: (down, right), shares 0 to 1 of the room there is; None: the centre.
    """

    px: int
    short_px: int
    nearest: bool
    place: Span | None

    def cutter(self) -> Callable[[VideoFrame], Pixels]:
        """Returns a function that cuts the square of one frame: (px, px, 3), RGB."""
        scaler, converter = VideoReformatter(), VideoReformatter()  # each keeps its tables
        return self._nearest(converter) if self.nearest else self._bicubic(scaler, converter)

    def _bicubic(
        self, scaler: VideoReformatter, converter: VideoReformatter
    ) -> Callable[[VideoFrame], Pixels]:
        def cut(frame: VideoFrame) -> Pixels:
            rows, columns = (
                size + size % 2 for size in resized(frame.height, frame.width, self.short_px)
            )
            top, left = self._corner(rows, columns)
            # Scaled as it is, and then made RGB: four times as fast as both in one, and closer to
            # what Pillow makes of it (benchmarks/reading.py).
            scaled = scaler.reformat(frame, columns, rows, interpolation="BICUBIC", threads=1)
            image = rgb(converter.reformat(scaled, format="rgb24", threads=1))
            return image[top : top + self.px, left : left + self.px]

        return cut

    def _nearest(self, converter: VideoReformatter) -> Callable[[VideoFrame], Pixels]:
        def cut(frame: VideoFrame) -> Pixels:
            rows, columns = resized(frame.height, frame.width, self.short_px)
            top, left = self._corner(rows, columns)
            ys = _nearest(frame.height, rows, top, self.px)
            xs = _nearest(frame.width, columns, left, self.px)
            image = rgb(converter.reformat(frame, format="rgb24", threads=1))
            return image.take(ys, axis=0).take(xs, axis=1)

        return cut

    def _corner(self, rows: int, columns: int) -> tuple[int, int]:
        """Returns top and left, in pixels of the resized frame."""
        room = (rows - self.px, columns - self.px)
        if self.place is None:
            return round(room[0] / 2), round(room[1] / 2)  # as torchvision's CenterCrop
        down, right = (min(int(s * (r + 1)), r) for s, r in zip(self.place, room, strict=True))
        return down, right


def resized(height: int, width: int, short_px: int) -> tuple[int, int]:
    """Returns height and width once the short side is `short_px`; the long one is rounded down."""
    if height <= width:
        return short_px, int(short_px * width / height)
    return int(short_px * height / width), short_px


def _nearest(source: int, target: int, first: int, count: int) -> NDArray[np.int64]:
    """Returns which source pixels a row of `count` target pixels shows, as in Pillow's NEAREST.

    Pillow adds the step up, pixel by pixel: what that rounds decides where a middle is on an edge.
    """
    steps = np.full(target, source / target)
    steps[0] /= 2
    return np.cumsum(steps)[first : first + count].astype(np.int64)


OFFICIAL = Crop(nearest=True, zoom=1.2, drawn_zoom=(1.2, 1.2))
CLEAN = Crop(nearest=False, zoom=1.0, drawn_zoom=(1.0, 1.2))
CROPS = {"clean": CLEAN, "official": OFFICIAL}
