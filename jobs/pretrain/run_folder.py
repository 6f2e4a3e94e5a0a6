"""The folder of a run: that it is one, that no other process is at work in it, its config."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from reelscript.jobs.pretrain.config import PretrainConfig
from reelscript.jobs.pretrain.settings import beside, first_difference, load_config, to_yaml
from reelscript.pipeline.attempts import storing
from reelscript.pipeline.disk import Disk
from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.runs import Run
from reelscript.pipeline.store import Store
from reelscript.reading.corpus import open_corpus
from reelscript.reading.releases import release_of

CONFIG = "config.yaml"


def settled(config: PretrainConfig, folder: Path, data: str | Path) -> PretrainConfig:
    """Returns the config as it stays for the run, also where it is run from another folder.

    Paths become absolute, and the release of the corpus is the one that the run was begun with.

    Raises:
        DataError: there is no corpus.
    """
    release, begun, captions = config.data.release, folder / CONFIG, config.data.captions
    if release is None and begun.is_file():
        release = load_config(begun).data.release
    if release is None:
        release = release_of(open_corpus(str(data)).info)
    if captions is not None:
        captions = beside(Path(), captions)
    return dataclasses.replace(
        config,
        weights=None if config.weights is None else beside(Path(), config.weights),
        data=dataclasses.replace(config.data, release=release, captions=captions),
    )


def begin(
    stack: ExitStack,
    folder: Path,
    config: PretrainConfig,
    command: str,
    snapshot: Callable[[], dict[str, Any]],
) -> None:
    """Takes the folder of a run for the time of the stack, and writes its config.

    Args:
        stack: which holds the folder until it closes.
        folder: new, or of this run.
        config: of the run.
        command: what goes on, for people.
        snapshot: what the run does now, called every few seconds from another thread.

    Raises:
        UsageError: another process is at work in it, it is something else than a run, or its run
            was begun with another config.
        StorageError: it cannot be written.
    """
    if "://" in str(folder) or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"-o {folder}: expected a folder of this machine")
    config_file = folder / CONFIG
    is_new = not (folder.is_dir() and any(folder.iterdir()))
    is_run = config_file.is_file() or (folder / "ledger").is_dir()
    if (folder / "dataset.json").exists() or not (is_new or is_run):
        raise UsageError(f"-o {folder}: it holds something else than a training run")
    with storing(f"make {folder}", folder):
        folder.mkdir(parents=True, exist_ok=True)
    # A run of this name, because only one may be at work in a folder.
    stack.enter_context(Run(Store(str(folder)), "build", command, snapshot))
    if config_file.is_file():
        differing = first_difference(load_config(config_file), config)
        if differing:
            raise UsageError(
                f"{folder} was begun with another config: {differing}; give another -o"
            )
    with storing(f"write {config_file}", folder):
        Disk(folder, durable=True).pipe_file(str(config_file), to_yaml(config).encode())
