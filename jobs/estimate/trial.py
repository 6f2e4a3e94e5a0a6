"""What stages cost for a second of video, tried on short excerpts of a few sources."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from reelscript.jobs.config import Config
from reelscript.jobs.progress import Progress
from reelscript.pipeline.clips import clips_of
from reelscript.pipeline.decide import decide
from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.rules import Dedup
from reelscript.pipeline.stage import Live, Stage, Timing, apply
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Clip, Passage
from reelscript.schemas.sample import Encoding
from reelscript.schemas.transcript import Transcript, Word
from reelscript.schemas.video import Seconds, Video
from reelscript.schemas.videos import IDENTITY, Videos
from reelscript.transforms import whisper
from reelscript.transforms.excerpt import cut_excerpt
from reelscript.transforms.local_file import file_signature
from reelscript.transforms.media import Undecodable
from reelscript.transforms.sample import sample_parts
from reelscript.transforms.speech import Speech
from reelscript.transforms.voice_activity import FRAME_SAMPLES, voice_probabilities

EXCERPTS, EXCERPT_S = 4, 45.0
ENOUGH_S = 60.0  # of trying; then no further excerpt is begun
TAR_BYTES = 512 + 256  # of a member: a header, and half a block to fill up


@dataclass(frozen=True, slots=True)
class Trial:
    """What one video cost, or an excerpt of one.

    Attributes:
        media_s: how long it is.
        cost_s: CPU seconds by stage, of those it reached; of a stage on a GPU, wall seconds.
        kept_s: of its passages.
        work_bytes: what it leaves in the work folder, less its source.
        encoded_s: of the passages that were encoded.
        corpus_bytes: of their samples.
    """

    media_s: Seconds
    cost_s: dict[str, float] = field(default_factory=dict)
    kept_s: Seconds = 0.0
    work_bytes: int = 0
    encoded_s: Seconds = 0.0
    corpus_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Tried:
    """What trying gave: the trials, how long models took to load, and what could not be tried."""

    trials: list[Trial]
    loading_s: Seconds
    faults: list[str]


def usable_stages(config: Config) -> tuple[list[Stage], list[str]]:
    """Returns the measuring stages that can be tried here, and why no more.

    Nothing is downloaded for a guess, and what needs a GPU is tried only where there is one.
    """
    usable: list[Stage] = []
    for stage in config.measuring():
        gpu = stage.resources.gpus > 0 and whisper.best_device() != "cuda"
        if gpu:
            return usable, [f"{stage.name}: untested on GPU, not estimated: there is none here"]
        name = {"speech": config.speech.language_model, "transcribe": config.transcribe.model}.get(
            stage.name
        )
        if name is not None and whisper.folder_here(name) is None:
            size = whisper.download_mb(name)
            about = f" (about {size} MB would be downloaded)" if size else ""
            missing = f"the model {name} is not on this machine{about}"
            return usable, [f"{stage.name}: not estimated, {missing}"]
        usable.append(stage)
    return usable, []


def try_excerpts(
    videos: Sequence[Video],
    stages: Sequence[Stage],
    config: Config,
    folder: Path,
    progress: Progress,
) -> Tried:
    """Runs stages on excerpts of the first few videos, one by one, in this process.

    Args:
        videos: as probed, their locations local files.
        stages: the first ones of those that measure; passages are encoded only if all are given.
        config: resolved.
        folder: for excerpts and scratch.
        progress: is told.

    Raises:
        UsageError: a stage cannot be opened on this machine.
    """
    trials: list[Trial] = []
    faults: list[str] = []
    begun = time.perf_counter()
    names = [*(stage.name for stage in stages), config.encode.name]
    few = videos[:EXCERPTS]
    with ExitStack() as stack, progress.phase("estimate", names, len(few)):
        lives = {stage: _opened(stage, stack) for stage in stages}
        loading_s = time.perf_counter() - begun
        for number, video in enumerate(few):
            if trials and time.perf_counter() - begun - loading_s > ENOUGH_S:
                break
            target = folder / f"excerpt-{number}.mkv"
            try:
                with _workspace(folder) as workspace:
                    piece = _excerpt(video, target)
                    trials.append(_tried(piece, video, lives, config, workspace, progress))
            except Undecodable as error:
                faults.append(f"{video.url}: {error}")
            finally:
                target.unlink(missing_ok=True)
    return Tried(trials, loading_s, faults)


def _opened(stage: Stage, stack: ExitStack) -> Live:
    """Returns the live function of a stage, with everything loaded that it loads at first use."""
    try:
        live = stack.enter_context(stage.open())
        if isinstance(stage, Speech):
            voice_probabilities(np.zeros(FRAME_SAMPLES, np.int16))
            if stage.language_model is not None:
                whisper.resident(stage.language_model, stage.device, stage.compute_type, 1)
    except ImportError as error:
        raise UsageError(
            f"the stage {stage.name} needs {error.name}, which is not installed: "
            "pip install 'reelscript[asr]'"
        ) from error
    return live


@contextmanager
def _workspace(folder: Path) -> Iterator[Workspace]:
    """Gives a workspace in memory, emptied at the end."""
    store = Store(f"memory://estimate-{uuid.uuid4().hex}")
    try:
        yield Workspace(store, folder / "scratch")
    finally:
        for name in [*store.names("objects"), *store.names("results")]:
            store.delete(name)


def _excerpt(video: Video, target: Path) -> Video:
    """Returns the record of an excerpt, of which nothing is known yet."""
    path = str(cut_excerpt(Path(video.location), target, video, EXCERPT_S))
    told = {name: getattr(video, name) for name in IDENTITY}
    return Video(**told | {"location": path, "signature": file_signature(path)})


def _tried(
    piece: Video,
    whole: Video,
    lives: dict[Stage, Live],
    config: Config,
    workspace: Workspace,
    progress: Progress,
) -> Trial:
    """Returns what an excerpt cost."""
    timings: list[Timing] = []

    def run(stage: Stage, live: Live, video: Video) -> Video:
        video, timing = apply(stage, live, video, workspace)
        timings.append(timing)
        progress.measured(timing)
        return video

    video = piece
    for stage, live in lives.items():
        if not video.pending:
            break
        if isinstance(stage, Speech):
            fewer = _for_excerpt(stage, piece_s=video.duration_s or 0.0, whole=whole)
            with fewer.open() as live:
                video = run(fewer, live, video)
        else:
            video = run(stage, live, video)
    media_s = video.duration_s
    if media_s is None:
        raise Undecodable(f"its excerpt ends in {video.stage}: {video.detail or video.reason}")
    passages = passages_of(video, config, workspace) if video.clips is not None else []
    kept_s, encoded_s, corpus_bytes = sum(p.duration_s for p in passages), 0.0, 0
    if passages:
        video = replace(video, passages=workspace.put_record(passages))
        with config.encode.open() as live:
            video = run(config.encode, live, video)
        if video.encodings is not None:
            encoded_s, corpus_bytes = kept_s, sample_bytes(video, passages, workspace)
    workspace.forget_scratch(video)
    on_gpu = {stage.name for stage in lives if stage.resources.gpus}
    return Trial(
        media_s,
        {t.stage: t.wall_s if t.stage in on_gpu else t.cpu_s for t in timings},
        kept_s,
        sum(t.stored_bytes for t in timings),
        encoded_s,
        corpus_bytes,
    )


def _for_excerpt(stage: Speech, piece_s: Seconds, whole: Video) -> Speech:
    """Returns the stage with as many language windows as fall to an excerpt: they are per video."""
    share = piece_s / max(whole.duration_s or 0.0, piece_s, 1e-3)
    return replace(stage, language_windows=max(1, round(stage.language_windows * share)))


def passages_of(video: Video, config: Config, workspace: Workspace) -> list[Passage]:
    """Returns the passages that a video would have by itself, duplicates aside."""
    one = Videos.of([video])
    clips = clips_of(one, workspace)
    found = decide(
        one, clips, config.quality, Dedup(), config.passage, config.shard.split_of
    ).passages
    return found.get(video.video_id, [])


def sample_bytes(video: Video, passages: Sequence[Passage], workspace: Workspace) -> int:
    """Returns what the samples of an encoded video take in a shard."""
    clips = workspace.get_records(Clip, video.clips)
    words = workspace.get_records(Word, video.aligned_words)
    transcript = workspace.get_record(Transcript, video.transcript)
    encoded = {e.key: e for e in workspace.get_records(Encoding, video.encodings)}
    parts = (sample_parts(video, p, clips, words, encoded[p.key], transcript) for p in passages)
    return sum(p.planned().bytes + TAR_BYTES * (3 + (p.frames_mp4 is not None)) for p in parts)
