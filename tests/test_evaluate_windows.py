"""Sorting on windows, with networks of which it is known what they look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from reelscript.jobs.evaluate.order import MEASURES  # noqa: E402
from reelscript.jobs.evaluate.sorting import (  # noqa: E402
    BLANK_FRAMES,
    BLIND_HEAD,
    OTHER_VIDEO,
    Sorting,
    sort_windows,
)
from reelscript.jobs.evaluate.towers import Towers  # noqa: E402
from reelscript.jobs.evaluate.windows import look, see_others  # noqa: E402
from reelscript.models.tvts.frames import PREPROCESSING  # noqa: E402
from reelscript.pipeline.errors import DataError, UsageError  # noqa: E402
from tests.evaluate_made import (  # noqa: E402
    K,
    MadeWindows,
    Sorter,
    cheats,
    made_towers,
    made_windows,
    reads,
    sees,
)


def sorting(windows: MadeWindows, sorter: Sorter = sees, **asked: Any) -> Sorting:
    settings = {"sorts": True, "blind": None, "batch": 5, "seed": 0} | asked
    return sort_windows(made_towers(sorter), windows, **settings)


def value(made: Sorting, measure: str, floor: str | None = None) -> float:
    assert made.claims is not None
    claim = made.claims[measure]
    return claim.model.value if floor is None else claim.floors[floor].value


def test_evaluate_a_head_that_sees_is_far_above_its_floors() -> None:
    made = sorting(made_windows(40, each=2))
    assert made.claims is not None
    assert (made.windows, made.videos, made.empty) == (80, 40, 0)
    assert all(claim.model.value == 1 and claim.stands for claim in made.claims.values())
    assert all(value(made, "per_transcript", f) < 0.4 for f in (OTHER_VIDEO, BLANK_FRAMES))
    assert value(made, "all_right", OTHER_VIDEO) < 0.05
    assert made.claims["per_transcript"].margin > 0.6


def test_evaluate_a_head_that_reads_the_order_claims_nothing() -> None:
    """All of it stands in the words: sorted without fault, and no bit of it was seen."""
    made = sorting(made_windows(40, in_order=True), reads)
    assert made.claims is not None
    for claim in made.claims.values():
        assert claim.model.value == claim.floors[OTHER_VIDEO].value == 1
        assert claim.margin == 0
        assert not claim.stands


def test_evaluate_swapped_transcripts_are_at_chance() -> None:
    windows = made_windows(60)
    windows.said = [
        (key, words)
        for (key, _), (_, words) in zip(windows.said, made_windows(60, seed=1).said, strict=True)
    ]
    made = sorting(windows)
    assert made.claims is not None
    assert not any(claim.stands for claim in made.claims.values())
    assert value(made, "per_transcript") < 0.4


def test_evaluate_a_head_that_knows_the_order_of_its_input_gains_nothing() -> None:
    made = sorting(made_windows(100), cheats)
    chance = MEASURES["per_transcript"].chance(K)
    assert abs(value(made, "per_transcript") - chance) < 0.08
    assert made.claims is not None
    assert not any(claim.stands for claim in made.claims.values())


def test_evaluate_a_blind_head_is_one_more_floor() -> None:
    """The network only reads, and so does the blind one: it must not claim what that one has."""
    windows = made_windows(30, in_order=True)
    made = sorting(windows, blind=made_towers(reads))
    assert made.claims is not None
    assert list(made.claims["all_right"].floors) == [
        OTHER_VIDEO,
        BLIND_HEAD,
        BLANK_FRAMES,
        "chance",
    ]
    assert made.claims["all_right"].over == BLIND_HEAD
    assert value(made, "all_right", BLIND_HEAD) == 1
    assert made.claims["all_right"].margin == 0


def test_evaluate_masks_nothing_and_looks_at_every_window_once() -> None:
    """The released trainer validates with the mask of the training on."""
    towers, windows = made_towers(), made_windows(7)
    model: Any = towers.network.model
    seen = look(towers, windows, True, 0)
    assert model.masks == [None] * 3  # batches of 3, 3 and 1
    assert seen.keys == [key for key, _ in windows.said]
    assert windows.passes == 1


def test_evaluate_says_the_same_again_and_in_batches_of_any_size() -> None:
    found = []
    for batch in (1, 2, 50):
        windows = made_windows(9, each=2)
        windows.batch = batch
        found.append(sorting(windows, batch=batch).to_dict())
    assert found[0] == found[1] == found[2]


def test_evaluate_takes_frames_of_whole_windows_too() -> None:
    whole = made_windows(8)
    clips = whole.__call__

    def flat() -> Any:
        for batch in clips():
            yield batch | {"frames": batch["frames"].reshape(len(batch["keys"]), 12, 32, 32, 3)}

    settings: Any = {"sorts": True, "blind": None, "batch": 5, "seed": 0}
    assert sort_windows(made_towers(), flat, **settings).to_dict() == sorting(whole).to_dict()


@pytest.mark.parametrize("nothing", ["", " \n\t", "...", "♪ ♪", "\u200b"])
def test_evaluate_refuses_and_counts_windows_with_an_empty_transcript(nothing: str) -> None:
    """In the released loader they count as any other, though nothing could place them."""
    windows = made_windows(10)
    windows.said[3][1][2] = nothing
    windows.said[7][1][0] = nothing
    made = sorting(windows)
    assert (made.windows, made.empty) == (8, 2)
    assert value(made, "all_right") == 1
    assert made.to_dict()["refused"] == {"empty_transcript": 2}


def test_evaluate_sees_the_frames_of_the_window_that_was_chosen() -> None:
    """Each of 6 windows is shown one that holds the same words reversed."""
    windows = made_windows(3)
    windows.said += [(f"y_{n}-0", words[::-1]) for n, (_, words) in enumerate(windows.said)]
    windows.shown = [words for _, words in windows.said]
    towers = made_towers()
    seen = look(towers, windows, True, 0)
    places = see_others(towers, windows, seen, np.array([3, 4, 5, 0, 1, 2]), 4, 0)
    assert places.tolist() == [[3, 2, 1, 0]] * 6


def test_evaluate_retrieval_of_windows_is_by_the_mean_of_their_transcripts() -> None:
    made = sorting(made_windows(4))
    found = made.retrieval.directions
    assert {figures["r1"].n for figures in found.values()} == {4}
    assert all(figures["r1"].value > 0.7 for figures in found.values())


def test_evaluate_a_checkpoint_without_a_sorting_head_is_not_sorted_with() -> None:
    windows = made_windows(4)
    made = sorting(windows, sorts=False)
    assert made.claims is None
    assert made.to_dict()["sorting"] is None
    assert windows.passes == 1


@pytest.mark.parametrize(
    ("windows", "said"),
    [
        (made_windows(0), r"^0 window\(s\) of held-out videos are too few"),
        (made_windows(1), r"^1 window\(s\) of held-out videos are too few"),
        (made_windows(1, each=3), "needs windows of 2 or more videos"),
    ],
)
def test_evaluate_too_few_windows_are_one_sentence(windows: MadeWindows, said: str) -> None:
    with pytest.raises(DataError, match=said):
        sorting(windows)


def test_evaluate_a_window_that_comes_twice_is_refused() -> None:
    windows = made_windows(5)
    windows.said[4] = windows.said[1]
    with pytest.raises(DataError, match=r"^the window x_001-000000000 was read twice"):
        sorting(windows)


def test_evaluate_windows_that_change_between_passes_are_noticed() -> None:
    windows = made_windows(6)

    def changing() -> Any:
        if windows.passes:
            windows.said[2] = ("z-0", windows.said[2][1])
        return windows()

    settings: Any = {"sorts": True, "blind": None, "batch": 5, "seed": 0}
    with pytest.raises(DataError, match="could not be read again"):
        sort_windows(made_towers(), changing, **settings)


@pytest.mark.parametrize("where", ["video", "text", "sorter"])
def test_evaluate_numbers_that_are_not_finite_are_one_sentence(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison with one is false: uncaught, it would win every ranking."""
    towers = made_towers()
    model: Any = towers.network.model
    whole = getattr(model, where)

    def broken(*given: Any) -> Any:
        out = whole(*given)
        if where == "sorter":
            return out * float("nan")
        return out._replace(embedding=out.embedding * float("nan"))

    monkeypatch.setattr(model, where, broken)
    with pytest.raises(DataError, match="numbers that are not finite"):
        look(towers, made_windows(4), True, 0)


