"""The json member of a sample, as far as windows rest on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reelscript.reading.faults import Damaged
from reelscript.reading.tables import no_json
from reelscript.schemas.sample import SampleClip, SampleJson
from reelscript.schemas.video import Seconds

LONGEST_S = 1e6


def sample_json(data: bytes, row: Mapping[str, Any]) -> SampleJson:
    """Returns the json of a sample, its clips, words and times checked.

    Args:
        data: the member.
        row: of samples.parquet: `key`, `shard`, `clips`.

    Raises:
        Damaged: it is no JSON, or not that of a sample with as many clips as the index says.
    """
    try:
        meta: SampleJson = json.loads(data, parse_constant=no_json)
        clips = meta["clips"]
        wrong = "a clip or a word in it is none" if not all(map(_is_clip, clips)) else ""
        if len(clips) != row["clips"]:
            wrong = f"it has {len(clips)} clips, the index says {row['clips']}"
    except (ValueError, RecursionError):
        wrong = "it is no JSON"
    except (TypeError, KeyError):
        wrong = "it has no clips"
    if wrong:
        key, shard = str(row["key"]), str(row["shard"])
        said = f"{key}.json in {shard} is not that of a sample: {wrong}"
        raise Damaged(said, "not_a_sample", key, shard)
    return meta


def word_starts_ms(clips: list[SampleClip]) -> list[int]:
    """Returns when the words of a sample begin, in whole milliseconds."""
    return [to_ms(word["start_s"]) for clip in clips for word in clip["words"]]


def to_ms(seconds: Seconds) -> int:
    """Returns the nearest whole number of milliseconds."""
    return round(1000 * seconds)


def _is_clip(clip: SampleClip) -> bool:
    try:
        return (
            isinstance(clip["text"], str)
            and 0 <= clip["start_s"] <= clip["end_s"] <= LONGEST_S
            and all(
                isinstance(word["word"], str) and 0 <= word["start_s"] <= LONGEST_S
                for word in clip["words"]
            )
        )
    except (TypeError, KeyError):
        return False
