"""A corpus as it was measured, before anything was decided: from its tables alone.

```
videos.parquet   kept, or out by dedup, quality, passage, encode  -->  pending again
                 out earlier                                      -->  as it ended
clips.parquet    times and scores, without outcomes; no text, which decides nothing
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.config import Config
from reelscript.jobs.standing_config import standing_config
from reelscript.pipeline.clips import DECIDED, MEASURED
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.rules import Quality, rules_of
from reelscript.pipeline.store import Store
from reelscript.reading import corpus as reading
from reelscript.reading.releases import read_newest, release_of
from reelscript.schemas.tables import CLIPS, SAMPLES, VIDEOS
from reelscript.schemas.text import one_line
from reelscript.schemas.videos import Videos

AFTER_MEASURING = ("dedup", "quality", "passage")
OF_VIDEOS = tuple(rule.score for rule in rules_of(Quality()) if rule.of_video)
EXACT = 1 << 53
ENDED = ("outcome", "stage", "reason")
FACTS = (
    *("video_id", *ENDED, "source_sha256", "clips_cut", "duration_s"),
    *("fps", "width_px", "height_px", "static_share"),
    *("speech_s", "speech_share", "voice_probability", "heard_languages", "language"),
    *("language_probability", "language_agreement"),
    *("text_language", "text_language_probability"),
)
"""What decisions rest on, beside the scores of OF_VIDEOS."""
LEAN = ("video_id", "url", "location", "outcome", "stage", "reason", "source_sha256", *OF_VIDEOS)
"""All that `decide` looks at: records with less are made faster."""


@dataclass(frozen=True)
class Corpus:
    """A corpus as measured, and what stands in its tables.

    Attributes:
        name: of the corpus.
        release: its number.
        config: the resolved settings.
        videos: every source in the order of the list, those that were measured whole as pending.
        clips: the clips of those, in their order (pipeline.clips.MEASURED), without their texts.
        ended: outcome, stage and reason of the videos, as they stand.
        decided: outcome, reason and sample_key of the clips, as they stand.
        samples: key and duration_s of the samples.
        unencoded: ids of videos that were chosen and failed when they were encoded.
    """

    name: str
    release: int
    config: Config
    videos: Videos
    clips: pa.Table
    ended: pa.Table
    decided: pa.Table
    samples: pa.Table
    unencoded: frozenset[str]


def read_corpus(store: Store) -> Corpus:
    """Returns the newest release of a corpus as it was measured.

    Raises:
        DataError: there is none, or a table of it is missing or damaged.
    """
    info = read_newest(store)
    config = standing_config(store, info)
    names = [field.name for field in VIDEOS if field.name in {*FACTS, *OF_VIDEOS}]
    videos = _table(store, info, "videos", VIDEOS, names)
    columns = [name for name in CLIPS.names if name != "text"]
    clips = _in_order(_table(store, info, "clips", CLIPS, columns), videos, store)
    samples = _table(store, info, "samples", SAMPLES, ["key", "duration_s"])
    whole = pc.or_(
        pc.or_(pc.equal(videos["outcome"], "kept"), pc.is_valid(videos["clips_cut"])),
        pc.fill_null(pc.is_in(videos["stage"], pa.array(AFTER_MEASURING)), False),
    )
    unencoded = videos["video_id"].filter(pc.and_(whole, pc.equal(videos["outcome"], "failed")))
    return Corpus(
        name=one_line(str(info.get("name") or "corpus"), 120),
        release=release_of(info),
        config=config,
        videos=_pending_again(videos, whole),
        clips=_without_outcomes(clips),
        ended=videos.select(ENDED),
        decided=clips.select(DECIDED),
        samples=samples,
        unencoded=frozenset(unencoded.to_pylist()),
    )


def _table(
    store: Store, info: Mapping[str, Any], name: str, schema: pa.Schema, columns: Sequence[str]
) -> pa.Table:
    """Returns some columns of a table; those that an older corpus lacks are null.

    Raises:
        DataError: it is missing or damaged, or lacks something that is never null.
    """
    found = reading.Corpus(store, info).columns(name, columns)
    where = f"{one_line(store.url)}/{name}.parquet"
    made = {}
    for field in (schema.field(column) for column in columns):
        missing = field.name not in found.column_names
        column = pa.nulls(len(found), field.type) if missing else found[field.name]
        try:
            column = column.cast(field.type)
        except pa.ArrowException:
            raise DataError(f"{where}: {field.name} is no column of {field.type}") from None
        if column.null_count and not field.nullable:
            raise DataError(f"{where} has rows without {field.name}: is the corpus damaged?")
        floats = pa.types.is_floating(field.type)
        if floats and not pc.all(pc.is_finite(column), min_count=0).as_py():
            raise DataError(f"{where}: {field.name} holds NaN or an infinity")
        if pa.types.is_integer(field.type) and _beyond_double(column):
            raise DataError(f"{where}: {field.name} holds a number that counts nothing")
        made[field.name] = column
    return pa.table(made)


def _beyond_double(column: pa.ChunkedArray) -> bool:
    """Returns whether a whole number lies beyond those that a float holds exactly."""
    least, most = pc.min_max(column).values()
    return bool(pc.or_(pc.less(least, -EXACT), pc.greater(most, EXACT)).as_py())


def _in_order(clips: pa.Table, videos: pa.Table, store: Store) -> pa.Table:
    """Returns the clips by video, in the order of the videos, then by index."""
    ids = videos["video_id"].combine_chunks()
    place = pc.index_in(clips["video_id"], value_set=ids)
    if place.null_count or pc.count_distinct(ids).as_py() < len(ids):
        raise DataError(
            f"{one_line(store.url)}: videos.parquet does not hold each video of clips.parquet "
            "once: is the corpus damaged? `reelscript verify` says more"
        )
    rows = np.lexsort((clips["clip_index"].to_numpy(), place.to_numpy()))
    return clips if (rows == np.arange(len(rows))).all() else clips.take(rows)


def _pending_again(videos: pa.Table, whole: Any) -> Videos:
    """Returns the records, those that were measured whole as they were before the decision."""
    nothing = pa.scalar(None, pa.string())
    columns = {name: videos[name] for name in videos.column_names}
    columns["outcome"] = pc.if_else(whole, "pending", videos["outcome"])
    columns["stage"] = pc.if_else(whole, nothing, videos["stage"])
    # a reason is what tells decide that a video has ended
    columns["reason"] = pc.if_else(whole, nothing, pc.coalesce(videos["reason"], "unknown"))
    empty = pa.repeat(pa.scalar(""), len(videos))
    return Videos(pa.table({**columns, "url": empty, "location": empty}))


def _without_outcomes(clips: pa.Table) -> pa.Table:
    empty = pa.repeat(pa.scalar(""), len(clips))
    columns = [empty if name == "text" else clips[name] for name in MEASURED.names]
    return pa.table(columns, schema=MEASURED)
