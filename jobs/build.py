"""`reelscript build`: measure each video, decide over tables, write what was chosen."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from reelscript.jobs.config import Config, load_config, resolved
from reelscript.jobs.encode import encode
from reelscript.jobs.engines import Chosen
from reelscript.jobs.excerpts import excerpts
from reelscript.jobs.exit_codes import DONE, TOO_MANY_FAILED
from reelscript.jobs.measure import (
    AtOnce,
    Measured,
    as_measured,
    ask_playlists_again,
    forget_changed,
    measure,
)
from reelscript.jobs.mend import mended, sweep_passing
from reelscript.jobs.progress import Progress
from reelscript.jobs.publish import publish
from reelscript.jobs.report.meanings import is_reason, nearest_reason
from reelscript.jobs.room import Room
from reelscript.jobs.runner import Runner
from reelscript.jobs.scratch import scratch_folder
from reelscript.jobs.sources.listing import list_sources
from reelscript.jobs.sources.playlists import known_playlists, with_playlists
from reelscript.pipeline.clips import clips_of
from reelscript.pipeline.decide import Decision, decide
from reelscript.pipeline.engines.groups import groups_of
from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.ledger import ENCODED, Ledger
from reelscript.pipeline.runs import Run
from reelscript.pipeline.stage import Stage
from reelscript.pipeline.store import Store
from reelscript.pipeline.turns import turn
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.text import one_line
from reelscript.schemas.videos import Videos
from reelscript.transforms.acquire import PLAYLIST

DEFAULT_MAX_FAILED = 0.2


@dataclass(frozen=True)
class Built:
    """What a build made.

    Attributes:
        folder: the corpus, to be opened with `reelscript.open`.
        dataset: what stands in its dataset.json.
        stats: what stands in its stats.json.
        failed_share: of the sources, 0..1; those that a release left pending do not count.
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
    engine: str = "local",
    engine_options: Sequence[str] = (),
    workers: int | None = None,
    gpus: int = 1,
    limit: int | None = None,
    retry_failed: str | None = None,
    max_failed: float = DEFAULT_MAX_FAILED,
    publish_only: bool = False,
    progress: Progress | None = None,
    command: str = "the same call of reelscript.build",
) -> Built:
    """Builds a corpus and returns what was made; the same call again goes on where one ended.

    Args:
        sources: files, folders, globs, URLs or lists of them; they replace those of the config.
        out: the corpus folder. Work that can be used again lies in `<out>.work`, unless the
            config says otherwise.
        config: a Config, or the path of a YAML file.
        settings: overrides such as "quality.max_words_per_s=6".
        engine: where stages run: "local", "ray" or "beam". The corpus is the same, and a build
            that was begun on one may be finished on another.
        engine_options: of this engine, such as "address=auto" (docs/operations.md).
        workers: CPU worker processes; default: one a core, or all that a Ray cluster has free.
        gpus: GPU worker processes, where a GPU is used.
        limit: take only the first so many sources.
        retry_failed: "all" or a reason: sources that failed (for it) in an earlier build are
            tried again.
        max_failed: share of failed sources above which the exit code is 3.
        publish_only: measure nothing more: a release of what is finished; all other sources are
            `failed(acquire, pending)` in it, and are measured by the next build.
        progress: shows how it goes.
        command: what goes on after a crash, as `reelscript status` shows it.

    Raises:
        UsageError: the config or a source list is wrong, a model is not to be had, the engine
            cannot be used, or another build is at work in the same work folder.
        SitesBlocked: sites refuse to be asked further; all other sources are finished, nothing is
            published. The same call goes on later.
        StorageError: the disk is full or gone. What was finished is saved; the same call goes on.

    Note:
        Workers are started with the `spawn` method: a script that calls this needs
        `if __name__ == "__main__":`.
    """
    if retry_failed not in (None, "all") and not is_reason(str(retry_failed)):
        hint = nearest_reason(str(retry_failed))
        raise UsageError(f"--retry-failed {retry_failed}: nothing fails for that; {hint}")
    progress, chosen = progress or Progress(None), Chosen.of(engine, engine_options)
    listed, asked = prepared(*sources, out=out, config=config, settings=settings, limit=limit)
    corpus, work = Store(str(out), durable=True), work_of(asked, out)
    verb = "publish" if publish_only else "build"
    with Run(work, verb, command, progress.snapshot) as run, scratch_folder(work, run) as scratch:
        apart = chosen.name != "local" and len(groups_of(asked.measuring())) > 1
        workspace = Workspace(work, scratch, passing=apart)
        if not publish_only:
            sweep_passing(work, run.number)
        room = Room(asked.work, workspace, lets_go=not publish_only)
        with nullcontext() if publish_only else mended(workspace):
            with chosen.opened(work, scratch, workers, gpus) as on:
                runner = Runner(on, workspace, progress, room)
                decision, cpu_s = _decided(listed, asked, runner, publish_only, retry_failed)
                media = excerpts(decision, asked, runner)
            progress.doing("wait for another release to be published")
            with turn(work, run) as still_mine:
                progress.doing("publish")
                made = (corpus, workspace, asked, decision, cpu_s)
                dataset, stats = publish(*made, still_mine, media, progress.measured_in_all)
    share = _failed_share(decision)
    return Built(str(out), dataset, stats, share, TOO_MANY_FAILED if share > max_failed else DONE)


