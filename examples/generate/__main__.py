"""`python -m reelscript.examples.generate FOLDER --videos 1000`: makes videos, tells how fast."""

from __future__ import annotations

import re
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import click

from reelscript.examples.generate.corpus import generate
from reelscript.examples.generate.story import Recipe
from reelscript.pipeline.errors import UsageError

TELL_EVERY_S = 10.0


def _size(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, int]:
    """Returns width and height in pixels."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value)
    if found is None:
        raise click.BadParameter(f"expected WIDTHxHEIGHT such as 112x112, found {value!r}")
    return int(found[1]), int(found[2])


class Counter:
    """Tells now and then how many videos are made, and how fast."""

    def __init__(self) -> None:
        self.made, self.began_s = 0, time.monotonic()
        self.told_s = self.began_s

    def __call__(self, _video_id: str) -> None:
        """Counts a video."""
        self.made += 1
        if time.monotonic() - self.told_s >= TELL_EVERY_S:
            self.told_s = time.monotonic()
            click.echo(self.text, err=True)

    @property
    def text(self) -> str:
        """How many, and how many a minute."""
        rate = 60 * self.made / max(time.monotonic() - self.began_s, 1e-3)
        return f"{self.made} videos made, {rate:.0f} a minute"


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: python -m reelscript.examples.generate made --videos 1000 --workers 2",
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--videos", type=click.IntRange(1), required=True, help="How many.")
@click.option("--split", type=click.Choice(["train", "test"]), default="train", show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Another: other videos.")
@click.option("--size", callback=_size, default="112x112", show_default=True, help="In pixels.")
@click.option("--fps", type=int, default=10, show_default=True, help="Pictures a second.")
@click.option(
    "--sound",
    type=click.Choice(["babble", "voice", "none"]),
    default="babble",
    show_default=True,
    help="babble is no speech; voice needs the extra make-videos.",
)
@click.option(
    "--events", type=(int, int), default=(4, 12), show_default=True, help="Fewest and most a video."
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option(
    "--voices",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where sentences of the voice are kept.  [default: the user's cache]",
)
def main(folder: Path, videos: int, workers: int, voices: Path | None, **asked: Any) -> None:
    """Make videos with known words, times and events, and the files to build a corpus of them.

    Video n is the same whatever the number and the processes. The same command goes on where one
    ended, and a larger number makes the rest. Videos of `--split test` hold combinations of actor,
    action and place that training videos never show.
    """
    counter = Counter()
    try:
        generate(folder, videos, Recipe(**asked), workers, voices, counter)
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    except BrokenProcessPool:
        raise click.ClickException("a process was killed; the same command goes on") from None
    except OSError as error:
        raise click.ClickException(f"{error.strerror or error}: {error.filename or ''}") from None
    click.echo(counter.text, err=True)
    click.echo(f"{folder}: a corpus of them:  reelscript build {folder}/corpus.yaml -o corpus")


if __name__ == "__main__":
    main()
