"""Batches of one stream without end, as tensors on the device of the network."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reelscript.jobs.pretrain.objective import Clips
from reelscript.jobs.pretrain.reader import Fault, Step, Steps
from reelscript.models.tvts.configs import TVTSConfig
from reelscript.models.tvts.masking import draw_mask
from reelscript.models.tvts.tokenizer import tokens_of
from reelscript.pipeline.errors import DataError
from reelscript.schemas.text import one_line


class Fed(NamedTuple):
    """One batch: what the network takes, and the names of what it is made of."""

    clips: Clips
    keys: list[str]


class Feed:
    """Batches from a stream, epoch after epoch.

    What is drawn, the patches to keep, follows from the seed, the epoch and the name of a window:
    not from what was drawn before, nor from the process that draws.

    Args:
        steps: where batches come from.
        config: of the network.
        device: where tensors go.
        seed: of the run.
        masked: whether patches are left out, as in training.
        multiple: texts are padded to lengths that are a multiple of this, for a compiled network.
    """

    def __init__(
        self,
        steps: Steps,
        config: TVTSConfig,
        device: torch.device,
        seed: int = 0,
        masked: bool = True,
        multiple: int = 1,
    ) -> None:
        self.steps, self.config, self.device = steps, config, device
        self.seed, self.multiple = seed, multiple
        self.masked = masked and config.video.mask_ratio > 0
        self.epoch = 0
        self.failed: list[Fault] = []
        self._batches = self._endless()

    def __next__(self) -> Fed:
        """Returns the next batch.

        Raises:
            DataError: there is none, or a text in it is empty.
        """
        return self.prepared(next(self._batches))

    def one_epoch(self) -> Iterator[Fed]:
        """Yields what is left of the present epoch."""
        for step in self.steps.epoch():
            yield self.prepared(step)

    def close(self) -> None:
        """Ends the processes that decode."""
        self._batches.close()

    def take_failed(self) -> list[Fault]:
        """Returns what could not be read since this was last asked."""
        failed, self.failed = self.failed, []
        return failed

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the stream."""
        return dict(self.steps.stream.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where the stream was that gave this state."""
        self.steps.stream.load_state_dict(state)

    def prepared(self, step: Step) -> Fed:
        """Returns a batch as tensors on the device. Raises DataError where a text is empty."""
        self.failed += step["faults"]
        texts = step["text"]
        numbered = zip(step["key"], step["window"], strict=True)
        keys = [f"{key}#{int(number)}" for key, number in numbered]
        for key, said in zip(keys, texts, strict=True):
            if not all(text.strip() for text in said):
                raise DataError(f"{one_line(key)} has an empty transcript")
        every = [text for said in texts for text in said]
        ids = tokens_of(every, self.config.text.context, multiple=self.multiple)  # (B * K, L)
        clips = Clips(
            frames=self._there(torch.as_tensor(step["frames"])),
            texts=self._there(ids.view(len(texts), -1, ids.shape[1])),
            keep=self._there(self.mask(keys)) if self.masked else None,
        )
        return Fed(clips, keys)

    def mask(self, keys: Sequence[str]) -> Tensor:
        """Returns the patches to keep of each window, int64 (B, n)."""
        chance = torch.Generator()
        drawn = []
        for key in keys:
            named = f"{self.seed} {self.epoch} {key}".encode()
            digest = hashlib.blake2b(named, digest_size=8).digest()
            chance.manual_seed(int.from_bytes(digest, "big"))
            drawn.append(draw_mask(1, self.config.video, chance))
        return torch.cat(drawn)

    def _there(self, y: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return y
        return y.pin_memory().to(self.device, non_blocking=True)

    def _endless(self) -> Generator[Step, None, None]:
        while True:
            self.epoch = int(self.steps.stream.state_dict()["epoch"])
            yield from self.steps.epoch()
