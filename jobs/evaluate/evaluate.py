"""All that is asked of a checkpoint, in one pass.

```
--data DIR          held-out windows: sorting beside its floors; text to window and back
--retrieval LIST    text to video and back
--classify LIST     zero-shot; with --train-list LIST a linear probe
```
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeAlias

from reelscript.jobs.evaluate.checkpoint import can_sort, refuse_seeing, weights_of
from reelscript.jobs.evaluate.class_list import read_classes
from reelscript.jobs.evaluate.corpus_windows import held_out
from reelscript.jobs.evaluate.listed import Classified, Found, classified, found
from reelscript.jobs.evaluate.listed_videos import Reading
from reelscript.jobs.evaluate.resampling import LEVEL, ROUNDS
from reelscript.jobs.evaluate.retrieval_list import read_retrieval
from reelscript.jobs.evaluate.sorting import Sorting, sort_windows
from reelscript.jobs.evaluate.towers import Towers
from reelscript.jobs.evaluate.zero_shot import PROMPTS, check_prompts
from reelscript.jobs.features.network import open_network
from reelscript.jobs.progress import Progress
from reelscript.models.tvts.frames import PREPROCESSING
from reelscript.pipeline.engines.local import default_workers
from reelscript.pipeline.errors import UsageError, nearest
from reelscript.pipeline.store import Store
from reelscript.schemas.text import one_line

FORMAT = "reelscript-evaluation/1"
FILE = "evaluation.json"
Place: TypeAlias = str | Path | None


@dataclass(frozen=True)
class Evaluation:
    """What was found; a part that was not asked for is None.

    Attributes:
        about: which checkpoint, and how.
        windows: of held-out videos of the corpus.
        retrieval: on a list.
        classification: on a list.
    """

    about: dict[str, Any]
    windows: Sorting | None = None
    retrieval: Found | None = None
    classification: Classified | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the same as plain JSON values."""
        parts = {
            "windows": self.windows,
            "retrieval": self.retrieval,
            "classification": self.classification,
        }
        return self.about | {name: part and part.to_dict() for name, part in parts.items()}

    def write(self, path: Path) -> None:
        """Writes it as JSON, whole or not at all. Raises StorageError."""
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"
        Store(str(path.absolute().parent)).put(path.name, text.encode())


def default_out(checkpoint: str | Path) -> Path:
    """Returns where the numbers of a checkpoint go: into the run, or beside the file."""
    where = Path(checkpoint)
    return (where if where.is_dir() else where.parent) / FILE


