"""What the child process may do, whatever 1800 extractors and a hostile page make of it.

The rules hold below yt-dlp: the system's limits of this process, and Python's audit events, which
every connection and every started program passes.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Collection
from pathlib import PurePath
from typing import Any, BinaryIO

from reelscript.transforms.sites.traffic import refusing
from reelscript.transforms.web.addresses import AddressGuard

MEMORY_BYTES = 2 << 30  # yt-dlp takes 0.1 GB, a page of 10 MB a few times its size
PROGRAMS = frozenset({"deno"})  # runs the JavaScript of YouTube; yt-dlp lets it at no file or host
STARTS = frozenset({"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"})


def bound(video_bytes: int) -> None:
    """Bounds the memory of this process and of each that it starts, and the size of every file.

    Args:
        video_bytes: of the largest video. A file may be somewhat larger: a container of its own.
    """
    file_bytes = video_bytes + video_bytes // 20 + (16 << 20)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def end_with_parent(stdin: BinaryIO) -> None:
    """Kills this process and all that it started once the other end of a pipe is closed."""

    def watch() -> None:
        stdin.read()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def only(guard: AddressGuard, proxies: Collection[str]) -> None:
    """Lets this process connect only to where it may, and start only `PROGRAMS`; for good.

    ffmpeg, rtmpdump, PhantomJS and browsers fetch by themselves, past every rule of ours; so they
    are not there. Whoever asks for them sees a PermissionError, as where they are not installed.

    Args:
        guard: which addresses may be asked.
        proxies: addresses of proxies, which may be asked too.
    """

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            where = args[1]
            if not isinstance(where, tuple):
                raise PermissionError("no socket of this machine is connected to")
            if where[0] not in proxies:
                with refusing():
                    guard.check(where[0])
        elif event in STARTS and PurePath(os.fsdecode(args[0])).name not in PROGRAMS:
            raise PermissionError("no other program is started")

    sys.addaudithook(hook)
