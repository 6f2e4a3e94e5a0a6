"""Lists of captions and videos.

Formats, as in the released evaluation of TVTSv2 (arXiv 2305.14173):

- `MSR_VTT.json`: `annotations`, a list of `image_id` and `caption`. Beside it, or in
  `high-quality/structured-symlinks/` beside it, lie `val_list_jsfusion.txt`, an id a line, and
  `jsfusion_val_caption_idx.pkl`, which of a video's captions counts: the split 1k-A. The file of
  `image_id` is `<image_id>.mp4`.
- A table with tabs and a header: caption, path (DiDeMo's). A video may stand in several rows.
"""

from __future__ import annotations

import io
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelscript.jobs.evaluate.list_files import (
    read_bytes,
    read_json,
    read_table,
    read_text,
    shown,
)
from reelscript.models.tvts.pickles import read_pickle
from reelscript.pipeline.errors import UsageError
from reelscript.schemas.text import one_line

SPLIT, CAPTIONS = "val_list_jsfusion.txt", "jsfusion_val_caption_idx.pkl"
FOLDERS = (".", "high-quality/structured-symlinks")


@dataclass(frozen=True)
class Captioned:
    """One caption and the path of its video, as the list has it."""

    caption: str
    path: str


def read_retrieval(path: Path) -> list[Captioned]:
    """Returns the pairs of a list, in its order.

    Raises:
        UsageError: it is of no known format, damaged, or has an empty caption.
    """
    pairs = _msr_vtt(path) if path.suffix == ".json" else _table(path)
    for pair in pairs:
        if not pair.caption.strip():
            raise UsageError(f"{shown(path)}: {one_line(pair.path, 80)} has an empty caption")
    return pairs


def _table(path: Path) -> list[Captioned]:
    return [Captioned(caption, video) for caption, video in read_table(path)]


def _msr_vtt(path: Path) -> list[Captioned]:
    told = read_json(path)
    captions: dict[str, list[str]] = defaultdict(list)
    try:
        for note in told["annotations"]:
            captions[str(note["image_id"])].append(str(note["caption"]))
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"{shown(path)}: expected 'annotations', a list of 'image_id' and 'caption'"
        ) from error
    chosen = _chosen(_beside(path, CAPTIONS))
    split = _beside(path, SPLIT)
    pairs = []
    for video in dict.fromkeys(read_text(split).split()):
        number = chosen.get(video)
        if type(number) is not int or not 0 <= number < len(captions.get(video, [])):
            raise UsageError(
                f"{shown(split)} lists {one_line(video, 80)!r}, of which {path.name} and "
                f"{CAPTIONS} do not tell the caption"
            )
        pairs.append(Captioned(captions[video][number], f"{video}.mp4"))
    if not pairs:
        raise UsageError(f"{shown(split)} is empty")
    return pairs


def _chosen(path: Path) -> dict[Any, Any]:
    """Returns which caption of each video counts. Nothing that the pickle names is called."""
    try:
        chosen = read_pickle(io.BytesIO(read_bytes(path)))
    except ValueError as error:
        raise UsageError(f"{shown(path)} is no pickle: {one_line(str(error), 200)}") from error
    if not isinstance(chosen, dict):
        raise UsageError(f"{shown(path)}: expected a dictionary of numbers by video")
    return chosen


def _beside(path: Path, name: str) -> Path:
    for folder in FOLDERS:
        if (found := path.parent / folder / name).is_file():
            return found
    raise UsageError(
        f"{shown(path)} holds all of MSR-VTT; which captions are tested stands in {name}, which "
        f"is neither beside it nor in {FOLDERS[1]}/"
    )
