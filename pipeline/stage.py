"""What a stage is, and the only place that runs one.

A stage is a frozen dataclass. Its fields are its settings: the YAML section of its name is this
dataclass, and nothing else configures it. It measures (facts, which are stored under what they were
computed from) and it judges (thresholds over facts, which are never stored). So a changed threshold
measures nothing again.

```
settings  --open()-->  live function: Video -> Video      heavy things loaded, once a worker
                             |
     apply():  look up (inputs, settings) | measure -> remember  ->  judge
                             |
               Video with facts, or rejected, or failed
```
"""

from __future__ import annotations

import dataclasses
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias, TypeVar

from reelscript.pipeline.errors import (
    DamagedArtefact,
    Reject,
    SourceGone,
    StageError,
    StorageError,
    UsageError,
)
from reelscript.pipeline.full_disk import raise_if_disk_full
from reelscript.pipeline.workspace import Workspace, to_plain
from reelscript.schemas.text import digest, one_line
from reelscript.schemas.video import FIELD_NAMES, Video

T = TypeVar("T")
Live: TypeAlias = Callable[[Video, Workspace], Video]
"""The live function of a stage: gets the record with the facts it reads, gives those it writes."""

ALWAYS_SEEN = (
    "video_id",
    "location",
    "media",
    "url",
)  # by every stage, though not part of what a result depends on


def threshold(default: T) -> T:
    """A setting that only judges: it is no part of what stored results depend on."""
    return field(default=default, metadata={"role": "threshold"})


def tuning(default: T) -> T:
    """A setting that changes how fast a result comes, never the result, so no part of its key."""
    return field(default=default, metadata={"role": "tuning"})


@dataclass(frozen=True, slots=True)
class Resources:
    """What one running copy of a stage occupies."""

    cpus: float = 1.0
    gpus: float = 0.0


