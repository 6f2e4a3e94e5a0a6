"""Asking what may never answer: other programs, libraries that crash, disks that are gone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from reelscript.jobs.doctor.finding import Answer

T = TypeVar("T")
MOST_BYTES = 1 << 16  # of what a program may say; no version is longer


@dataclass(frozen=True)
class Said:
    """What a program said.

    Attributes:
        text: its output, and what it said of errors.
        fault: why that is no answer: it could not be run, failed, died, or did not end; None where
            it ended well.
        late: whether it did not end in time, so that nothing is known.
    """

    text: str
    fault: str | None = None
    late: bool = False

    @property
    def last_line(self) -> str:
        """The last line with anything in it: of a traceback, the error."""
        return next((line for line in reversed(self.text.splitlines()) if line.strip()), "")

    @property
    def why(self) -> str:
        """Why this is no answer, with its last line."""
        return ": ".join(filter(None, (self.fault or "says nothing of use", self.last_line)))

    def facts(self) -> dict[str, Any] | None:
        """Returns the JSON object in the last line; None where there is none."""
        try:
            found = json.loads(self.last_line)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) and self.fault is None else None

    def broken(self, what: str, mend: str) -> Answer:
        """Returns the answer for what said no facts."""
        found = f"{what} {self.why}"
        return Answer("unknown", found) if self.late else Answer("missing", found, mend)


def started(look: Callable[[], T]) -> Future[T]:
    """Returns the future result of a function that runs beside us.

    It runs in a thread that nobody waits for at the end, so that what hangs for ever hangs alone.
    """
    later: Future[T] = Future()

    def run() -> None:
        try:
            later.set_result(look())
        except BaseException as error:  # also SystemExit: it belongs to whoever asks for the result
            later.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return later


def said(command: Sequence[str], within_s: float) -> Said:
    """Returns what a program says; it is killed with all that it started after `within_s`."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    except OSError as error:
        return Said("", f"cannot be run: {error.strerror}")
    late = threading.Event()

    def stop() -> None:
        late.set()
        _kill_group(process)

    timer = threading.Timer(within_s, stop)
    timer.daemon = True
    timer.start()
    assert process.stdout is not None
    with process.stdout as output:
        data = output.read(MOST_BYTES)
    flooding = len(data) == MOST_BYTES
    if flooding:  # it may go on for ever
        _kill_group(process)
    code = process.wait()
    timer.cancel()
    text = data.decode("utf-8", "replace")
    if late.is_set():
        return Said(text, f"gave no answer within {within_s:.1f} s", late=True)
    return Said(text, "says too much" if flooding else _fault(code))


def said_by_python(code: str, within_s: float, *arguments: str) -> Said:
    """Returns what a piece of Python says, run in a process of its own: it may crash there."""
    return said([sys.executable, "-P", "-c", code, *arguments], within_s)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _fault(code: int) -> str | None:
    if code == 0:
        return None
    if code > 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"died of {signal.Signals(-code).name}"
    return f"died of signal {-code}"
