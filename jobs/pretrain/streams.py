"""Opens the data of a run: windows of a corpus, captioned clips, held-out windows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from reelscript.jobs.pretrain.config import PretrainConfig
from reelscript.jobs.pretrain.processes import Processes
from reelscript.jobs.pretrain.reader import Steps
from reelscript.pipeline.cores import usable_cores
from reelscript.pipeline.errors import UsageError
from reelscript.reading.captioned import open_captioned
from reelscript.reading.corpus import Corpus, open_corpus

REMEMBERED = "cache"  # in the folder of the run: what the rule `official` found out


class Streams(NamedTuple):
    """The data of a run.

    Attributes:
        windows: of the split `train`.
        captions: captioned clips; None: there are none.
        held_out: opens windows of the split `val`, from their beginning, in a fixed order.
    """

    windows: Steps
    captions: Steps | None
    held_out: Callable[[], Steps]


def open_streams(config: PretrainConfig, data: str, folder: Path, here: Processes) -> Streams:
    """Returns the streams of a corpus for this process.

    Args:
        config: of the run.
        data: the corpus.
        folder: of the run.
        here: this process among those that share the windows.

    Raises:
        UsageError: a batch cannot be shared among the processes, or is too small to exchange texts.
        DataError: there is no such corpus, or it is damaged.
    """
    batch, parts = config.optimisation.batch, config.optimisation.accumulation * here.world
    if batch % parts:
        raise UsageError(
            f"optimisation.batch is {batch}: {here.world} processes with accumulation "
            f"{config.optimisation.accumulation} have to divide it"
        )
    if config.data.transcripts == "others" and batch == parts:
        raise UsageError(
            "data.transcripts is 'others', and each process has a window at a time: no other is "
            f"there; raise optimisation.batch, {batch}"
        )
    corpus = open_corpus(data, config.data.release)
    told = {
        "k": config.model.sorting.places,
        "rule": config.data.windows,
        "stride": config.data.stride,
        "cache": str(folder.absolute() / REMEMBERED),
        **_of_both(config),
    }
    ours = {"batch_size": batch // parts, "rank": here.rank, "world": here.world}
    workers = config.data.workers
    if workers is None:
        workers = max(1, usable_cores() // here.local_world - 1)
    windows = Steps(corpus.windows(**told, **ours), workers)
    here.first(lambda: len(windows.stream))  # remembers, so that the others need not find it out
    captions = None
    if config.data.captions is not None:
        cache = {"cache": told["cache"]}
        clips = open_captioned(config.data.captions, **_of_both(config), **ours, **cache)
        captions = Steps(clips, workers)
    held_out = partial(_held_out, corpus, told, config, here, workers)
    if config.validation.every_steps is not None:
        held_out()
    return Streams(windows, captions, held_out)


def _of_both(config: PretrainConfig) -> dict[str, Any]:
    """Returns settings that windows and captioned clips share."""
    return {
        "frames": config.model.video.frames,
        "px": config.model.video.image_px,
        "crop": config.model.preprocess,
        "seed": config.seed,
        "on_fault": "skip",
        "max_faults": config.data.max_failed,
    }


def _held_out(
    corpus: Corpus,
    told: dict[str, Any],
    config: PretrainConfig,
    here: Processes,
    workers: int,
) -> Steps:
    """Returns held-out windows, in steps as large as in training where there are so many.

    Raises:
        UsageError: there are too few.
    """
    settings = told | {"split": "val", "random": False, "shuffle": False}
    there = len(corpus.windows(**settings))
    parts = config.optimisation.accumulation * here.world
    batch = min(config.optimisation.batch // parts, there // here.world)
    if not batch:
        raise UsageError(
            f"validation.every_steps is set, but the split val has {there} windows for "
            f"{here.world} processes"
        )
    ours = {"batch_size": batch, "rank": here.rank, "world": here.world}
    return Steps(corpus.windows(**settings, **ours), workers)
