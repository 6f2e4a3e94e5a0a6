"""One measured number with all that is needed to judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reelscript.jobs.evaluate.resampling import Resampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number.

    Attributes:
        value: the number.
        interval: 95 %, by the bootstrap over videos; None: one video tells none.
        n: how many items it is the mean or median of.
        videos: of how many videos they are.
        better: whether a `higher` or a `lower` number is the better one.
        chance: what is to be expected of a guess; None: not known.
    """

    value: float
    interval: tuple[float, float] | None
    n: int
    videos: int
    better: Literal["higher", "lower"] = "higher"
    chance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the same as plain JSON values."""
        return asdict(self)


def mean_figure(
    values: NDArray[Any],
    resampling: Resampling,
    chance: float | None = None,
    bounds: tuple[float, float] = (0, 1),
) -> Figure:
    """Returns the mean of the values, (n,), the more the better.

    Args:
        values: one for each item.
        resampling: of which video each is.
        chance: what a guess has.
        bounds: the least and the greatest that a value can be.
    """
    return Figure(
        value=float(np.mean(values)),
        interval=resampling.interval(resampling.means(values, bounds)),
        n=len(values),
        videos=resampling.videos,
        chance=chance,
    )


def median_figure(
    values: NDArray[Any], resampling: Resampling, chance: float | None = None
) -> Figure:
    """Returns the median of the values, (n,), the less the better: of ranks."""
    return Figure(
        value=float(np.median(values)),
        interval=resampling.interval(resampling.medians(values)),
        n=len(values),
        videos=resampling.videos,
        better="lower",
        chance=chance,
    )


def best_of(figures: Sequence[Figure]) -> int:
    """Returns the number of the best of some figures of one kind; the first of equal ones.

    Raises:
        ValueError: there is none, or they do not agree on what is better.
    """
    if len({figure.better for figure in figures}) != 1:
        raise ValueError("expected one or more figures that agree on what is better")
    values = [figure.value for figure in figures]
    best = max(values) if figures[0].better == "higher" else min(values)
    return values.index(best)
