"""Makes what was decided visible: shards, tables, report, card; a new release if it is news.

`jobs/releases.py` says in which order files come to be, so that readers see one release or the
other, and a publish that was broken off is mended by the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from reelscript.jobs.config import Config
from reelscript.jobs.dataset import Costs, dataset_json, same_rows, videos_table
from reelscript.jobs.provenance import reasons_and_thresholds
from reelscript.jobs.releases import DATASET, archive, check_still, commit, settle, standing
from reelscript.jobs.report.files import pretty_json, report_files
from reelscript.jobs.report.media import ReportMedia, kept_keys, kept_piece
from reelscript.jobs.report.pictures import picture_of
from reelscript.jobs.shards import Chosen, all_shards, by_shard, standing_shards, write_shards
from reelscript.jobs.statistics.links import link_to
from reelscript.jobs.statistics.rows import Rows
from reelscript.jobs.statistics.stats import statistics
from reelscript.pipeline.decide import Decision
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.plan import plan_shards
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.reading.releases import release_folder, release_of
from reelscript.reading.tables import read_table
from reelscript.schemas.tables import SAMPLES
from reelscript.transforms.shard import table_bytes


def publish(
    corpus: Store,
    workspace: Workspace,
    config: Config,
    decision: Decision,
    cpu_s: Costs,
    may_commit: Callable[[], None] = lambda: None,
    media: ReportMedia | None = None,
    measured: Mapping[str, int] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes a corpus and returns its dataset.json and the statistics of this build.

    Where nothing that a reader sees has changed, nothing is written and the release stays.

    Args:
        corpus: the corpus folder; what stands there is the previous release.
        workspace: where the artefacts lie.
        config: resolved.
        decision: what is kept; kept videos are encoded.
        cpu_s: what each video cost.
        may_commit: called just before the release becomes visible; raises if it must not.
        media: pieces of rejects that the report plays; kept passages are added to it here.
        measured: stage -> videos that this build measured; the others were remembered. None: nobody
            counted.

    Raises:
        DataError: the folder cannot be published to, or another build did so meanwhile.
        StorageError: something cannot be written; the previous release stands as it did.
    """
    before = standing(corpus)
    settle(corpus, before, config.shard.keep_releases)
    chosen = Chosen(decision, workspace)
    tables, entries = _shards_and_tables(corpus, workspace, config, decision, chosen, cpu_s, before)
    files = {f"{name}.parquet": table_bytes(name, table) for name, table in tables.items()}
    sha256 = {name: hashlib.sha256(files[f"{name}.parquet"]).hexdigest() for name in tables}
    dataset = dataset_json(tables, sha256, entries, config, before)
    costs = _costs(decision, cpu_s, measured)
    with Rows.of_tables(**tables) as rows:
        stats = statistics(rows, **reasons_and_thresholds(config), costs=costs)
    if before and not _is_news(corpus, before, dataset, tables):
        _mend(corpus, before, files)
        return before, stats
    check_still(corpus, before)
    archive(corpus, before)
    media = media or ReportMedia()
    _add_kept(media, tables["samples"], chosen, workspace)
    media.write(corpus)
    told = report_files(stats, config.to_dict(), dataset, media)
    told["config.yaml"] = config.to_yaml().encode()
    _write_release(corpus, files | told, dataset)
    may_commit()
    check_still(corpus, before, dataset)
    commit(corpus, dataset)
    settle(corpus, dataset, replaced=before)  # who reads the one before it has until the next
    return dataset, stats


