"""A child process that is watched: it answers in time, or is killed with all that it started."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import selectors
import signal
import subprocess
import sys
import time
from typing import Any

from reelscript.pipeline.errors import StageError
from reelscript.transforms.sites.job import Job
from reelscript.transforms.urls import published_url

CHILD = "reelscript.transforms.sites.child"
MAX_ANSWER_BYTES = 256 << 20  # a list of a million entries
READ_BYTES = 1 << 16
EXIT_S = 10.0  # for a process that has answered


def answer_of(job: Job) -> dict[str, Any]:
    """Returns the answer of a child to a job.

    Raises:
        StageError: `timed_out`, `crashed`.
    """
    command = [sys.executable, "-P", "-m", CHILD]  # -P: the working folder holds no modules
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=job.folder,
        process_group=0,
    ) as child:
        try:
            said = _said_in_time(child, job)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
    try:
        answer: dict[str, Any] = json.loads(said)
    except ValueError:
        ended = f"ended with {child.returncode}"
        raise StageError("crashed", f"{published_url(job.url)}: yt-dlp's process {ended}") from None
    return answer


def _said_in_time(child: subprocess.Popen[bytes], job: Job) -> bytes:
    """Returns all that a child says until it ends. Raises StageError where that takes too long."""
    assert child.stdin is not None
    assert child.stdout is not None
    deadline_s = time.monotonic() + job.left_s
    with contextlib.suppress(BrokenPipeError):  # it died at once: its answer is empty
        child.stdin.write(pickle.dumps(job))
        child.stdin.flush()  # and stays open: by this the child knows that we live
    said = bytearray()
    with selectors.DefaultSelector() as ready:
        ready.register(child.stdout, selectors.EVENT_READ)
        while ready.select(max(0.0, deadline_s - time.monotonic())):
            piece = os.read(child.stdout.fileno(), READ_BYTES)
            said += piece
            if not piece or len(said) > MAX_ANSWER_BYTES:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(EXIT_S)
                return bytes(said)
    total_s = job.web.limits.total_s
    raise StageError("timed_out", f"{published_url(job.url)}: not finished within {total_s:g} s")
