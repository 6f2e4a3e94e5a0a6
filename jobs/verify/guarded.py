"""Checks as generators of faults in words, of which none may end in a traceback."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def guarded(what: str, faults: Iterable[str]) -> Iterator[str]:
    """Yields the faults; whatever goes wrong while they are looked for is one more, the last."""
    try:
        yield from faults
    except Exception as error:  # what lies in a corpus may be anything
        yield f"{what} cannot be checked: {type(error).__name__}: {error}"
