"""The network of a checkpoint as evaluation uses it: never masked, never training.

Shapes: B windows, K transcripts, T frames, d embedding, w and L size and number of video tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reelscript.jobs.features.network import Network
from reelscript.models.tvts.frames import PREPROCESSING
from reelscript.pipeline.errors import DataError, UsageError
from reelscript.schemas.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float32]
MOST_TEXTS = 64  # at a time


@dataclass(frozen=True)
class Towers:
    """Frames and texts through a network.

    Attributes:
        network: of the checkpoint.
        preprocess: how frames are scaled, by its name in `models.tvts.frames`.
    """

    network: Network
    preprocess: str

    def video(self, frames: NDArray[np.uint8]) -> tuple[Floats, Tensor]:
        """Returns embeddings (B, d) and tokens (B, L, w), on the device, of all patches.

        Args:
            frames: uint8 (B, T, px, px, 3), cropped.
        """
        import torch

        px = self.network.config.video.image_px
        if frames.shape[2:] != (px, px, 3):
            raise UsageError(f"frames are {frames.shape[2:]}: the network takes {(px, px, 3)}")
        scale, device = PREPROCESSING[self.preprocess], self.network.device
        with self._running(len(frames)):
            pixels = torch.from_numpy(frames).to(device).float() / 255  # (B, T, px, px, 3)
            mean, std = (torch.tensor(rgb, device=device) for rgb in (scale.mean, scale.std))
            out = self.network.model.video(((pixels - mean) / std).permute(0, 1, 4, 2, 3))
            return _numbers(out.embedding), out.tokens

    def blank(self) -> Tensor:
        """Returns the tokens of a clip that shows nothing, (1, L, w): every pixel is the mean.

        That is 0 on the scale of the network, as in a training run with blank frames.
        """
        import torch

        video = self.network.config.video
        shape = (1, video.frames, 3, video.image_px, video.image_px)
        with self._running(1):
            tokens: Tensor = self.network.model.video(
                torch.zeros(shape, device=self.network.device)
            ).tokens
            return tokens

    def texts(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """Returns embeddings (R, d) and what the sorting head is given, (R, w), of R texts.

        Raises:
            UsageError: the vocabulary of the text tower does not come with reelscript.
            DataError: a number is not finite.
        """
        config = self.network.config.text
        if config.kind != "clip":
            raise UsageError(
                f"{one_line(self.network.config.name, 60)} reads texts with DistilBERT's "
                "vocabulary, which does not come with reelscript: only its videos can be evaluated"
            )
        from reelscript.models.tvts.tokenizer import tokens_of

        parts = []
        for start in range(0, len(texts), MOST_TEXTS):
            some = texts[start : start + MOST_TEXTS]
            with self._running(len(some)):
                ids = tokens_of(some, config.context).to(self.network.device)
                out = self.network.model.text(ids)
                parts.append((_numbers(out.embedding), _numbers(out.token)))
        embeddings, tokens = (np.concatenate(part) for part in zip(*parts, strict=True))
        check_finite(embeddings, texts, "text")
        return embeddings, tokens

    def places(
        self, video: Tensor, texts: Floats, chance: np.random.Generator
    ) -> NDArray[np.int64]:
        """Returns the likeliest place of each transcript: (B, K).

        The transcripts are shuffled before the head sees them, so that their order on the way in
        tells it nothing, whatever the head.

        Args:
            video: (B, L, w), or (1, L, w) for the same with every window.
            texts: (B, K, w), in the order in which they were spoken.
            chance: where the shuffling comes from.

        Raises:
            DataError: a number is not finite.
        """
        import torch

        count, transcripts, _ = texts.shape
        shuffled = np.argsort(chance.random((count, transcripts)), axis=1)  # (B, K)
        mixed = np.take_along_axis(texts, shuffled[..., None], axis=1)
        with self._running(count):
            given = torch.from_numpy(mixed).to(self.network.device)
            tokens = video.expand(count, -1, -1)
            logits = _numbers(self.network.model.sorter(tokens, given))  # (B, K, places)
        if not np.isfinite(logits).all():
            raise DataError("the sorting head gives numbers that are not finite")
        places = np.empty((count, transcripts), np.int64)
        np.put_along_axis(places, shuffled, logits.argmax(axis=2), axis=1)
        return places

    @contextlib.contextmanager
    def _running(self, count: int) -> Iterator[None]:
        """Computes without gradients, in the precision asked for; names what does not fit."""
        import torch

        half = self.network.precision == "bfloat16"
        device = self.network.device
        try:
            with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=half):
                yield
        except (MemoryError, RuntimeError) as error:
            # On a CPU torch has no error of its own for it.
            known = isinstance(error, MemoryError | torch.OutOfMemoryError)
            if not known and "DefaultCPUAllocator" not in str(error):
                raise
            raise UsageError(
                f"a batch of {count} does not fit into memory: give a smaller --batch"
            ) from error


def check_finite(vectors: NDArray[Any], names: Sequence[str], what: str) -> None:
    """Raises DataError, with the first name, where vectors (n, d) hold what is no number.

    Every comparison with such a number is false, so that it would win every ranking.
    """
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise DataError(
            f"the network gives numbers that are not finite for {len(bad)} of {len(vectors)} "
            f"{what}s, first for {one_line(names[bad[0]], 80)!r}: it cannot be evaluated"
        )


def _numbers(tensor: Tensor) -> Floats:
    return np.asarray(tensor.float().cpu().numpy())
