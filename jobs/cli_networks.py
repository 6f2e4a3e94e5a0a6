"""The verbs that train, judge and use networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reelscript.jobs.command_line import (
    let_threads_sleep,
    max_failed,
    quiet,
    same_command,
    settings,
)
from reelscript.jobs.exit_codes import TOO_MANY_FAILED
from reelscript.schemas.text import one_line

preprocess = click.option(
    "--preprocess",
    type=click.Choice(["official", "clean"]),
    help="How frames are resized and scaled.  [default: as the checkpoint was trained]",
)
device = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
precision = click.option(
    "--precision", default="float32", show_default=True, help="float32, or on a GPU bfloat16."
)
workers = click.option(
    "--workers", type=click.IntRange(1), help="Processes that decode.  [default: one a core]"
)


@click.command(epilog="Example: reelscript features TVTSv2_ViT_B_16.pth videos/ -o features.npz")
@click.argument("checkpoint")
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@click.option(
    "-o", "--out", required=True, metavar="FILE", help="The .npz or .parquet file to write."
)
@preprocess
@click.option(
    "--model",
    metavar="NAME",
    help="Its configuration: b32, b16, h14, v1 or debug.  [default: found by its tensors]",
)
@click.option(
    "--frames",
    type=click.IntRange(1),
    help="Frames taken of each video.  [default: as many as the model was made for]",
)
@click.option("--normalise", is_flag=True, help="Bring embeddings to a length of 1.")
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Videos that go through the network together.",
)
@device
@precision
@workers
@max_failed("videos")
@click.option(
    "--allow-address",
    "allow_addresses",
    multiple=True,
    metavar="NETWORK",
    help="A network, such as 10.0.0.0/8, that may be asked beside the public internet.",
)
@quiet
def features(
    checkpoint: str, videos: tuple[str, ...], out: str, max_failed: float, quiet: bool, **asked: Any
) -> None:
    """Embed videos with a TVTSv2 checkpoint: one vector each, into a file.

    VIDEO is a file, folder, glob or URL, or a list of them. A vector is made of the middle frames
    of equal parts of the whole video (12, unless the model or --frames says otherwise). Videos
    that fail are rows with a reason. After an interruption the same command goes on.
    """
    let_threads_sleep()
    from rich.console import Console

    from reelscript.jobs.features.features import features as run
    from reelscript.jobs.features.summary import summary
    from reelscript.jobs.progress import Progress

    progress = Progress(None if quiet else Console(stderr=True))
    made = run(checkpoint, *videos, out=out, progress=progress, command=same_command(), **asked)
    click.echo(summary(made, out))
    if made.failed_share > max_failed:
        raise SystemExit(TOO_MANY_FAILED)


@click.command(epilog="Example: reelscript evaluate runs/b16 --data corpus --blind runs/b16-blank")
@click.argument("checkpoint", metavar="RUN|CHECKPOINT")
@click.option("--data", metavar="DIR", help="A corpus: its windows of held-out videos are sorted.")
@click.option(
    "--blind", metavar="RUN", help="A run trained with blank frames, as a floor of sorting."
)
@click.option(
    "--rule",
    type=click.Choice(["clips", "official"]),
    default="clips",
    show_default=True,
    help="How windows are cut.",
)
@click.option("--retrieval", metavar="LIST", help="Captions and videos: MSR_VTT.json or a .tsv.")
@click.option(
    "--classify", metavar="LIST", help="Videos and classes: a .tsv, label2id.json beside."
)
@click.option(
    "--train-list", metavar="LIST", help="One more such list, to train a linear probe on."
)
@click.option(
    "--videos",
    metavar="FOLDER",
    default=".",
    show_default=True,
    help="Where the videos of lists lie.",
)
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    default=["a person {}"],
    show_default=True,
    help="Says the name of a class; repeatable.",
)
@click.option("--dual-softmax", is_flag=True, help="Re-weight retrieval over all queries (DSL).")
@click.option("--model", metavar="NAME", help="Its configuration.  [default: found by its tensors]")
@preprocess
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="At a time.")
@device
@precision
@workers
@click.option(
    "--max-missing",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Largest share of listed videos, or of windows, that may be missing.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all chance.")
@click.option(
    "-o", "--out", metavar="FILE", help="The .json to write.  [default: evaluation.json in the run]"
)
@quiet
def evaluate(checkpoint: str, out: str | None, quiet: bool, **asked: Any) -> None:
    """Judge a checkpoint: sorting beside its blind floors, retrieval, zero-shot, linear probe.

    What is reached without seeing the video stands beside every sorting figure; the claim is the
    margin over it. Numbers with their intervals and settings go to a .json file.
    """
    let_threads_sleep()
    from rich.console import Console

    from reelscript.jobs.evaluate.evaluate import default_out
    from reelscript.jobs.evaluate.evaluate import evaluate as run
    from reelscript.jobs.evaluate.printed import parts_of
    from reelscript.jobs.progress import Progress

    where = Path(out) if out is not None else default_out(checkpoint)
    progress = Progress(None if quiet else Console(stderr=True))
    made = run(checkpoint, out=where, progress=progress, **asked)
    console = Console()
    for part in parts_of(made):
        console.print(part)
    click.echo(f"All numbers are in {one_line(str(where), 200)}")


@click.command(
    epilog="Example: reelscript pretrain examples/pretrain-debug.yaml --data corpus -o run"
)
@click.argument("config", metavar="CONFIG.yaml")
@click.option("--data", required=True, metavar="DIR", help="The corpus (or its fsspec URL).")
@click.option("-o", "--out", required=True, metavar="RUN", help="The folder of the run.")
@settings
@quiet
def pretrain(config: str, data: str, out: str, settings: tuple[str, ...], quiet: bool) -> None:
    """Train TVTSv2 on a corpus; the same command again goes on from the newest checkpoint.

    Under torchrun, each process runs the same command, and they train together.
    """
    let_threads_sleep()
    from reelscript.jobs.pretrain.pretrain import pretrain as run

    tell = (lambda _: None) if quiet else click.echo
    trained = run(config, data, out, settings=settings, command=same_command(), tell=tell)
    click.echo(f"{trained.step} steps; the weights are in {one_line(str(trained.checkpoint), 200)}")
