"""What could not be had ready, several times in a row: then the machine is at fault."""

from __future__ import annotations

from reelscript.pipeline.engines.watched import STARTING
from reelscript.pipeline.errors import UsageError

MOST = 3


class InVain:
    """How often in a row workers have died as they started, or while a stage was opened."""

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {}

    def of(self, what: str) -> int:
        """Returns how many attempts in a row have failed: of STARTING or of a stage."""
        return self._attempts.get(what, 0)

    def succeeded(self, what: str | None) -> None:
        """Forgets what failed before."""
        self._attempts.pop(str(what), None)

    def failed(self, what: str, attempts: int, died: str) -> None:
        """Takes note of a death. Raises UsageError where it is one too many.

        Args:
            what: was to be had ready.
            attempts: in a row, as that worker knew of them, with its own.
            died: how.
        """
        self._attempts[what] = max(attempts, self.of(what))
        if self._attempts[what] < MOST:
            return
        if what == STARTING:
            raise UsageError(
                f"worker processes end as they start, {MOST} times in a row, the last by "
                f"{died}: what they said stands above (a script that builds needs "
                "`if __name__ == '__main__':`)"
            )
        raise UsageError(
            f"the stage {what} cannot be opened on this machine: its worker ended "
            f"{MOST} times in a row while it was opened, the last by {died}"
        )
