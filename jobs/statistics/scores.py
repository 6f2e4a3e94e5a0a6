"""Histograms of every score, with the thresholds that bound it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.statistics.histogram import histogram
from reelscript.jobs.statistics.rows import Rows
from reelscript.schemas.clip import SCORE_NAMES
from reelscript.schemas.tables import CLIPS, SAMPLES, VIDEOS

VIDEO_SCORES = (
    *("duration_s", "static_share", "speech_share", "voice_probability"),
    *("language_probability", "language_agreement", "text_language_probability"),
    *("words_per_s", "densest_30s_words", "unique_word_share", "mean_word_probability"),
)
"""The facts about a whole video of which a histogram is drawn."""

KEPT = "outcome = 'kept'"
CLIP_S = "CAST(ms(end_s) - ms(start_s) AS DOUBLE) / 1000"
SCORES = (
    *(("clip", name, name, KEPT) for name in SCORE_NAMES),
    ("clip", "duration_s", CLIP_S, KEPT),
    *(("passage", name, name, "true") for name in ("duration_s", "clips")),
    *(("video", name, name, KEPT) for name in VIDEO_SCORES),
)
"""Whose score, its name, and as SQL its value and whether the row is kept."""

TABLES = {"clip": ("clips", CLIPS), "passage": ("samples", SAMPLES), "video": ("videos", VIDEOS)}


def scores(rows: Rows, limits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns a histogram of each score, those kept beside those rejected, over shared edges.

    Args:
        rows: of the corpus.
        limits: thresholds as `flat_thresholds` gives them.
    """
    out = []
    for of, name, value, kept in SCORES:
        table, schema = TABLES[of]
        own = [limit for limit in limits if (limit["of"], limit["score"]) == (of, name)]
        at = [float(limit["value"]) for limit in own if limit["value"] is not None]
        whole = value == name and pa.types.is_integer(schema.field(name).type)
        found = rows.sql(f"""
            SELECT CAST({value} AS DOUBLE) AS value, coalesce({kept}, false) AS kept FROM {table}
        """)
        values = pc.fill_null(found["value"], float("nan")).to_numpy()
        bins = histogram(values, found["kept"].to_numpy(), at, whole)
        out.append({"of": of, "name": name, "thresholds": own, **bins})
    return out
