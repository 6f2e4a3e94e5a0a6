"""What a driver and the workers of a Beam pipeline tell each other while it runs.

Beam gives a driver nothing before a pipeline is done, and some runners not even then. So both speak
through small objects in the work folder, on every runner alike:

```
passing/results/<run>/
  wanted             there as long as the driver waits: without it, workers give up
  given/000000       videos as JSON lines: a pipeline begins with names, whatever it is to measure
  ended/<group>-...  what became of videos in a group of stages; read and removed by the driver
  fault              why a worker ended the run
```

A bundle that Beam tries again tells of its videos again, under another name: the driver counts what
it knows already only once. Nothing is lost with these objects: the work folder remembers results.
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reelscript.pipeline.engines.ended import Ended
from reelscript.pipeline.errors import ReelscriptError, StorageError, UsageError
from reelscript.pipeline.store import Store
from reelscript.schemas.video import Video

ROWS_AN_OBJECT = 500  # a record is below 4 kB, and mostly below 1
TELL_EVERY_S = 1.0
ASK_EVERY_S = 2.0
GOES_ON = "what was finished is saved, and the same command goes on"
SPOKEN = re.compile(r"reelscript\.pipeline\.errors\.(UsageError|StorageError): ([^\n]*)")
WHERE = re.compile(r" \[while running .*")


@dataclass(frozen=True)
class Results:
    """The objects of one run.

    Attributes:
        store: the work folder.
        run_name: of the run.
    """

    store: Store
    run_name: str

    @property
    def _folder(self) -> str:
        return f"passing/results/{self.run_name}"

    # The driver.

    def begin(self) -> None:
        """Says that results are waited for."""
        self.store.put(f"{self._folder}/wanted", b"results are waited for\n")

    def unwanted(self) -> None:
        """Says that nobody waits any more: workers give up what they have in hand."""
        self.store.delete(f"{self._folder}/wanted")

    def fault(self) -> ReelscriptError | None:
        """Returns why a worker ended the run; None where none did."""
        try:
            kind, said = json.loads(self.store.get(f"{self._folder}/fault"))
        except FileNotFoundError:
            return None
        return _error(kind, said)

    def lost(self) -> ReelscriptError:
        """Returns what is to be said if a pipeline was done, and videos are missing."""
        return StorageError(f"results on their way in {self.store.url} were lost: {GOES_ON}")

    def end(self) -> None:
        """Removes everything that is left of the run."""
        for name in self.store.names(self._folder):
            self.store.delete(name)
        if self.store.local_root is not None:  # else folders are but parts of names
            shutil.rmtree(self.store.local_root / self._folder, ignore_errors=True)

    def give(self, videos: Iterable[Video]) -> list[str]:
        """Stores videos and returns the names of the objects that hold them."""
        rows, names = iter(videos), list[str]()
        while lines := [video.to_json() for video in itertools.islice(rows, ROWS_AN_OBJECT)]:
            names.append(f"{self._folder}/given/{len(names):06d}")
            self.store.put(names[-1], "\n".join(lines).encode())
        return names

    def arrived(self) -> Iterator[tuple[int, Ended]]:
        """Yields what workers have told since, each with the number of its group of stages."""
        for name in list(self.store.names(f"{self._folder}/ended")):
            number = int(name.rpartition("/")[2].partition("-")[0])
            lines = self.store.get(name).decode().splitlines()
            self.store.delete(name)
            for line in lines:
                yield number, Ended.from_json(line)

    # The workers.

    def given(self, name: str) -> list[Video]:
        """Returns the videos that `give` stored under a name."""
        return [Video.from_json(line) for line in self.store.get(name).decode().splitlines()]

    def wanted(self) -> bool:
        """Returns whether the driver still waits."""
        return self.store.exists(f"{self._folder}/wanted")

    def tell(self, number: int, ended: Iterable[Ended]) -> None:
        """Tells the driver what became of videos in the group of stages `number`."""
        lines = "\n".join(one.to_json() for one in ended)
        name = f"{self._folder}/ended/{number}-{secrets.token_hex(8)}"
        self.store.put(name, lines.encode())

    def give_up(self, error: ReelscriptError) -> bool:
        """Says why this worker ends the run, so that the driver and all others do.

        Returns:
            Whether it could be said: the store may be what is at fault.
        """
        said = json.dumps([type(error).__name__, str(error)])
        try:
            self.store.put(f"{self._folder}/fault", said.encode())
            self.unwanted()
        except StorageError:
            return False
        return True


class Teller:
    """Tells the driver of ended videos: at once, and then every second or so, many together.

    Args:
        results: of the run.
        number: of the group of stages.
    """

    def __init__(self, results: Results, number: int) -> None:
        self._results = results
        self._number = number
        self._held: list[Ended] = []
        self._told_at = self._asked_at = -ASK_EVERY_S
        self._wanted = True

    def add(self, ended: Ended) -> None:
        """Takes one more."""
        self._held.append(ended)
        if len(self._held) >= ROWS_AN_OBJECT or self._due():
            self.flush()

    def look(self) -> bool:
        """Tells what is due, and returns whether the driver still waits; to be called at times."""
        if self._due():
            self.flush()
        now = time.monotonic()
        if now - self._asked_at >= ASK_EVERY_S:
            self._asked_at = now
            self._wanted = self._results.wanted()
        return self._wanted

    def _due(self) -> bool:
        return time.monotonic() - self._told_at >= TELL_EVERY_S

    def flush(self) -> None:
        """Tells all."""
        if self._held:
            self._results.tell(self._number, self._held)
            self._held = []
            self._told_at = time.monotonic()


def heard(error: BaseException) -> ReelscriptError | None:
    """Returns the error of ours that a runner tells of in one of its own; None: it tells of none.

    Some raise what a worker raised, most a RuntimeError with the worker's traceback as its text.
    """
    kind = type(error)
    found = SPOKEN.search(f"{kind.__module__}.{kind.__qualname__}: {error}")
    return None if found is None else _error(found[1], WHERE.sub("", found[2]))


def _error(kind: str, said: str) -> ReelscriptError:
    return StorageError(said) if kind == "StorageError" else UsageError(said)
