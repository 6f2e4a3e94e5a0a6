"""What doctor says of one thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "missing", "unknown", "absent"]


@dataclass(frozen=True)
class Answer:
    """What one look at the machine gave.

    Attributes:
        state: `ok`; `warning`: it works, but not as it should; `missing`: not there, or broken;
            `unknown`: could not be told; `absent`: not there, and that is no fault.
        found: what was found, and why it matters where it is not ok.
        mend: a command line that mends it; None where there is nothing to mend, or no command.
    """

    state: State
    found: str
    mend: str | None = None


@dataclass(frozen=True)
class Finding:
    """An answer with what it is about, under stable names: this is what `--json` writes.

    Attributes:
        name: what was looked at.
        state: as in `Answer`, but what the verb that was asked for does not need is `absent` where
            it is missing, and a `warning` where it is not known.
        found: as in `Answer`.
        needed_by: the verbs that do not work without it.
        mend: as in `Answer`.
    """

    name: str
    state: State
    found: str
    needed_by: tuple[str, ...]
    mend: str | None
