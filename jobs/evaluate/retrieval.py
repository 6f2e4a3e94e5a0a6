"""Text to video and back: which share of queries finds what is right among the first k.

Shapes: M texts, V videos, d embedding.

A text is right for its own video, and for every other one that has the same text (case and white
space apart): nobody could tell which is meant. A video is right for all texts that are right for
it, of which the best counts. How many texts stand at several videos is said beside the figures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelscript.jobs.evaluate.figures import Figure, mean_figure, median_figure
from reelscript.jobs.evaluate.ranking import Ranks, at_random, ranks_of
from reelscript.jobs.evaluate.resampling import Resampling
from reelscript.pipeline.errors import DataError

FIRST = (1, 5, 10)


@dataclass(frozen=True)
class Pairs:
    """Texts and the videos that they are of.

    Attributes:
        texts: M of them.
        text_vectors: (M, d), not normalised.
        video_of: for each text the number of its video.
        video_vectors: (V, d), not normalised.
        sources: for each video what it was cut from; the interval is over these.
    """

    texts: Sequence[str]
    text_vectors: NDArray[Any]
    video_of: Sequence[int]
    video_vectors: NDArray[Any]
    sources: Sequence[Hashable]

    def right(self) -> tuple[list[set[int]], list[set[int]], int]:
        """Returns what is right for each text and for each video, and how many texts are shared.

        Shared ones stand at several videos.
        """
        plain = [" ".join(text.casefold().split()) for text in self.texts]
        videos: dict[str, set[int]] = defaultdict(set)
        for text, video in zip(plain, self.video_of, strict=True):
            videos[text].add(video)
        of_text = [videos[text] for text in plain]
        of_video: list[set[int]] = [set() for _ in self.sources]
        for number, right in enumerate(of_text):
            for video in right:
                of_video[video].add(number)
        return of_text, of_video, sum(len(right) > 1 for right in of_text)


@dataclass(frozen=True)
class Retrieval:
    """What was found.

    Attributes:
        directions: `text_to_video` and `video_to_text`: figures by name, `r1`, `r5`, `r10` and
            `median_rank`.
        texts, videos: how many of each.
        shared_texts: texts that several videos have.
        dual_softmax: whether scores are re-weighted over all queries.
    """

    directions: dict[str, dict[str, Figure]]
    texts: int
    videos: int
    shared_texts: int
    dual_softmax: bool

    def to_dict(self) -> dict[str, Any]:
        """Returns the same as plain JSON values."""
        return {
            "texts": self.texts,
            "videos": self.videos,
            "shared_texts": self.shared_texts,
            "dual_softmax": self.dual_softmax,
            **{
                direction: {name: figure.to_dict() for name, figure in figures.items()}
                for direction, figures in self.directions.items()
            },
        }


def retrieve(pairs: Pairs, seed: int, dual_softmax: bool = False) -> Retrieval:
    """Returns recall at 1, 5 and 10 and the median rank, in both directions.

    Args:
        pairs: what belongs together.
        seed: of the intervals.
        dual_softmax: see `ranking.ranks_of`.

    Raises:
        DataError: there are fewer than 2 videos: nothing could be mistaken for anything.
    """
    if len(pairs.sources) < 2:
        raise DataError(
            f"retrieval among {len(pairs.sources)} video(s) says nothing: expected 2 or more"
        )
    of_text, of_video, shared = pairs.right()
    texts, videos = pairs.text_vectors, pairs.video_vectors
    sources = [pairs.sources[video] for video in pairs.video_of]
    directions = {
        "text_to_video": _figures(
            ranks_of(texts, videos, of_text, dual_softmax),
            at_random(of_text, len(videos)),
            Resampling.of(sources, seed),
        ),
        "video_to_text": _figures(
            ranks_of(videos, texts, of_video, dual_softmax),
            at_random(of_video, len(texts)),
            Resampling.of(pairs.sources, seed),
        ),
    }
    return Retrieval(directions, len(texts), len(videos), shared, dual_softmax)


def _figures(ranks: Ranks, guessed: Ranks, resampling: Resampling) -> dict[str, Figure]:
    figures = {
        f"r{k}": mean_figure(ranks.hits(k), resampling, float(guessed.hits(k).mean()))
        for k in FIRST
    }
    chance = float(np.median(guessed.expected()))
    return figures | {"median_rank": median_figure(ranks.expected(), resampling, chance)}
