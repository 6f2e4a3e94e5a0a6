"""Which process is which: told so that another process, now or later, can say if it still runs."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """Returns who we are.

    Returns:
        host: the machine's name, for people. machine: where pid and born mean something: the host,
        its boot and its table of processes (containers of one host may have their own). pid. born:
        when the process began; pids are used again.
    """
    host = socket.gethostname()
    parts = [host]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    pid = os.getpid()
    return {"host": host, "machine": " ".join(parts), "pid": pid, "born": _born(pid) or ""}


def exists(pid: int, born: str) -> bool:
    """Returns whether the process of this pid and birth runs on this machine."""
    return _born(pid) == born


def _born(pid: int) -> str | None:
    """Returns when a process began; None where there is none, or only what is left of a dead one.

    On Linux it is counted in ticks since the boot (proc_pid_stat(5), field 22), because the time of
    day at which a process began is another one after the clock was set.
    """
    if not Path("/proc/self/stat").exists():
        import psutil  # only here: it takes longer to import than writing a file

        try:
            process = psutil.Process(pid)
            dead = process.status() == psutil.STATUS_ZOMBIE
            return None if dead else str(process.create_time())
        except (psutil.Error, ValueError, OverflowError):
            return None
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        fields = text.rpartition(")")[2].split()  # from field 3 on; a name may hold anything
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return None
