"""What stages cost for a second of video, from the ledgers of earlier builds in a work folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.config import Config
from reelscript.jobs.estimate.sample import chosen
from reelscript.jobs.estimate.trial import Trial, passages_of, sample_bytes
from reelscript.jobs.measure import chain_of
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.ledger import ENCODED, Ledger
from reelscript.pipeline.resume import NEEDED, standing
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Passage
from reelscript.schemas.transcript import Transcript
from reelscript.schemas.video import FIELD_NAMES, Video
from reelscript.schemas.videos import Videos

KNOWN, MIN_KNOWN = 200, 20  # measured videos that are looked at; with fewer, excerpts are tried
FIELDS = tuple(name for name in FIELD_NAMES if name not in ("metadata", "keyframe_hashes"))
ARTEFACTS = ("voice", "transcript", "aligned_words", "segments", "clips")
GONE = (DataError, OSError, ValueError, LookupError, TypeError)  # what a lost artefact raises


def finished(listed: Videos, work: Store, config: Config, exactly: bool) -> pa.Array:
    """Returns for each source whether nothing of it is left to measure.

    Args:
        listed: the sources.
        work: the work folder.
        config: resolved.
        exactly: whether it must have been measured with these very settings. What these are is not
            known where a model is not on this machine.
    """
    if exactly:
        known = Ledger(work).latest(NEEDED)
        return standing(listed.table, chain_of(config.measuring()), known)
    ended = pc.not_equal(listed.column("outcome"), "pending")
    ids = Ledger(work).latest(()).column("video_id")
    return pc.or_(ended, pc.is_in(listed.column("video_id"), value_set=ids))


def known_trials(work: Store, config: Config) -> list[Trial]:
    """Returns what earlier builds of this work folder spent, or nothing where that says too little.

    Videos count of which the CPU seconds of every stage are known; and there must be enough, and
    the model that would transcribe now must have transcribed them.
    """
    stages = config.measuring()
    if any(stage.resources.gpus for stage in stages):
        return []  # CPU seconds are all that a ledger has
    ledger, names = Ledger(work), [stage.name for stage in stages]
    costs = ledger.latest(("duration_s", "outcome", "stage", "cpu_s"))
    few = costs.filter(pc.is_valid(costs["duration_s"]))
    few = _only(few, chosen(few["video_id"].to_pylist(), 2 * KNOWN)).to_pylist()
    whole = {row["video_id"]: cpu_s for row in few if (cpu_s := _whole(row, names))}
    ids = chosen(whole, KNOWN)
    if len(ids) < MIN_KNOWN:
        return []
    videos = Videos(_only(ledger.latest(FIELDS), ids))
    encoded = Ledger(work, ENCODED).latest(("passages", "encodings", "cpu_s"))
    by_id = {row["video_id"]: row for row in _only(encoded, ids).to_pylist()}
    workspace = _LookedAt(work, Path())
    if not _same_model(videos, config.transcribe.model, workspace):
        return []
    return [
        _trial(video, whole[video.video_id], by_id.get(video.video_id), config, workspace)
        for video in videos
    ]


class _LookedAt(Workspace):
    """A workspace in which nothing is changed: what is damaged stays, too."""

    def forget(self, sha256: str) -> None:
        """Leaves the artefact where it is."""


def _only(table: pa.Table, ids: list[str]) -> pa.Table:
    return table.filter(pc.is_in(table["video_id"], value_set=pa.array(ids, pa.string())))


def _whole(row: Mapping[str, str | None], names: list[str]) -> dict[str, float]:
    """Returns the CPU seconds by stage; nothing where a stage is missing that it reached."""
    cpu_s: dict[str, float] = json.loads(row["cpu_s"] or "{}")
    last = row["stage"]
    ended = row["outcome"] in ("rejected", "failed") and last in names
    if ended and names.index(str(last)) <= names.index("probe"):
        return {}
    reached = names[: names.index(str(last)) + 1] if ended else names
    return {n: cpu_s[n] for n in reached} if all(n in cpu_s for n in reached) else {}


def _same_model(videos: Videos, model: str, workspace: Workspace) -> bool:
    """Returns whether a transcript can be read, and is by this model."""
    for video in videos:
        if video.transcript is not None:
            with contextlib.suppress(*GONE):
                return workspace.get_record(Transcript, video.transcript).model == model
    return False


def _trial(
    video: Video,
    cpu_s: dict[str, float],
    encoded: Mapping[str, str | None] | None,
    config: Config,
    workspace: Workspace,
) -> Trial:
    """Returns what a measured video cost; if its passages were encoded, what that cost too."""
    trial = Trial(video.duration_s or 0.0, cpu_s)
    if video.clips is None or not video.pending:
        return trial
    with contextlib.suppress(*GONE):
        kept_s = sum(p.duration_s for p in passages_of(video, config, workspace))
        names = [getattr(video, name) for name in ARTEFACTS]
        left_bytes = sum(workspace.store.size(f"objects/{n[:2]}/{n}") for n in names if n)
        trial = replace(trial, kept_s=kept_s, work_bytes=left_bytes)
        if encoded is not None and encoded["encodings"] is not None:
            trial = _with_encoding(trial, video, encoded, workspace)
    return trial


def _with_encoding(
    trial: Trial, video: Video, encoded: Mapping[str, str | None], workspace: Workspace
) -> Trial:
    spent: dict[str, float] = json.loads(encoded["cpu_s"] or "{}")
    if "encode" not in spent:
        return trial
    video = replace(video, passages=encoded["passages"], encodings=encoded["encodings"])
    passages = workspace.get_records(Passage, video.passages)
    corpus_bytes = sample_bytes(video, passages, workspace)
    return replace(
        trial,
        cost_s=trial.cost_s | {"encode": spent["encode"]},
        work_bytes=trial.work_bytes + corpus_bytes,  # its mp4s, and a little more
        encoded_s=sum(p.duration_s for p in passages),
        corpus_bytes=corpus_bytes,
    )
