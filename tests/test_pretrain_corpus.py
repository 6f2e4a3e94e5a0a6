"""Training on a corpus as it lies on a disk, with captioned clips beside it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from reelscript.jobs.pretrain.checkpoints import steps_of
from reelscript.jobs.pretrain.config import PretrainConfig
from reelscript.jobs.pretrain.pretrain import Trained, pretrain
from reelscript.pipeline.errors import DataError, UsageError
from tests.corpus_made import FPS
from tests.pretrain_made import small
from tests.test_pretrain_run import curve, logged, stop_at
from tests.windows_made import Made, add_member, mp4_of, second_clips, write_corpus

# Workers are forked while a thread tells the world that the run is alive: Python 3.12 warns of it.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 windows to train on in 3 shards, 3 that are held out."""
    samples = [
        Made(f"x_{shard}_{n}", 4.0, second_clips(4), f"{split}-{shard:06d}.tar", split=split)
        for shard, (split, held) in enumerate(
            (("train", 6), ("train", 2), ("train", 5), ("val", 3))
        )
        for n in range(held)
    ]
    return write_corpus(tmp_path_factory.mktemp("made") / "corpus", samples)


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar of five captioned clips, as those of WebVid."""
    folder = tmp_path_factory.mktemp("captioned")
    with tarfile.open(folder / "00000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for n in range(5):
            add_member(tar, f"c{n}.mp4", mp4_of(2 * FPS))
            add_member(tar, f"c{n}.txt", f"a caption {n}".encode())
    return folder


def of(**changed: Any) -> PretrainConfig:
    data = {"release": None, "workers": 1, **changed.pop("data", {})}
    return small(data=data, **changed)


def run(corpus: Path, folder: Path, config: PretrainConfig, **options: Any) -> Trained:
    return pretrain(config, corpus, folder, **{"tell": lambda _: None, **options})


@pytest.mark.parametrize("rule", ["clips", "official"])
def test_a_run_on_a_corpus_that_was_stopped_goes_on_bit_for_bit(
    corpus: Path, captioned: Path, tmp_path: Path, rule: str
) -> None:
    """With another number of workers, too."""
    told: dict[str, Any] = {"windows": rule, "captions": str(captioned)}
    if rule == "official":  # windows of 15 s and more are not in samples of 4 s
        shutil.copytree(corpus, tmp_path / "corpus")
        samples = [Made(f"x_{n}", 24.0, second_clips(24), "train-000000.tar") for n in range(5)]
        corpus = write_corpus(tmp_path / "long", samples)
    whole = run(corpus, tmp_path / "whole", of(data=told))
    with pytest.raises(KeyboardInterrupt):
        run(corpus, tmp_path / "halting", of(data=told), tell=stop_at(5))
    ended = run(corpus, tmp_path / "halting", of(data=told | {"workers": 0}))
    tensors = [load_file(one.checkpoint / "model.safetensors") for one in (whole, ended)]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    assert curve(tmp_path / "whole") == curve(tmp_path / "halting")


def test_held_out_windows_are_those_of_the_split_val(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run", of(validation={"every_steps": 4}))
    looks = [told for told in logged(tmp_path / "run") if "validation_loss" in told]
    assert [told["validation_windows"] for told in looks] == [3, 3]


def test_validation_without_a_split_is_refused_before_the_first_step(tmp_path: Path) -> None:
    samples = [Made(f"x_{n}", 4.0, second_clips(4), "train-000000.tar") for n in range(4)]
    corpus = write_corpus(tmp_path / "corpus", samples)
    with pytest.raises((DataError, UsageError), match="val"):
        run(corpus, tmp_path / "run", of(validation={"every_steps": 4}))
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_what_cannot_be_read_is_counted_and_named(corpus: Path, tmp_path: Path) -> None:
    damaged = damaged_copy(corpus, tmp_path / "damaged")
    run(damaged, tmp_path / "run", of(data={"max_failed": 0.5}))
    lines = logged(tmp_path / "run")
    named = [told for told in lines if "failed" in told]
    assert named
    assert {told["failed"] for told in named} == {"x_1_0"}
    assert {told["kind"] for told in named} == {"wrong_sha256"}
    assert [told for told in lines if "loss" in told][-1]["failed_windows"] == len(named)


@pytest.mark.parametrize("workers", [0, 1])
def test_too_much_that_cannot_be_read_ends_the_run_in_one_sentence(
    corpus: Path, tmp_path: Path, workers: int
) -> None:
    damaged = damaged_copy(corpus, tmp_path / "damaged")
    with pytest.raises(DataError, match=r"^\d+ of \d+ windows of this epoch could not be read"):
        run(damaged, tmp_path / "run", of(data={"max_failed": 0.01, "workers": workers}))


def damaged_copy(corpus: Path, folder: Path) -> Path:
    """A copy in which the mp4 of one sample has other bytes than the index says."""
    import pyarrow.parquet as pq

    shutil.copytree(corpus, folder)
    rows = pq.read_table(folder / "samples.parquet").to_pylist()
    row = next(row for row in rows if row["key"] == "x_1_0")
    with (folder / "shards" / row["shard"]).open("r+b") as shard:
        shard.seek(row["mp4_offset"])
        shard.write(b"damage")
    return folder


def test_a_release_published_meanwhile_changes_nothing(corpus: Path, tmp_path: Path) -> None:
    grown = tmp_path / "corpus"
    shutil.copytree(corpus, grown)
    with pytest.raises(KeyboardInterrupt):
        run(grown, tmp_path / "run", of(), tell=stop_at(4))
    old = grown / "releases" / "r000"
    old.mkdir(parents=True)
    for file in grown.glob("*.*"):
        shutil.copy(file, old)
    info = json.loads((grown / "dataset.json").read_text())
    (grown / "dataset.json").write_text(json.dumps(info | {"release": 1, "shards": []}))
    assert run(grown, tmp_path / "run", of()).step == 8


@pytest.mark.parametrize(
    ("batch", "said"), [(64, "64"), (14, "14")], ids=["more than there are", "one more"]
)
def test_a_batch_that_no_epoch_fills_is_one_sentence(
    corpus: Path, tmp_path: Path, batch: int, said: str
) -> None:
    with pytest.raises(UsageError, match=rf"optimisation\.batch, {said}"):
        run(corpus, tmp_path / "run", of(optimisation={"batch": batch}))


def test_no_corpus_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.json"):
        run(tmp_path / "nothing", tmp_path / "run", of())
    assert not (tmp_path / "run").exists()


STOPPED = """
import sys
from pathlib import Path
from tests.test_pretrain_corpus import of, run

def tell(line):
    print(line, flush=True)

try:
    run(Path(sys.argv[1]), Path(sys.argv[2]), of(optimisation={"steps": 100_000}), tell=tell)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_sigterm_to_all_processes_of_a_run_ends_it_with_a_checkpoint(
    corpus: Path, tmp_path: Path
) -> None:
    """As torchrun and batch systems send it: also to the workers, who are needed for the step."""
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(corpus), str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
    ) as training:
        assert training.stdout is not None
        next(line for line in training.stdout if line.startswith("step 2 of"))
        os.killpg(training.pid, signal.SIGTERM)
        last = training.stdout.read().splitlines()[-1:] or ["step 2 of"]
        assert training.wait(60) == 130
    step = int(last[0].split()[1])
    assert steps_of(tmp_path / "run" / "checkpoints")[-1] == step
