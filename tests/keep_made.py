"""Sources on a server for builds that may not keep them, and what is known of their results."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from reelscript.jobs.build import Built, build
from reelscript.jobs.config import load_config
from reelscript.jobs.progress import Progress
from reelscript.pipeline.errors import StageError
from reelscript.pipeline.stage import Timing
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.transforms.encode import Encode
from tests.built import EXAMPLES, MODELS

OF_MEDIA = ("probe", "glance", "encode", "encode_passage", "acquire")
"""Results of stages that read the media themselves: never taken over from another build."""


LOCAL = "acquire.allow_addresses=[127.0.0.0/8]"
"""The setting that lets a build ask this server."""


@dataclass
class Server:
    """Files on 127.0.0.1: what it serves may be changed, what was asked for is counted."""

    files: dict[str, bytes] = field(default_factory=dict)
    hits: Counter[str] = field(default_factory=Counter)
    port: int = 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def listed(self, path: Path) -> Path:
        """Returns a list of all files, written to `path`."""
        path.write_text("".join(f"{self.url(name)}\n" for name in self.files))
        return path

    def asked(self) -> dict[str, int]:
        """Returns how often each file was asked for since the last time."""
        found, self.hits = dict(self.hits), Counter()
        return found


@contextmanager
def serving(names: list[str]) -> Iterator[Server]:
    """Gives a server with some of the demo videos."""
    server = Server({name: (EXAMPLES / name).read_bytes() for name in names})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            name = self.path.strip("/")
            server.hits[name] += 1
            data = server.files.get(name)
            self.send_response(200 if data is not None else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data or b"")

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.port = http.server_port
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield server
        http.shutdown()


def padded(media: bytes, size_bytes: int, number: int) -> bytes:
    """Returns an mp4 as large as wanted, no two alike: with a box at its end that nobody reads."""
    free = size_bytes - len(media)
    return media + struct.pack(">I4sI", free, b"free", number) + bytes(free - 12)


class Peak(threading.Thread):
    """Looks at the bytes of a folder all the time, from entering on.

    Attributes:
        peak_bytes: the most that it ever saw.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._folder = folder
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.01):
            self.peak_bytes = max(self.peak_bytes, bytes_in(self._folder))

    def __enter__(self) -> Peak:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def bytes_in(folder: Path) -> int:
    """Returns the bytes of all files in a folder that changes meanwhile."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(path, name).lstat().st_size
    return total


def seeded(work: Path, demo_corpus: Path) -> Path:
    """Returns a work folder that remembers of the demo videos what was heard, not what was seen.

    So a build fetches, probes and encodes for real, and transcribes nothing.
    """
    before = Path(f"{demo_corpus}.work")
    shutil.copytree(before / "objects", work / "objects")
    shutil.copytree(before / "results", work / "results", ignore=lambda *_: OF_MEDIA)
    return work


class Ran(Progress):
    """Counts what was really run, by stage and video_id."""

    def __init__(self) -> None:
        super().__init__(None)
        self.ran: Counter[tuple[str, str]] = Counter()

    def measured(self, timing: Timing) -> None:
        if not timing.remembered:
            self.ran[timing.stage, timing.video_id] += 1
        super().measured(timing)

    def stages_run(self) -> set[str]:
        return {stage for stage, _ in self.ran}


@dataclass(frozen=True)
class FailsAtGarden(Encode):
    """Encode that finds a source broken which could be measured."""

    def _encode(self, video: Video, workspace: Workspace) -> Video:
        if "garden" in video.url:
            raise StageError("decode_failed", "the picture ends too early")
        return super()._encode(video, workspace)


def kept_as(
    keep: str,
    sources: Path,
    folder: Path,
    *settings: str,
    encode: Encode | None = None,
    **more: str,
) -> tuple[Built, Ran]:
    """Returns a build with `work.keep` in `folder / keep`, and what it ran."""
    ran, out = Ran(), folder / keep
    config = load_config(None, [str(sources)], [*MODELS, LOCAL, f"work.keep={keep}", *settings])
    config = replace(config, work=replace(config.work, folder=str(folder / f"{keep}.work")))
    if encode is not None:
        config = replace(config, encode=encode)
    return build(out=out, config=config, progress=ran, workers=2, **more), ran


def sources_in(work: Path, server: Server) -> set[str]:
    """Returns which of the served files lie anywhere in a work folder."""
    digests = {hashlib.sha256(data).hexdigest(): name for name, data in server.files.items()}
    found = {hashlib.sha256(p.read_bytes()).hexdigest() for p in work.rglob("*") if p.is_file()}
    return {digests[sha256] for sha256 in found & digests.keys()}
