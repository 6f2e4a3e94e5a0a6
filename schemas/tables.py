"""The columns of `videos.parquet`, `clips.parquet` and `samples.parquet`."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

import pyarrow as pa

from reelscript.schemas.clip import Scores
from reelscript.schemas.video import Video

ARROW_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}
NOT_PUBLISHED = (
    "location",
    "signature",
    "captions_location",
    "captions_signature",
    "position",
    "media",
    "site_title",  # these three are published as title, channel and license
    "site_channel",
    "site_license",
    "site",
    "voice",
    "captions",
    "transcript",
    "aligned_words",
    "segments",
    "clips",
    "proxy",
    "passages",
    "encodings",
)


def arrow_fields(record: type, leave_out: tuple[str, ...] = ()) -> list[pa.Field]:
    """Returns an Arrow field for each field of a dataclass, nullable where its type admits None."""
    hints = typing.get_type_hints(record)
    return [
        arrow_field(f.name, hints[f.name])
        for f in dataclasses.fields(record)
        if f.name not in leave_out
    ]


def arrow_field(name: str, hint: Any) -> pa.Field:
    """Returns the Arrow field for a type hint: `int`, `str | None`, a `Literal` of strings, ...."""
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kind = next(p for p in parts if p is not types.NoneType)
    return pa.field(name, ARROW_TYPES.get(kind, pa.string()), nullable=types.NoneType in parts)


VIDEOS = pa.schema(
    [
        *arrow_fields(Video, leave_out=NOT_PUBLISHED),
        pa.field("clips_kept", pa.int64(), nullable=False),
        pa.field("clips_rejected", pa.int64(), nullable=False),
        pa.field(
            "timings", pa.string()
        ),  # JSON: stage -> CPU seconds, for the stages that measured it
    ]
)

CLIPS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("clip_index", pa.int64(), nullable=False),
        pa.field("start_s", pa.float64(), nullable=False),
        pa.field("end_s", pa.float64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("sample_key", pa.string()),
        pa.field("within_bounds", pa.bool_(), nullable=False),
        *arrow_fields(Scores),
    ]
)

PLACE = (("offset", pa.int64()), ("size", pa.int64()), ("sha256", pa.string()))
"""What is said of where a member lies."""

SAMPLES = pa.schema(
    [
        *(pa.field(n, pa.string(), nullable=False) for n in ("key", "shard", "split", "video_id")),
        *(pa.field(n, pa.float64(), nullable=False) for n in ("start_s", "end_s", "duration_s")),
        pa.field("clips", pa.int64(), nullable=False),
        pa.field("language", pa.string()),
        pa.field("text", pa.string(), nullable=False),
        pa.field("width_px", pa.int64(), nullable=False),
        pa.field("height_px", pa.int64(), nullable=False),
        pa.field("fps", pa.float64(), nullable=False),
        pa.field("frames", pa.int64(), nullable=False),
        *(
            pa.field(f"{member}_{what}", kind, nullable=False)
            for member in ("mp4", "json", "txt")
            for what, kind in PLACE
        ),
        *(pa.field(f"frames_{what}", kind) for what, kind in PLACE),  # null: no such member
    ]
)
