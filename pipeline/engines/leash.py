"""A worker and all that it starts: one group of processes, which ends when its supervisor does.

However the supervisor ends, `kill -9` too, the system closes its end of a pipe. A thread waits for
that and kills the group. Where native code holds the interpreter's lock no thread runs, so Linux is
asked to do the same by itself. (PR_SET_PDEATHSIG would end the worker only, not what it started,
and already when the thread ends that started it.)
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
}
_STARTING = threading.Lock()  # threads of a worker of Beam may start processes side by side


def lead_group() -> None:
    """Makes this worker process the first of a group that dies with the parent process.

    It is a session as well: Ctrl-C in a terminal goes to the supervisor alone, which stops us.
    """
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # see interrupts_held
    parent = multiprocessing.parent_process()
    assert parent is not None
    pipe = parent.sentinel  # nothing is ever written to it: it only ends
    if sys.platform == "linux":
        fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_die_after, args=(pipe,), daemon=True).start()


def _die_after(pipe: int) -> None:
    wait([pipe])
    os.killpg(0, signal.SIGKILL)


def kill_group(leader: int) -> None:
    """Kills a worker's group, if it has made one yet and something of it is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets a process that is started meanwhile compute with one thread, from its first import on.

    What is computed with two threads may round otherwise, and libraries ask once, as they load:
    so it has to stand in what the process inherits. Here everything stays as it was.
    """
    with _STARTING:
        before = {name: os.environ.get(name) for name in ONE_THREAD}
        os.environ.update(ONE_THREAD)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Holds Ctrl-C and SIGTERM back: a process that is started meanwhile never sees one.

    So a worker that is still importing, and not in its own group yet, dies without a traceback.
    """
    resource_tracker.ensure_running()  # else the first start of a worker would let Ctrl-C through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
