"""Files that kill, bloat or hang whoever opens them, and the stage that falls for them.

No file is known that crashes the decoder of today, so the harm is done by a stage of ours: it reads
the first bytes of a source and does what stands there, as a decoder with a bug would.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from reelscript.jobs.config import Config
from reelscript.pipeline.stage import Live, Stage, tuning
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video

MARK = b"poison:"
REASONS = {"crash": "crashed", "memory": "out_of_memory", "hang": "timed_out", "spin": "cpu_limit"}
"""What stands in a poison file, and what it must fail for."""
BLOCK_BYTES = 32 << 20


def write_poison(folder: Path) -> dict[str, str]:
    """Writes one file of each kind. Returns the reason that each must fail for, by file name."""
    for act in REASONS:
        (folder / f"poison_{act}.mp4").write_bytes(MARK + act.encode() + b"\n" + act.encode() * 99)
    return {f"poison_{act}.mp4": reason for act, reason in REASONS.items()}


@dataclass(frozen=True)
class Decoder(Stage):
    """A decoder with bugs; it finds nothing out about other files."""

    most_bytes: int = tuning(1 << 40)

    name: ClassVar[str] = "decoder"
    reads: ClassVar[tuple[str, ...]] = ("source_sha256",)
    writes: ClassVar[tuple[str, ...]] = ()

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""
        yield self._decode

    def _decode(self, video: Video, workspace: Workspace) -> Video:
        with workspace.media(video).open("rb") as file:
            head = file.readline(64)
        if head.startswith(MARK):
            self._harm(head.removeprefix(MARK).strip().decode())
        return replace(video)

    def _harm(self, act: str) -> None:
        eaten = []
        if act == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        while act == "memory" and len(eaten) * BLOCK_BYTES < self.most_bytes:
            eaten.append(bytearray(b"\1" * BLOCK_BYTES))
        while act == "spin":
            pass
        time.sleep(3600.0)


@dataclass(frozen=True)
class PoisonedConfig(Config):
    """A config whose build opens each source with `Decoder` first."""

    decoder: Decoder = field(default_factory=Decoder)

    def measuring(self) -> list[Stage]:
        """Returns the stages that measure a video."""
        first, *others = super().measuring()
        return [first, self.decoder, *others]
