"""Everything that may go wrong on purpose.

```
ReelscriptError
 |- UsageError      the command line, the config or the machine is not as needed: exit 2,
 |                  one sentence
 |- DataError       a corpus or a store is not as it should be: exit 1
 |   `- DamagedArtefact  a piece of the work folder is gone or damaged: it is made again
 |- StorageError    what is written cannot be stored (a full disk, a lost mount): the build stops,
 |                  exit 1, nobody is blamed, the same command goes on
 |- SitesBlocked    sites refuse to be asked further: their sources stay pending, exit 4
 |- SourceGone      the stored copy of a source was let go, and nobody can bring it back
 |- StageError      a source is broken in a known way: the row becomes failed(stage, kind)
Reject              not an error: a stage does not want this video, and says why
```
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

BLOCKED = "blocked"
"""The kind of a StageError that says: this site does not let us in for now."""


class ReelscriptError(Exception):
    """Base of every error that a user may cause and can read."""


class UsageError(ReelscriptError):
    """The command line, the config or the machine is not as needed.

    One sentence: what, where, what was expected.
    """


class DataError(ReelscriptError):
    """What lies on disk is not what it should be."""


class DamagedArtefact(DataError):
    """An artefact of the work folder was not what its name says, and was removed: make it again."""


class StorageError(ReelscriptError):
    """What the build writes cannot be stored, or not be read back; no source is at fault.

    One sentence: where, what the system said. The build stops at once and blames no video, so that
    the same command goes on when there is room again.
    """


class SitesBlocked(ReelscriptError):
    """Sites refuse to be asked further: their sources stay pending, all others are finished.

    One sentence: which sites, what they said, how many sources wait, how to go on.
    """


class SourceGone(ReelscriptError):
    """The stored copy of a source was let go, is needed again, and cannot be brought back."""


class StageError(ReelscriptError):
    """A source is broken in a known way.

    Args:
        kind: a short stable name, the `reason` of the row, such as `http_404` or
            `download_too_large`. BLOCKED is no fault of the source: it stays pending.
        detail: what was found, for people.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail

    def __reduce__(self) -> tuple[type[StageError], tuple[str, str]]:
        return type(self), (self.kind, self.detail)


class Reject(Exception):
    """A stage does not want this video: `raise Reject("too_short", duration_s=1.2, min_s=3.0)`.

    Args:
        reason: one of the stage's `rejects`.
        numbers: what the decision rests on; they become the `detail` of the row.
    """

    def __init__(self, reason: str, **numbers: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = (
            ", ".join(
                f"{k}={round(v, 3) if isinstance(v, float) else v}" for k, v in numbers.items()
            )
            or None
        )


def nearest(name: str, valid: Iterable[str]) -> str:
    """Returns a clause with the valid name nearest to `name`, or with all where none is near."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"valid are: {', '.join(names)}"
