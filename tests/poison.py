"""Files that kill, bloat or hang whoever opens them, and a command line that falls for them.

    python -c "from tests.poison import main; main()" build VIDEOS -o corpus

No file is known that crashes the decoder of today, so the harm is done by a stage of ours: it reads
the first bytes of a source and does what stands there, as a decoder with a bug would. All else is
`reelscript`, with limits that are small enough to wait for.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from reelscript.jobs.config import Config
from reelscript.pipeline.engines.limits import Limits
from reelscript.pipeline.stage import Live, Stage
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.transforms.transcribe import Transcribe

MARK = b"poison:"
REASONS = {"crash": "crashed", "memory": "out_of_memory", "hang": "timed_out", "spin": "cpu_limit"}
"""What stands in a poison file, and what it must fail for."""
BLOCK_BYTES, PAGE_BYTES = 32 << 20, 4096
# A sixth of a core is enough for the limit of CPU-seconds to be met before the safety net.
LIMITS = Limits(memory_bytes=2 << 30, cpu_base_s=2.0, wall_base_s=12.0, poll_s=0.1)
LOG = "REELSCRIPT_CHAOS_LOG"
"""Environment variable: a file that gets a line for each transcription that is begun."""
READY = "ready"


def write_poison(folder: Path) -> dict[str, str]:
    """Writes one file of each kind. Returns the reason that each must fail for, by file name."""
    for act in REASONS:
        (folder / f"poison_{act}.mp4").write_bytes(MARK + act.encode() + b"\n" + act.encode() * 99)
    return {f"poison_{act}.mp4": reason for act, reason in REASONS.items()}


@dataclass(frozen=True)
class Decoder(Stage):
    """A decoder with bugs; it finds nothing out about other files."""

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
        return video

    def _harm(self, act: str) -> None:
        eaten: list[bytearray] = []
        if act == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        while act == "memory":
            eaten.append(bytearray(BLOCK_BYTES))
            eaten[-1][::PAGE_BYTES] = b"\1" * (BLOCK_BYTES // PAGE_BYTES)
        while act == "spin":
            pass
        time.sleep(3600.0)


@dataclass(frozen=True)
class NotedTranscribe(Transcribe):
    """Transcribes, and notes the key of what it begins with."""

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""
        with super().open() as transcribe:

            def live(video: Video, workspace: Workspace) -> Video:
                note(self.key(video))
                return transcribe(video, workspace)

            yield live


def note(line: str) -> None:
    """Adds a line to the log, if there is one."""
    if LOG in os.environ:
        with Path(os.environ[LOG]).open("a") as file:  # one short write: lines do not mix
            file.write(f"{line}\n")


class PoisonedConfig(Config):
    """A config whose build opens each source with `Decoder` first."""

    def measuring(self) -> list[Stage]:
        """Returns the stages that measure a video."""
        first, *others = super().measuring()
        noted = NotedTranscribe(
            **{f.name: getattr(self.transcribe, f.name) for f in dataclasses.fields(Transcribe)}
        )
        return [first, Decoder(), *(noted if s is self.transcribe else s for s in others)]


def poisoned(config: Config) -> PoisonedConfig:
    """Returns the same settings with the poisoned decoder."""
    return PoisonedConfig(**{f.name: getattr(config, f.name) for f in dataclasses.fields(config)})


def main() -> None:
    """Runs `reelscript` with its decoder poisoned and small limits."""
    from reelscript.jobs import build, cli, engines
    from reelscript.pipeline.engines.beam import engine as on_beam
    from reelscript.pipeline.engines.ray import engine as on_ray

    load_config = build.load_config
    build.load_config = lambda *asked: poisoned(load_config(*asked))
    for module, name in ((engines, "LocalEngine"), (on_ray, "RayEngine"), (on_beam, "BeamEngine")):
        setattr(module, name, functools.partial(getattr(module, name), limits=LIMITS))
    note(f"{READY} {os.getpid()}")
    cli.main()