def test_evaluate_frames_of_another_size_are_refused() -> None:
    with pytest.raises(UsageError, match=r"takes \(32, 32, 3\)"):
        made_towers().video(np.zeros((1, 12, 8, 8, 3), np.uint8))


def test_evaluate_a_batch_that_does_not_fit_names_the_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    towers = made_towers()

    def too_much(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(towers.network.model, "video", too_much)
    with pytest.raises(UsageError, match="smaller --batch"):
        towers.video(np.zeros((2, 12, 32, 32, 3), np.uint8))


def test_evaluate_texts_of_distilbert_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from reelscript.models.tvts import configs

    towers: Towers = made_towers()
    monkeypatch.setattr(towers.network.model, "config", configs.v1())
    with pytest.raises(UsageError, match="v1 reads texts with DistilBERT's vocabulary"):
        towers.texts(["a"])


def test_evaluate_frames_are_scaled_as_features_scales_them() -> None:
    towers, seen = made_towers(), []
    model: Any = towers.network.model
    whole = model.video
    model.video = lambda frames: seen.append(frames) or whole(frames)
    frames = np.random.default_rng(0).integers(0, 256, (2, 12, 32, 32, 3), np.uint8)
    for name, scale in PREPROCESSING.items():
        Towers(towers.network, name).video(frames)
        wanted = np.stack([scale.clip(clip) for clip in frames])
        np.testing.assert_allclose(seen.pop().numpy(), wanted, atol=1e-6)
