"""The linear probe and zero-shot classification against plain computations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from reelscript.jobs.evaluate.probe import PENALTIES, fit, hold_out, probe
from reelscript.jobs.evaluate.zero_shot import class_vectors, classify
from reelscript.pipeline.errors import DataError
from tests.evaluate_made import WORDS, made_towers


def naive_loss(made: Any, x: Any, y: Any, penalty: float) -> float:
    """Mean cross entropy and penalty, one video at a time."""
    total = 0.0
    for features, label in zip(x, y, strict=True):
        logits = [sum(features * made[:-1, c]) + made[-1, c] for c in range(made.shape[1])]
        total += np.log(sum(np.exp(logits))) - logits[label]
    return float(total / len(x) + penalty / 2 * (made[:-1] ** 2).sum())


def blobs(seed: int, count: int = 120, apart: float = 1.0) -> tuple[Any, Any]:
    """Features of three classes around three centres that do not depend on the seed."""
    chance = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    centres = np.random.default_rng(99).normal(size=(3, 6)) * apart
    return centres[labels] + chance.normal(size=(count, 6)), labels


@pytest.mark.parametrize("penalty", [1e-3, 0.1, 10.0])
def test_evaluate_probe_stands_at_the_least_loss(penalty: float) -> None:
    """The loss is convex: no small step in any direction makes it less."""
    x, y = blobs(0, count=30)
    made = fit(x, y, 3, penalty)
    least = naive_loss(made, x, y, penalty)
    for place in np.ndindex(made.shape):
        for step in (-1e-3, 1e-3):
            moved = made.copy()
            moved[place] += step
            assert naive_loss(moved, x, y, penalty) >= least - 1e-12


def test_evaluate_probe_finds_what_is_there_and_nothing_else() -> None:
    (x, y), (a, b) = blobs(1), blobs(2)
    found = probe(x, y, a, b, 3, 0)
    assert found.figures["top1"].value > 0.6
    assert found.figures["top5"].value == 1
    assert found.trained_on == len(x)
    assert found.penalty in PENALTIES
    nothing = probe(np.random.default_rng(0).normal(size=x.shape), y, a, b, 3, 0)
    assert abs(nothing.figures["top1"].value - 1 / 3) < 0.15


def test_evaluate_probe_chooses_without_a_look_at_the_test() -> None:
    (x, y), (a, b) = blobs(1, apart=0.4), blobs(2, apart=0.4)
    found, other = probe(x, y, a, b, 3, 0), probe(x, y, a, (b + 1) % 3, 3, 0)
    assert (found.penalty, found.held_out) == (other.penalty, other.held_out)
    assert other.figures["top1"].value < found.figures["top1"].value


def test_evaluate_probe_does_not_depend_on_the_scale_of_embeddings() -> None:
    (x, y), (a, b) = blobs(1), blobs(2)
    scale, shift = np.array([1e-3, 1, 50, 1, 1, 1e4]), np.arange(6) * 10
    found, other = probe(x, y, a, b, 3, 0), probe(x * scale + shift, y, a * scale + shift, b, 3, 0)
    assert found.figures == other.figures


def test_evaluate_probe_ties_are_shared_out() -> None:
    """Embeddings that are all the same: every class has the score of its share."""
    y = np.arange(30) % 3
    found = probe(np.ones((30, 4)), y, np.ones((9, 4)), np.arange(9) % 3, 3, 0)
    assert found.figures["top1"].value == pytest.approx(1 / 3, abs=1e-9)


def test_evaluate_probe_holds_out_a_part_of_every_class_that_has_two() -> None:
    labels = np.array([0] * 10 + [1] * 2 + [2])
    for seed in range(5):
        held = hold_out(labels, seed)
        assert [int(held[labels == c].sum()) for c in range(3)] == [2, 1, 0]
    assert len({hold_out(labels, seed).tobytes() for seed in range(9)}) > 1
    for bad in ([0, 1, 2], [0, 0, 0]):
        with pytest.raises(DataError, match="a linear probe needs"):
            hold_out(np.array(bad), 0)


def test_evaluate_zero_shot_takes_the_class_whose_name_is_nearest() -> None:
    towers = made_towers()
    vectors = class_vectors(towers, WORDS, ["{}", "{} thing"])
    np.testing.assert_allclose(vectors, np.eye(len(WORDS)), atol=1e-12)
    videos = np.eye(len(WORDS))[[0, 1, 2, 3]] + 0.1 * np.eye(len(WORDS))[[4, 4, 4, 4]]
    figures = classify(videos, vectors, [0, 1, 4, 7], 0)
    assert figures["top1"].value == 0.5
    # Class 4 is second; class 7 ties with six others for the places 3 to 8, of which 3 to 5 count.
    assert figures["top5"].value == pytest.approx((1 + 1 + 1 + 3 / 6) / 4)
    assert figures["top1"].chance == 1 / 8


def test_evaluate_zero_shot_prompts_weigh_the_same() -> None:
    """A long vector of one prompt must not outvote the others."""
    towers = made_towers()

    def texts(names: list[str]) -> Any:
        vectors = (
            np.array([[1.0, 0], [0, 1]]) if names[0][0] == "a" else np.array([[0, 9.0], [9, 0]])
        )
        return vectors, vectors

    object.__setattr__(towers, "texts", texts)
    vectors = class_vectors(towers, ["x", "y"], ["a {}", "b {}"])
    np.testing.assert_allclose(vectors, np.full((2, 2), 0.5**0.5))
