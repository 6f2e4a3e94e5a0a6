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

from reelscript.jobs.statistics.rows import Rows
from reelscript.schemas.text import one_line, score

CLIPS_BEGIN = "segment"  # the stage that cuts clips: from it on the funnel counts them
UNLISTED = (
    "unlisted"  # stands for the stage of a row that names none, or a reason that no stage lists
)
LATE_CLIP_REASONS = {"video_failed": "encode"}  # of the format, not of a stage
STAGE = f"coalesce(nullif(stage, ''), '{UNLISTED}')"
REASON = f"coalesce(nullif(reason, ''), '{UNLISTED}')"
EXAMPLES = 3
HOUR_MS = 3_600_000

Reasons: TypeAlias = Mapping[str, Sequence[str]]
Examples: TypeAlias = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Group:
    """The rows that ended alike: how many, and their milliseconds. Clips have no stage."""

    outcome: str
    stage: str
    reason: str
    count: int
    ms: int


def video_groups(rows: Rows) -> list[Group]:
    """Returns the videos by outcome, stage and reason, in this order."""
    found = rows.dicts(f"""
        SELECT outcome, {STAGE} AS stage, {REASON} AS reason, count(*) AS count,
            CAST(sum(ms(duration_s)) AS BIGINT) AS ms
        FROM videos GROUP BY ALL ORDER BY ALL
    """)
    return [Group(**row) for row in found]


def clip_groups(rows: Rows) -> list[Group]:
    """Returns the clips by outcome and reason, in this order."""
    found = rows.dicts(f"""
        SELECT outcome, '{UNLISTED}' AS stage, {REASON} AS reason, count(*) AS count,
            CAST(sum(ms(end_s) - ms(start_s)) AS BIGINT) AS ms
        FROM clips GROUP BY ALL ORDER BY ALL
    """)
    return [Group(**row) for row in found]


def hours(milliseconds: int) -> float:
    """Returns milliseconds as hours, rounded to 6 digits behind the point."""
    return score(milliseconds / HOUR_MS) or 0.0


@dataclass(slots=True)
class Ending:
    """What ended at one stage for one reason."""

    rejected: int = 0
    failed: int = 0
    video_ms: int = 0
    clips: int = 0
    clip_ms: int = 0


class Endings:
    """What ended where and why, in the order of the pipeline; with reasons that nothing ended for.

    Args:
        reasons: each stage in pipeline order with every reason that it may give.
        videos: as `video_groups` gives them.
        clips: as `clip_groups` gives them.
    """

    def __init__(self, reasons: Reasons, videos: Sequence[Group], clips: Sequence[Group]) -> None:
        self.videos, self.clips = videos, clips
        self.by_stage: dict[str, dict[str, Ending]] = {
            stage: {reason: Ending() for reason in listed} for stage, listed in reasons.items()
        }
        for group in videos:
            if group.outcome in ("rejected", "failed"):
                ending = self._at(group.stage, group.reason)
                ending.rejected += group.count if group.outcome == "rejected" else 0
                ending.failed += group.count if group.outcome == "failed" else 0
                ending.video_ms += group.ms
        for group in clips:
            if group.outcome == "rejected":
                ending = self._at(self.stage_of_clip(group.reason), group.reason)
                ending.clips += group.count
                ending.clip_ms += group.ms
        if UNLISTED in self.by_stage:  # last, as no stage comes before it
            self.by_stage[UNLISTED] = self.by_stage.pop(UNLISTED)

    def _at(self, stage: str, reason: str) -> Ending:
        return self.by_stage.setdefault(stage, {}).setdefault(reason, Ending())

    def stage_of_clip(self, reason: str) -> str:
        """Returns the first stage, from the one that cuts clips on, that may give this reason."""
        stages = [s for s in self.clip_stages() if reason in self.by_stage[s]]
        return stages[0] if stages else LATE_CLIP_REASONS.get(reason, UNLISTED)

    def clip_stages(self) -> list[str]:
        """Returns the stages that see clips."""
        stages = list(self.by_stage)
        return stages[stages.index(CLIPS_BEGIN) :] if CLIPS_BEGIN in stages else stages


def funnel_rows(endings: Endings) -> list[dict[str, Any]]:
    """Returns a row for each stage: what entered, was rejected, failed and left."""
    video_level, clip_level = (
        _Level(sum(g.count for g in groups), sum(g.ms for g in groups))
        for groups in (endings.videos, endings.clips)
    )
    clip_stages = set(endings.clip_stages())
    rows = []
    for stage, by_reason in endings.by_stage.items():
        rejected = {r: e.rejected for r, e in by_reason.items() if e.rejected}
        failed = {r: e.failed for r, e in by_reason.items() if e.failed}
        gone_ms = sum(e.video_ms for e in by_reason.values())
        row: dict[str, Any] = {
            "stage": stage,
            "videos": video_level.less(rejected, failed, gone_ms),
        }
        row["clips"] = None
        if stage in clip_stages:
            gone = {r: e.clips for r, e in by_reason.items() if e.clips}
            row["clips"] = clip_level.less(gone, {}, sum(e.clip_ms for e in by_reason.values()))
        rows.append(row)
    return rows


@dataclass(slots=True)
class _Level:
    """How much is still on its way down the funnel."""

    count: int
    ms: int

    def less(
        self, rejected: dict[str, int], failed: dict[str, int], gone_ms: int
    ) -> dict[str, Any]:
        """Returns the row of one stage, and goes on with what it leaves."""
        entered, entered_ms = self.count, self.ms
        self.count -= sum(rejected.values()) + sum(failed.values())
        self.ms -= gone_ms
        return {
            "entered": entered,
            "rejected": sum(rejected.values()),
            "rejected_by": rejected,
            "failed": sum(failed.values()),
            "failed_by": failed,
            "left": self.count,
            "hours_entered": hours(entered_ms),
            "hours_left": hours(self.ms),
        }


def reason_rows(endings: Endings, videos: Examples, clips: Examples) -> list[dict[str, Any]]:
    """Returns a row for each reason of each stage, zeros too, each with up to three examples.

    Args:
        endings: of all videos and clips.
        videos: examples by stage and reason.
        clips: likewise; they come before videos.
    """
    rows = []
    for stage, by_reason in endings.by_stage.items():
        for reason, e in by_reason.items():
            examples = [*clips.get((stage, reason), ()), *videos.get((stage, reason), ())]
            rows.append(
                {
                    "stage": stage,
                    "reason": one_line(reason),
                    "videos_rejected": e.rejected,
                    "videos_failed": e.failed,
                    "video_hours": hours(e.video_ms),
                    "clips": e.clips,
                    "clip_hours": hours(e.clip_ms),
                    "examples": examples[:EXAMPLES],
                }
            )
    return rows