def evaluate(
    checkpoint: str | Path,
    *,
    data: str | Path | None = None,
    blind: str | Path | None = None,
    rule: Literal["clips", "official"] = "clips",
    retrieval: str | Path | None = None,
    classify: str | Path | None = None,
    train_list: str | Path | None = None,
    videos: str | Path = ".",
    prompts: Sequence[str] = PROMPTS,
    dual_softmax: bool = False,
    model: str | None = None,
    preprocess: str | None = None,
    batch: int = 8,
    device: str = "auto",
    precision: str = "float32",
    workers: int | None = None,
    max_missing: float = 0.01,
    seed: int = 0,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Returns what a checkpoint can do, by what it was given to be judged by.

    Args:
        checkpoint: a run, whose newest weights are taken, or a file of weights.
        data: a corpus; its windows of held-out videos are looked at.
        blind: a run or a file of weights that was trained with blank frames: a floor of sorting.
        rule: how windows are cut, as in training.
        retrieval: a list of captions and videos (`retrieval_list`).
        classify: a list of videos and classes (`class_list`).
        train_list: one more, to train a linear probe on.
        videos: the folder that the videos of lists lie in.
        prompts: of zero-shot classification, with `{}` where the name of a class stands.
        dual_softmax: whether retrieval re-weights scores over all queries.
        model: name of the network's configuration; None: found by its tensors.
        preprocess: `official` or `clean`; None: what the checkpoint was trained with.
        batch: windows or videos that go through the network together.
        device: `auto`, `cpu` or `cuda`.
        precision: `float32`, or `bfloat16` on a GPU.
        workers: processes that decode; default: one a core.
        max_missing: largest share of a list's videos, or of windows, that may be missing.
        seed: of all that is drawn: floors, shuffles, what a probe holds out, intervals.
        out: file to write the numbers to, as JSON; None: none.
        progress: shows how it goes.

    Raises:
        UsageError: an argument is wrong, or a package is missing.
        DataError: the checkpoint, the corpus or a list is not as it should be.
        StorageError: a disk is full.

    Note:
        Workers are started with the `spawn` method: a script that calls this needs
        `if __name__ == "__main__":`.
    """
    _check_asked(data, blind, retrieval, classify, train_list)
    _check_values(preprocess, prompts, batch, max_missing, out)
    reading = Reading(
        folder=Path(videos),
        workers=workers or default_workers(),
        batch=batch,
        max_missing=max_missing,
        progress=progress or Progress(None),
    )
    weights = weights_of(checkpoint)
    towers = _towers(weights, model, device, precision, preprocess)
    about = _about(weights, towers, reading, seed)
    sorting = listed = classes = None
    if data is not None:
        windows = held_out(str(data), towers.network.config, towers.preprocess, rule, reading)
        blinded = None if blind is None else _blind(blind, device, precision, about)
        sorting = sort_windows(
            towers,
            windows,
            sorts=can_sort(weights),
            blind=blinded,
            batch=batch,
            seed=seed,
            dual_softmax=dual_softmax,
        )
        about["data"] = windows.to_dict()
    if retrieval is not None:
        listed = found(towers, Path(retrieval), reading, seed, dual_softmax)
    if classify is not None:
        training = None if train_list is None else Path(train_list)
        classes = classified(towers, Path(classify), training, reading, prompts, seed)
    made = Evaluation(about, sorting, listed, classes)
    if out is not None:
        made.write(Path(out))
    return made


def _check_asked(
    data: Place, blind: Place, retrieval: Place, classify: Place, train_list: Place
) -> None:
    """Raises UsageError for what does not go together, and for lists that cannot be read."""
    if data is None and retrieval is None and classify is None:
        raise UsageError("evaluate by what? Give --data DIR, --retrieval LIST or --classify LIST")
    if blind is not None and data is None:
        raise UsageError("--blind is a floor of sorting: it needs --data DIR")
    if train_list is not None and classify is None:
        raise UsageError("--train-list is what a probe is trained on: it needs --classify LIST")
    if retrieval is not None:  # before hours of work
        read_retrieval(Path(retrieval))
    for name in (classify, train_list):
        if name is not None:
            read_classes(Path(name))


def _check_values(
    preprocess: str | None, prompts: Sequence[str], batch: int, max_missing: float, out: Place
) -> None:
    """Raises UsageError for a value that none can be."""
    if preprocess is not None and preprocess not in PREPROCESSING:
        raise UsageError(f"--preprocess {preprocess}: {nearest(preprocess, PREPROCESSING)}")
    check_prompts(prompts)
    if batch < 1:
        raise UsageError(f"--batch {batch}: expected 1 or more")
    if not 0 <= max_missing <= 1:
        raise UsageError(f"--max-missing {max_missing}: expected a share, 0 to 1")
    if out is not None and (Path(out).is_dir() or not Path(out).absolute().parent.is_dir()):
        raise UsageError(f"-o {one_line(str(out), 200)}: expected a file in a folder that exists")


def _towers(
    weights: Path, model: str | None, device: str, precision: str, preprocess: str | None
) -> Towers:
    network = open_network(weights, model, device, precision)
    return Towers(network, preprocess or network.config.preprocess)


def _blind(blind: str | Path, device: str, precision: str, about: dict[str, Any]) -> Towers:
    """Returns the network that was trained with blank frames, and tells which it is."""
    weights = weights_of(blind)
    refuse_seeing(weights)
    towers = _towers(weights, None, device, precision, None)
    if not can_sort(weights):
        raise UsageError(f"--blind {one_line(str(blind), 200)} has no sorting head")
    about["blind"] = _told(weights, towers)
    return towers


def _about(weights: Path, towers: Towers, reading: Reading, seed: int) -> dict[str, Any]:
    network = towers.network
    return {
        "format": FORMAT,
        "reelscript_version": metadata.version("reelscript"),
        "torch_version": network.torch_version,
        "checkpoint": _told(weights, towers),
        "blind": None,
        "data": None,
        "settings": {
            "preprocess": towers.preprocess,
            "frames": network.config.video.frames,
            "batch": reading.batch,
            "device": network.device,
            "precision": network.precision,
            "max_missing": reading.max_missing,
            "seed": seed,
            "intervals": {"share": LEVEL, "draws_of_videos": ROUNDS},
        },
    }


def _told(weights: Path, towers: Towers) -> dict[str, str]:
    network = towers.network
    names = [part.name for part in (weights.parent, weights)]
    return {
        "name": one_line("/".join(names), 200),
        "model": one_line(network.config.name, 60),
        "sha256": network.sha256,
    }
