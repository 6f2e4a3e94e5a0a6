"""What the verbs share: options, and the command line that goes on."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import click

from reelscript.schemas.text import one_line

quiet = click.option("--quiet", is_flag=True, help="No progress.")
settings = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="A.B=VALUE",
    help="Override one setting; repeatable.",
)


def max_failed(what: str) -> Callable[[Any], Any]:
    """Returns the option that says how many of what may fail."""
    return click.option(
        "--max-failed",
        type=click.FloatRange(0, 1),
        default=0.2,
        show_default=True,
        help=f"Largest share of failed {what}; above it exit code 3.",
    )


def let_threads_sleep() -> None:
    """Lets threads of torch that wait for others sleep; to be called before torch is imported.

    By default they spin, which on a machine where others are at work costs a multiple of the work.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def same_command() -> str:
    """Returns the command line that goes on: without passwords, and retrying nothing."""
    from reelscript.transforms.urls import published_url

    context = click.get_current_context().find_root()
    words = ["reelscript", *context.obj]
    return shlex.join(one_line(published_url(word), 2000) for word in without_retry(words))


def without_retry(words: Sequence[str]) -> list[str]:
    """Returns the words of a command line without `--retry-failed` and its reason."""
    kept: list[str] = []
    reasons = iter(words)
    for word in reasons:
        if word == "--retry-failed":
            following = next(reasons, "--")
            kept += [following] if following.startswith("-") and following != "--" else []
        elif not word.startswith("--retry-failed="):
            kept.append(word)
    return kept
