"""The clips of measured videos as one table, as `decide` takes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Clip
from reelscript.schemas.tables import CLIPS
from reelscript.schemas.video import Video

DECIDED = ("outcome", "reason", "sample_key")
MEASURED = pa.schema([field for field in CLIPS if field.name not in DECIDED])
PACKED_CLIPS = 8192


def clips_of(videos: Iterable[Video], workspace: Workspace) -> pa.Table:
    """Returns the clips of all videos that were measured whole: MEASURED, without outcomes."""
    batches: list[pa.RecordBatch] = []
    rows: list[dict[str, Any]] = []
    for video in videos:
        if video.pending and video.clips is not None:
            for clip in workspace.get_records(Clip, video.clips):
                rows.append(_row(video.video_id, clip))
        if len(rows) >= PACKED_CLIPS:
            batches.append(pa.RecordBatch.from_pylist(rows, schema=MEASURED))
            rows = []
    batches.append(pa.RecordBatch.from_pylist(rows, schema=MEASURED))
    return pa.Table.from_batches(batches, schema=MEASURED).combine_chunks()


def _row(video_id: str, clip: Clip) -> dict[str, Any]:
    own = ("clip_index", "start_s", "end_s", "text", "within_bounds")
    row = {name: getattr(clip, name) for name in own}
    return {"video_id": video_id, **row, **dataclasses.asdict(clip.scores)}