class Stage(ABC):
    """One step for one video. Subclasses are frozen dataclasses; see the top of this file."""

    name: ClassVar[str]
    version: ClassVar[int] = 1  # raise it when the same settings give other facts
    rejects: ClassVar[tuple[str, ...]] = ()  # every reason that it may give
    reads: ClassVar[tuple[str, ...]]  # fields of Video that its facts depend on
    writes: ClassVar[tuple[str, ...]]  # fields of Video that it fills
    artefacts: ClassVar[tuple[str, ...]] = ()  # those of `writes` that name an artefact
    remembers: ClassVar[bool] = (
        True  # False: measured anew in each build, because it is as cheap as a look-up
    )

    @abstractmethod
    def open(self) -> AbstractContextManager[Live]:
        """Returns a context that loads what is heavy and yields the live function."""

    def judge(self, video: Video) -> None:
        """Raises Reject where the facts do not meet the thresholds."""

    def still_there(self, facts: Mapping[str, Any], workspace: Workspace) -> bool:
        """Returns whether all that a remembered result names is still in the store."""
        return all(workspace.has(facts[name]) for name in self.artefacts if facts.get(name))

    def restore(self, video: Video, workspace: Workspace) -> None:
        """Brings back a source that was let go (`work.keep`); only acquire can."""
        raise SourceGone(f"{self.name} cannot bring {video.url} back to {workspace.store.url}")

    @property
    def resources(self) -> Resources:
        """What one running copy occupies."""
        return Resources()

    @property
    def videos_at_once(self) -> int:
        """How many videos one worker is given together, at most, so that `together` has them.

        Fewer come where fewer wait, or where those have a lot to do in them.
        """
        return 1

    def together(
        self,
        videos: Sequence[Video],  # noqa: ARG002
        workspace: Workspace,  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        """Returns a context in which the live function finds what was computed for all at once.

        It is how one GPU is filled with several short videos. What is found must not depend on
        which videos are together. The stage is open by then, in this process. Within the context
        the live function is called for each of the videos, one after the other, and does itself
        whatever it does not find. If entering the context raises, each video is measured by
        itself: nothing but time is lost. So a fault that lies in one video is better left to its
        live function, which fails that video alone.

        Args:
            videos: two or more of which no result is remembered, with the fields that the live
                function sees too.
            workspace: as the live function gets it.
        """
        return nullcontext()

    def spent_together(self, video: Video) -> float:  # noqa: ARG002
        """Returns the CPU-seconds that `together` spent on a video; asked within its context."""
        return 0.0

    @property
    def patience_s(self) -> float:
        """Seconds that it may spend waiting for others, beside what it may take itself."""
        return 0.0

    @property
    def answers(self) -> str:
        """Name of the stage that a row fails in whose worker dies in this one."""
        return self.name

    def settings(self) -> dict[str, Any]:
        """Returns the settings that stored results depend on."""
        fields = [f for f in dataclasses.fields(self) if "role" not in f.metadata]  # type: ignore[arg-type]
        return {f.name: to_plain(getattr(self, f.name)) for f in fields}

    def all_settings(self) -> dict[str, Any]:
        """Returns the settings that facts and judgements depend on: thresholds too, tuning not."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        kept = [f.name for f in fields if f.metadata.get("role") != "tuning"]
        return {name: to_plain(getattr(self, name)) for name in kept} | self.settings()

    def key(self, video: Video) -> str:
        """Returns the digest of all that the facts depend on: name, version, settings, inputs."""
        inputs = {name: getattr(video, name) for name in self.reads}
        return digest([self.name, self.version, self.settings(), inputs])


@dataclass(frozen=True, slots=True)
class Timing:
    """What one stage cost for one video.

    Attributes:
        cpu_s: of measuring, whichever build did it; 0 where that is not known.
        remembered: the facts came from the store.
    """

    video_id: str
    stage: str
    wall_s: float
    cpu_s: float
    remembered: bool
    outcome: str
    trace: str | None = None  # of an unforeseen error, for --debug
    stored_bytes: int = 0  # put into the work folder, less what was removed from it
    duration_s: float | None = None  # of the video, where it is known by then


def apply(stage: Stage, live: Live, video: Video, workspace: Workspace) -> tuple[Video, Timing]:
    """Runs one stage on one video: looks up or measures, judges, catches, stamps, times.

    Returns:
        The record with the stage's facts, or with the outcome rejected or failed, and what it cost.
        Never raises for what lies in the video, unless it leaves no memory.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    held_bytes = workspace.stored_bytes
    remembered, cost_s, trace = False, None, None
    try:
        found, remembered = found_once(stage, stage.key(video), live, video, workspace)
        cost_s = found.get("cpu_s", 0.0)
        video = dataclasses.replace(video, **facts_of(found))
        stage.judge(video)
    except Reject as no:
        if no.reason not in stage.rejects:
            raise AssertionError(
                f"{stage.name} rejects for {no.reason!r}, which is not among its reasons"
            ) from no
        video = video.ended("rejected", stage.name, no.reason, no.detail)
    except (UsageError, StorageError, DamagedArtefact):  # machine, settings, store: not the video
        raise
    except MemoryError:  # perhaps of what the process held before: its supervisor finds that out
        raise
    except StageError as error:
        raise_if_disk_full(error, workspace)
        video = video.ended("failed", stage.name, error.kind, error.detail)
    except Exception as error:  # whatever a hostile file makes a library raise
        raise_if_disk_full(error, workspace)
        trace = traceback.format_exc()
        # of the system's errors only what it says: where our files lie is nobody's business
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        video = video.ended("failed", stage.name, "error", f"{type(error).__name__}: {said}")
    timing = Timing(
        video.video_id,
        stage.name,
        time.perf_counter() - wall,
        time.process_time() - cpu if cost_s is None else float(cost_s),
        remembered,
        video.outcome,
        trace,
        workspace.stored_bytes - held_bytes,
        video.duration_s,
    )
    return video, timing


def found_once(
    stage: Stage, key: str, live: Live, video: Video, workspace: Workspace
) -> tuple[dict[str, Any], bool]:
    """Returns what a stage finds, its facts or its reject, and whether that was remembered.

    Args:
        stage: whose results are looked up and remembered.
        key: under which.
        live: measures what is not remembered.
        video: the record; `live` sees of it what the stage reads.
        workspace: which remembers.
    """
    found = recalled(stage, key, workspace)
    if found is not None:
        return found, True
    cpu, seen = time.process_time(), as_seen_by(stage, video)
    try:
        after = live(seen, workspace)
        found = {"facts": {name: getattr(after, name) for name in stage.writes}}
    except Reject as no:
        found = {"reject": no.reason, "detail": no.detail}
    found["cpu_s"] = round(time.process_time() - cpu + stage.spent_together(seen), 4)
    if stage.remembers:
        workspace.remember(stage.name, key, found)
    return found, False


def recalled(stage: Stage, key: str, workspace: Workspace) -> dict[str, Any] | None:
    """Returns what `found_once` has remembered, if all that it names is still there; else None."""
    found = workspace.remembered(stage.name, key) if stage.remembers else None
    there = found is not None and stage.still_there(found.get("facts") or {}, workspace)
    return found if there else None


def facts_of(found: dict[str, Any]) -> dict[str, Any]:
    """Returns the facts of what `found_once` gave. Raises Reject where it is one."""
    if "reject" in found:
        no = Reject(found["reject"])
        no.detail = found["detail"] and one_line(found["detail"])
        raise no
    facts: dict[str, Any] = found["facts"]
    return facts


def as_seen_by(stage: Stage, video: Video) -> Video:
    """Returns the record with only what a stage declares to read: it cannot use anything else."""
    seen = (*stage.reads, *ALWAYS_SEEN)
    return Video(**{name: getattr(video, name) for name in FIELD_NAMES if name in seen})
