"""Training runs in one process: what they leave behind, how they go on, what they refuse."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reelscript.jobs.pretrain import checkpoints
from reelscript.jobs.pretrain.checkpoints import place_of, steps_of
from reelscript.jobs.pretrain.config import PretrainConfig
from reelscript.jobs.pretrain.loop import NotFinite
from reelscript.jobs.pretrain.reader import Step, Steps
from reelscript.jobs.pretrain.streams import Streams
from reelscript.models.tvts import weights
from reelscript.pipeline.errors import DataError, StorageError, UsageError
from tests.pretrain_made import Windows, run, small


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def curve(folder: Path) -> list[tuple[int, float, float]]:
    return [(v["step"], v["loss"], v["gradient"]) for v in logged(folder) if "loss" in v]


def stop_at(step: int) -> Any:
    """A `tell` that sends this process SIGTERM just before a step, which is then its last."""

    def tell(line: str) -> None:
        if line.startswith(f"step {step - 1} of"):
            os.kill(os.getpid(), signal.SIGTERM)

    return tell


def test_a_run_leaves_config_log_checkpoints_and_how_it_ended(tmp_path: Path) -> None:
    trained = run(tmp_path / "run")
    assert trained.step == 8
    assert steps_of(tmp_path / "run" / "checkpoints") == [3, 6, 8]
    assert [step for step, *_ in curve(tmp_path / "run")] == [*range(1, 9)]
    record = json.loads((tmp_path / "run" / "ledger" / "runs" / "000001.json").read_bytes())
    assert record["ended"] == "done"
    assert record["progress"]["checkpoint"] == record["progress"]["newest"]["step"] == 8
    values = logged(tmp_path / "run")[-1]
    assert {"contrastive", "sorting", "rate_new", "windows_per_s", "data_wait"} <= values.keys()
    assert "utilisation" not in values  # nobody knows what a CPU could do


def test_the_same_command_again_does_nothing_twice(tmp_path: Path) -> None:
    run(tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "checkpoints").rglob("*")}
    assert run(tmp_path / "run").step == 8
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "checkpoints").rglob("*")}
    assert after == before


@pytest.mark.parametrize("captions", [None, "made"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path, captions: str | None) -> None:
    """Also in the middle of an epoch, which has 5 steps, and behind its end."""
    config = small(data={"captions": captions}, checkpoints={"keep": 99})
    run(tmp_path / "whole", config)
    for step in (2, 5, 7):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "halting", config, tell=stop_at(step))
        assert steps_of(tmp_path / "halting" / "checkpoints")[-1] == step
    run(tmp_path / "halting", config)
    last = [place_of(tmp_path / name / "checkpoints", 8) for name in ("whole", "halting")]
    tensors = [load_file(place / "model.safetensors") for place in last]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    assert curve(tmp_path / "whole") == curve(tmp_path / "halting")
    record = json.loads((tmp_path / "halting" / "ledger" / "runs" / "000001.json").read_bytes())
    assert record["ended"] == "interrupted"


def test_signals_are_as_before_once_a_run_ended(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", tell=stop_at(2))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_checkpoints_hold_no_code_and_are_opened_as_any_weights(tmp_path: Path) -> None:
    config = small()
    place = run(tmp_path / "run", config).checkpoint
    state = torch.load(place / "trainer.pt", weights_only=True)
    assert state["step"] == 8
    assert state["windows"] == {"epoch": 1, "position": 12}
    assert weights.open_model(place / "model.safetensors").config == config.model


def test_the_newest_checkpoints_stay_and_every_so_many_steps_one(tmp_path: Path) -> None:
    kept = {"every_steps": 1, "keep": 2, "keep_every_steps": 4}
    run(tmp_path / "run", small(checkpoints=kept, optimisation={"steps": 11}))
    assert steps_of(tmp_path / "run" / "checkpoints") == [4, 8, 10, 11]


def test_what_a_killed_process_left_is_no_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", tell=stop_at(4))
    half = folder / ".part-step-00000005"
    half.mkdir()
    (half / "trainer.pt").write_bytes(b"half")
    assert run(tmp_path / "run").step == 8
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_gone_on_from(tmp_path: Path) -> None:
    place = run(tmp_path / "run").checkpoint
    whole = load_file(place / "model.safetensors")
    data = (place / "trainer.pt").read_bytes()
    (place / "trainer.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=re.escape(str(place))) as error:
        run(tmp_path / "run")
    assert "\n" not in str(error.value)
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    run(tmp_path / "run")
    again = load_file(place / "model.safetensors")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_checkpoint_that_cannot_be_stored_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", tell=stop_at(4))
    monkeypatch.setattr(checkpoints.torch, "save", full)
    with pytest.raises(StorageError, match="the disk is full"):
        run(tmp_path / "run")
    assert steps_of(tmp_path / "run" / "checkpoints") == [3, 4]
    monkeypatch.undo()
    assert run(tmp_path / "run").step == 8


def test_the_best_weights_are_kept_by_the_metric_that_is_named(tmp_path: Path) -> None:
    config = small(
        validation={"every_steps": 1, "windows": 8},
        checkpoints={"best": "loss", "keep": 99, "every_steps": 1},
        optimisation={"learning_rate": 0.05, "new_learning_rate": 0.05},
    )
    run(tmp_path / "run", config)
    losses = {v["step"]: v["validation_loss"] for v in logged(tmp_path / "run") if len(v) == 5}
    best = min(losses, key=lambda step: losses[step])
    folder = tmp_path / "run" / "checkpoints"
    kept, expected = load_file(folder / "best.safetensors"), place_of(folder, best)
    tensors = load_file(expected / "model.safetensors")
    assert all(torch.equal(kept[name], tensors[name]) for name in kept)
    state = torch.load(place_of(folder, 8) / "trainer.pt", weights_only=True)
    assert state["best"] == losses[best]


def test_weights_to_begin_with_are_loaded(tmp_path: Path) -> None:
    first = run(tmp_path / "first").checkpoint / "model.safetensors"
    still = {"learning_rate": 0, "new_learning_rate": 0, "steps": 1}
    second = small(optimisation=still, weights=str(first))
    made = load_file(run(tmp_path / "second", second).checkpoint / "model.safetensors")
    expected = load_file(first)
    assert all(torch.equal(made[name], expected[name]) for name in made)


@pytest.mark.parametrize("what", ["missing", "damaged", "of another network"])
def test_wrong_weights_are_one_sentence(tmp_path: Path, what: str) -> None:
    file = tmp_path / "weights.safetensors"
    if what == "damaged":
        file.write_bytes(b"none")
    if what == "of another network":
        model = {"embed_dim": 64, "sorting": {"width": 64, "heads": 2}}
        other = run(tmp_path / "other", small(model=model, optimisation={"steps": 1}))
        file = other.checkpoint / "model.safetensors"
    with pytest.raises((UsageError, DataError)) as error:
        run(tmp_path / "run", small(weights=str(file)))
    assert "\n" not in str(error.value)


def test_a_run_that_diverges_stops_and_names_its_windows(tmp_path: Path) -> None:
    config = small(optimisation={"learning_rate": 1e30}, checkpoints={"every_steps": 1})
    with pytest.raises(NotFinite, match=r"step \d: .*process 0 was w\d+#\d+, w\d+#\d+"):
        run(tmp_path / "run", config)
    for step in steps_of(tmp_path / "run" / "checkpoints"):
        place = place_of(tmp_path / "run" / "checkpoints", step)
        assert all(y.isfinite().all() for y in load_file(place / "model.safetensors").values())


def test_an_empty_transcript_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="w5#5 has an empty transcript"):
        run(tmp_path / "run", data="empty transcript")


def test_a_run_begun_with_another_config_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run", small(optimisation={"steps": 1}))
    with pytest.raises(UsageError, match=r"optimisation\.steps was 1 and is 2"):
        run(tmp_path / "run", small(optimisation={"steps": 2}))


@pytest.mark.parametrize("there", ["dataset.json", "holiday.jpg"])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("{}")
    with pytest.raises(UsageError, match="holds something else"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [there]


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    there, go_on = threading.Event(), threading.Event()

    def wait(_: str) -> None:
        there.set()
        go_on.wait(60)

    first = threading.Thread(target=run, args=(tmp_path / "run",), kwargs={"tell": wait})
    first.start()
    try:
        assert there.wait(60)
        with pytest.raises(UsageError, match="another build runs in"):
            run(tmp_path / "run")
    finally:
        go_on.set()
        first.join()
    assert steps_of(tmp_path / "run" / "checkpoints")[-1] == 8


def test_tensorboard_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run(tmp_path / "run", small(logging={"every_steps": 2, "tensorboard": True}))
    assert [step for step, *_ in curve(tmp_path / "run")] == [2, 4, 6, 8]
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_tensorboard_gets_the_numbers_of_the_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path / "run", small(logging={"every_steps": 2, "tensorboard": True}))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    written = [(event.step, event.value) for event in events.Scalars("loss")]
    told = [(step, pytest.approx(loss)) for step, loss, _ in curve(tmp_path / "run")]
    assert written == told
    assert [step for step, _ in written] == [2, 4, 6, 8]


def test_blank_frames_show_nothing(tmp_path: Path) -> None:
    """Two runs over windows that differ in their pixels alone end with the same weights."""
    config = small(data={"frames": "blank"})

    class Dark(Windows):
        def step(self, numbers: list[int]) -> Step:
            step = super().step(numbers)
            step["frames"] = np.zeros_like(step["frames"])
            return step

    def dark(config: PretrainConfig, *_: Any) -> Streams:
        return Streams(Steps(Dark(config.optimisation.batch)), None, lambda: Steps(Dark(2)))

    def weights_of(name: str, **how: Any) -> dict[str, torch.Tensor]:
        return load_file(run(tmp_path / name, **how).checkpoint / checkpoints.WEIGHTS)

    one, two = weights_of("one", config=config), weights_of("two", config=config, opened=dark)
    seeing = weights_of("three", config=small(), opened=dark)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(seeing[name], two[name]) for name in one)


def test_exchanged_transcripts_are_those_of_the_next_window(tmp_path: Path) -> None:
    """A run is the same as one over windows whose texts were exchanged before."""
    config = small(data={"transcripts": "others"})

    class Exchanged(Windows):
        def step(self, numbers: list[int]) -> Step:
            step = super().step(numbers)
            step["text"] = [*step["text"][1:], step["text"][0]]
            return step

    def exchanged(config: PretrainConfig, *_: Any) -> Streams:
        return Streams(Steps(Exchanged(config.optimisation.batch)), None, lambda: Steps(Windows(2)))

    def weights_of(name: str, **how: Any) -> dict[str, torch.Tensor]:
        return load_file(run(tmp_path / name, **how).checkpoint / checkpoints.WEIGHTS)

    one, two = weights_of("one", config=config), weights_of("two", opened=exchanged)
    own = weights_of("three")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(own[name], one[name]) for name in one)


def test_bfloat16_keeps_parameters_and_losses_in_float32(tmp_path: Path) -> None:
    config = small(compute={"device": "cpu", "precision": "bfloat16"})
    place = run(tmp_path / "half", config).checkpoint
    assert {y.dtype for y in load_file(place / "model.safetensors").values()} == {torch.float32}
    run(tmp_path / "full", small())
    for half, full in zip(curve(tmp_path / "half"), curve(tmp_path / "full"), strict=True):
        assert half != full
        assert half[1] == pytest.approx(full[1], rel=0.05)
