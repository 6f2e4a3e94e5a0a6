"""Which file of weights is meant by a run, and what it holds.

Of a run these are the weights of its newest checkpoint: not the best ones by some number of the
same videos that are to judge them. Who means others names their file.
"""

from __future__ import annotations

from pathlib import Path

from reelscript.pipeline.errors import DataError, UsageError
from reelscript.schemas.text import one_line


def weights_of(path: str | Path) -> Path:
    """Returns the file of weights that a path means: itself, or that of a run's newest checkpoint.

    Raises:
        UsageError: it is a folder without checkpoints.
    """
    from reelscript.jobs.pretrain.checkpoints import CHECKPOINTS, WEIGHTS, place_of, steps_of

    where = Path(path)
    if not where.is_dir():
        return where
    for folder in (where / CHECKPOINTS, where):
        if steps := steps_of(folder):
            return place_of(folder, steps[-1]) / WEIGHTS
    if (where / WEIGHTS).is_file():  # one checkpoint
        return where / WEIGHTS
    raise UsageError(
        f"{one_line(str(where), 200)} holds no checkpoint: name a run, or a file of weights"
    )


def can_sort(path: Path) -> bool:
    """Returns whether a file of weights has a sorting head.

    A network that is made from one without has a random head, which says nothing of the file.
    """
    from reelscript.models.tvts.weights import WeightsError, read

    try:
        names = read(path).state
    except WeightsError as error:
        raise DataError(one_line(str(error), 600)) from error
    return any("pred_model." in name or name.startswith("sorter.") for name in names)


def refuse_seeing(weights: Path) -> None:
    """Raises UsageError where weights are of a run that was trained with frames that show much.

    Of a file that lies in no run, nobody knows.
    """
    from reelscript.jobs.config import read_yaml

    config = weights.parent.parent.parent / "config.yaml"
    if not config.is_file():
        return
    data = read_yaml(config).get("data")
    if not isinstance(data, dict) or data.get("frames") != "blank":
        run = one_line(str(config.parent), 200)
        raise UsageError(f"--blind {run} was trained with data.frames: seen; expected blank")
