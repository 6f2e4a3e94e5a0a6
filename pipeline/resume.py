"""What a build need not measure again: the ledger against the source list, as columns.

A row of the ledger stands for a listed source if the list still says the same of it, and if it was
measured with the same settings. Nothing here looks at one video at a time: a million rows take a
second or two.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.pipeline.errors import BLOCKED
from reelscript.schemas.video import FIELD_NAMES
from reelscript.schemas.videos import IDENTITY, Videos

SAME = (
    *("url", "location", "stated_language", "signature"),
    *("captions_location", "captions_signature"),
)
"""What facts depend on of all that the list says; a new title measures nothing again."""
NEEDED = (*SAME, "chain", "outcome", "reason")
ALL = "all"
OF_THE_MOMENT = (
    *("changed", "damaged_artefact", BLOCKED),
    *("private_address", "needs_yt_dlp", "needs_javascript"),  # of settings, or of the machine
)
"""What a source failed for that may not be true of it any more the next time, or never was."""
OUTCOME = ("outcome", "stage", "reason", "detail")
SITE_SAYS = {"title": "site_title", "channel": "site_channel", "license": "site_license"}
"""What the site says counts where the list says nothing."""


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
        known: `Ledger.latest(NEEDED)`, with `captions_fault` where rows may be wanted again for it.
        again: reasons: rows that failed for one of them do not stand, nor do those whose subtitles
            did; ALL is any reason.
        same: columns that must be equal in both.
    """
    at = pc.index_in(listed["video_id"], value_set=known["video_id"].combine_chunks())
    # one column at a time: a million URLs are a hundred megabytes
    fits = pc.fill_null(pc.equal(known["chain"].take(at), chain), False)
    for name in same:
        fits = pc.and_(fits, _equal(listed[name], known[name].take(at)))
    if again:
        fits = pc.and_(fits, pc.invert(pc.fill_null(_failed(known, again).take(at), False)))
    return pc.or_(pc.not_equal(listed["outcome"], "pending"), fits)


def _failed(known: pa.Table, again: Collection[str]) -> Any:
    """Returns for each row of a ledger whether it, or its subtitles, failed for one of `again`."""
    nothing = pa.scalar(None, pa.string())
    reasons = pc.if_else(pc.equal(known["outcome"], "failed"), known["reason"], nothing)
    kinds = [reasons]
    if "captions_fault" in known.column_names:
        kinds.append(pc.replace_substring_regex(known["captions_fault"], "(?s):.*", ""))
    if ALL in again:
        return functools.reduce(pc.or_, map(pc.is_valid, kinds))
    wanted = pa.array(sorted(again), pa.string())
    return functools.reduce(pc.or_, (pc.is_in(kind, value_set=wanted) for kind in kinds))


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
    known = _with_transcript_source(known)
    columns = {}
    for name in FIELD_NAMES:
        if name in SITE_SAYS:
            site = known[SITE_SAYS[name]].take(at)
            columns[name] = pc.coalesce(listed.column(name), site)
        elif name in IDENTITY:
            columns[name] = listed.column(name)
        elif name in OUTCOME:
            columns[name] = pc.if_else(from_ledger, known[name].take(at), listed.column(name))
        elif known[name].null_count < len(known):  # else nobody has measured it: no column
            columns[name] = known[name].take(at)
    return Videos(pa.table(columns)), known["cpu_s"].take(at)


def _with_transcript_source(known: pa.Table) -> pa.Table:
    """Returns the rows with a source for every transcript: older ones, without, were recognised."""
    name = "transcript_source"
    older = pc.and_(pc.is_null(known[name]), pc.is_valid(known["transcript"]))
    column = pc.if_else(older, "asr", known[name])
    return known.set_column(known.column_names.index(name), name, column)


def to_do_again(retry_failed: str | None) -> Collection[str]:
    """Returns the reasons of failed rows that a build measures anew."""
    return OF_THE_MOMENT if retry_failed is None else (*OF_THE_MOMENT, retry_failed)


def _equal(left: Any, right: Any) -> Any:
    """Returns where two columns are the same, two nulls included."""
    both_null = pc.and_(pc.is_null(left), pc.is_null(right))
    return pc.or_(pc.fill_null(pc.equal(left, right), False), both_null)
