"""The verb: a corpus and lists in, numbers out; and what is told where something is missing."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

torch = pytest.importorskip("torch")

from reelscript.jobs.evaluate import listed_videos  # noqa: E402
from reelscript.jobs.evaluate.checkpoint import can_sort, refuse_seeing, weights_of  # noqa: E402
from reelscript.jobs.evaluate.corpus_windows import held_out  # noqa: E402
from reelscript.jobs.evaluate.evaluate import Evaluation, default_out, evaluate  # noqa: E402
from reelscript.jobs.evaluate.listed_videos import Reading, embed_listed  # noqa: E402
from reelscript.jobs.evaluate.printed import parts_of  # noqa: E402
from reelscript.jobs.progress import Progress  # noqa: E402
from reelscript.models.tvts import configs  # noqa: E402
from reelscript.models.tvts.model import TVTS  # noqa: E402
from reelscript.models.tvts.weights import save_official  # noqa: E402
from reelscript.pipeline.errors import DataError, UsageError  # noqa: E402
from tests.corpus_made import LEVELS, edit_shard  # noqa: E402
from tests.evaluate_made import held_out_corpus, made_towers, tiny_checkpoint, tiny_config  # noqa: E402
from tests.media_made import make_media  # noqa: E402
from tests.test_evaluate_lists import classes, msr_vtt  # noqa: E402


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four held-out videos of two windows each."""
    return held_out_corpus(tmp_path_factory.mktemp("held") / "corpus")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run with two checkpoints and a best one."""
    folder = tmp_path_factory.mktemp("run")
    for seed, step in enumerate((100, 20)):
        tiny_checkpoint(folder / f"checkpoints/step-{step:08d}/model.safetensors", seed)
    tiny_checkpoint(folder / "checkpoints/best.safetensors", 2)
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve videos that decode, and one that does not."""
    folder = tmp_path_factory.mktemp("videos")
    for n in range(12):
        kind = ("moving", "still")[n % 2]
        make_media(
            folder / f"video{n}.mp4", duration_s=0.6, kind=kind, audio=False, numbers=[n] * 15
        )
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def plain(made: Evaluation) -> Any:
    """What is written: JSON knows neither tuples nor NaN."""
    return json.loads(json.dumps(made.to_dict(), allow_nan=False))


def printed(made: Evaluation) -> str:
    console = Console(width=200, file=io.StringIO())
    with console.capture() as captured:
        for part in parts_of(made):
            console.print(part)
    return captured.get()


def reading(folder: Path, **settings: Any) -> Reading:
    known: dict[str, Any] = {"workers": 1, "batch": 3, "max_missing": 0.0}
    return Reading(folder, progress=Progress(None), **(known | settings))


# Windows of a corpus.


def test_evaluate_reads_every_held_out_window_once_and_the_same_again(corpus: Path) -> None:
    windows = held_out(str(corpus), tiny_config(), "clean", "clips", reading(corpus))
    first, second = list(windows()), list(replace(windows, workers=2)())
    assert [len(batch["keys"]) for batch in first] == [3, 3, 2]
    keys = [key for batch in first for key in batch["keys"]]
    assert len(set(keys)) == 8
    assert sorted({key.rpartition("-")[0] for key in keys}) == [f"x_{n:03d}" for n in range(4)]
    for one, other in zip(first, second, strict=True):
        assert one["keys"] == other["keys"]
        assert one["texts"] == other["texts"]
        np.testing.assert_array_equal(one["frames"], other["frames"])


def test_evaluate_looks_at_the_middle_frames_of_each_clip(corpus: Path) -> None:
    """Frame n of these videos has a luma of 16 + 6 n, up to n = 35; ten of them make a clip."""
    windows = held_out(str(corpus), tiny_config(), "clean", "clips", reading(corpus))
    frames = next(iter(windows()))["frames"][0]  # (T, px, px, 3), of the first four clips
    found = frames.mean((1, 2, 3)) * 219 / 255 / LEVELS
    wanted = [10 * clip + n for clip in range(4) for n in (1, 5, 8)]  # at 1/6, 3/6, 5/6 s
    assert found.round().tolist() == [n % 36 for n in wanted]


def test_evaluate_reads_held_out_videos_only(tmp_path: Path) -> None:
    held_out_corpus(tmp_path / "corpus", videos=2, split="train")
    with pytest.raises(DataError, match="no sample of the split 'val'"):
        evaluate(tiny_checkpoint(tmp_path / "a.safetensors"), data=tmp_path / "corpus")


