"""What a corpus holds, counted from rows: languages, licences, hosts, splits, words."""

from __future__ import annotations

import string
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.report.funnel import Floats, Group, grouped, hours
from reelscript.schemas.text import one_line

MAX_GROUPS = 50  # languages, licences or hosts listed by name; the rest is counted together
WORDS_AT_ONCE = 100_000  # clips whose words are held in memory together
PUNCTUATION = string.punctuation + "…“”‘’„«»‹›¿¡—–。、，？！"


def languages(
    videos: pa.Table, samples: pa.Table, video_s: Floats, sample_s: Floats
) -> dict[str, Any]:
    """Returns videos and samples by language, each by its own."""
    by_sample = grouped(samples, ["language"], sample_s)
    return _by_name(grouped(videos, ["language", "outcome"], video_s), by_sample)


def by_fact(
    fact: pa.ChunkedArray,
    videos: pa.Table,
    samples: pa.Table,
    video_s: Floats,
    sample_s: Floats,
) -> dict[str, Any]:
    """Returns videos and samples by a fact of the videos, which their samples share.

    Args:
        fact: one value for each row of `videos`.
        videos: the table of sources.
        samples: the table of samples.
        video_s: seconds of each row of `videos`.
        sample_s: seconds of each row of `samples`.
    """
    at = pc.index_in(samples["video_id"], videos["video_id"].combine_chunks())
    by_sample = grouped(pa.table({"fact": fact.take(at)}), ["fact"], sample_s)
    named = pa.table({"fact": fact, "outcome": videos["outcome"]})
    return _by_name(grouped(named, ["fact", "outcome"], video_s), by_sample)


def hosts_of(urls: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns the host of each URL in lower case, null for the paths of local files."""
    pattern = r"^(?i:https?)://(?:[^/?#@]*@)?(?P<host>[^/?#:]+)"
    return pc.utf8_lower(pc.struct_field(pc.extract_regex(urls, pattern), "host"))


def _by_name(videos: list[Group], samples: list[Group]) -> dict[str, Any]:
    """Returns a row for each name (of a language, a licence), most hours in samples first."""
    found: dict[str | None, dict[str, Any]] = {}
    for g in [*videos, *samples]:
        zero = {"videos": 0, "kept": 0, "hours": 0.0, "samples": 0, "sample_hours": 0.0}
        row = found.setdefault(g.key[0], zero)
        if len(g.key) == 2:
            row["videos"] += g.count
            row["kept"] += g.count if g.key[1] == "kept" else 0
            row["hours"] += hours(g.seconds)
        else:
            row["samples"] += g.count
            row["sample_hours"] += hours(g.seconds)
    order = sorted(
        found.items(), key=lambda i: (-i[1]["sample_hours"], -i[1]["videos"], i[0] or "")
    )
    listed, rest = order[:MAX_GROUPS], order[MAX_GROUPS:]
    together = {
        k: sum(row[k] for _, row in rest)
        for k in ("videos", "kept", "hours", "samples", "sample_hours")
    }
    rows = [{"name": None if name is None else one_line(name), **row} for name, row in listed]
    for row in (*rows, together):
        row |= {k: round(row[k], 6) for k in ("hours", "sample_hours")}
    return {"rows": rows, "rest": {"names": len(rest), **together}}


def splits(samples: pa.Table, sample_s: Floats) -> dict[str, dict[str, Any]]:
    """Returns samples, hours and shards of each split."""
    shards = [g.key[0] for g in grouped(samples, ["split", "shard"], sample_s)]
    return {
        str(g.key[0]): {
            "samples": g.count,
            "hours": hours(g.seconds),
            "shards": shards.count(g.key[0]),
        }
        for g in grouped(samples, ["split"], sample_s)
    }


def words(clips: pa.Table) -> dict[str, int]:
    """Returns how many words the clips hold, and how many different ones."""
    kept = clips.filter(pc.equal(clips["outcome"], "kept"))
    return {
        "all": pc.sum(clips["words"]).as_py() or 0,
        "kept": pc.sum(kept["words"]).as_py() or 0,
        "vocabulary_kept": vocabulary_size(kept["text"]),
    }


def vocabulary_size(texts: pa.ChunkedArray) -> int:
    """Returns how many different words texts hold, in lower case, bare of punctuation.

    Words are parted by white space: a script without spaces counts a run of characters as one word.
    """
    found: pa.Array = pa.array([], pa.string())
    for at in range(0, len(texts), WORDS_AT_ONCE):
        some = texts.slice(at, WORDS_AT_ONCE).combine_chunks()
        words = pc.unique(pc.list_flatten(pc.utf8_split_whitespace(some)))
        bare = pc.unique(pc.utf8_lower(pc.utf8_trim(words, characters=PUNCTUATION)))
        found = pc.unique(pa.concat_arrays([found, bare]))
    empty = pc.index(found, "").as_py() >= 0
    return len(found) - int(empty)
