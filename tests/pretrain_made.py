"""Streams that stand in for a corpus, and training runs small enough for a test.

Run as a program, this file is such a run: FOLDER [SETTING...], by itself or under torchrun.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reelscript.jobs.pretrain.config import PretrainConfig
from reelscript.jobs.pretrain.pretrain import Trained, pretrain
from reelscript.jobs.pretrain.processes import Processes
from reelscript.jobs.pretrain.reader import Step, Steps
from reelscript.jobs.pretrain.settings import config_from
from reelscript.jobs.pretrain.streams import Streams

WINDOWS = 22
WORDS = ["red", "green", "blue", "one", "two", "three", "left", "right", "up", "down"]
SMALL: dict[str, Any] = {
    "model": {
        "name": "debug",
        "embed_dim": 32,
        "video": {"image_px": 32, "patch_px": 8, "frames": 4, "width": 32, "blocks": 2, "heads": 2},
        "text": {"width": 32, "blocks": 2, "heads": 2, "context": 12},
        "sorting": {"width": 32, "heads": 2},
    },
    "optimisation": {
        "batch": 4,
        "steps": 8,
        "learning_rate": 1e-3,
        "new_learning_rate": 2e-3,
        "schedule": "constant",
    },
    "data": {"release": 0},
    "compute": {"device": "cpu"},
    "checkpoints": {"every_steps": 3},
    "logging": {"every_steps": 1, "tensorboard": False},
}


class Windows:
    """Windows that are made, in an order drawn for each epoch: a stream without a corpus."""

    def __init__(
        self,
        batch: int,
        rank: int = 0,
        world: int = 1,
        *,
        places: int = 4,
        count: int = WINDOWS,
        texts: Mapping[int, str] | None = None,
    ) -> None:
        self.batch, self.rank, self.world = batch, rank, world
        self.places, self.count, self.texts = places, count, texts or {}
        self.epoch = self.position = 0
        self.refused: dict[str, int] = {}

    def __len__(self) -> int:
        return self.count // (self.batch * self.world)

    def __iter__(self) -> Iterator[Step]:
        order = np.random.default_rng(self.epoch).permutation(self.count)
        per_step = self.batch * self.world
        while self.position + per_step <= self.count:
            first = self.position + self.rank * self.batch
            self.position += per_step
            yield self.step([int(number) for number in order[first : first + self.batch]])
        self.epoch, self.position = self.epoch + 1, 0

    def step(self, numbers: list[int]) -> Step:
        frames, texts = [], []
        for number in numbers:
            drawn = np.random.default_rng([number, self.places])
            frames.append(drawn.integers(0, 256, (4, 32, 32, 3), np.uint8))
            said = [" ".join(drawn.choice(WORDS, 3)) for _ in range(self.places)]
            texts.append([self.texts.get(number, text) for text in said])
        keys = [f"w{number}" for number in numbers]
        return {
            "frames": np.stack(frames),
            "text": texts,
            "key": keys,
            "window": np.array(numbers),
            "faults": [],
        }

    def received(self, step: Step) -> None:
        pass

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


def opened(config: PretrainConfig, data: str, folder: Path, here: Processes) -> Streams:
    """Streams without a corpus; `data` may say what is wrong with them."""
    del folder
    batch = config.optimisation.batch // config.optimisation.accumulation // here.world
    texts = {5: " "} if data == "empty transcript" else {}
    captions = None
    if config.data.captions is not None:
        captions = Steps(Windows(batch, here.rank, here.world, places=1, count=9))
    return Streams(
        Steps(Windows(batch, here.rank, here.world, texts=texts)),
        captions,
        lambda: Steps(Windows(2, here.rank, here.world, count=8)),
    )


def small(**changed: Any) -> PretrainConfig:
    """The smallest config, with some of it changed: of sections, the settings that are given."""
    told = dict(SMALL)
    for name, value in changed.items():
        told[name] = {**told.get(name, {}), **value} if isinstance(value, dict) else value
    return config_from(told, "small")


def run(folder: Path, config: PretrainConfig | None = None, **options: Any) -> Trained:
    """A training run in this process."""
    options = {"data": "made", "tell": lambda _: None, "opened": opened} | options
    return pretrain(config or small(), out=folder, **options)


if __name__ == "__main__":
    import yaml

    from reelscript.jobs.pretrain.settings import load_config

    out = Path(sys.argv[1])
    given = out.with_suffix(".yaml")
    given.write_text(yaml.safe_dump(SMALL))
    try:
        run(out, load_config(given, sys.argv[2:]), tell=print)
    except KeyboardInterrupt:
        sys.exit(130)
