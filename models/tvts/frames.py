"""Frames as the network is given them: which ones, how large, on which scale.

```
a video of n frames --middle_frames--> 12 numbers --decoded--> uint8 (H, W, 3) each
    --crop--> uint8 (px, px, 3) each --clip--> float32 (T, 3, px, px)
```

`official` is what the released TVTSv2 checkpoints were trained and evaluated with (arXiv
2305.14173, the released code): the short side to 1.2 times the crop by the nearest pixel, a centre
crop, ImageNet's statistics. Nearest pixels alias, and CLIP, from which the network starts, saw
neither: so `clean` is CLIP's own (arXiv 2103.00020, its released preprocessing): the short side to
the crop itself, bicubic with antialiasing, CLIP's statistics. Weights want what they were trained
with. Pillow resizes, as in both of them. Those who decode need no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
Resize: TypeAlias = Literal["nearest", "bicubic"]
Rgb: TypeAlias = tuple[float, float, float]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Of CLIP's training images (arXiv 2103.00020, its released preprocessing).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def middle_frames(total: int, count: int) -> list[int]:
    """Returns the numbers, from 0, of the middle frames of `count` equal intervals of a video.

    Interval k holds the frames floor(k * total / count) to floor((k + 1) * total / count) - 1; of
    two in its middle it is the earlier one (the evaluation of arXiv 2305.14173). A video of fewer
    frames than `count` gives each of its frames once.

    Raises:
        ValueError: `count` is not positive, or `total` is negative.
    """
    if count < 1 or total < 0:
        raise ValueError(f"{count} of {total} frames: expected 1 or more of 0 or more")
    parts = min(count, total)
    edges = [k * total // parts for k in range(parts + 1)] if parts else [0]
    return [(edges[k] + edges[k + 1] - 1) // 2 for k in range(parts)]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """One way from decoded frames to what the network is given.

    Attributes:
        name: of it.
        resize: `nearest` pixel, or `bicubic` with antialiasing.
        before_crop: the short side before the centre crop, as a multiple of the crop; rounded down.
        mean, std: of red, green and blue on the scale 0 to 1; subtracted, divided by.
        short: what fills a clip of too few frames: `zeros`, after the statistics (the released
            loader), or its frames `repeated` evenly.
    """

    name: str
    resize: Resize
    before_crop: float
    mean: Rgb
    std: Rgb
    short: Literal["zeros", "repeated"]

    def crop(
        self, frame: Pixels, image_px: int = 224, shown_px: tuple[int, int] | None = None
    ) -> Pixels:
        """Returns one frame resized and centre-cropped: uint8 (image_px, image_px, 3).

        Args:
            frame: uint8 (H, W, 3), RGB, upright.
            image_px: side of the crop.
            shown_px: height and width in square pixels; None: pixels are square. The nearest pixel
                takes them for square, as the released loader does.

        Raises:
            ImportError: Pillow, of the extra `train`, is missing.
        """
        image = pillow()
        height, width = frame.shape[:2]
        if shown_px is not None and self.resize != "nearest":
            height, width = shown_px
        rows, columns = resized_size(height, width, int(image_px * self.before_crop))
        how = image.Resampling[self.resize.upper()]
        resized = np.asarray(image.fromarray(frame).resize((columns, rows), how))
        # Of an odd rest the half pixel is rounded as in torchvision's `CenterCrop`.
        top, left = round((rows - image_px) / 2), round((columns - image_px) / 2)
        return resized[top : top + image_px, left : left + image_px].copy()

    def clip(self, crops: Pixels, count: int | None = None) -> NDArray[np.float32]:
        """Returns crops on the scale of the network: float32 (T, 3, px, px).

        Args:
            crops: uint8 (n, px, px, 3), n of 1 or more.
            count: T, the frames that the clip is to have; default: n.
        """
        wanted = len(crops) if count is None else count
        if self.short == "repeated" and len(crops) < wanted:
            crops = crops[[(2 * k + 1) * len(crops) // (2 * wanted) for k in range(wanted)]]
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        scaled = (crops.astype(np.float32) / np.float32(255) - mean) / std  # (n, px, px, 3)
        made = np.zeros((wanted, 3, *crops.shape[1:3]), np.float32)
        made[: len(crops)] = scaled[:wanted].transpose(0, 3, 1, 2)
        return made


OFFICIAL = Preprocessing("official", "nearest", 1.2, IMAGENET_MEAN, IMAGENET_STD, "zeros")
CLEAN = Preprocessing("clean", "bicubic", 1.0, CLIP_MEAN, CLIP_STD, "repeated")
PREPROCESSING = {made.name: made for made in (OFFICIAL, CLEAN)}


def official(frames: Pixels, image_px: int = 224) -> NDArray[np.float32]:
    """Returns frames, uint8 (T, H, W, 3), as `OFFICIAL` makes them: float32 (T, 3, px, px)."""
    return OFFICIAL.clip(np.stack([OFFICIAL.crop(frame, image_px) for frame in frames]))


def clean(frames: Pixels, image_px: int = 224) -> NDArray[np.float32]:
    """Returns frames, uint8 (T, H, W, 3), as `CLEAN` makes them: float32 (T, 3, px, px)."""
    return CLEAN.clip(np.stack([CLEAN.crop(frame, image_px) for frame in frames]))


def resized_size(height: int, width: int, short_px: int) -> tuple[int, int]:
    """Returns height and width once the short side is `short_px`; the long one is rounded down.

    As torchvision's `Resize(int)` has it: int(size * long / short).
    """
    if height <= width:
        return short_px, int(short_px * width / height)
    return int(short_px * height / width), short_px


def pillow() -> ModuleType:
    """Returns the module `PIL.Image`.

    Raises:
        ImportError: it is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f"frames are resized by a package that is not there ({error.name}): "
            "pip install 'reelscript[train]'",
            name=error.name,
        ) from error
    return Image
