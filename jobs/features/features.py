"""One embedding a video: workers decode, this process runs the network, in batches.

```
sources --> [acquire find_picture sample_frames] --> crops in scratch --> network --> rows
               worker processes, supervised              a few MB          here
```

A batch holds sources that stand together in the list, whichever is ready first, so that the same
sources give the same numbers however many workers there are. Finished batches are remembered in
`OUT.work`: after Ctrl-C or a crash the same command goes on; when all is written, the folder goes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from reelscript.jobs.features.embedder import Embedder, failed
from reelscript.jobs.features.network import open_network
from reelscript.jobs.features.table import About, Features, FeaturesTable, writer_of
from reelscript.jobs.progress import Progress
from reelscript.jobs.scratch import scratch_folder
from reelscript.jobs.sources.listing import list_sources
from reelscript.models.tvts.frames import PREPROCESSING
from reelscript.pipeline.engines.local import Limits, LocalEngine, default_workers
from reelscript.pipeline.errors import UsageError, nearest
from reelscript.pipeline.runs import Run
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.text import one_line
from reelscript.schemas.video import Video
from reelscript.transforms.sample_frames import SampleFrames

OURS = {"ledger", "results", "objects"}  # what a work folder may hold when it is removed


def features(
    checkpoint: str | Path,
    *videos: str | Path,
    out: str | Path | None = None,
    preprocess: str | None = None,
    model: str | None = None,
    frames: int | None = None,
    normalise: bool = False,
    batch: int = 8,
    device: str = "auto",
    precision: str = "float32",
    workers: int | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    allow_addresses: Sequence[str] = (),
    progress: Progress | None = None,
    command: str = "reelscript features",
) -> FeaturesTable:
    """Returns one row a source with the embedding of its middle frames.

    Args:
        checkpoint: a released TVTSv2 checkpoint, one of ours, or CLIP's weights.
        videos: files, folders, globs, URLs, or lists of them.
        out: `.npz` or `.parquet` file to write as well; None: none.
        preprocess: `official` or `clean`; None: what the checkpoint was trained with.
        model: name of its configuration; None: found by its tensors.
        frames: of a clip; None: as many as the network was made for.
        normalise: whether embeddings are brought to a length of 1.
        batch: videos that go through the network together. Another number may change the last
            digits of an embedding.
        device: `auto`, `cpu` or `cuda`.
        precision: `float32`, or `bfloat16` on a GPU.
        workers: processes that decode; default: one a core.
        limits: what decoding one video may use.
        allow_addresses: networks, such as 10.0.0.0/8, that may be asked for videos beside the
            public internet.
        progress: shows how it goes.
        command: what goes on after a crash, as told to a second run with the same `out`.

    Raises:
        UsageError: an argument is wrong, there are no sources, or a package is missing.
        DataError: the checkpoint is not one.
        StorageError: a disk is full.

    Note:
        Workers are started with the `spawn` method: a script that calls this needs
        `if __name__ == "__main__":`.
    """
    if out is not None:
        writer_of(out)
        if Path(out).absolute() in (Path(video).absolute() for video in videos):
            raise UsageError(f"-o {one_line(str(out), 200)} is also named as a source")
    if batch < 1:
        raise UsageError(f"--batch {batch}: expected 1 or more")
    if preprocess is not None and preprocess not in PREPROCESSING:
        raise UsageError(f"--preprocess {preprocess}: {nearest(preprocess, PREPROCESSING)}")
    listed = list(list_sources([str(video) for video in videos], Path()))
    network = open_network(checkpoint, model, device, precision)
    sampling = SampleFrames(
        count=network.frames(frames),
        image_px=network.config.video.image_px,
        preprocess=preprocess or network.config.preprocess,  # type: ignore[arg-type]
    )
    about = About(
        model=one_line(network.config.name, 60),  # a checkpoint may say anything
        checkpoint_sha256=network.sha256,
        preprocess=sampling.preprocess,
        frames=sampling.count,
        precision=precision,
        normalised=normalise,
        reelscript_version=metadata.version("reelscript"),
    )
    progress = progress or Progress(None)
    with _workspace(out, progress, command) as workspace:
        engine = LocalEngine(
            workspace.store, workspace.scratch, workers or default_workers(), limits=limits
        )
        embedder = Embedder(network, sampling, about, workspace, tuple(allow_addresses))
        pending = [video for video in listed if video.pending]
        rows = embedder.rows(pending, batch, engine, progress)
        made = FeaturesTable.of(in_order(listed, rows), network.config.embed_dim, about)
        if out is not None:
            made.write(out)
    return made


@contextlib.contextmanager
def _workspace(out: str | Path | None, progress: Progress, command: str) -> Iterator[Workspace]:
    """Gives a work folder: `OUT.work`, which stays if this does not come to its end."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="reelscript-features-") as folder:
            yield Workspace(Store(folder), Path(folder) / "scratch")
        return
    work = Store(f"{Path(out).absolute()}.work")
    # A run of this name, because only one may be at work in a folder.
    with (
        Run(work, "build", command, progress.snapshot) as run,
        scratch_folder(work, run) as scratch,
    ):
        yield Workspace(work, scratch)
    root = work.local_root
    if root is not None and {path.name for path in root.iterdir()} <= OURS:
        shutil.rmtree(root, ignore_errors=True)


def in_order(listed: Sequence[Video], rows: Mapping[str, Features]) -> Iterator[Features]:
    """Yields a row for each source; one that is listed again has what its first has."""
    for video in listed:
        if video.reason == "duplicate_source":
            first = rows.get(video.video_id.rpartition("_dup")[0])
            if first is not None:
                yield dataclasses.replace(first, video_id=video.video_id, url=video.url)
                continue
        yield rows.get(video.video_id) or failed(video)
