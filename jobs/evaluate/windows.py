"""Windows of held-out videos through the network, each once.

Shapes: N windows, B of a batch, K transcripts, T frames, d embedding, w size of a text token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reelscript.jobs.evaluate.order import Places
from reelscript.jobs.evaluate.towers import Towers, check_finite
from reelscript.pipeline.errors import DataError
from reelscript.schemas.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float32]
Batches: TypeAlias = Callable[[], Iterable[Mapping[str, Any]]]
"""Begins a pass over all windows, the same ones in the same order each time.

A batch has `frames`, uint8 (B, K, T, H, W, 3) or (B, K * T, H, W, 3), cropped; `texts`, B lists of
K strings in the order in which they were spoken; `keys`, B names, `<video_id>-<where>`.
"""


@dataclass(frozen=True)
class Seen:
    """What the network says of windows that see their own video.

    Attributes:
        keys: names of the windows.
        texts: K transcripts of each.
        video: (N, d), embeddings.
        text: (N, d), the mean of the transcripts' embeddings, with which training contrasts.
        tokens: (N, K, w), the transcripts as the sorting head is given them.
        places: (N, K), where it puts them; None: it has no sorting head.
        empty: how many windows were refused because a transcript holds nothing.
    """

    keys: list[str]
    texts: list[list[str]]
    video: Floats
    text: Floats
    tokens: Floats
    places: Places | None
    empty: int

    @property
    def videos(self) -> list[str]:
        """The id of each window's video."""
        return [key.rpartition("-")[0] for key in self.keys]


def look(towers: Towers, batches: Batches, sorts: bool, seed: int) -> Seen:
    """Returns what the network says of all windows.

    Args:
        towers: the network.
        batches: of windows.
        sorts: whether it has a sorting head.
        seed: of the order in which that is given the transcripts.

    Raises:
        DataError: fewer than 2 windows are left, one comes twice, or a number is not finite.
    """
    chance = np.random.default_rng(seed)
    keys: list[str] = []
    texts: list[list[str]] = []
    parts: list[tuple[Floats, ...]] = []
    places: list[Places] = []
    empty = 0
    for frames, told, named in _whole(batches):
        kept = [row for row, said in enumerate(told) if all(map(_says_something, said))]
        empty += len(told) - len(kept)
        if not kept:
            continue
        said, names = [told[row] for row in kept], [named[row] for row in kept]
        video, tokens = towers.video(frames[kept])
        check_finite(video, names, "window")
        embeddings, text_tokens = _texts(towers, said)
        parts.append((video, embeddings.mean(axis=1), text_tokens))
        if sorts:
            places.append(towers.places(tokens, text_tokens, chance))
        keys += names
        texts += said
    _check(keys, empty)
    video, text, tokens_ = (np.concatenate(part) for part in zip(*parts, strict=True))
    found = np.concatenate(places) if sorts else None
    return Seen(keys, texts, video, text, tokens_, found, empty)


def see_others(
    towers: Towers, batches: Batches, seen: Seen, shown: NDArray[np.int64], batch: int, seed: int
) -> Places:
    """Returns where the head puts transcripts when it is shown other windows' frames: (N, K).

    The windows are read a second time, because all video tokens together fit into no memory.

    Args:
        towers: the network.
        batches: of the same windows.
        seen: what `look` returned.
        shown: (N,), the number of the window whose frames each is shown.
        batch: windows at a time.
        seed: of the order in which the head is given the transcripts.

    Raises:
        DataError: other windows are read than before.
    """
    chance = np.random.default_rng(seed)
    numbers = {key: number for number, key in enumerate(seen.keys)}
    places = np.full(seen.tokens.shape[:2], -1, np.int64)
    for frames, _, names in _whole(batches):
        wanted = [
            (row, target)
            for row, name in enumerate(names)
            for target in np.flatnonzero(shown == numbers.get(name, -1))
        ]
        if not wanted:
            continue
        _, tokens = towers.video(frames)
        for start in range(0, len(wanted), batch):
            rows, targets = map(list, zip(*wanted[start : start + batch], strict=True))
            places[targets] = towers.places(tokens[rows], seen.tokens[targets], chance)
    if (places < 0).any():
        raise DataError("windows that were read once could not be read again: did the data change?")
    return places


def see_nothing(towers: Towers, texts: Sequence[list[str]], batch: int, seed: int) -> Places:
    """Returns where a head puts transcripts when it is shown blank frames: (N, K)."""
    chance = np.random.default_rng(seed)
    nothing: Tensor = towers.blank()
    made = []
    for start in range(0, len(texts), batch):
        _, tokens = _texts(towers, texts[start : start + batch])
        made.append(towers.places(nothing, tokens, chance))
    return np.concatenate(made)


def _whole(
    batches: Batches,
) -> Iterator[tuple[NDArray[np.uint8], list[list[str]], list[str]]]:
    """Yields frames (B, T, H, W, 3), texts and keys of each batch."""
    for batch in batches():
        frames = np.asarray(batch["frames"])
        if frames.ndim == 6:  # (B, K, T, H, W, 3): K clips make one
            frames = frames.reshape(frames.shape[0], -1, *frames.shape[3:])
        yield frames, [list(said) for said in batch["texts"]], list(batch["keys"])


def _texts(towers: Towers, texts: Sequence[list[str]]) -> tuple[Floats, Floats]:
    """Returns embeddings (B, K, d) and tokens (B, K, w)."""
    flat = [text for said in texts for text in said]
    embeddings, tokens = towers.texts(flat)
    shape = (len(texts), len(texts[0]), -1)
    return embeddings.reshape(shape), tokens.reshape(shape)


def _says_something(text: str) -> bool:
    """Returns whether a text has a letter or a digit, of any script."""
    return any(char.isalnum() for char in text)


def _check(keys: Sequence[str], empty: int) -> None:
    refused = f"; {empty} were refused for an empty transcript" if empty else ""
    if len(keys) < 2:
        raise DataError(
            f"{len(keys)} window(s) of held-out videos are too few to evaluate with: expected 2 or "
            f"more{refused}"
        )
    if len(set(keys)) < len(keys):
        double = next(key for key in keys if keys.count(key) > 1)
        raise DataError(f"the window {one_line(double, 80)} was read twice: each counts once")
