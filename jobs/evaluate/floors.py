"""What sorting would reach without seeing the video, and what is left above that.

Speech carries its order in its words ("first", "then", a name before its "he"), so that a head may
sort transcripts and never look. Floors say how far that goes; a claim is the margin over the
highest of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelscript.jobs.evaluate.figures import Figure, best_of, mean_figure
from reelscript.jobs.evaluate.order import MEASURES, Measure, Places
from reelscript.jobs.evaluate.resampling import Resampling
from reelscript.pipeline.errors import DataError

CHANCE = "chance"


def of_another_video(videos: Sequence[str], seed: int) -> NDArray[np.int64]:
    """Returns for each window the number of the one whose frames it is shown: (N,).

    The videos are put into a ring, in an order drawn from the seed, and each is shown the next one:
    no video sees itself. The k-th window of a video sees the k-th of the other, which begins anew
    where it has fewer.

    Raises:
        DataError: there is only one video.
    """
    windows: dict[str, list[int]] = defaultdict(list)
    for number, video in enumerate(videos):
        windows[video].append(number)
    if len(windows) < 2:
        raise DataError(
            f"sorting needs windows of 2 or more videos, of which one is shown the other's frames; "
            f"there is {len(windows)}"
        )
    names = list(windows)
    ring = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    shown = np.zeros(len(videos), np.int64)
    for video, other in zip(ring, [*ring[1:], ring[0]], strict=True):
        for k, number in enumerate(windows[video]):
            shown[number] = windows[other][k % len(windows[other])]
    return shown


@dataclass(frozen=True)
class Claim:
    """One sorting figure beside its floors.

    Attributes:
        model: of the network that sees its video.
        floors: by name, of the same windows; `chance` among them.
        over: name of the highest floor.
        margin: by how much the model is above it.
        interval: 95 %, of the margin over whichever floor is the highest in each draw; None: one
            video tells none.
    """

    model: Figure
    floors: Mapping[str, Figure]
    over: str
    margin: float
    interval: tuple[float, float] | None

    @property
    def stands(self) -> bool:
        """Whether the whole interval of the margin lies above 0."""
        return self.interval is not None and self.interval[0] > 0

    def to_dict(self) -> dict[str, Any]:
        """Returns the same as plain JSON values."""
        return {
            "model": self.model.to_dict(),
            "floors": {name: figure.to_dict() for name, figure in self.floors.items()},
            "margin": {"value": self.margin, "interval": self.interval, "over": self.over},
        }


def claims_of(
    places: Places, blind: Mapping[str, Places], videos: Sequence[str], seed: int
) -> dict[str, Claim]:
    """Returns the claim of each measure of `order.MEASURES`, by its name.

    Args:
        places: int (N, K), what the model says of N windows.
        blind: the same of heads that do not see the window's video, by a name.
        videos: of which video each window is.
        seed: of the intervals.
    """
    resampling = Resampling.of(videos, seed)
    return {name: _claim(measure, places, blind, resampling) for name, measure in MEASURES.items()}


def _claim(
    measure: Measure, places: Places, blind: Mapping[str, Places], resampling: Resampling
) -> Claim:
    chance = measure.chance(places.shape[1])
    values = {name: measure.of(guess) for name, guess in blind.items()}
    floors = {
        name: mean_figure(value, resampling, chance, measure.bounds)
        for name, value in values.items()
    }
    floors[CHANCE] = Figure(
        value=chance, interval=None, n=len(places), videos=resampling.videos, chance=chance
    )
    drawn = [resampling.means(value, measure.bounds) for value in values.values()]
    highest = np.max([*drawn, np.full(resampling.rounds, chance)], axis=0)  # (rounds,)
    own = measure.of(places)
    model = mean_figure(own, resampling, chance, measure.bounds)
    over = list(floors)[best_of(list(floors.values()))]
    return Claim(
        model=model,
        floors=floors,
        over=over,
        margin=model.value - floors[over].value,
        interval=resampling.interval(resampling.means(own, measure.bounds) - highest),
    )
