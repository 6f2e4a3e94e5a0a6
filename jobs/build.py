"""`reelscript build`: measure each video, decide over tables, write what was chosen."""

from __future__ import annotations

import dataclasses
import glob
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from reelscript.jobs.config import Config, load_config, resolved
from reelscript.jobs.progress import Progress
from reelscript.jobs.publish import publish
from reelscript.jobs.sources import list_sources, signature
from reelscript.pipeline.decide import Decision, decide, with_encode_failures
from reelscript.pipeline.engines.local import LocalEngine, default_workers
from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.ledger import Ledger, Row, with_facts_of
from reelscript.pipeline.stage import Timing
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Clip, Passage
from reelscript.schemas.tables import CLIPS
from reelscript.schemas.text import digest, one_line
from reelscript.schemas.video import Video

DONE, TOO_MANY_FAILED = 0, 3
DEFAULT_MAX_FAILED = 0.2


@dataclass(frozen=True)
class Built:
    """What a build made.

    Attributes:
        folder: the corpus, to be opened with `reelscript.open`.
        dataset: what stands in its dataset.json.
        stats: what stands in its stats.json.
        failed_share: of the sources, 0..1.
        exit_code: 0, or 3 where more failed than `max_failed` allows.
    """

    folder: str
    dataset: dict[str, Any]
    stats: dict[str, Any]
    failed_share: float
    exit_code: int


def build(
    *sources: str | Path,
    out: str | Path,
    config: Config | str | Path | None = None,
    settings: Sequence[str] = (),
    workers: int | None = None,
    gpus: int = 1,
    limit: int | None = None,
    retry_failed: str | None = None,
    max_failed: float = DEFAULT_MAX_FAILED,
    progress: Progress | None = None,
) -> Built:
    """Builds a corpus and returns what was made; the same call again goes on where one ended.

    Args:
        sources: files, folders, globs, URLs or lists of them; they replace those of the config.
        out: the corpus folder. Work that can be used again lies in `<out>.work`, unless the
            config says otherwise.
        config: a Config, or the path of a YAML file.
        settings: overrides such as "quality.max_words_per_s=6".
        workers: CPU worker processes; default: one a core.
        gpus: GPU worker processes, where a GPU is used.
        limit: take only the first so many sources.
        retry_failed: "all" or a reason: sources that failed (for it) in an earlier build are
            tried again.
        max_failed: share of failed sources above which the exit code is 3.
        progress: shows how it goes.

    Raises:
        UsageError: the config or a source list is wrong, or a model is not to be had.

    Note:
        Workers are started with the `spawn` method: a script that calls this needs
        `if __name__ == "__main__":`.
    """
    asked, base = _asked(config, sources, settings)
    videos = list_sources(list(asked.sources), base)
    videos = videos if limit is None else videos[:limit]
    asked = dataclasses.replace(asked, name=asked.name or one_line(Path(str(out)).name))
    asked = resolved(asked, all(v.stated_language for v in videos if v.pending))
    corpus = Store(str(out))
    work = Store(asked.work or f"{str(out).rstrip('/')}.work")
    progress = progress or Progress(None)
    with _scratch(work) as scratch:
        engine = LocalEngine(work, scratch, workers or default_workers(), gpus)
        workspace = Workspace(work, scratch)
        measured = measure(videos, asked, engine, workspace, progress, retry_failed)
        decision = decide(
            [row.video for row in measured],
            clips_of((row.video for row in measured), workspace),
            asked.quality,
            asked.dedup,
            asked.passage,
            asked.shard.split_of,
        )
        decision, encode_cpu_s = encode(decision, asked, engine, workspace, progress)
        cpu_s = {
            row.video.video_id: row.cpu_s | encode_cpu_s.get(row.video.video_id, {})
            for row in measured
        }
        dataset, stats = publish(corpus, workspace, asked, decision, cpu_s)
    failed = dataset["counts"]["failed"] / max(1, dataset["counts"]["sources"])
    return Built(str(out), dataset, stats, failed, TOO_MANY_FAILED if failed > max_failed else DONE)


def measure(
    videos: Sequence[Video],
    config: Config,
    engine: LocalEngine,
    workspace: Workspace,
    progress: Progress,
    retry_failed: str | None = None,
) -> list[Row]:
    """Returns every video as measured, in the given order; the ledger's are not touched."""
    stages = config.measuring()
    chain = digest([[s.name, s.version, s.all_settings()] for s in stages])
    with Ledger(workspace.store) as ledger:
        known = ledger.rows()
        rows: dict[str, Row] = {}
        todo: dict[str, tuple[Video, str]] = {}
        for video in videos:
            print_ = digest(
                [
                    video.url,
                    video.location,
                    video.stated_language,
                    video.outcome,
                    signature(video),
                    chain,
                ]
            )
            row = known.get(video.video_id)
            if not video.pending:
                rows[video.video_id] = Row(print_, video)
            elif (
                row is not None
                and row.fingerprint == print_
                and not _again(row.video, retry_failed)
            ):
                rows[video.video_id] = dataclasses.replace(
                    row, video=with_facts_of(video, row.video)
                )
            else:
                todo[video.video_id] = (video, print_)
        costs = _Costs(progress, {i: known[i].cpu_s for i in todo if i in known})
        with progress.phase("measure", [s.name for s in stages], len(videos), len(rows)):
            for video in engine.run(stages, (v for v, _ in todo.values()), costs):
                row = Row(todo[video.video_id][1], video, costs.of(video.video_id))
                rows[video.video_id] = row
                ledger.add(row)
                workspace.forget_scratch(video)
        ledger.compact()
    return [rows[video.video_id] for video in videos]


