"""`reelscript build --dry-run`: what a build would take, from a few sources; nothing is changed.

```
a dozen sources, probed         --> hours of source, and how many pass          sample.py
a few excerpts, tried, or       --> CPU seconds, kept seconds and bytes         trial.py
  videos of earlier builds            for a second of source                    known.py
both, times the sources         --> hours, disk and time, with their spread     spread.py
```
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.config import Config
from reelscript.jobs.estimate.disk import shortages
from reelscript.jobs.estimate.known import finished, known_trials
from reelscript.jobs.estimate.sample import Sampled, sampled
from reelscript.jobs.estimate.spread import ENCODE, Extrapolation, Spread
from reelscript.jobs.estimate.trial import Tried, try_excerpts, usable_stages
from reelscript.jobs.progress import Progress
from reelscript.pipeline.stage import Stage
from reelscript.pipeline.store import Store
from reelscript.schemas.text import one_line
from reelscript.schemas.videos import Videos
from reelscript.transforms.urls import is_youtube


@dataclass(frozen=True, slots=True)
class StageCost:
    """What one stage is going to take; None: not estimated.

    Attributes:
        videos: that reach it.
        cpu_s: CPU seconds; of a stage on a GPU, seconds of GPUs.
        wall_s: the same, shared by the workers.
        gpu: whether it runs on one.
    """

    stage: str
    videos: float | None
    cpu_s: Spread | None
    wall_s: Spread | None
    gpu: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a build is going to take, of what is left of it; None: not estimated.

    Attributes:
        sources: listed, without those that ended in the listing.
        finished: of them, measured by an earlier build.
        left: the others, less those that no estimate is made of.
        looked_at: of the sample, those whose length is known or that would end before it is.
        trials: videos or excerpts from which costs come.
        from_ledger: whether these were videos of an earlier build.
        source_s: of what passes `probe`; kept_s: of samples.
        corpus_bytes, work_bytes: in addition to what lies there.
        wall_s: of the whole build.
        stages: in their order.
        notes, warnings: sentences.
    """

    sources: int
    finished: int
    left: int
    looked_at: int
    trials: int
    from_ledger: bool
    source_s: Spread | None
    kept_s: Spread | None
    corpus_bytes: Spread | None
    work_bytes: Spread | None
    wall_s: Spread | None
    stages: tuple[StageCost, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the estimate as plain data."""
        return dataclasses.asdict(self)


def estimate(
    videos: Videos,
    config: Config,
    work: Store,
    workers: int,
    gpus: int,
    progress: Progress | None = None,
    corpus: Store | None = None,
) -> Estimate:
    """Returns what building these sources is going to take. Writes to a temporary folder only.

    Args:
        videos: as listed.
        config: resolved.
        work: the work folder; it need not exist, and is only read.
        workers: CPU worker processes.
        gpus: GPU worker processes.
        progress: shows how trying goes.
        corpus: where the corpus is to lie, to see whether there is room.

    Raises:
        UsageError: a stage cannot be opened on this machine.
    """
    stages, notes = usable_stages(config)
    complete = len(stages) == len(config.measuring())
    listed = videos.where(pc.equal(videos.column("outcome"), "pending"))
    left = listed.where(pc.invert(finished(listed, work, config, exactly=complete)))
    finished_count = len(listed) - len(left)
    left, youtube = _without_youtube(left)
    known = known_trials(work, config)
    with tempfile.TemporaryDirectory(prefix="reelscript-estimate-") as folder:
        sample = sampled(left, config, Path(folder))
        tried = Tried([], 0.0, [])
        if not any(trial.encoded_s for trial in known):
            passing = [s.video for s in sample if s.passes]
            tried = try_excerpts(passing, stages, config, Path(folder), progress or Progress(None))
    trials = known or tried.trials
    encoded = [t for t in (*known, *tried.trials) if t.encoded_s]
    keeps_sources = config.work.keep == "source"
    found = Extrapolation(sample, trials, encoded, len(left), keeps_sources)
    whole = complete or bool(known)
    room = _Workers(min(workers, max(1, len(left))), gpus, tried.loading_s)
    corpus_bytes = found.spread(found.corpus_bytes, "trials", "encoded") if whole else None
    work_bytes = found.spread(found.work_bytes, "trials") if whole else None
    estimable = config.measuring() if known else stages
    made = Estimate(
        sources=len(listed),
        finished=finished_count,
        left=len(left),
        looked_at=found.looked_at,
        trials=len(trials),
        from_ledger=bool(known),
        source_s=found.spread(found.source_s),
        kept_s=found.spread(found.kept_s, "trials") if whole else None,
        corpus_bytes=corpus_bytes,
        work_bytes=work_bytes,
        wall_s=room.wall_s(found, config) if whole else None,
        stages=tuple(room.costs(found, config, {stage.name for stage in estimable}, whole)),
    )
    notes += _notes(sample, tried, made, youtube)
    places = [(corpus, corpus_bytes), (work, work_bytes)]
    return dataclasses.replace(
        made,
        notes=tuple(one_line(note) for note in notes),
        warnings=tuple(shortages([(s, b) for s, b in places if s is not None and b is not None])),
    )


def _without_youtube(videos: Videos) -> tuple[Videos, int]:
    """Returns the videos without those on YouTube, and how many those are."""
    places = videos.column("location")
    maybe = videos.where(pc.match_substring(places, "youtu", ignore_case=True))
    ids = [video.video_id for video in maybe if is_youtube(video.location)]
    there = pc.is_in(videos.column("video_id"), value_set=pa.array(ids, pa.string()))
    return videos.where(pc.invert(there)), len(ids)


@dataclass(frozen=True, slots=True)
class _Workers:
    """Who shares the work: CPU workers, GPU workers, and how long each loads models."""

    cpus: int
    gpus: int
    loading_s: float

    def costs(
        self, found: Extrapolation, config: Config, estimable: set[str], whole: bool
    ) -> Iterator[StageCost]:
        """Yields what each stage takes."""
        for stage in _all_stages(config):
            if stage.name not in estimable and not (whole and stage.name == ENCODE):
                yield StageCost(stage.name, None, None, None, stage.resources.gpus > 0)
                continue
            draws, rests_on = found.cost_s(stage.name), ["trials"]
            if stage.name == ENCODE:
                rests_on.append("encoded")
            shared = None if draws is None else draws / self._of(stage)
            yield StageCost(
                stage.name,
                found.videos(stage.name),
                found.spread(draws, *rests_on),
                found.spread(shared, *rests_on),
                stage.resources.gpus > 0,
            )

    def wall_s(self, found: Extrapolation, config: Config) -> Spread | None:
        """Returns the time of a build: CPUs and GPUs measure side by side, then CPUs encode."""
        cpu_s, gpu_s, encode_s = np.zeros(1), np.zeros(1), found.cost_s(ENCODE)
        for stage in config.measuring():
            draws = found.cost_s(stage.name)
            if draws is None:
                return None
            if stage.resources.gpus:
                gpu_s = gpu_s + draws
            else:
                cpu_s = cpu_s + draws
        if encode_s is None:
            return None
        measuring_s = np.maximum(cpu_s / self.cpus, gpu_s / self.gpus)
        total_s = self.loading_s + measuring_s + encode_s / self.cpus
        return found.spread(total_s, "trials", "encoded")

    def _of(self, stage: Stage) -> int:
        return self.gpus if stage.resources.gpus else self.cpus


def _all_stages(config: Config) -> list[Stage]:
    return [*config.measuring(), config.encode]


def _notes(sample: Sequence[Sampled], tried: Tried, made: Estimate, youtube: int) -> Iterator[str]:
    """Yields what else is to be said of an estimate."""
    if youtube:
        yield f"{youtube} YouTube sources are not estimated: only a build asks for them"
    ended = [s.video for s in sample if not s.video.pending]
    for outcome in ("rejected", "failed"):
        found = [v for v in ended if v.outcome == outcome]
        if found:
            one = found[0]
            why = f"{one.url}: {one.reason}" + (f" ({one.detail})" if one.detail else "")
            yield f"{len(found)} of {len(sample)} sampled sources would be {outcome}, such as {why}"
    unread = [s for s in sample if s.video.pending and not s.passes]
    guessed = sum(s.duration_s is not None for s in unread)
    if guessed:
        yield f"the length of {guessed} of {len(sample)} sampled sources is a guess by their size"
    if len(unread) > guessed:
        unknown = len(unread) - guessed
        yield f"{unknown} of {len(sample)} sampled sources were not fetched: too large for a guess"
    if any(s.elsewhere for s in sample):
        yield "the time that downloads take is not in it"
    if tried.faults:
        yield f"{len(tried.faults)} sources could not be tried, such as {tried.faults[0]}"
    if tried.trials and tried.loading_s >= 0.5:
        yield f"loading models takes {tried.loading_s:.0f} s in each worker"
    if made.kept_s is not None and not made.kept_s.value:
        yield "nothing of what was tried would be kept"
