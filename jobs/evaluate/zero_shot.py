"""Classes by their names alone.

The vector of a class is the mean of its name in each prompt, all at a length of 1 (arXiv
2103.00020, section 3.1.4); TVTSv2's one prompt is 'a person ' and the name (arXiv 2305.14173, the
released evaluation). A video is of the class whose vector has the highest cosine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelscript.jobs.evaluate.figures import Figure, mean_figure
from reelscript.jobs.evaluate.ranking import ranks_of
from reelscript.jobs.evaluate.resampling import Resampling
from reelscript.jobs.evaluate.towers import Towers
from reelscript.pipeline.errors import UsageError
from reelscript.schemas.text import one_line

PLACE = "{}"  # where a prompt has the name
PROMPTS = (f"a person {PLACE}",)
TOP = (1, 5)


def check_prompts(prompts: Sequence[str]) -> None:
    """Raises UsageError for a prompt that does not have the name once."""
    for prompt in prompts:
        if prompt.count(PLACE) != 1:
            raise UsageError(
                f"--prompt {one_line(prompt, 80)!r}: expected {PLACE} once, where the name of the "
                "class is to stand"
            )


def class_vectors(
    towers: Towers, names: Sequence[str], prompts: Sequence[str]
) -> NDArray[np.float64]:
    """Returns a vector of length 1 for each class: (C, d)."""
    made = []
    for prompt in prompts:
        vectors, _ = towers.texts([prompt.replace(PLACE, name) for name in names])
        made.append(_unit(vectors))
    return _unit(np.mean(made, axis=0))


def classify(
    videos: NDArray[Any], classes: NDArray[Any], labels: Sequence[int], seed: int
) -> dict[str, Figure]:
    """Returns the shares of videos whose class is the first, and among the first five.

    Args:
        videos: (n, d), of any length.
        classes: (C, d).
        labels: of each video the number of its class.
        seed: of the intervals.
    """
    ranks = ranks_of(videos, classes, [[label] for label in labels])
    resampling = Resampling.of(range(len(labels)), seed)
    return {
        f"top{k}": mean_figure(ranks.hits(k), resampling, min(1.0, k / len(classes))) for k in TOP
    }


def _unit(vectors: NDArray[Any]) -> NDArray[np.float64]:
    wide = np.asarray(vectors, np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True).clip(1e-12))