def _shards_and_tables(
    corpus: Store,
    workspace: Workspace,
    config: Config,
    decision: Decision,
    chosen: Chosen,
    cpu_s: Costs,
    before: Mapping[str, Any],
) -> tuple[dict[str, pa.Table], list[dict[str, Any]]]:
    """Writes the shards that do not stand yet; returns all tables and the entries of all shards."""
    rows = by_shard(_standing_samples(corpus, before))
    plans = plan_shards(
        list(chosen.planned()),
        standing_shards(corpus, before, rows),
        config.shard.target_bytes,
        release_of(before) + 1 if before else 0,
    )
    written = write_shards(plans, chosen, workspace, corpus)
    entries, samples = all_shards(plans, written, before, rows)
    videos = videos_table(decision, cpu_s)
    return {"videos": videos, "clips": decision.clips, "samples": samples}, entries


def _standing_samples(corpus: Store, before: Mapping[str, Any]) -> pa.Table:
    """Returns the samples.parquet that stands; an empty one, where that is damaged.

    Then all shards are written anew.
    """
    try:
        return _standing_table(corpus, before, "samples") if before else SAMPLES.empty_table()
    except DataError:
        return SAMPLES.empty_table()


def _standing_table(corpus: Store, before: Mapping[str, Any], name: str) -> pa.Table:
    folders = ("", release_folder(release_of(before)))
    return read_table(corpus, name, before.get("tables", {}).get(name), folders)


def _is_news(
    corpus: Store,
    before: Mapping[str, Any],
    dataset: Mapping[str, Any],
    tables: Mapping[str, pa.Table],
) -> bool:
    """Returns whether a reader sees anything else than in the release that stands."""
    if before.get("fingerprint") != dataset["fingerprint"]:  # of counts, shards and settings
        return True
    for name, table in tables.items():
        if before.get("tables", {}).get(name) == dataset["tables"][name]:
            continue
        try:
            if not same_rows(_standing_table(corpus, before, name), table):
                return True
        except DataError:  # damaged
            return True
    return False


def _mend(corpus: Store, before: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Puts tables of the standing release back where their bytes are no longer those it names."""
    for name, sha256 in before.get("tables", {}).items():
        data = files[f"{name}.parquet"]
        if hashlib.sha256(data).hexdigest() != sha256:
            continue  # the same rows, but for what they cost
        for folder in ("", f"{release_folder(release_of(before))}/"):
            place = f"{folder}{name}.parquet"
            if corpus.exists(place) and hashlib.sha256(corpus.get(place)).hexdigest() != sha256:
                corpus.put(place, data)


def _add_kept(media: ReportMedia, samples: pa.Table, chosen: Chosen, workspace: Workspace) -> None:
    """Adds kept passages to what the report plays."""
    keys = kept_keys(samples["key"].to_pylist(), samples["video_id"].to_pylist())
    for part in chosen.samples(keys):
        piece = kept_piece(part.meta, link_to(part.meta["url"], part.meta["start_s"]))
        mp4 = workspace.get(part.mp4)
        media.kept.append(media.add(piece, mp4, picture_of(mp4, part.meta["duration_s"])))


def _write_release(corpus: Store, files: Mapping[str, bytes], dataset: Mapping[str, Any]) -> None:
    """Writes all of a release but its shards into its folder, dataset.json last."""
    for name, data in (*files.items(), (DATASET, pretty_json(dataset))):
        corpus.put(f"{release_folder(dataset['release'])}/{name}", data)


def _costs(
    decision: Decision, cpu_s: Costs, measured: Mapping[str, int] | None
) -> dict[str, dict[str, Any]]:
    """Returns what each stage cost in all, and of how many videos its result was remembered."""
    costs: dict[str, dict[str, Any]] = {}
    for video_id in decision.videos.column("video_id").to_pylist():
        for stage, seconds in cpu_s.get(video_id, {}).items():
            cost = costs.setdefault(stage, {"cpu_s": 0.0, "videos": 0})
            cost["cpu_s"] = round(cost["cpu_s"] + seconds, 4)
            cost["videos"] += 1
    for stage, cost in costs.items() if measured is not None else ():
        cost["remembered"] = max(0, cost["videos"] - (measured or {}).get(stage, 0))
    return costs
