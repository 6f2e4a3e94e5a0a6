"""`reelscript status`: where a build stands, from its ledger alone; nothing is ever written.

It needs neither the source list nor the config, and so tells the same while a build runs, after a
crash, and from another machine.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from reelscript.jobs.status.counts import Ending, Sources, counted
from reelscript.pipeline.errors import DataError, StorageError
from reelscript.pipeline.run_records import RunRecord, alive, run_of, runs
from reelscript.pipeline.store import Store
from reelscript.reading.tables import read_dataset_json
from reelscript.schemas.text import one_line

MOST_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True)
class Status:
    """Where a build stands.

    Attributes:
        folder: the corpus, as asked for. work: its work folder, where the ledger was found.
        state: of the newest run: running; done, interrupted, stopped, broke, died, as
            `RunRecord.ended`; unknown where no run has told of itself.
        run: its record; `run.progress` is what it does, or did last: `Progress.snapshot`.
        others: further runs that are alive.
        sources: None before the first listing of sources.
        encoded: videos of which the passages are encoded, as the newest rows say.
        endings: what was rejected and what failed, in the order of stages, the most first.
        release: what dataset.json says of the published corpus: release, counts, hours; None where
            there is none.
        go_on: each a `command` line, and `what` it does.
    """

    folder: str
    work: str
    state: str
    run: RunRecord | None
    others: list[RunRecord]
    sources: Sources | None
    encoded: int
    endings: list[Ending]
    release: dict[str, Any] | None
    go_on: list[dict[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """Returns it as plain data, under the names of its attributes."""
        return dataclasses.asdict(self)


def status(folder: str, work: str | None = None) -> Status:
    """Returns where the build of a corpus stands.

    Args:
        folder: the corpus, or its work folder.
        work: the work folder; by default the one that config.yaml beside the corpus names, or
            `<folder>.work`.

    Raises:
        DataError: there is no ledger.
    """
    store = _work_folder(folder, work)
    told = [r for r in runs(store) if r.ended != "refused"]
    lives = alive(store, unended := [r for r in told if r.ended is None])
    running = {r.number for r, yes in zip(unended, lives, strict=True) if yes}
    run, state = _newest(told, running), "unknown"
    if run is not None:
        run = run_of(store, run.number) or run  # we may have watched it for seconds
        state = run.ended or ("running" if run.number in running else "died")
    sources, endings, encoded = counted(store)
    return Status(
        folder=folder,
        work=store.url,
        state=state,
        run=run,
        others=[r for r in told if r.number in running and (run is None or r.number != run.number)],
        sources=sources,
        encoded=encoded,
        endings=endings,
        release=_release(folder),
        go_on=_go_on(run, state, sources, endings),
    )


def _newest(told: Iterable[RunRecord], running: set[int]) -> RunRecord | None:
    """Returns the build to tell of: the one that runs, else the newest; else what else ran."""
    ranked = sorted(told, key=lambda r: (r.number in running, r.verb == "build", r.number))
    return ranked[-1] if ranked else None


# Where the ledger is.


def _work_folder(folder: str, work: str | None) -> Store:
    """Returns the work folder that holds a ledger. Raises DataError where none does."""
    folder = folder.rstrip("/") or folder
    if work is not None:
        places, remark = [work], ""
    else:
        named, remark = _named_in_config(folder)
        places = [*named, f"{folder}.work", folder]
    for place in places:
        store = Store(place)
        if any(True for _ in store.names("ledger")):
            return store
    looked = ", ".join(one_line(place) for place in places)
    how = remark or "; name the work folder with --work" * (work is None)
    raise DataError(f"there is no ledger of a build: looked in {looked}{how}")


def _named_in_config(folder: str) -> tuple[list[str], str]:
    """Returns the work folder that config.yaml names, and a remark where it is not looked into.

    A corpus may come from anywhere: its config does not make this machine connect to another place.
    """
    try:
        data = Store(folder).get_range("config.yaml", 0, MOST_CONFIG_BYTES)
        config = yaml.safe_load(data)
    except (OSError, StorageError, yaml.YAMLError, ValueError, RecursionError):
        return [], ""
    named = config.get("work") if isinstance(config, dict) else None
    named = named.get("folder") if isinstance(named, dict) else named
    if not isinstance(named, str) or not named or "\0" in named:
        return [], ""
    if "::" in named or _scheme(named) not in ("", "file", _scheme(folder)):
        return [], f"; its config.yaml names {one_line(named)}: give that with --work"
    return [named], ""


def _scheme(url: str) -> str:
    return url.rpartition("://")[0]


# What else there is.


def _release(folder: str) -> dict[str, Any] | None:
    try:
        found = read_dataset_json(Store(folder))
    except DataError:
        return None
    return {name: found.get(name) for name in ("release", "counts", "hours")}


def _go_on(
    run: RunRecord | None, state: str, sources: Sources | None, endings: Iterable[Ending]
) -> list[dict[str, str]]:
    """Returns command lines, each with what it is for."""
    if run is None or state == "running":
        return []
    pending = sources is None or sources.pending > 0
    lines = []
    if state != "done" or pending:
        lines.append({"command": run.command, "what": "goes on where it ended"})
    again: dict[str, int] = {}
    for ending in endings:
        if ending.passing:
            again[ending.reason] = again.get(ending.reason, 0) + ending.count
    for reason, how_many in again.items():
        what = f"tries the {how_many} again that failed for {reason}"
        command = f"{run.command} --retry-failed {shlex.quote(reason)}"
        lines.append({"command": command, "what": what})
    return lines