def encode(
    decision: Decision,
    config: Config,
    engine: LocalEngine,
    workspace: Workspace,
    progress: Progress,
) -> tuple[Decision, dict[str, dict[str, float]]]:
    """Returns the decision, every kept video encoded or failed, and CPU seconds by video."""
    chosen = [
        _with_passages(v, decision.passages, workspace)
        for v in decision.videos
        if v.outcome == "kept"
    ]
    costs = _Costs(progress, {})
    with progress.phase("encode", [config.encode.name], len(chosen)):
        encoded = {}
        for video in engine.run([config.encode], chosen, costs):
            encoded[video.video_id] = video
            workspace.forget_scratch(video)
    videos = [encoded.get(v.video_id, v) for v in decision.videos]
    failed = {v.video_id: v for v in encoded.values() if v.outcome == "failed"}
    settled = with_encode_failures(dataclasses.replace(decision, videos=videos), failed)
    return settled, {i: costs.of(i) for i in encoded}


def clips_of(videos: Iterable[Video], workspace: Workspace) -> pa.Table:
    """Returns the clips of all videos that were measured whole, as a table without outcomes."""
    columns = [name for name in CLIPS.names if name not in ("outcome", "reason", "sample_key")]
    found: dict[str, list[Any]] = {name: [] for name in columns}
    for video in videos:
        if video.pending and video.clips is not None:
            for clip in workspace.get_records(Clip, video.clips):
                values = {
                    f: getattr(clip, f)
                    for f in ("clip_index", "start_s", "end_s", "text", "within_bounds")
                }
                values |= {"video_id": video.video_id, **dataclasses.asdict(clip.scores)}
                for name in columns:
                    found[name].append(values[name])
    return pa.table({name: pa.array(found[name], CLIPS.field(name).type) for name in columns})


class _Costs:
    """Passes on what the engine tells, and adds up the CPU seconds of what really ran."""

    def __init__(self, progress: Progress, before: Mapping[str, dict[str, float]]) -> None:
        self._progress = progress
        self._cpu_s = {video_id: dict(stages) for video_id, stages in before.items()}

    def started(self, video: Video, stage: str) -> None:
        self._progress.started(video, stage)

    def measured(self, timing: Timing) -> None:
        if not timing.remembered:
            self._cpu_s.setdefault(timing.video_id, {})[timing.stage] = round(timing.cpu_s, 4)
        self._progress.measured(timing)

    def of(self, video_id: str) -> dict[str, float]:
        return self._cpu_s.get(video_id, {})


def _asked(
    config: Config | str | Path | None, sources: Sequence[str | Path], settings: Sequence[str]
) -> tuple[Config, Path]:
    """Returns the config and the folder that its relative paths count from."""
    given = [str(s) for s in sources]
    if isinstance(config, Config):
        if settings:
            raise UsageError(
                "settings go with a YAML config or none: put them into the Config instead"
            )
        found = dataclasses.replace(config, sources=tuple(given)) if given else config
        base = Path()
    else:
        found = load_config(None if config is None else Path(config), given, settings)
        base = Path() if config is None or given else Path(config).parent
    if not found.sources:
        raise UsageError(
            "there are no sources: name files, folders, globs, URLs or a list, "
            "or `sources:` in the config"
        )
    return found, base


def _again(known: Video, retry_failed: str | None) -> bool:
    return known.outcome == "failed" and retry_failed in ("all", known.reason)


def _with_passages(
    video: Video, passages: Mapping[str, list[Passage]], workspace: Workspace
) -> Video:
    return dataclasses.replace(video, passages=workspace.put_record(passages[video.video_id]))


@contextmanager
def _scratch(work: Store) -> Iterator[Path]:
    """Gives a scratch folder on this machine for the time of a build, and removes dead builds'."""
    root = work.local_root
    owner = f"scratch-{socket.gethostname()}"
    if root is not None:
        root.mkdir(parents=True, exist_ok=True)
        for left in root.glob(f"{glob.escape(owner)}-*-*"):
            pid = left.name.split("-")[-2]
            if pid.isdecimal() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{owner}-{os.getpid()}-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
