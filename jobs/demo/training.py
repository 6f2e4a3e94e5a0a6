"""The last part of the tour: a small network is trained on the corpus for a few steps.

Eighty steps on 14 windows show that corpus, reader and trainer fit together; what is learned is
learned by heart. docs/training.md shows a run in which learning is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from statistics import mean

from reelscript.jobs.doctor.packages import extra, pip_install

CONFIG = "demo-pretrain.yaml"
BARS = "▁▂▃▄▅▆▇█"
WIDTH = 16  # of the curve: so many bars, each the mean of as many steps
LOSSES = {"contrastive": "which text belongs to which video", "sorting": "what was said when"}


def train_demo(corpus: str) -> Iterator[str]:
    """Trains on the corpus, in a folder beside it, and yields what is to be told, line by line.

    The same call again goes on, or, at the end, shows the curve again.

    Args:
        corpus: a folder.
    """
    if extra("train").state != "ok":
        yield f"Training is left out, torch is not here: {pip_install('reelscript[train]')}"
        return
    from reelscript.jobs.pretrain.log import JSONL
    from reelscript.jobs.pretrain.pretrain import pretrain

    run = Path(f"{corpus.rstrip('/')}.run")
    with as_file(files("reelscript.examples")) as examples:
        trained = pretrain(examples / CONFIG, corpus, run, tell=lambda _: None)
    lines = (run / JSONL).read_text("utf-8").splitlines()
    told = [line for line in map(json.loads, lines) if "loss" in line]
    for name, meaning in LOSSES.items():
        yield f"  {name:11} {curve([line[name] for line in told])}   {meaning}"
    yield f"{trained.step} steps; the weights are in {trained.checkpoint}"


def curve(values: Sequence[float]) -> str:
    """Returns numbers as a line of bars, between the means of the first and the last of them."""
    each = -(-len(values) // WIDTH)
    means = [mean(values[at : at + each]) for at in range(0, len(values), each)]
    low, high = min(means), max(means)
    parts = len(BARS) / (high - low or 1)
    bars = "".join(BARS[min(len(BARS) - 1, int((value - low) * parts))] for value in means)
    return f"{means[0]:5.2f} {bars} {means[-1]:5.2f}"
