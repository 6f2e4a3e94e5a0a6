"""The command line that goes on, as a run tells it to who comes after."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

from reelscript.schemas.text import one_line


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
