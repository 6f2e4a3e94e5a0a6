"""The encoding of what was chosen: the passages of each kept video, each once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.blocked import Blocked
from reelscript.jobs.measure import NO_SETTINGS, chain_of
from reelscript.jobs.runner import Runner, only
from reelscript.pipeline.decide import Decision, with_encode_failures
from reelscript.pipeline.ledger import Ledger, Row
from reelscript.pipeline.resume import standing, to_do_again
from reelscript.pipeline.stage import Stage
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Passage
from reelscript.schemas.video import Outcome, Video
from reelscript.schemas.videos import Videos

SAME = ("source_sha256", "passages")
"""What encodings depend on, beside the settings."""
BYTES = ("video_id", "source_sha256")
CHANGED = "the source is no longer what was transcribed: build again"
TAKEN = ("stage", "reason", "detail", "passages", "encodings")
"""What the rows of this phase add to a record, beside the outcome."""


def encode(
    decision: Decision,
    stages: Sequence[Stage],
    ledger: Ledger,
    runner: Runner,
    retry_failed: str | None = None,
) -> tuple[Decision, dict[str, dict[str, float]], Blocked]:
    """Returns the decision with every kept video encoded or failed, and CPU seconds by video.

    And what is blocked: sources that were let go and cannot be fetched again for now.

    Args:
        decision: what is kept.
        stages: acquire, which brings back a source that was let go; perhaps proxy; encode.
        ledger: of encoding.
        runner: runs the stages.
        retry_failed: "all" or a reason: what failed (for it) is encoded again.
    """
    chosen = Videos.of(_chosen(decision, runner.workspace))
    chain = chain_of(stages[1:])
    known = ledger.latest(("chain", "outcome", "source_sha256", "cpu_s", *TAKEN))
    stands = standing(chosen.table, chain, known, to_do_again(retry_failed), same=SAME)
    ended, blocked = _known(chosen.where(stands), known), Blocked()
    todo = chosen.where(pc.invert(stands))
    measured = dict(zip(*(todo.column(name).to_pylist() for name in BYTES), strict=True))
    for video, cpu_s in runner.run("encode", stages, todo, len(chosen) - len(todo)):
        if video.source_sha256 != measured[video.video_id]:
            video = video.ended("failed", "acquire", "changed", CHANGED)
            video = dataclasses.replace(video, source_sha256=measured[video.video_id])
        of = chain
        if blocked.takes(video):
            of, video = NO_SETTINGS, dataclasses.replace(video, reason="pending")
        row = Row(of, video, only(cpu_s, [stage.name for stage in stages[1:]]))
        ledger.add(row)
        ended[video.video_id] = Encoded.of(row)
    ledger.flush()
    return *_settled(decision, ended), blocked


class Encoded(NamedTuple):
    """What encoding adds to a record, and what it cost."""

    failed: bool
    stage: str | None
    reason: str | None
    detail: str | None
    passages: str | None
    encodings: str | None
    cpu_s: dict[str, float]

    @classmethod
    def of(cls, row: Row) -> Encoded:
        """Returns what a row of the ledger of encoding says."""
        facts = {name: getattr(row.video, name) for name in TAKEN}
        return cls(failed=row.video.outcome == "failed", **facts, cpu_s=row.cpu_s)


def _known(standing_ones: Videos, known: pa.Table) -> dict[str, Encoded]:
    """Returns what earlier builds have encoded, by video."""
    ids = standing_ones.column("video_id")
    at = pc.index_in(ids, value_set=known["video_id"].combine_chunks())
    found = known.take(at)
    columns = [found[name].to_pylist() for name in ("outcome", *TAKEN, "cpu_s")]
    return {
        video_id: Encoded._make([outcome == "failed", *facts, json.loads(cpu_s or "{}")])
        for video_id, outcome, *facts, cpu_s in zip(ids.to_pylist(), *columns, strict=True)
    }


def _chosen(decision: Decision, workspace: Workspace) -> Iterator[Video]:
    """Yields the kept videos, still to be encoded, with their passages as an artefact."""
    for video in decision.videos:
        if video.outcome == "kept":
            passages: list[Passage] = decision.passages[video.video_id]
            yield dataclasses.replace(
                video, outcome="pending", passages=workspace.put_record(passages), encodings=None
            )


def _settled(
    decision: Decision, ended: Mapping[str, Encoded]
) -> tuple[Decision, dict[str, dict[str, float]]]:
    """Returns the decision with how encoding ended."""

    def settled(video: Video) -> Video:
        found = ended.get(video.video_id)
        if found is None:
            return video
        outcome: Outcome = "failed" if found.failed else "kept"
        facts = {name: getattr(found, name) for name in TAKEN}
        return dataclasses.replace(video, outcome=outcome, **facts)

    videos = Videos.of(settled(video) for video in decision.videos)
    failed = {video_id for video_id, found in ended.items() if found.failed}
    cpu_s = {video_id: found.cpu_s for video_id, found in ended.items()}
    return with_encode_failures(dataclasses.replace(decision, videos=videos), failed), cpu_s
