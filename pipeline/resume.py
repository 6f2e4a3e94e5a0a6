"""What a build need not measure again: the ledger against the source list, as columns.

A row of the ledger stands for a listed source if the list still says the same of it, and if it was
measured with the same settings. Nothing here looks at one video at a time: a million rows take a
second or two.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.schemas.video import FIELD_NAMES
from reelscript.schemas.videos import IDENTITY, Videos

SAME = (
    *("url", "location", "stated_language", "signature"),
    *("captions_location", "captions_signature"),
)
"""What facts depend on of all that the list says; a new title measures nothing again."""
NEEDED = (*SAME, "chain", "outcome", "reason")
ALL = "all"
OF_THE_MOMENT = ("changed", "damaged_artefact")
"""What a source failed for that is not true of it any more the next time."""
OUTCOME = ("outcome", "stage", "reason", "detail")


def standing(
    listed: pa.Table,
    chain: str,
    known: pa.Table,
    again: Collection[str] = (),
    same: Sequence[str] = SAME,
) -> Any:
    """Returns for each listed source whether nothing is left to measure: a boolean array.

    True for sources that ended in the listing itself, and for those of which the ledger has a row
    that stands.

    Args:
        listed: the sources, columns of `Video`.
        chain: digest of all settings that facts and early judgements depend on.
        known: `Ledger.latest(NEEDED)`.
        again: reasons: rows that failed for one of them do not stand; ALL is any reason.
        same: columns that must be equal in both.
    """
    at = pc.index_in(listed["video_id"], value_set=known["video_id"].combine_chunks())
    # one column at a time: a million URLs are a hundred megabytes
    fits = pc.fill_null(pc.equal(known["chain"].take(at), chain), False)
    for name in same:
        fits = pc.and_(fits, _equal(listed[name], known[name].take(at)))
    if again:
        failed = pc.equal(known["outcome"].take(at), "failed")
        if ALL not in again:
            reasons = pa.array(sorted(again), pa.string())
            failed = pc.and_(failed, pc.is_in(known["reason"].take(at), value_set=reasons))
        fits = pc.and_(fits, pc.invert(pc.fill_null(failed, False)))
    return pc.or_(pc.not_equal(listed["outcome"], "pending"), fits)


def with_facts(listed: Videos, known: pa.Table, stands: Any) -> tuple[Videos, Any]:
    """Returns the sources as the list has them now, with facts and outcome from the ledger.

    Args:
        listed: the sources.
        known: `Ledger.latest()`.
        stands: boolean array: for which of them the ledger's row stands. The others have no facts.

    Returns:
        The records in the order of the list, and for each its CPU seconds by stage (JSON text, or
        null).
    """
    ended = pc.not_equal(listed.column("outcome"), "pending").to_numpy()
    from_ledger = pa.array(pc.fill_null(stands, False).to_numpy() & ~ended)
    at = pc.index_in(listed.column("video_id"), value_set=known["video_id"].combine_chunks())
    at = pc.if_else(from_ledger, at.combine_chunks(), pa.scalar(None, pa.int32()))
    columns = {}
    for name in FIELD_NAMES:
        if name in IDENTITY:
            columns[name] = listed.column(name)
        elif name in OUTCOME:
            columns[name] = pc.if_else(from_ledger, known[name].take(at), listed.column(name))
        elif known[name].null_count < len(known):  # else nobody has measured it: no column
            columns[name] = known[name].take(at)
    return Videos(pa.table(columns)), known["cpu_s"].take(at)


def to_do_again(retry_failed: str | None) -> Collection[str]:
    """Returns the reasons of failed rows that a build measures anew."""
    return OF_THE_MOMENT if retry_failed is None else (*OF_THE_MOMENT, retry_failed)


def _equal(left: Any, right: Any) -> Any:
    """Returns where two columns are the same, two nulls included."""
    both_null = pc.and_(pc.is_null(left), pc.is_null(right))
    return pc.or_(pc.fill_null(pc.equal(left, right), False), both_null)
