"""How many videos and clips enter and leave each stage, and why the others do not, from rows.

```
stage      entered --+--> left = entered of the next stage
                     |--> rejected, by reason
                     |--> failed, by reason
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reelscript.schemas.text import one_line, score

CLIPS_BEGIN = "segment"  # the stage that cuts clips: from it on the funnel counts them
UNLISTED = (
    "unlisted"  # stands for the stage of a row that names none, or a reason that no stage lists
)
LATE_CLIP_REASONS = {"video_failed": "encode"}  # of the format, not of a stage
EXAMPLES = 3
EXAMPLE_CHARS = 120
HOUR_S = 3600.0

Floats: TypeAlias = NDArray[np.float64]
Reasons: TypeAlias = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Group:
    """The rows that agree in some columns: how many, their seconds, and the first three of them."""

    key: tuple[str | None, ...]
    count: int
    seconds: float
    rows: list[int]


def grouped(table: pa.Table, columns: Sequence[str], seconds: Floats) -> list[Group]:
    """Returns the groups of rows with equal values in `columns`, sorted by these, null first."""
    if not len(table):
        return []
    combined: NDArray[np.int64] = np.zeros(len(table), dtype=np.int64)
    values: list[tuple[NDArray[np.int64], list[str | None]]] = []
    for name in columns:
        encoded = table[name].combine_chunks().dictionary_encode(null_encoding="encode")
        codes = encoded.indices.to_numpy().astype(np.int64)
        values.append((codes, encoded.dictionary.to_pylist()))
        combined = combined * len(encoded.dictionary) + codes
    _, inverse, counts = np.unique(combined, return_inverse=True, return_counts=True)
    sums = np.bincount(inverse, weights=seconds)
    order, starts = np.argsort(inverse, kind="stable"), np.cumsum(counts) - counts
    groups = []
    for count, total, start in zip(counts.tolist(), sums.tolist(), starts.tolist(), strict=True):
        rows = order[start : start + min(count, EXAMPLES)].tolist()
        key = tuple(names[codes[rows[0]]] for codes, names in values)
        groups.append(Group(key, count, total, rows))
    return sorted(groups, key=lambda g: [(v is not None, v or "") for v in g.key])


def as_floats(column: pa.ChunkedArray) -> Floats:
    """Returns a column of numbers as an array, NaN where it is null."""
    values: Floats = pc.cast(column, pa.float64()).to_numpy()
    return values


def finite_or_zero(column: pa.ChunkedArray) -> Floats:
    """Returns a column of seconds as an array, with 0 where nothing was measured."""
    return np.nan_to_num(as_floats(column), nan=0.0, posinf=0.0, neginf=0.0)


def hours(seconds: float) -> float:
    """Returns seconds as hours, rounded to 6 digits behind the point."""
    return score(seconds / HOUR_S) or 0.0


@dataclass(slots=True)
class Ending:
    """What ended at one stage for one reason."""

    rejected: int = 0
    failed: int = 0
    video_s: float = 0.0
    clips: int = 0
    clip_s: float = 0.0
    video_rows: tuple[int, ...] = ()
    clip_rows: tuple[int, ...] = ()


class Endings:
    """What ended where and why, in the order of the pipeline; with reasons that nothing ended for.

    Args:
        reasons: each stage in pipeline order with every reason that it may give.
        videos: groups of video rows by (outcome, stage, reason).
        clips: groups of clip rows by (outcome, reason).
    """

    def __init__(self, reasons: Reasons, videos: Sequence[Group], clips: Sequence[Group]) -> None:
        self.by_stage: dict[str, dict[str, Ending]] = {
            stage: {reason: Ending() for reason in listed} for stage, listed in reasons.items()
        }
        for group in videos:
            outcome, stage, reason = group.key
            if outcome in ("rejected", "failed"):
                ending = self._at(stage or UNLISTED, reason)
                ending.rejected += group.count if outcome == "rejected" else 0
                ending.failed += group.count if outcome == "failed" else 0
                ending.video_s += group.seconds
                ending.video_rows = (*ending.video_rows, *group.rows)[:EXAMPLES]
        for group in clips:
            if group.key[0] == "rejected":
                ending = self._at(self._stage_of_clip(group.key[1]), group.key[1])
                ending.clips += group.count
                ending.clip_s += group.seconds
                ending.clip_rows = (*ending.clip_rows, *group.rows)[:EXAMPLES]
        if UNLISTED in self.by_stage:
            self.by_stage[UNLISTED] = self.by_stage.pop(
                UNLISTED
            )  # last, as no stage comes before it

    def _at(self, stage: str, reason: str | None) -> Ending:
        return self.by_stage.setdefault(stage, {}).setdefault(reason or UNLISTED, Ending())

    def _stage_of_clip(self, reason: str | None) -> str:
        """Returns the first stage, from the one that cuts clips on, that may give this reason."""
        stages = [s for s in self.clip_stages() if (reason or "") in self.by_stage[s]]
        return stages[0] if stages else LATE_CLIP_REASONS.get(reason or "", UNLISTED)

    def clip_stages(self) -> list[str]:
        """Returns the stages that see clips."""
        stages = list(self.by_stage)
        return stages[stages.index(CLIPS_BEGIN) :] if CLIPS_BEGIN in stages else stages


def funnel_rows(
    reasons: Reasons, videos: Sequence[Group], clips: Sequence[Group]
) -> list[dict[str, Any]]:
    """Returns a row for each stage: what entered, was rejected, failed and left.

    Args:
        reasons: each stage in pipeline order with every reason that it may give.
        videos: groups of video rows by (outcome, stage, reason), with seconds of source video.
        clips: groups of clip rows by (outcome, reason), with seconds of clip.
    """
    endings = Endings(reasons, videos, clips)
    video_level = _Level(sum(g.count for g in videos), sum(g.seconds for g in videos))
    clip_level = _Level(sum(g.count for g in clips), sum(g.seconds for g in clips))
    clip_stages = set(endings.clip_stages())
    rows = []
    for stage, by_reason in endings.by_stage.items():
        rejected = {r: e.rejected for r, e in by_reason.items() if e.rejected}
        failed = {r: e.failed for r, e in by_reason.items() if e.failed}
        seconds = sum(e.video_s for e in by_reason.values())
        row: dict[str, Any] = {
            "stage": stage,
            "videos": video_level.less(rejected, failed, seconds),
        }
        row["clips"] = None
        if stage in clip_stages:
            gone = {r: e.clips for r, e in by_reason.items() if e.clips}
            row["clips"] = clip_level.less(gone, {}, sum(e.clip_s for e in by_reason.values()))
        rows.append(row)
    return rows


@dataclass(slots=True)
class _Level:
    """How much is still on its way down the funnel."""

    count: int
    seconds: float

    def less(
        self, rejected: dict[str, int], failed: dict[str, int], seconds: float
    ) -> dict[str, Any]:
        """Returns the row of one stage, and goes on with what it leaves."""
        entered, entered_s = self.count, self.seconds
        self.count -= sum(rejected.values()) + sum(failed.values())
        self.seconds = max(0.0, self.seconds - seconds)
        return {
            "entered": entered,
            "rejected": sum(rejected.values()),
            "rejected_by": rejected,
            "failed": sum(failed.values()),
            "failed_by": failed,
            "left": self.count,
            "hours_entered": hours(entered_s),
            "hours_left": hours(self.seconds),
        }


def reason_rows(
    reasons: Reasons,
    videos: Sequence[Group],
    clips: Sequence[Group],
    video_ids: pa.ChunkedArray,
    texts: pa.ChunkedArray,
) -> list[dict[str, Any]]:
    """Returns a row for each reason of each stage, zeros too, each with up to three examples.

    Args:
        reasons: as for `funnel_rows`.
        videos: as for `funnel_rows`.
        clips: as for `funnel_rows`.
        video_ids: column of the table whose rows `videos` groups.
        texts: column of the table whose rows `clips` groups.
    """
    rows = []
    for stage, by_reason in Endings(reasons, videos, clips).by_stage.items():
        for reason, e in by_reason.items():
            rows.append(
                {
                    "stage": stage,
                    "reason": one_line(reason),
                    "videos_rejected": e.rejected,
                    "videos_failed": e.failed,
                    "video_hours": hours(e.video_s),
                    "clips": e.clips,
                    "clip_hours": hours(e.clip_s),
                    "example_videos": [one_line(video_ids[i].as_py()) for i in e.video_rows],
                    "example_clips": [
                        one_line(texts[i].as_py(), EXAMPLE_CHARS) for i in e.clip_rows
                    ],
                }
            )
    return rows
