"""The first phase of a build: every source through the stages that measure it, each once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.blocked import Blocked
from reelscript.jobs.runner import Runner, only
from reelscript.pipeline.errors import StorageError
from reelscript.pipeline.ledger import Ledger, Row
from reelscript.pipeline.resume import NEEDED, standing, to_do_again, with_facts
from reelscript.pipeline.stage import Stage
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.text import digest
from reelscript.schemas.video import Video
from reelscript.schemas.videos import Videos
from reelscript.transforms.acquire import PLAYLIST

OF_ENCODING = ("stage", "reason", "detail", "passages", "proxy", "encodings")
"""What no row of measuring has of a video that was measured whole."""
NO_SETTINGS = ""
"""The chain of a row that stands for nothing: its source is pending."""


@dataclass(frozen=True)
class AtOnce:
    """What is done with each video as soon as it is measured, where its source cannot be kept.

    Attributes:
        stages: choose, then those of encoding; none where sources are kept.
        encoded: the ledger of encoding.
    """

    stages: tuple[Stage, ...]
    encoded: Ledger

    @cached_property
    def _names(self) -> list[str]:
        return [stage.name for stage in self.stages]

    @cached_property
    def _chain(self) -> str:
        return chain_of(self.stages[1:])

    def settle(self, video: Video, cpu_s: dict[str, float]) -> Video:
        """Returns the video as measured, once what followed is in the ledger of encoding.

        A video that could be measured but not encoded is a measured one: so its clips are known,
        and its row is the same, whatever is kept of sources.
        """
        if video.passages is None and video.stage not in self._names:
            return video
        self.encoded.add(Row(self._chain, video, only(cpu_s, self._names)))
        nothing: dict[str, Any] = dict.fromkeys(OF_ENCODING)
        return dataclasses.replace(video, outcome="pending", **nothing)


def chain_of(stages: Sequence[Stage]) -> str:
    """Returns the digest of all settings that facts and early judgements depend on."""
    return digest([[s.name, s.version, s.all_settings()] for s in stages])


def measure(
    listed: Videos,
    stages: Sequence[Stage],
    ledger: Ledger,
    runner: Runner,
    at_once: AtOnce,
    retry_failed: str | None = None,
) -> Blocked:
    """Measures every source that the ledger does not know, and adds what became of it.

    What a site keeps from us for now is added as well, but stands for nothing: it stays pending.

    Args:
        listed: the sources.
        stages: what measures them.
        ledger: of measuring.
        runner: runs the stages.
        at_once: what follows for each video.
        retry_failed: "all" or a reason: sources that failed (for it) are measured again.

    Returns:
        What was blocked.
    """
    chain = chain_of(stages)
    ledger.list_sources(_with_chain(listed, chain))
    known_rows = ledger.latest((*NEEDED, "captions_fault"))
    stands = standing(listed.table, chain, known_rows, to_do_again(retry_failed))
    todo = listed.where(pc.invert(stands))
    names = [stage.name for stage in stages]
    known = len(listed) - len(todo)
    blocked = Blocked()
    for video, cpu_s in runner.run("measure", [*stages, *at_once.stages], todo, known):
        of = NO_SETTINGS if blocked.takes(video) else chain
        ledger.add(Row(of, at_once.settle(video, cpu_s), only(cpu_s, names)))
    ledger.flush()
    at_once.encoded.flush()
    return blocked


def forget_changed(videos: Videos, ledger: Ledger) -> None:
    """Lets sources be measured anew that turned out to be other bytes when they were encoded."""
    for video in videos.where(pc.equal(videos.column("reason"), "changed")):
        ledger.add(Row(NO_SETTINGS, video))


def ask_playlists_again(
    listed: Videos, stages: Sequence[Stage], ledger: Ledger, workspace: Workspace, every: bool
) -> None:
    """Lets the playlists among the sources be asked again: all, or those of which the list is lost.

    What they were found to hold stays known, so that no source is lost if they cannot be asked.
    """
    rows = ledger.latest(("reason",))
    ids = rows.filter(pc.fill_null(pc.equal(rows["reason"], PLAYLIST), False))["video_id"]
    acquire = next(stage for stage in stages if stage.name == "acquire")
    for video in listed.where(pc.is_in(listed.column("video_id"), ids.combine_chunks())):
        key = acquire.key(video)
        if every or workspace.remembered(PLAYLIST, key) is None:
            workspace.unremember(acquire.name, key)
            ledger.add(Row(NO_SETTINGS, video))
    ledger.flush()


@dataclass(frozen=True)
class Measured:
    """Every source, in the order of the list.

    Attributes:
        videos: with facts; `pending` are those that were measured whole.
        cpu_s: for each its CPU seconds by stage, as JSON text or null.
    """

    videos: Videos
    cpu_s: Any


def as_measured(
    listed: Videos, stages: Sequence[Stage], ledger: Ledger, whole: bool = True
) -> Measured:
    """Returns every source as the ledger knows it.

    Args:
        listed: the sources.
        stages: what measures them.
        ledger: of measuring.
        whole: whether all must be measured; otherwise those that are not are
            failed(acquire, pending).

    Raises:
        StorageError: a row is missing that this build has written.
    """
    known = ledger.latest()
    stands = standing(listed.table, chain_of(stages), known)
    videos, cpu_s = with_facts(listed, known, stands)
    if pc.all(stands, min_count=0).as_py():
        return Measured(videos, cpu_s)
    if whole:
        raise StorageError(
            f"{ledger.store.url} has lost rows of its ledger while the build ran: build again"
        )
    return Measured(_without_pending(videos, stands), cpu_s)


def _without_pending(videos: Videos, stands: Any) -> Videos:
    """Returns the videos with those that are still to be measured as failed(acquire, pending)."""
    table = videos.table
    said = {"outcome": "failed", "stage": "acquire", "reason": "pending"}
    said["detail"] = "not yet measured when this release was cut"
    for name, text in said.items():
        column = pc.if_else(stands, table[name], pa.scalar(text, pa.string()))
        table = table.set_column(table.column_names.index(name), name, column)
    return Videos(table)


def _with_chain(listed: Videos, chain: str) -> pa.Table:
    column = pa.repeat(pa.scalar(chain), len(listed))
    return listed.table.append_column("chain", column)
