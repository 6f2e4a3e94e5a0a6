"""The videos of a list: found in a folder, and through the network as `features` does it.

What is not there, or does not decode, is left out, counted and named; it never becomes a black clip
that is counted as an error of the network.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelscript.jobs.evaluate.towers import Towers
from reelscript.jobs.features.embedder import Embedder
from reelscript.jobs.features.features import in_order
from reelscript.jobs.features.table import About
from reelscript.jobs.progress import Progress
from reelscript.jobs.sources.listing import list_sources
from reelscript.jobs.sources.places import is_media
from reelscript.pipeline.engines.local import LocalEngine
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.text import one_line
from reelscript.transforms.sample_frames import SampleFrames

NAMED = 5  # missing videos in a message


@dataclass(frozen=True)
class Reading:
    """How videos are found and decoded.

    Attributes:
        folder: where they lie.
        workers: processes that decode.
        batch: videos that go through the network together.
        max_missing: largest share of a list that may be missing or not decode, 0..1.
        progress: shows how it goes.
    """

    folder: Path
    workers: int
    batch: int
    max_missing: float
    progress: Progress


@dataclass(frozen=True)
class ListedVideos:
    """Embeddings of those videos of a list that there are.

    Attributes:
        rows: by the path in the list, the number of its embedding.
        files: of each embedding, the file.
        vectors: (n, d), not normalised.
        missing: by the path in the list, why there is none.
    """

    rows: dict[str, int]
    files: list[Path]
    vectors: NDArray[np.float32]
    missing: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Returns how many there are, and which are missing, as plain JSON values."""
        return {"found": len(self.rows), "missing": len(self.missing), "which": self.missing}


def embed_listed(towers: Towers, paths: Sequence[str], reading: Reading) -> ListedVideos:
    """Returns the embeddings of a list's videos: of the middle frames of the whole video.

    Args:
        towers: the network.
        paths: of the videos, as the list has them; each counts once.
        reading: where they lie, and what may be missing.

    Raises:
        DataError: too many of them are missing or do not decode.
    """
    unique = list(dict.fromkeys(paths))
    files = found_in(reading.folder, unique)
    missing = {path: "not found" for path in unique if path not in files}
    _check(missing, unique, reading)  # before hours of work
    vectors: list[NDArray[np.float32]] = []
    rows: dict[str, int] = {}
    for path, vector in zip(files, _vectors(towers, list(files.values()), reading), strict=True):
        if isinstance(vector, str):
            missing[path] = vector
        else:
            rows[path] = len(vectors)
            vectors.append(vector)
    _check(missing, unique, reading)
    return ListedVideos(rows, [files[path] for path in rows], np.stack(vectors), missing)


def found_in(folder: Path, paths: Sequence[str]) -> dict[str, Path]:
    """Returns the files of those paths of a list that are there, by the path."""
    return {path: found for path in paths if (found := find(folder, path)) is not None}


def find(folder: Path, path: str) -> Path | None:
    """Returns the file of a path in a list, below the folder; None: it is not there.

    Lists name paths below roots of their own (`hmdb51/videos/x.avi`): folders at the beginning are
    dropped until something is there.
    """
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or "\0" in path or not is_media(path):
        return None
    if parts[0] == "/":
        parts = parts[1:]
    for start in range(len(parts)):
        found = folder.joinpath(*parts[start:])
        if os.path.isfile(found):  # noqa: PTH113 - Path's raises where a name is too long
            return found.absolute()
    return None


def _check(missing: dict[str, str], paths: Sequence[str], reading: Reading) -> None:
    if len(missing) < len(paths) and len(missing) <= reading.max_missing * len(paths):
        return
    some = list(missing.items())[:NAMED]
    named = ", ".join(f"{one_line(path, 80)} ({one_line(why, 60)})" for path, why in some)
    raise DataError(
        f"{len(missing)} of {len(paths)} videos of the list are not to be had in "
        f"{one_line(str(reading.folder), 200)}, more than --max-missing {reading.max_missing:g} of "
        f"them: {named}{', ...' if len(missing) > len(some) else ''}"
    )


def _vectors(
    towers: Towers, files: Sequence[Path], reading: Reading
) -> list[NDArray[np.float32] | str]:
    """Returns for each file its embedding, or why there is none."""
    network = towers.network
    sampling = SampleFrames(
        count=network.config.video.frames,
        image_px=network.config.video.image_px,
        preprocess=towers.preprocess,  # type: ignore[arg-type]
    )
    about = About(
        model=one_line(network.config.name, 60),
        checkpoint_sha256=network.sha256,
        preprocess=sampling.preprocess,
        frames=sampling.count,
        precision=network.precision,
        normalised=False,
        reelscript_version=metadata.version("reelscript"),
    )
    listed = list(list_sources([str(file) for file in files], Path()))
    pending = [video for video in listed if video.pending]
    with tempfile.TemporaryDirectory(prefix="reelscript-evaluate-") as folder:
        workspace = Workspace(Store(folder), Path(folder) / "scratch")
        engine = LocalEngine(workspace.store, workspace.scratch, reading.workers)
        embedder = Embedder(network, sampling, about, workspace)
        rows = embedder.rows(pending, reading.batch, engine, reading.progress)
    return [
        row.embedding if row.embedding is not None else row.reason or "failed"
        for row in in_order(listed, rows)
    ]
