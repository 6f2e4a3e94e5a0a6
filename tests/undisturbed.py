"""Whether a corpus is what it would be if its build had been left alone; each fault in words."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeAlias

from reelscript.jobs.verify.corpus import verify
from reelscript.pipeline.errors import DataError
from reelscript.reading.corpus import Corpus, open_corpus
from tests.built import SHARED, rows, shard_bytes

CHECKER = SHARED / "tools" / "check_dataset.py"
Members: TypeAlias = dict[str, tuple[str, str, str]]
"""By key of sample: the sha256 of its mp4 and of its json, and its text."""
PLACE = ("shard", "mp4_offset", "json_offset", "txt_offset")
"""Columns that say where a sample lies: another order of releases puts it into another shard."""


def differences(
    calm: Path, disturbed: Path, poison: dict[str, str], same_shards: bool = True
) -> list[str]:
    """Returns how a corpus differs from the undisturbed one, and what failed that should not.

    Args:
        calm: the undisturbed corpus; it may have been built without the poison.
        disturbed: the other.
        poison: the reason that each poison file must fail for, by file name.
        same_shards: otherwise only the samples must be the same, wherever they lie.
    """
    faults = []
    left, right = rows(calm, "videos"), rows(disturbed, "videos")
    expected = _failed(left) | poison
    if _failed(right) != expected:
        faults.append(f"failed are {_failed(right)}, expected {expected}")
    known = [row["url"] for row in left]
    right = [row for row in right if row["url"] in known or row["url"] not in poison]
    if left != right:
        faults.append(f"videos.parquet differs: {_named(left, right)}")
    for table in ("clips", "samples"):
        if _rows(calm, table, same_shards) != _rows(disturbed, table, same_shards):
            faults.append(f"{table}.parquet differs")
    if same_shards and shard_bytes(calm) != shard_bytes(disturbed):
        faults.append("the shards differ")
    try:
        if members(open_corpus(calm)) != members(open_corpus(disturbed)):
            faults.append("the samples differ")
    except DataError as error:
        faults.append(f"the samples cannot be read: {error}")
    return faults


def _failed(videos: list[dict[str, Any]]) -> dict[str, str]:
    return {row["url"]: row["reason"] for row in videos if row["outcome"] == "failed"}


def _named(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> str:
    """Returns what differs, for people."""
    urls = [[row["url"] for row in videos] for videos in (left, right)]
    if urls[0] != urls[1]:
        return f"its sources are {urls[1]}, not {urls[0]}"
    found = []
    for old, new in zip(left, right, strict=True):
        found += [
            f"{n} of {old['url']} is {new[n]!r}, not {old[n]!r}" for n in old if old[n] != new[n]
        ]
    return "; ".join(found)


def _rows(corpus: Path, table: str, same_shards: bool) -> list[dict[str, Any]]:
    found = rows(corpus, table)
    if same_shards:
        return found
    placeless = [{k: v for k, v in row.items() if k not in PLACE} for row in found]
    return sorted(placeless, key=repr)


def members(corpus: Corpus) -> Members:
    """Returns the sha256 of mp4 and json, and the text, of each sample, read from the shards."""
    return {
        sample.key: (
            hashlib.sha256(sample.mp4).hexdigest(),
            hashlib.sha256(repr(sample.meta).encode()).hexdigest(),
            sample.text,
        )
        for sample in corpus
    }


def left_over(corpus: Path, work: Path, temporary: Path | None = None) -> list[str]:
    """Returns what a build should have removed: scratch, part files, tickets, what was passed on.

    Args:
        corpus: the corpus folder.
        work: the work folder.
        temporary: the folder of temporary files. What a killed run had there the next one removes
            that starts a station; so one run may have left its folder.
    """
    found = [*work.glob("scratch-*"), *work.rglob(".part-*"), *corpus.rglob(".part-*")]
    found += [*work.glob("ledger/publishing/*"), *corpus.glob("releases/new/*")]
    found += [path for path in work.glob("passing/**/*") if path.is_file()]
    of_nodes = [] if temporary is None else sorted(temporary.glob("reelscript-*"))
    found += of_nodes if len(of_nodes) > 1 else []
    return [f"{path} is left over" for path in found]


def faults_of_format(corpus: Path, calm: Path | None = None) -> list[str]:
    """Returns what our verifier and, where it is here, the checker from outside find.

    Args:
        corpus: to be checked, without decoding.
        calm: the corpus that the outside checker is to compare it with.
    """
    faults = verify(str(corpus), media=False)
    if CHECKER.exists():
        same = [] if calm is None else ["--same-as", str(calm)]
        command = [sys.executable, str(CHECKER), str(corpus), "--no-media", *same]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            faults.append(f"check_dataset.py: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return faults
