"""What is kept: one pure function from tables to tables. No engine, no file, no clock.

A changed threshold, a sweep and a takedown are this function again. Its input is everything that
was measured; its output says of every video and every clip whether it is in and, if not, why not.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reelscript.pipeline.rules import (
    DUPLICATE_CONTENT,
    OUT_OF_BOUNDS,
    PASSAGE_TOO_SHORT,
    VIDEO_FAILED,
    Dedup,
    PassageRules,
    Quality,
    Rule,
    rules_of,
)
from reelscript.schemas.clip import Passage, sample_key
from reelscript.schemas.tables import CLIPS
from reelscript.schemas.video import Video
from reelscript.schemas.videos import Videos, VideosBuilder


@dataclass(frozen=True)
class Decision:
    """What is kept.

    Attributes:
        videos: every source in the given order, its outcome settled: kept, rejected or failed.
        clips: every clip (schemas.tables.CLIPS), by video in the order of `videos`, then by time.
        passages: for each kept video its passages, in time order.
    """

    videos: Videos
    clips: pa.Table
    passages: dict[str, list[Passage]]


def decide(
    videos: Videos,
    clips: pa.Table,
    quality: Quality,
    dedup: Dedup,
    passage: PassageRules,
    split_of: Callable[[Video], str],
) -> Decision:
    """Returns what is kept of what was measured.

    Args:
        videos: every source; those that were measured whole are pending, the others already
            rejected or failed.
        clips: the clips of the pending ones, with the columns of schemas.tables.CLIPS but outcome,
            reason, sample_key.
        quality: thresholds.
        dedup: which duplicates go.
        passage: which runs of clips become samples.
        split_of: gives "train" or "val" for a video.
    """
    clips = _in_order(clips, videos)
    reasons = _clip_reasons(clips, quality)
    settled = _duplicates(videos) if dedup.same_bytes else videos
    by_video = _rows_by_video(clips)
    starts, ends = clips["start_s"].to_numpy(), clips["end_s"].to_numpy()
    keys: list[str | None] = [None] * len(clips)
    passages: dict[str, list[Passage]] = {}
    of_videos = [rule for rule in rules_of(quality) if rule.of_video and rule.limit is not None]
    out, kept = VideosBuilder(), set[str]()
    for video in settled:
        rows = by_video.get(video.video_id, range(0))
        why = _video_reason(video, of_videos) if video.pending else video.reason
        if why is not None:
            reasons[rows.start : rows.stop] = [why] * len(rows)
            if video.pending:
                video = video.ended("rejected", "quality", why)
            out.add(video)
            continue
        found = list(_passages(rows, reasons, starts, ends, passage))
        passages[video.video_id] = [
            _passage(video, p, rows.start, starts, ends, split_of) for p in found
        ]
        for p, made in zip(found, passages[video.video_id], strict=True):
            keys[p.start : p.stop] = [made.key] * len(p)
        for row in rows:
            if keys[row] is None and reasons[row] is None:
                reasons[row] = PASSAGE_TOO_SHORT
        video = _settled(video, found, [reasons[row] for row in rows])
        if video.outcome == "kept":
            kept.add(video.video_id)
        out.add(video)
    return Decision(
        out.videos(),
        _with_outcomes(clips, reasons, keys),
        {k: p for k, p in passages.items() if k in kept},
    )


def with_encode_failures(decision: Decision, failed: Container[str]) -> Decision:
    """Returns the decision with the clips of videos that failed in encode as `video_failed`.

    Args:
        decision: its videos already have their outcome.
        failed: their ids.
    """
    if not failed:
        return decision
    ids = decision.clips["video_id"].to_pylist()
    keys = decision.clips["sample_key"].to_pylist()
    reasons = decision.clips["reason"].to_pylist()
    for row, (video_id, key) in enumerate(zip(ids, keys, strict=True)):
        if video_id in failed and key is not None:
            keys[row], reasons[row] = None, VIDEO_FAILED
    passages = {k: p for k, p in decision.passages.items() if k not in failed}
    bare = decision.clips.drop_columns(["outcome", "reason", "sample_key"])
    return Decision(decision.videos, _with_outcomes(bare, reasons, keys), passages)


def _in_order(clips: pa.Table, videos: Videos) -> pa.Table:
    """Returns the clips by video, in the order of the videos, then by index."""
    ids = videos.column("video_id").combine_chunks()
    order = pc.index_in(clips["video_id"], value_set=ids).to_numpy()
    rows = np.lexsort((clips["clip_index"].to_numpy(), order))
    if (rows == np.arange(len(rows))).all():
        return clips  # take() would join all texts into one array, which holds 2 GiB at most
    return clips.take(rows)


def _rows_by_video(clips: pa.Table) -> dict[str, range]:
    rows = groupby(enumerate(clips["video_id"].to_pylist()), key=lambda item: item[1])
    found = {video_id: [i for i, _ in group] for video_id, group in rows}
    return {video_id: range(own[0], own[-1] + 1) for video_id, own in found.items()}


def _clip_reasons(clips: pa.Table, quality: Quality) -> list[str | None]:
    """Returns for each clip the first rule that it does not meet, or None."""
    reasons: NDArray[np.object_] = np.full(len(clips), None, dtype=object)
    reasons[~clips["within_bounds"].to_numpy(zero_copy_only=False)] = OUT_OF_BOUNDS
    for rule in rules_of(quality):
        if rule.limit is not None and not rule.of_video:
            mask = beyond(clips[rule.score], rule)
            reasons[mask & (reasons == None)] = rule.reason  # noqa: E711 - elementwise
    found: list[str | None] = reasons.tolist()
    return found


def beyond(scores: pa.ChunkedArray, rule: Rule) -> NDArray[np.bool_]:
    """Returns which scores do not meet a rule; one that was not measured does."""
    if rule.limit is None:
        return np.zeros(len(scores), np.bool_)
    bad = pc.less(scores, rule.limit) if rule.side == "min" else pc.greater(scores, rule.limit)
    found: NDArray[np.bool_] = pc.fill_null(bad, False).to_numpy(zero_copy_only=False)
    return found


def _video_reason(video: Video, rules: Iterable[Rule]) -> str | None:
    """Returns the first of some rules about videos that this one does not meet, or None."""
    for rule in rules:
        value = getattr(video, rule.score)
        if value is None or rule.limit is None:
            continue
        if value < rule.limit if rule.side == "min" else value > rule.limit:
            return rule.reason
    return None


def _duplicates(videos: Iterable[Video]) -> Iterator[Video]:
    """Yields the videos with all but the first of the same bytes rejected."""
    first: dict[str, str] = {}
    for video in videos:
        sha = video.source_sha256
        if (
            video.pending
            and sha is not None
            and first.setdefault(sha, video.video_id) != video.video_id
        ):
            video = video.ended(
                "rejected", "dedup", DUPLICATE_CONTENT, f"same bytes as {first[sha]}"
            )
        yield video


def _passages(
    rows: range,
    reasons: Sequence[str | None],
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
    rules: PassageRules,
) -> Iterator[range]:
    """Yields the passages of one video as ranges of rows, in time order."""
    run: list[int] = []
    for row in [*rows, None]:
        good = row is not None and reasons[row] is None
        if run and (not good or row is None or starts[row] - ends[run[-1]] > rules.max_gap_s):
            yield from best_passages(
                run[0], starts[run[0] : run[-1] + 1], ends[run[0] : run[-1] + 1], rules
            )
            run = []
        if good and row is not None:
            run.append(row)


def best_passages(
    offset: int,
    starts: Sequence[float] | NDArray[np.float64],
    ends: Sequence[float] | NDArray[np.float64],
    rules: PassageRules,
) -> list[range]:
    """Returns the passages of one unbroken run of clips: most clips held, then fewest passages.

    Args:
        offset: added to the returned positions.
        starts: seconds, of the clips of the run.
        ends: seconds, likewise.
        rules: bounds of a passage.
    """
    count = len(starts)
    if count < rules.min_clips:
        return []
    if count <= rules.max_clips and ends[-1] - starts[0] <= rules.max_s + 1e-9:
        return [range(offset, offset + count)]  # holds all in one: nothing is better
    # best[i]: (clips held, -passages) of the first i clips
    best: list[tuple[int, int]] = [(0, 0)] + [(-1, 0)] * count
    came_from = list(range(-1, count))
    for end in range(1, count + 1):
        best[end] = best[end - 1]
        for first in range(end - rules.min_clips, max(-1, end - rules.max_clips - 1), -1):
            if ends[end - 1] - starts[first] > rules.max_s + 1e-9:
                break
            candidate = (best[first][0] + end - first, best[first][1] - 1)
            if candidate > best[end]:
                best[end], came_from[end] = candidate, first
    out, at = [], count
    while at > 0:
        first = came_from[at]
        if at - first >= rules.min_clips and best[at] != best[at - 1]:
            out.append(range(offset + first, offset + at))
        at = first
    return out[::-1]


def _passage(
    video: Video,
    rows: range,
    first_row: int,
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
    split_of: Callable[[Video], str],
) -> Passage:
    start_s, end_s = float(starts[rows.start]), float(ends[rows.stop - 1])
    key = sample_key(video.video_id, start_s)
    return Passage(key, start_s, end_s, split_of(video), [row - first_row for row in rows])


def _settled(video: Video, passages: Sequence[range], reasons: Sequence[str | None]) -> Video:
    """Returns a measured video as kept, or as rejected for what rejected most of its clips."""
    if passages:
        return dataclasses.replace(video, outcome="kept")
    counts = Counter(r for r in reasons if r is not None)
    if not counts:
        return video.ended("rejected", "passage", PASSAGE_TOO_SHORT, "no clips")
    detail = ", ".join(f"{reason}: {n}" for reason, n in counts.most_common())
    if counts[PASSAGE_TOO_SHORT]:
        return video.ended("rejected", "passage", PASSAGE_TOO_SHORT, f"clips rejected for {detail}")
    commonest = min(counts, key=lambda reason: (-counts[reason], reason))
    return video.ended("rejected", "quality", commonest, f"clips rejected for {detail}")


def _with_outcomes(
    clips: pa.Table, reasons: Sequence[str | None], keys: Sequence[str | None]
) -> pa.Table:
    outcomes = ["kept" if key is not None else "rejected" for key in keys]
    columns = {name: clips[name] for name in clips.column_names}
    columns |= {
        "outcome": pa.array(outcomes, pa.string()),
        "sample_key": pa.array(keys, pa.string()),
    }
    columns |= {
        "reason": pa.array(
            [None if k is not None else r for k, r in zip(keys, reasons, strict=True)], pa.string()
        )
    }
    return pa.table([columns[f.name].cast(f.type) for f in CLIPS], schema=CLIPS)
