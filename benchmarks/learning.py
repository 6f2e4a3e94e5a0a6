"""Does a network learn from a corpus to see when what was said happened, and nothing else?

    python benchmarks/learning.py FOLDER [TRAIN [TEST]]     default: 3000 and 300 videos; hours

Makes videos of which everything is known, builds two corpora (the videos of the second show what
none of the first does) and trains the network of examples/pretrain-generated.yaml three times:
- seen: as it is;
- blank: without frames, the floor of what the words alone tell;
- exchanged: each window with another one's transcripts, where nothing can be learned.
Each of their checkpoints then sorts and finds the windows of the second corpus. Prints the last
ones, with intervals and all floors, and writes FOLDER/learning.json; with matplotlib, learning.svg
too. The same command goes on where one ended. Needs the extras asr, demo and train.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reelscript.examples.generate import Recipe, generate
from reelscript.jobs.build import build
from reelscript.jobs.evaluate.evaluate import evaluate
from reelscript.jobs.pretrain.checkpoints import CHECKPOINTS, WEIGHTS, place_of, steps_of
from reelscript.jobs.pretrain.pretrain import pretrain

CONFIG = Path(__file__).parents[1] / "examples/pretrain-generated.yaml"
RUNS = {"seen": [], "blank": ["data.frames=blank"], "exchanged": ["data.transcripts=others"]}
BATCH = 32
SHOWN = {
    "transcripts at their place": ("sorting", "per_transcript"),
    "transcripts to window, R@1": ("text_to_video", "r1"),
}


@dataclass(frozen=True)
class Corpora:
    """Where the two corpora lie."""

    train: Path
    test: Path


def corpus_of(folder: Path, split: Literal["train", "test"], videos: int) -> Path:
    """Returns a corpus of generated videos; all of the test videos are held out."""
    recipe = Recipe(split=split, seed=1 if split == "train" else 2)
    generate(folder / split, videos=videos, recipe=recipe)
    corpus = folder / f"{split}-corpus"
    settings = ["shard.val_fraction=1"] if split == "test" else []
    build(config=folder / split / "corpus.yaml", out=corpus, settings=settings)
    return corpus


def judged(run: Path, corpora: Corpora) -> Iterator[dict[str, Any]]:
    """Yields what each checkpoint of a run makes of the test videos."""
    checkpoints = run / CHECKPOINTS
    for step in steps_of(checkpoints):
        weights = place_of(checkpoints, step) / WEIGHTS
        found = evaluate(weights, data=corpora.test, batch=BATCH).to_dict()["windows"]
        found["sorting"] = {name: claim["model"] for name, claim in found["sorting"].items()}
        yield {"run": run.name, "step": step, **found["sorting"], **found["retrieval"]}


def told(name: str, figure: dict[str, Any]) -> str:
    """Returns a figure as a line."""
    low, high = figure["interval"]
    chance = "" if figure["chance"] is None else f"   chance {figure['chance']:.4f}"
    return f"  {name:34} {figure['value']:.4f}   {low:.4f} to {high:.4f}{chance}"


def plot(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Draws the curves."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "reelscript"  # the same numbers give the same file
    figure, places = pyplot.subplots(1, len(SHOWN), figsize=(9, 3.4), layout="constrained")
    for place, (title, (direction, measure)) in zip(places, SHOWN.items(), strict=True):
        for run in RUNS:
            own = [row for row in rows if row["run"] == run]
            found = [(row if direction == "sorting" else row[direction])[measure] for row in own]
            steps, values = [row["step"] for row in own], [f["value"] for f in found]
            low, high = zip(*(f["interval"] for f in found), strict=True)
            (line,) = place.plot(steps, values, marker="o", markersize=3, label=run)
            place.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        place.axhline(found[-1]["chance"], color="gray", linestyle=":", label="chance")
        place.set(title=title, xlabel="step", ylim=(0, 1))
    places[0].legend(frameon=False)
    figure.savefig(out, metadata={"Date": None})


def main(folder: Path, train: int = 3000, test: int = 300) -> None:
    """Makes, builds, trains, judges."""
    corpora = Corpora(corpus_of(folder, "train", train), corpus_of(folder, "test", test))
    rows: list[dict[str, Any]] = []
    for name, settings in RUNS.items():
        pretrain(CONFIG, corpora.train, folder / name, settings=settings)
        rows += judged(folder / name, corpora)
    last = evaluate(folder / "seen", data=corpora.test, blind=folder / "blank", batch=BATCH)
    windows = last.to_dict()["windows"]
    print(f"{windows['windows']} windows of {windows['videos']} test videos")
    for measure, claim in windows["sorting"].items():
        print(told(measure, claim["model"]))
        for floor, figure in claim["floors"].items():
            print(told(f"  floor: {floor}", figure))
    for run in RUNS:
        row = next(row for row in reversed(rows) if row["run"] == run)
        print(told(f"{run}: per_transcript", row["per_transcript"]))
        for direction in ("text_to_video", "video_to_text"):
            print(told(f"{run}: {direction} R@1", row[direction]["r1"]))
    numbers = {"curve": rows, "last": last.to_dict()}
    (folder / "learning.json").write_text(json.dumps(numbers, indent=2) + "\n")
    try:
        plot(rows, folder / "learning.svg")
    except ImportError:
        print("pip install matplotlib draws learning.svg")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), *map(int, sys.argv[2:4]))
