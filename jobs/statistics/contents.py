"""What a corpus holds, counted from rows: languages, licences, channels, years, splits, words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.statistics.funnel import hours
from reelscript.jobs.statistics.rows import Rows
from reelscript.jobs.statistics.tokens import bare, pieces
from reelscript.schemas.text import one_line

MAX_GROUPS = 50  # languages, licences or hosts listed by name; the rest is counted together
TOP_SHARE = 0.01  # of the channels are the top ones
COUNTED = ("videos", "kept", "ms", "samples", "sample_ms")

UPLOAD_DATE = "json_extract_string(TRY_CAST(site_facts AS JSON), '$.upload_date')"
FACTS = {
    "licenses": "license",
    "transcripts": "transcript_source",
    "hosts": r"lower(nullif(regexp_extract("
    r"url, '^(?i:https?)://(?:[^/?#@]*@)?([^/?#:]+)', 1), ''))",
    "channels": "channel",
    "upload_years": rf"nullif(regexp_extract({UPLOAD_DATE}, '^(\d{{4}})\d{{4}}$', 1), '')",
    "resolutions": "CASE WHEN width_px IS NOT NULL AND height_px IS NOT NULL "
    "THEN least(width_px, height_px) || 'p' END",
    "containers": "container",
    "video_codecs": "video_codec",
    "audio_codecs": "audio_codec",
}
"""Facts of a video, as SQL over its columns: the host of its URL (null for a local file), the year
in `upload_date` (YYYYMMDD, of what a site says), the short side of its picture."""


def facts(rows: Rows) -> dict[str, dict[str, Any]]:
    """Returns videos and samples by each of the FACTS of the videos, which their samples share.

    Each is `{"rows", "rest"}`: a row for each name, most hours in samples first, and what is beyond
    the bound counted together. `channels` also tells their `concentration`.
    """
    found = {}
    for name, fact in FACTS.items():
        groups = _groups(rows, fact, f"SELECT video_id, min({fact}) AS fact FROM videos GROUP BY 1")
        found[name] = _by_name(groups)
        if name == "channels":
            found[name]["concentration"] = _concentration(groups)
    return found


def languages(rows: Rows) -> dict[str, Any]:
    """Returns videos and samples by language, each by its own."""
    return _by_name(_groups(rows, "language", None))


def _groups(rows: Rows, fact: str, facts_of_samples: str | None) -> pa.Table:
    """Returns the names that a fact takes, with what has each, most of the corpus first.

    Args:
        rows: of the corpus.
        fact: SQL over the columns of videos.
        facts_of_samples: a query that gives `fact` by `video_id`; None: it is a column of samples.
    """
    shared = f"LEFT JOIN ({facts_of_samples}) USING (video_id)" if facts_of_samples else ""
    totals = ", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in COUNTED)
    return rows.sql(f"""
        SELECT name, {totals} FROM (
            SELECT {fact} AS name, count(*) AS videos, count(*) FILTER (outcome = 'kept') AS kept,
                sum(ms(duration_s)) AS ms, 0 AS samples, 0 AS sample_ms
            FROM videos GROUP BY 1
            UNION ALL
            SELECT {"fact" if shared else fact}, 0, 0, 0, count(*), sum(ms(duration_s))
            FROM samples {shared} GROUP BY 1
        ) GROUP BY 1 ORDER BY sample_ms DESC, videos DESC, name NULLS FIRST
    """)


def _by_name(groups: pa.Table) -> dict[str, Any]:
    listed, rest = groups.slice(0, MAX_GROUPS), groups.slice(MAX_GROUPS)
    together = {name: pc.sum(rest[name]).as_py() or 0 for name in COUNTED}
    return {
        "rows": [
            {"name": None if row["name"] is None else one_line(row["name"]), **_told(row)}
            for row in listed.to_pylist()
        ],
        "rest": {"names": len(rest), **_told(together)},
    }


def _told(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "videos": row["videos"],
        "kept": row["kept"],
        "hours": hours(row["ms"]),
        "samples": row["samples"],
        "sample_hours": hours(row["sample_ms"]),
    }


def _concentration(groups: pa.Table) -> dict[str, Any]:
    """Returns how much of the samples' hours is of the one hundredth of channels that has most."""
    known = groups.filter(pc.is_valid(groups["name"]))
    unknown = groups.filter(pc.is_null(groups["name"]))
    top = math.ceil(len(known) * TOP_SHARE)
    top_ms = pc.sum(known["sample_ms"].slice(0, top)).as_py() or 0
    all_ms = pc.sum(groups["sample_ms"]).as_py() or 0
    return {
        "channels": len(known),
        "top_channels": top,
        "share_of_sample_hours": round(top_ms / all_ms, 6) if top and all_ms else None,
        "videos_without": pc.sum(unknown["videos"]).as_py() or 0,
    }


def splits(rows: Rows) -> dict[str, dict[str, Any]]:
    """Returns samples, hours and shards of each split."""
    found = rows.dicts("""
        SELECT split, count(*) AS samples, CAST(sum(ms(duration_s)) AS BIGINT) AS ms,
            count(DISTINCT shard) AS shards
        FROM samples GROUP BY split ORDER BY split
    """)
    return {
        str(row["split"]): {
            "samples": row["samples"],
            "hours": hours(row["ms"]),
            "shards": row["shards"],
        }
        for row in found
    }


def words(rows: Rows, text: Mapping[str, Any]) -> dict[str, int]:
    """Returns how many words the clips hold, and how many different ones.

    Args:
        rows: of the corpus.
        text: what `text_statistics` returned for them.
    """
    [counted] = rows.dicts("""
        SELECT CAST(coalesce(sum(words), 0) AS BIGINT) AS "all",
            CAST(coalesce(sum(words) FILTER (outcome = 'kept'), 0) AS BIGINT) AS kept
        FROM clips
    """)
    if text["sampled"] is None:  # all texts were read for it
        return {**counted, "vocabulary_kept": text["types"]}
    texts = rows.batches("SELECT text FROM clips WHERE outcome = 'kept'")
    return {**counted, "vocabulary_kept": vocabulary_size(batch["text"] for batch in texts)}


def vocabulary_size(texts: Iterable[pa.Array]) -> int:
    """Returns how many different words texts hold, in lower case, bare of punctuation.

    Words are parted by white space: a script without spaces counts a run of characters as one word.
    """
    found: pa.Array = pa.array([], pa.string())
    for some in texts:
        words = pc.unique(pc.list_flatten(pieces(some)))
        found = pc.unique(pa.concat_arrays([found, bare(words)]))
    empty = pc.index(found, "").as_py() >= 0
    return len(found) - int(empty)
