"""The weights with which training begins."""

from __future__ import annotations

from pathlib import Path

from reelscript.models.tvts import weights
from reelscript.models.tvts.fitting import Require
from reelscript.models.tvts.model import TVTS
from reelscript.pipeline.errors import DataError, UsageError
from reelscript.schemas.text import one_line

LACKS: dict[str, Require] = {  # what a file of a layout may lack, which then begins as initialised
    "clip": "clip",
    "hf_clip": "clip",
    "tvtsv2": "towers",
    "ours": "towers",
}


def start_from(model: TVTS, path: str) -> weights.Report:
    """Loads the weights of a file into a network, and says what became of its tensors.

    CLIP's may lack what TVTSv2 adds to it, released ones the sorting head.

    Raises:
        UsageError: there is no such file.
        DataError: it is damaged, or of another network.
    """
    if not Path(path).is_file():
        raise UsageError(f"weights: there is no file {one_line(path, 200)}")
    try:
        held = weights.read(path)
        return weights.load(model, held, require=LACKS.get(held.layout, "all"))
    except (ValueError, OSError, RuntimeError) as error:
        raise DataError(one_line(str(error), 600)) from error
