"""The numbers of an evaluation against naive ones."""

from __future__ import annotations

import math
from itertools import permutations, product
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.jobs.evaluate.figures import Figure, best_of, mean_figure, median_figure
from reelscript.jobs.evaluate.floors import claims_of, of_another_video
from reelscript.jobs.evaluate.order import MEASURES, all_right, kendall_tau, per_transcript
from reelscript.jobs.evaluate.ranking import at_random, ranks_of
from reelscript.jobs.evaluate.resampling import Resampling
from reelscript.jobs.evaluate.retrieval import Pairs, retrieve
from reelscript.pipeline.errors import DataError

# Order.


def naive_tau(places: list[int]) -> float:
    """Concordant less discordant pairs, by all pairs."""
    score = pairs = 0
    for i in range(len(places)):
        for j in range(i + 1, len(places)):
            pairs += 1
            score += (places[j] > places[i]) - (places[j] < places[i])
    return score / pairs


def test_evaluate_order_measures_are_the_naive_ones_for_every_guess() -> None:
    guesses = np.array(list(product(range(4), repeat=4)))
    taus, rights, alls = kendall_tau(guesses), per_transcript(guesses), all_right(guesses)
    for guess, tau, right, whole in zip(guesses.tolist(), taus, rights, alls, strict=True):
        assert tau == pytest.approx(naive_tau(guess))
        assert right == sum(place == k for k, place in enumerate(guess)) / 4
        assert whole == (guess == [0, 1, 2, 3])


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_evaluate_order_chance_is_that_of_all_orders(k: int) -> None:
    orders = np.array(list(permutations(range(k))))
    for measure in MEASURES.values():
        assert measure.chance(k) == pytest.approx(measure.of(orders).mean())
    guesses = np.array(list(product(range(k), repeat=k)))  # each place on its own
    assert all_right(guesses).mean() < MEASURES["all_right"].chance(k)


def test_evaluate_order_of_one_place_for_all_is_worth_nothing() -> None:
    constant = np.zeros((1, 4), np.int64)
    assert kendall_tau(constant) == 0
    assert all_right(constant) == 0
    assert per_transcript(constant) == 1 / 4


# Ranking.


def naive_hits(scores: list[float], right: set[int], k: int) -> tuple[float, float]:
    """Hits among the first k and the best right rank, over all orders that the scores allow."""
    hits, ranks, count = 0, 0.0, 0
    for order in permutations(range(len(scores))):
        placed = [scores[c] for c in order]
        if placed != sorted(placed, reverse=True):
            continue
        first = min(rank for rank, c in enumerate(order, start=1) if c in right)
        hits, ranks, count = hits + (first <= k), ranks + first, count + 1
    return hits / count, ranks / count


def candidates_with(scores: list[float]) -> Any:
    """Vectors whose cosine with (1, 0) are these."""
    return np.array([[s, math.sqrt(1 - s * s)] for s in scores])


@given(
    st.lists(st.sampled_from([-0.5, 0.0, 0.25, 0.5]), min_size=1, max_size=6),
    st.sets(st.integers(0, 5), min_size=1),
    st.integers(1, 7),
)
def test_evaluate_ranks_share_ties_out_as_all_orders_do(
    scores: list[float], wanted: set[int], k: int
) -> None:
    right = {number % len(scores) for number in wanted}
    ranks = ranks_of(np.array([[3.0, 0.0]]), candidates_with(scores), [right])
    hits, rank = naive_hits(scores, right, k)
    assert ranks.hits(k)[0] == pytest.approx(hits)
    assert ranks.expected()[0] == pytest.approx(rank)


def test_evaluate_ranks_do_not_depend_on_lengths_or_on_blocks() -> None:
    chance = np.random.default_rng(0)
    queries, candidates = chance.normal(size=(2500, 5)), chance.normal(size=(40, 5))
    right = [{i % 40} for i in range(2500)]
    ranks = ranks_of(queries, candidates * chance.uniform(1, 9, (40, 1)), right)
    cosines = queries @ candidates.T / np.linalg.norm(candidates, axis=1)
    for row in (0, 1023, 1024, 2499):
        own = cosines[row, row % 40]
        assert ranks.expected()[row] == 1 + (cosines[row] > own).sum()


@pytest.mark.parametrize("dual", [False, True])
def test_evaluate_a_collapsed_network_is_exactly_at_chance(dual: bool) -> None:
    same = np.ones((37, 8)) + np.random.default_rng(0).normal(size=(37, 8)) * 1e-9
    right = [{i} for i in range(37)]
    ranks, chance = ranks_of(same, same, right, dual), at_random(right, 37)
    for k in (1, 5, 10, 37, 99):
        np.testing.assert_allclose(ranks.hits(k), min(1, k / 37))
        np.testing.assert_allclose(ranks.hits(k), chance.hits(k))
    np.testing.assert_allclose(ranks.expected(), 19)


