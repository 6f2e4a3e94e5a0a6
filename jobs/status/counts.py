"""What became of the sources of a build, counted from its ledger as columns, never row by row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.config import Config
from reelscript.jobs.provenance import all_reasons
from reelscript.pipeline.errors import BLOCKED
from reelscript.pipeline.ledger import ENCODED, Ledger
from reelscript.pipeline.resume import NEEDED, standing
from reelscript.pipeline.store import Store

ENDED = ("outcome", "stage", "reason", "detail")
OUTCOMES = ("pending", "rejected", "failed")  # of a row of the ledger
PASSING = re.compile(
    r"timed_out|connection_failed|truncated|changed|site_failed|http_(408|425|429|5\d\d)"
)
"""Reasons of failures that may be gone when it is tried again."""
MENDED = {
    "needs_yt_dlp": "with pip install 'reelscript[sites]'",
    "not_found": "when the file is there",
    "private_address": "when acquire.allow_addresses allows it",
    "outside_roots": "when acquire.local_roots allows it",
    "needs_javascript": "with pip install 'reelscript[youtube]'",
    "not_a_file": "when it is a file",
    "unreadable": "when the file can be read",
    "out_of_memory": "with fewer workers, or more memory",
}
"""What must be otherwise before a failure is worth trying again."""


@dataclass(frozen=True)
class Sources:
    """How many sources the newest build is about, and what became of them.

    Attributes:
        listed: all. It is measured + rejected + failed + pending.
        measured: through all stages of measuring.
        rejected: not wanted, by what was measured or in the listing itself.
        failed: broken.
        pending: still to be measured.
        again: of the pending, those that an earlier build measured, with other settings or before
            the source changed.
    """

    listed: int
    measured: int
    rejected: int
    failed: int
    pending: int
    again: int


@dataclass(frozen=True)
class Ending:
    """Sources that ended in one way. `video_id` and `detail` are of the first of them.

    Attributes:
        outcome: rejected or failed.
        passing: whether it may be otherwise when it is tried again as it is.
        when: what must be otherwise first; None where nothing is known to help.
    """

    outcome: str
    stage: str
    reason: str
    count: int
    video_id: str
    detail: str
    passing: bool = False
    when: str | None = None


def counted(store: Store) -> tuple[Sources | None, list[Ending], int]:
    """Returns the counts, what ended how, and how many videos are encoded."""
    listed = Ledger(store).listed()
    if listed is None or not {"video_id", *NEEDED, *ENDED} <= {*listed.column_names}:
        return None, [], 0
    known = Ledger(store).latest(tuple({*NEEDED, *ENDED}))
    settings = listed["chain"][0].as_py() if len(listed) else ""
    stands = standing(listed, settings, known)
    in_list = pc.not_equal(listed["outcome"], "pending")
    at = pc.index_in(listed["video_id"], value_set=known["video_id"].combine_chunks())
    rows = known.take(at)
    columns = {name: pc.if_else(in_list, listed[name], rows[name]) for name in ENDED}
    finished = pa.table({"video_id": listed["video_id"]} | columns).filter(stands)
    outcome = {name: _count(pc.equal(finished["outcome"], name)) for name in OUTCOMES}
    pending = pc.invert(stands)
    sources = Sources(
        listed=len(listed),
        measured=outcome["pending"],
        rejected=outcome["rejected"],
        failed=outcome["failed"],
        pending=_count(pending),
        again=_count(pc.and_(pc.and_(pending, pc.is_valid(at)), pc.invert(_blocked(rows)))),
    )
    encoded = Ledger(store, ENCODED).latest(ENDED)
    whole = finished.filter(pc.equal(finished["outcome"], "pending"))["video_id"]
    encoded = encoded.filter(pc.is_in(encoded["video_id"], value_set=whole.combine_chunks()))
    failed = encoded.filter(pc.equal(encoded["outcome"], "failed"))
    endings = _endings(pa.concat_tables([finished, failed.select(finished.column_names)]))
    return sources, endings, len(encoded) - len(failed)


def _endings(rows: pa.Table) -> list[Ending]:
    """Returns the ways in which sources ended, in the order of stages."""
    rows = rows.filter(pc.is_in(rows["outcome"], value_set=pa.array(["rejected", "failed"])))
    rows = rows.append_column("row", pa.array(range(len(rows)), pa.int64()))
    grouped = rows.group_by(["outcome", "stage", "reason"])
    groups = grouped.aggregate([("row", "min"), ("row", "count")]).to_pylist()
    firsts = rows.take(pa.array([g["row_min"] for g in groups], pa.int64())).to_pylist()
    found = [_ending(first, g["row_count"]) for first, g in zip(firsts, groups, strict=True)]
    order = {stage: n for n, stage in enumerate(all_reasons(Config()))}
    return sorted(found, key=lambda e: (order.get(e.stage, -1), e.outcome, -e.count, e.reason))


def _ending(first: Mapping[str, Any], how_many: int) -> Ending:
    told = {
        name: first[name] or "" for name in ("outcome", "stage", "reason", "video_id", "detail")
    }
    failed, reason = told["outcome"] == "failed", told["reason"]
    passing = failed and PASSING.fullmatch(reason) is not None
    when = MENDED.get(reason) if failed else None
    return Ending(count=how_many, passing=passing, when=when, **told)


def _blocked(rows: pa.Table) -> Any:
    """Returns of which rows a site let us not in: they were never measured."""
    return pc.fill_null(pc.equal(rows["reason"], BLOCKED), False)


def _count(mask: Any) -> int:
    """Returns in how many rows a boolean column is true."""
    return int(pc.sum(mask).as_py() or 0)