def test_evaluate_leaves_out_windows_that_cannot_be_read(tmp_path: Path) -> None:
    """Another window in the place of one would count twice."""
    corpus = held_out_corpus(tmp_path / "corpus")

    def cut(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        return [
            (n, d[:200] if n.startswith("x_002") and n.endswith("mp4") else d) for n, d in members
        ]

    edit_shard(corpus, "val-000000.tar", cut)
    windows = held_out(
        str(corpus), tiny_config(), "clean", "clips", reading(corpus, max_missing=0.5)
    )
    keys = [key for batch in windows() for key in batch["keys"]]
    assert len(keys) == len(set(keys)) == 6
    assert not any(key.startswith("x_002") for key in keys)
    assert list(windows.to_dict()["unreadable"]) == ["x_002-000000000"]
    with pytest.raises(DataError):
        list(held_out(str(corpus), tiny_config(), "clean", "clips", reading(corpus))())


def test_evaluate_a_run_on_a_corpus_writes_numbers_with_their_floors(
    run: Path, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "evaluation.json"
    made = evaluate(run, data=corpus, blind=run, batch=3, workers=1, out=out, dual_softmax=True)
    told = json.loads(out.read_text())
    assert told == plain(made)
    assert told["checkpoint"]["name"] == "step-00000100/model.safetensors"
    assert told["checkpoint"]["sha256"] == told["blind"]["sha256"]
    assert told["data"]["split"] == "val"
    assert told["data"]["fingerprint"] == "0" * 64
    assert (told["windows"]["windows"], told["windows"]["videos"]) == (8, 4)
    for name in ("per_transcript", "all_right", "kendall_tau"):
        claim = told["windows"]["sorting"][name]
        assert set(claim["floors"]) == {"other_video", "blind_head", "blank_frames", "chance"}
        highest = max(floor["value"] for floor in claim["floors"].values())
        assert claim["margin"]["value"] == pytest.approx(claim["model"]["value"] - highest)
        assert claim["model"]["n"] == 8
        # The same weights, blind because they are shown blank frames: one floor twice.
        assert claim["floors"]["blind_head"] == claim["floors"]["blank_frames"]
    text = printed(made)
    assert "not shown to be above what is reached without seeing the video" in text
    assert "trained with blank frames" in text
    assert "Intervals over 4 videos are rough" in text
    again = evaluate(run, data=corpus, blind=run, batch=3, workers=1, dual_softmax=True)
    assert plain(again) == told


def test_evaluate_does_not_depend_on_the_mask_of_the_training(corpus: Path, tmp_path: Path) -> None:
    found = [
        evaluate(
            tiny_checkpoint(tmp_path / f"{share}.safetensors", mask_ratio=share),
            data=corpus,
            workers=1,
        ).to_dict()["windows"]
        for share in (0.0, 0.75)
    ]
    assert found[0] == found[1]


def test_evaluate_a_released_checkpoint_has_no_sorting_head(
    run: Path, corpus: Path, tmp_path: Path
) -> None:
    """A random head in its place would be judged as if it were theirs."""
    path = tmp_path / "TVTSv2.pth"
    save_official(TVTS(configs.debug()), path)
    made = evaluate(path, data=corpus, workers=1)
    assert made.windows is not None
    assert made.windows.claims is None
    assert "this checkpoint has no sorting head" in printed(made)
    with pytest.raises(UsageError, match=r"--blind .* has no sorting head"):
        evaluate(run, data=corpus, blind=path, workers=1)


def test_evaluate_takes_no_run_for_blind_that_saw(tmp_path: Path) -> None:
    weights = tmp_path / "run" / "checkpoints" / "step-00000001" / "model.safetensors"
    refuse_seeing(weights)  # of no run
    config = tmp_path / "run" / "config.yaml"
    config.parent.mkdir()
    config.write_text("data: {frames: blank}\n")
    refuse_seeing(weights)
    for seeing in ("data: {frames: seen}\n", "data: {}\n", "seed: 1\n"):
        config.write_text(seeing)
        with pytest.raises(UsageError, match="expected blank"):
            refuse_seeing(weights)


# Which weights.


def test_evaluate_takes_the_newest_weights_of_a_run(run: Path) -> None:
    """Not the best by a number of the videos that are to judge it, and by no sign of one."""
    newest = run / "checkpoints/step-00000100/model.safetensors"
    assert weights_of(run) == weights_of(run / "checkpoints") == weights_of(newest.parent) == newest
    assert weights_of(newest) == newest
    assert can_sort(newest)
    assert default_out(run) == run / "evaluation.json"
    assert default_out(newest) == newest.parent / "evaluation.json"


def test_evaluate_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no checkpoint"):
        weights_of(tmp_path)


# Lists.


def test_evaluate_lists_are_found_embedded_and_judged(
    run: Path, videos: Path, tmp_path: Path
) -> None:
    names = [f"video{n}" for n in range(12)] + ["broken", "gone"]
    captions = [(name, f"a video of kind {n}") for n, name in enumerate(names)]
    pairs = msr_vtt(tmp_path, captions, dict.fromkeys(names, 0), names)
    (tmp_path / "train").mkdir()
    train = classes(tmp_path / "train", [n % 2 for n in range(8)], {"moving": 0, "still": 1})
    test = classes(tmp_path, [n % 2 for n in range(8)], {"moving": 0, "still": 1})
    for path, first, last in ((train, 0, 8), (test, 8, 12)):
        rows = [f"videos/video{n}.mp4\t{n % 2}" for n in range(first, last)]
        path.write_text("\n".join(["path\tlabel", *rows]))
    made = evaluate(
        run,
        retrieval=pairs,
        classify=test,
        train_list=train,
        videos=videos,
        prompts=["a person {}", "a video of {}"],
        max_missing=0.2,
        workers=1,
    )
    told = plain(made)
    assert told["windows"] is None
    found = told["retrieval"]
    assert found["listed_videos"]["found"] == found["videos"] == found["texts"] == 12
    assert found["listed_videos"]["which"] == {"broken.mp4": "undecodable", "gone.mp4": "not found"}
    assert found["text_to_video"]["r10"]["chance"] == pytest.approx(10 / 12)
    kinds = told["classification"]
    assert kinds["prompts"] == ["a person {}", "a video of {}"]
    assert kinds["zero_shot"]["top5"]["value"] == 1
    assert kinds["majority_share"] == 0.5
    assert kinds["linear_probe"]["trained_on"] == 8
    assert kinds["linear_probe"]["top1"]["n"] == 4
    text = printed(made)
    assert "2 listed videos are missing and were left out: gone.mp4 (not found), broken" in text
    assert "linear probe" in text
    with pytest.raises(DataError, match=r"^1 of 14 videos of the list are not to be had .* gone"):
        evaluate(run, retrieval=pairs, videos=videos, max_missing=0.05, workers=1)
    with pytest.raises(DataError, match=r"^8 videos stand in the list to train on and in that to"):
        evaluate(run, classify=train, train_list=train, videos=videos, workers=1)


def test_evaluate_videos_that_do_not_decode_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (tmp_path / f"{name}.mp4").touch()
    made: list[Any] = [np.ones(4), "undecodable", np.zeros(4)]
    monkeypatch.setattr(listed_videos, "_vectors", lambda *_: made)
    paths, towers = ["a.mp4", "b.mp4", "c.mp4", "a.mp4"], made_towers()
    found = embed_listed(towers, paths, reading(tmp_path, max_missing=0.4))
    assert found.rows == {"a.mp4": 0, "c.mp4": 1}
    assert found.vectors.tolist() == [[1] * 4, [0] * 4]
    assert found.missing == {"b.mp4": "undecodable"}
    with pytest.raises(DataError, match=r"^1 of 3 videos .* b\.mp4 \(undecodable\)$"):
        embed_listed(towers, paths, reading(tmp_path, max_missing=0.3))


def test_evaluate_a_list_of_which_nothing_is_there_is_one_sentence(
    run: Path, tmp_path: Path
) -> None:
    test = classes(tmp_path, [0, 1, 2])
    with pytest.raises(DataError, match=r"^3 of 3 videos .* v/0.avi \(not found\), v/1.avi"):
        evaluate(run, classify=test, videos=tmp_path, max_missing=1, workers=1)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "^evaluate by what"),
        ({"blind": "x", "retrieval": "y"}, "--blind is a floor of sorting"),
        ({"train_list": "x", "data": "y"}, "--train-list is what a probe is trained on"),
        ({"data": "x", "prompts": ["a person"]}, "--prompt 'a person': expected {} once"),
        ({"data": "x", "prompts": ["{} {}"]}, "expected {} once"),
        ({"data": "x", "preprocess": "clear"}, "did you mean 'clean'"),
        ({"data": "x", "batch": 0}, "--batch 0"),
        ({"data": "x", "max_missing": 1.5}, "--max-missing 1.5"),
        ({"data": "x", "out": "/nowhere/at/all.json"}, "expected a file in a folder that exists"),
        ({"retrieval": "gone.tsv"}, "gone.tsv cannot be read"),
    ],
)
def test_evaluate_wrong_arguments_are_told_before_anything_is_opened(
    asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        evaluate("no such checkpoint", **asked)
