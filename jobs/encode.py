"""The encoding of what was chosen: the passages of each kept video, each once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence

import pyarrow.compute as pc

from reelscript.jobs.measure import chain_of
from reelscript.jobs.runner import Runner, only
from reelscript.pipeline.decide import Decision, with_encode_failures
from reelscript.pipeline.ledger import Ledger, Row
from reelscript.pipeline.resume import standing
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
) -> tuple[Decision, dict[str, dict[str, float]]]:
    """Returns the decision with every kept video encoded or failed, and CPU seconds by video.

    Args:
        decision: what is kept.
        stages: acquire, which brings back a source that was let go; perhaps proxy; encode.
        ledger: of encoding.
        runner: runs the stages.
        retry_failed: "all" or a reason: what failed (for it) is encoded again.
    """
    chosen = Videos.of(_chosen(decision, runner.workspace))
    chain = chain_of(stages[1:])
    known = ledger.latest(("chain", "outcome", "reason", *SAME))
    stands = standing(chosen.table, chain, known, retry_failed, same=SAME)
    todo = chosen.where(pc.invert(stands))
    measured = dict(zip(*(todo.column(name).to_pylist() for name in BYTES), strict=True))
    for video, cpu_s in runner.run("encode", stages, todo, len(chosen) - len(todo)):
        if video.source_sha256 != measured[video.video_id]:
            video = video.ended("failed", "acquire", "changed", CHANGED)
            video = dataclasses.replace(video, source_sha256=measured[video.video_id])
        ledger.add(Row(chain, video, only(cpu_s, [stage.name for stage in stages[1:]])))
    ledger.flush()
    return _settled(decision, chosen, ledger)


def _chosen(decision: Decision, workspace: Workspace) -> Iterator[Video]:
    """Yields the kept videos, still to be encoded, with their passages as an artefact."""
    for video in decision.videos:
        if video.outcome == "kept":
            passages: list[Passage] = decision.passages[video.video_id]
            yield dataclasses.replace(
                video, outcome="pending", passages=workspace.put_record(passages), encodings=None
            )


def _settled(
    decision: Decision, chosen: Videos, ledger: Ledger
) -> tuple[Decision, dict[str, dict[str, float]]]:
    """Returns the decision with what the ledger says of encoding."""
    known = ledger.latest(("outcome", "cpu_s", *TAKEN))
    at = pc.index_in(chosen.column("video_id"), value_set=known["video_id"].combine_chunks())
    found = {row["video_id"]: row for row in known.take(at).to_pylist()}

    def settled(video: Video) -> Video:
        row = found.get(video.video_id)
        if row is None:
            return video
        outcome: Outcome = "failed" if row["outcome"] == "failed" else "kept"
        return dataclasses.replace(video, outcome=outcome, **{name: row[name] for name in TAKEN})

    videos = Videos.of(settled(video) for video in decision.videos)
    failed = {i for i, row in found.items() if row["outcome"] == "failed"}
    cpu_s = {i: json.loads(row["cpu_s"] or "{}") for i, row in found.items()}
    return with_encode_failures(dataclasses.replace(decision, videos=videos), failed), cpu_s