def naive_dual(cosines: Any) -> Any:
    """Each cosine times the softmax over the queries, written out."""
    made = np.zeros_like(cosines)
    for q, c in product(*map(range, cosines.shape)):
        others = sum(math.exp(100 * cosines[j, c]) for j in range(len(cosines)))
        made[q, c] = cosines[q, c] * math.exp(100 * cosines[q, c]) / others
    return made


def test_evaluate_dual_softmax_is_the_formula() -> None:
    chance = np.random.default_rng(1)
    queries, candidates = chance.normal(size=(30, 4)) + 1, chance.normal(size=(30, 4)) + 1
    cosines = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ (
        candidates / np.linalg.norm(candidates, axis=1, keepdims=True)
    ).T
    scores = naive_dual(cosines)
    wanted = [1 + int((row > row[i]).sum()) for i, row in enumerate(scores)]
    ranks = ranks_of(queries, candidates, [{i} for i in range(30)], dual_softmax=True)
    assert ranks.expected().tolist() == wanted
    plain = ranks_of(queries, candidates, [{i} for i in range(30)])
    assert plain.expected().tolist() != wanted


# Retrieval.


def pairs_of(texts: list[str], video_of: list[int], text_vectors: Any, video_vectors: Any) -> Pairs:
    return Pairs(texts, text_vectors, video_of, video_vectors, list(range(len(video_vectors))))


def test_evaluate_retrieval_of_a_perfect_network_is_perfect() -> None:
    same, texts = np.eye(12), [f"text {i}" for i in range(12)]
    found = retrieve(pairs_of(texts, list(range(12)), same, same), 0)
    for figures in found.directions.values():
        assert [figures[name].value for name in ("r1", "r5", "r10", "median_rank")] == [1, 1, 1, 1]
        assert figures["r1"].chance == pytest.approx(1 / 12)
        assert figures["median_rank"].chance == pytest.approx(6.5)
        assert figures["r1"].interval is not None
        assert figures["r1"].interval[0] < 0.9  # 12 videos do not prove that all are found


def test_evaluate_retrieval_counts_an_identical_text_as_right() -> None:
    """Two videos with one caption: whichever is found is what was asked for."""
    texts = ["A dog  runs", "a dog runs", "a cat"]
    vectors = np.array([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]])
    videos = np.array([[0.9, 0.1, 0], [1.0, 0, 0], [0, 0, 1]])
    found = retrieve(pairs_of(texts, [0, 1, 2], vectors, videos), 0)
    assert found.shared_texts == 2
    assert found.directions["text_to_video"]["r1"].value == 1
    assert found.directions["video_to_text"]["r1"].value == 1
    other = retrieve(pairs_of(["a dog", "a hound", "a cat"], [0, 1, 2], vectors, videos), 0)
    assert other.directions["text_to_video"]["r1"].value == pytest.approx(2 / 3)


def test_evaluate_retrieval_with_several_captions_takes_the_best_one_of_a_video() -> None:
    """Text to video every caption asks; video to text any of its captions will do."""
    texts, video_of = ["a", "b", "c", "d"], [0, 0, 1, 1]
    vectors = np.array([[1.0, 0], [0, 1], [0, 1], [0, 1]])
    found = retrieve(pairs_of(texts, video_of, vectors, np.eye(2)), 0)
    assert found.directions["text_to_video"]["r1"].value == pytest.approx(3 / 4)
    assert found.directions["text_to_video"]["r1"].n == 4
    assert found.directions["video_to_text"]["r1"].n == 2
    # Video 1: of three tied texts two are its own.
    assert found.directions["video_to_text"]["r1"].value == pytest.approx((1 + 2 / 3) / 2)


def test_evaluate_retrieval_among_one_video_is_refused() -> None:
    with pytest.raises(DataError, match=r"^retrieval among 1 video\(s\) says nothing"):
        retrieve(pairs_of(["a"], [0], np.eye(1), np.eye(1)), 0)


# Intervals.