def prepared(
    *sources: str | Path,
    out: str | Path,
    config: Config | str | Path | None = None,
    settings: Sequence[str] = (),
    limit: int | None = None,
    fetch_models: bool = True,
) -> tuple[Videos, Config]:
    """Returns the sources as listed and the config with everything written out; see `build`."""
    asked, base = _asked(config, sources, settings)
    listed = list_sources(list(asked.sources), base, asked.subtitle_languages)
    listed = listed if limit is None else Videos(listed.table.slice(0, limit))
    asked = dataclasses.replace(asked, name=asked.name or one_line(Path(str(out)).name))
    return listed, resolved(asked, _all_stated(listed), fetch_models)


def work_of(config: Config, out: str | Path) -> Store:
    """Returns the work folder of a corpus."""
    return Store(config.work.folder or f"{str(out).rstrip('/')}.work")


def _decided(
    listed: Videos, config: Config, runner: Runner, publish_only: bool, retry_failed: str | None
) -> tuple[Decision, dict[str, dict[str, float]]]:
    """Returns what is kept, measured and encoded, and CPU seconds by video and stage."""
    work, progress, stages = runner.workspace.store, runner.progress, config.measuring()
    with Ledger(work) as ledger, Ledger(work, ENCODED) as encoded:
        most = config.acquire.max_playlist_videos
        if publish_only:
            listed = with_playlists(listed, known_playlists(work), most)
        else:
            at_once = AtOnce(config.at_once(), encoded)
            listed = _measured(listed, most, stages, ledger, runner, at_once, retry_failed)
            ledger.compact()
        progress.doing("decide")
        measured = as_measured(listed, stages, ledger, whole=not publish_only)
        decision = decide(
            measured.videos,
            clips_of(measured.videos, runner.workspace),
            config.quality,
            config.dedup,
            config.passage,
            config.shard.split_of,
        )
        decision, encoded_cpu_s, blocked = encode(
            decision, config.encoding(), encoded, runner, retry_failed
        )
        if not publish_only:  # else a build may be writing, and only one may merge segments
            encoded.compact()
            runner.room.let_go()
            forget_changed(decision.videos, ledger)
            blocked.raise_if_any()
    return decision, _all_costs(measured, encoded_cpu_s)


def _measured(
    sources: Videos,
    most_videos: int,
    stages: Sequence[Stage],
    ledger: Ledger,
    runner: Runner,
    at_once: AtOnce,
    retry_failed: str | None,
) -> Videos:
    """Returns the sources, all of them measured, with those that turned up in playlists."""
    work = runner.workspace.store
    listed = with_playlists(sources, known_playlists(work), most_videos)
    ask_playlists_again(listed, stages, ledger, runner.workspace, every=retry_failed == PLAYLIST)
    while True:
        blocked = measure(listed, stages, ledger, runner, at_once, retry_failed)
        found = with_playlists(sources, known_playlists(work), most_videos)
        if len(found) == len(listed):
            blocked.raise_if_any()
            return found
        listed, retry_failed = found, None  # what failed was tried again in the first round


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


def _all_stated(listed: Videos) -> bool:
    """Returns whether the list states the language of every source that is not ended already."""
    pending = listed.where(pc.equal(listed.column("outcome"), "pending"))
    return bool(pending.column("stated_language").null_count == 0)


def _failed_share(decision: Decision) -> float:
    """Returns how many of the sources failed, 0..1; what is still to be measured has not."""
    outcomes, reasons = (decision.videos.column(name) for name in ("outcome", "reason"))
    pending = pc.fill_null(pc.equal(reasons, "pending"), False)
    failed = pc.and_(pc.equal(outcomes, "failed"), pc.invert(pending))
    return float(pc.sum(failed).as_py() or 0) / max(1, len(decision.videos))


def _all_costs(
    measured: Measured, encoded_cpu_s: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Returns CPU seconds by video and stage."""
    ids, texts = measured.videos.column("video_id").to_pylist(), measured.cpu_s.to_pylist()
    measured_cpu_s = {i: json.loads(text) for i, text in zip(ids, texts, strict=True) if text}
    return {i: {**cpu_s, **encoded_cpu_s.get(i, {})} for i, cpu_s in measured_cpu_s.items()}
