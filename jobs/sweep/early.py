"""Thresholds of the stages before there are clips, decided again over the facts that are stored.

```
ended before the stage       nothing changes: it never came so far
rejected by its threshold    again, or let in now: then nobody knows its clips, it is unknown
let pass by it               again, or rejected now: then it is out
```

Each stage judges by itself (`Stage.judge`), from the record that it has filled: what a build would
give it, which remembers facts and judges them anew.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from reelscript.jobs.config import Config
from reelscript.jobs.sweep.settings import EARLY
from reelscript.pipeline.errors import DataError, Reject
from reelscript.pipeline.stage import Stage
from reelscript.schemas.text import one_line
from reelscript.schemas.video import Video
from reelscript.schemas.videos import Videos

JUDGED = {
    "probe": ("too_short", "too_long"),
    "glance": ("static",),
    "speech": ("no_speech", "language", "language_uncertain", "language_mixed"),
    "language": ("text_language", "language_disagreement", "language_unconfirmed"),
}
"""By stage: the reasons that its thresholds give. Its others are of media that cannot be used."""

Mask = NDArray[np.bool_]


def changed_stages(config: Config, other: Config) -> list[Stage]:
    """Returns the stages before clips that a config has with other settings than another."""
    return [
        getattr(config, name) for name in EARLY if getattr(config, name) != getattr(other, name)
    ]


def judged_again(videos: Videos, stages: Sequence[Stage]) -> tuple[Mask, Mask]:
    """Returns which videos are rejected now, and which are let in that were rejected.

    Args:
        videos: every source, with its facts; those that were measured whole are pending.
        stages: in their order, with other thresholds than those that the videos have passed.
    """
    out, let_in = np.zeros(len(videos), np.bool_), np.zeros(len(videos), np.bool_)
    for row, video in enumerate(videos if stages else ()):
        if video.pending:
            out[row] = any(rejection(stage, video) for stage in stages)
        elif rejected_by_threshold(video):
            seen = [stage for stage in stages if _not_after(stage, video)]
            own = any(stage.name == video.stage for stage in seen)
            let_in[row] = own and not any(rejection(stage, video) for stage in seen)
    return out, let_in


def contradicted(videos: Iterable[Video], stages: Sequence[Stage]) -> list[str]:
    """Returns the ids of videos that did not end as these stages judge them."""
    found = []
    for video in videos:
        for stage in stages:
            own = video.stage == stage.name
            if video.pending or (own and rejected_by_threshold(video)):
                reason = rejection(stage, video)
                if reason != (video.reason if own else None):
                    found.append(video.video_id)
                    break
    return found


def rejected_by_threshold(video: Video) -> bool:
    """Returns whether a threshold of a stage before clips has rejected a video."""
    return video.outcome == "rejected" and video.reason in JUDGED.get(video.stage or "", ())


def rejection(stage: Stage, video: Video) -> str | None:
    """Returns the reason for which a stage rejects a video by its facts, or None."""
    try:
        stage.judge(_as_heard(video) if stage.name == "speech" else video)
    except Reject as no:
        return no.reason
    return None


def _not_after(stage: Stage, video: Video) -> bool:
    """Returns whether a stage has judged a video that ended in one of them."""
    order = list(EARLY)
    return order.index(stage.name) <= order.index(str(video.stage))


def _as_heard(video: Video) -> Video:
    """Returns the record with its language as `speech` heard it.

    `transcribe` puts the language in its place that it took the words for; the heard ones, the best
    first, stay. Where none was heard, the language is the stated one, which nothing changes.
    """
    if video.heard_languages is None:
        return video
    try:
        heard = {str(k): float(v) for k, v in dict(json.loads(video.heard_languages)).items()}
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise DataError(
            f"videos.parquet: heard_languages of {one_line(video.video_id, 80)} is no JSON object "
            "of numbers"
        ) from None
    language, probability = next(iter(heard.items()), (None, 0.0))
    return dataclasses.replace(video, language=language, language_probability=probability)
