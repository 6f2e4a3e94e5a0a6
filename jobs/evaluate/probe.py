"""A linear probe: what of a class can be read from frozen embeddings by one linear layer.

Multinomial logistic regression, as in CLIP's evaluation (arXiv 2103.00020, appendix A.3): L-BFGS,
the penalty chosen on a part of the training list that is held out, then trained on all of it. The
test list is looked at once. TVTSv2's own recipe (arXiv 2305.14173) was not published.

Shapes: n videos, d embedding, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelscript.jobs.evaluate.figures import Figure, mean_figure
from reelscript.jobs.evaluate.ranking import Ranks
from reelscript.jobs.evaluate.resampling import Resampling
from reelscript.jobs.evaluate.zero_shot import TOP
from reelscript.pipeline.errors import DataError

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
PENALTIES = tuple(10.0**power for power in range(2, -7, -1))  # of the mean loss; strongest first
HELD_OUT = 0.2
ITERATIONS = 1000  # CLIP's


@dataclass(frozen=True)
class Probe:
    """What a linear layer can tell.

    Attributes:
        figures: `top1` and `top5` on the test list.
        penalty: the one that was chosen.
        at_edge: whether it is the first or last of those tried, so that another may be better.
        held_out: the share of held-out training videos that it got right.
        trained_on: how many videos.
        classes: how many of the classes have a video to be trained on.
    """

    figures: dict[str, Figure]
    penalty: float
    at_edge: bool
    held_out: float
    trained_on: int
    classes: int

    def to_dict(self) -> dict[str, Any]:
        """Returns the same as plain JSON values."""
        return {
            **{name: figure.to_dict() for name, figure in self.figures.items()},
            "penalty": self.penalty,
            "penalty_at_edge": self.at_edge,
            "held_out_top1": self.held_out,
            "trained_on": self.trained_on,
            "trained_classes": self.classes,
        }


def probe(
    train: NDArray[Any],
    train_labels: Labels,
    test: NDArray[Any],
    test_labels: Labels,
    classes: int,
    seed: int,
) -> Probe:
    """Returns how well a linear layer on frozen embeddings does.

    Args:
        train: (n, d).
        train_labels: (n,), numbers of classes.
        test: (m, d).
        test_labels: (m,).
        classes: how many there are.
        seed: of what is held out, and of the intervals.

    Raises:
        DataError: no class has two videos to train on, or all are of one class.
    """
    mean, deviation = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    a, b = ((part - mean) / np.maximum(deviation, 1e-8) for part in (train, test))
    held = hold_out(train_labels, seed)
    shares = [
        float(
            (
                _scores(fit(a[~held], train_labels[~held], classes, p), a[held]).argmax(1)
                == train_labels[held]
            ).mean()
        )
        for p in PENALTIES
    ]
    best = shares.index(max(shares))  # of equal ones the strongest
    scores = _scores(fit(a, train_labels, classes, PENALTIES[best]), b)
    own = np.take_along_axis(scores, test_labels[:, None], axis=1)
    level = scores == own
    ranks = Ranks((scores > own).sum(1), level.sum(1), np.ones(len(scores), np.int64))
    resampling = Resampling.of(range(len(scores)), seed)
    return Probe(
        figures={
            f"top{k}": mean_figure(ranks.hits(k), resampling, min(1.0, k / classes)) for k in TOP
        },
        penalty=PENALTIES[best],
        at_edge=best in (0, len(PENALTIES) - 1),
        held_out=shares[best],
        trained_on=len(train),
        classes=len(np.unique(train_labels)),
    )


def hold_out(labels: Labels, seed: int) -> NDArray[np.bool_]:
    """Returns which videos choose the penalty: a fifth of each class, rounded, of a pair one.

    Raises:
        DataError: there is nothing to choose by.
    """
    chance = np.random.default_rng(seed)
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = chance.permutation(np.flatnonzero(labels == label))
        if len(members) > 1:
            held[members[: max(1, round(HELD_OUT * len(members)))]] = True
    if not held.any() or len(np.unique(labels)) < 2:
        raise DataError(
            "a linear probe needs 2 or more classes in the training list, one of them with 2 or "
            "more videos"
        )
    return held


def fit(features: Floats, labels: Labels, classes: int, penalty: float) -> Floats:
    """Returns weights and, in the last row, biases that minimise the penalised loss: (d + 1, C).

    That is the mean cross entropy + penalty / 2 * the sum of the squared weights, biases apart.
    """
    import torch

    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    made = torch.zeros(features.shape[1] + 1, classes, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [made],
        max_iter=ITERATIONS,
        history_size=20,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def loss() -> torch.Tensor:
        search.zero_grad()
        logits = x @ made[:-1] + made[-1]
        value = (
            torch.nn.functional.cross_entropy(logits, y) + penalty / 2 * made[:-1].square().sum()
        )
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(loss)  # type: ignore[no-untyped-call]
    return np.asarray(made.detach().numpy())


def _scores(made: Floats, features: Floats) -> Floats:
    return np.asarray(features @ made[:-1] + made[-1])