def naive_draws(
    values: list[float], videos: list[int], seed: int, rounds: int
) -> list[list[float]]:
    chance, count = np.random.default_rng(seed), max(videos) + 1
    drawn = []
    for _ in range(rounds):
        some = chance.integers(count, size=count).tolist()
        drawn.append([v for g in some for v, of in zip(values, videos, strict=True) if of == g])
    return drawn


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=2, max_size=15),
    st.integers(0, 3),
)
def test_evaluate_draws_are_those_of_whole_videos(items: list[tuple[int, int]], seed: int) -> None:
    names, values = zip(*items, strict=True)
    numbers = [list(dict.fromkeys(names)).index(name) for name in names]
    resampling = Resampling(np.array(numbers), seed, rounds=20)
    assert Resampling.of(names, seed).groups.tolist() == numbers
    drawn = naive_draws([float(v) for v in values], numbers, seed, 20)
    scaled = np.array(values, float)
    np.testing.assert_allclose(resampling.medians(scaled), [median(draw) for draw in drawn])
    bounds = (-1.0, 10.0)  # of which none is reached
    np.testing.assert_allclose(
        resampling.means(scaled, bounds), [sum(draw) / len(draw) for draw in drawn]
    )


def test_evaluate_intervals_hold_what_they_promise() -> None:
    """Windows of one video are alike: an interval over windows would hold a third as often."""
    chance, inside = np.random.default_rng(0), 0
    videos = np.repeat(np.arange(40), 6)
    for trial in range(120):
        of_video = chance.beta(2, 2, 40)
        values = (chance.random(240) < of_video[videos]).astype(float)
        low, high = mean_figure(values, Resampling(videos, trial, rounds=300)).interval or (0, 0)
        inside += low <= 0.5 <= high
    assert 0.88 <= inside / 120 <= 1


@pytest.mark.parametrize("bound", [0.0, 1.0])
def test_evaluate_intervals_of_unanimous_videos_have_a_width(bound: float) -> None:
    widths = []
    for videos in (5, 50, 500):
        figure = mean_figure(np.full(videos, bound), Resampling.of(range(videos), 0))
        assert figure.interval is not None
        low, high = figure.interval
        widths.append(high - low)
        assert min(low, 1 - high) >= 0
        assert abs(figure.value - bound) == 0
        assert high - low < 1 - 0.025 ** (1 / videos) + 0.02  # about the exact limit
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 0.2


def test_evaluate_one_video_has_no_interval() -> None:
    assert mean_figure(np.array([0.0, 1.0]), Resampling.of(["a", "a"], 0)).interval is None
    assert median_figure(np.array([3.0, 1.0]), Resampling.of(["a", "a"], 0)).interval is None


# Which is better.


def figure(value: float, better: Any) -> Figure:
    return Figure(value=value, interval=None, n=1, videos=1, better=better)


def test_evaluate_the_best_is_the_highest_accuracy_and_the_lowest_rank() -> None:
    """The released trainer keeps the checkpoint of the lowest accuracy as its best."""
    assert best_of([figure(v, "higher") for v in (0.2, 0.9, 0.5)]) == 1
    assert best_of([figure(v, "lower") for v in (3.0, 2.0, 7.0)]) == 1
    with pytest.raises(ValueError, match="agree"):
        best_of([figure(1, "higher"), figure(1, "lower")])


# Floors.


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=20), st.integers(0, 5))
def test_evaluate_every_window_is_shown_another_video(videos: list[str], seed: int) -> None:
    if len(set(videos)) < 2:
        with pytest.raises(DataError, match="2 or more videos"):
            of_another_video(videos, seed)
        return
    shown = of_another_video(videos, seed)
    assert all(videos[other] != video for video, other in zip(videos, shown, strict=True))
    pairs = {(video, videos[other]) for video, other in zip(videos, shown, strict=True)}
    assert len(pairs) == len(set(videos)) == len({other for _, other in pairs})
    assert shown.tolist() == of_another_video(videos, seed).tolist()


def test_evaluate_the_claim_is_the_margin_over_the_highest_floor() -> None:
    chance = np.random.default_rng(0)
    videos = [f"v{i // 2}" for i in range(200)]
    right = np.tile(np.arange(4), (200, 1))
    wrong = right[:, ::-1]
    some = np.where(chance.random(200)[:, None] < 0.8, right, wrong)
    few = np.where(chance.random(200)[:, None] < 0.3, right, wrong)
    claims = claims_of(some, {"low": wrong, "few": few}, videos, 0)
    claim = claims["all_right"]
    assert claim.over == "few"
    assert set(claim.floors) == {"low", "few", "chance"}
    assert claim.margin == pytest.approx(all_right(some).mean() - all_right(few).mean())
    assert claim.interval is not None
    assert claim.interval[0] < claim.margin < claim.interval[1]
    assert claim.stands
    assert not claims_of(few, {"high": some}, videos, 0)["all_right"].stands
    assert not claims_of(some, {"same": some}, videos, 0)["all_right"].stands
    assert claims_of(wrong, {"low": wrong}, videos, 0)["per_transcript"].over == "chance"
