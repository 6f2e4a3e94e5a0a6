"""Who works on a node, and who is alone there: locks of files that all stations of a run share.

```
to work        through the door, into the room with others; the door is free again at once
to be alone    hold the door, wait until the room is empty: who comes now waits at the door
```

So whoever wants to be alone waits only for those who are in the room already, and a killed process
keeps nobody waiting.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reelscript.pipeline.attempts import storing
from reelscript.pipeline.engines.file_locks import ALONE, SHARED, lock, locked


class Turnstile:
    """The way into the room of a node, for one station.

    Args:
        folder: of the run on this node.
    """

    def __init__(self, folder: Path) -> None:
        self._door, self._room = folder / "door", folder / "room"
        self._place: int | None = None  # in the room: the lock that we hold

    @contextmanager
    def working(self) -> Iterator[None]:
        """Waits while somebody is alone, or wants to be, and is then in the room."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Leaves the room, to be alone in it for a while; for who is `working`."""
        self._leave()
        with locked(self._door, ALONE), locked(self._room, ALONE):
            yield
        self._enter()

    def _enter(self) -> None:
        with locked(self._door, ALONE), storing(f"lock {self._room}", self._room.parent):
            self._place = lock(self._room, SHARED)

    def _leave(self) -> None:
        if self._place is not None:
            os.close(self._place)
        self._place = None
