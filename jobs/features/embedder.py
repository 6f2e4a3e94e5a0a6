"""From videos to rows: workers sample frames, the network here embeds them, batch by batch."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelscript.jobs.features.network import Network
from reelscript.jobs.features.table import About, Features
from reelscript.jobs.progress import Progress
from reelscript.models.tvts.frames import PREPROCESSING
from reelscript.pipeline.engines.local import LocalEngine
from reelscript.pipeline.stage import Stage
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.text import digest
from reelscript.schemas.video import Video
from reelscript.transforms.acquire import AcquireForNow
from reelscript.transforms.find_picture import FindPicture
from reelscript.transforms.sample_frames import FILE, SampleFrames

KIND = "features"  # of remembered results


def stages_of(sampling: SampleFrames, allow_addresses: tuple[str, ...] = ()) -> list[Stage]:
    """Returns what workers do with a video."""
    acquire = AcquireForNow(allow_addresses=allow_addresses)
    return [acquire, FindPicture(), sampling]


def failed(video: Video) -> Features:
    """Returns the row of a source that has no embedding."""
    return Features(
        video_id=video.video_id,
        url=video.url,
        outcome="failed",
        reason=video.reason,
        detail=video.detail,
        duration_s=video.duration_s,
    )


@dataclass
class _Group:
    """Sources that go through the network together."""

    videos: list[Video]
    key: str
    ended: dict[str, Video] = field(default_factory=dict)


@dataclass(frozen=True)
class Embedder:
    """Takes what workers decode through the network.

    Attributes:
        network: of the checkpoint.
        sampling: the stage that samples frames.
        about: all that embeddings depend on, beside the videos.
        workspace: where crops lie and finished batches are remembered.
        allow_addresses: networks that may be asked beside the public internet.
    """

    network: Network
    sampling: SampleFrames
    about: About
    workspace: Workspace
    allow_addresses: tuple[str, ...] = ()

    def rows(
        self, pending: Sequence[Video], batch: int, engine: LocalEngine, progress: Progress
    ) -> dict[str, Features]:
        """Returns the row of each video, by its id."""
        rows: dict[str, Features] = {}
        groups: dict[str, _Group] = {}  # by the ids of the videos
        for at in range(0, len(pending), batch):
            videos = list(pending[at : at + batch])
            group = _Group(videos, self._key(videos))
            if (found := self.workspace.remembered(KIND, group.key)) is not None:
                rows |= {row["video_id"]: _row(row) for row in found["rows"]}
            else:
                groups |= {video.video_id: group for video in videos}
        todo = [video for video in pending if video.video_id in groups]
        stages = stages_of(self.sampling, self.allow_addresses)
        names = [stage.name for stage in stages]
        with progress.phase("features", names, len(pending), len(rows)):
            for video in engine.run(stages, todo, progress):
                group = groups[video.video_id]
                group.ended[video.video_id] = video
                if len(group.ended) == len(group.videos):
                    rows |= {row.video_id: row for row in self._finished(group)}
        return rows

    def _finished(self, group: _Group) -> list[Features]:
        """Returns the rows of a group of which every video has ended; remembers them."""
        rows = self._embedded([group.ended[video.video_id] for video in group.videos])
        self.workspace.remember(KIND, group.key, {"rows": [_plain(row) for row in rows]})
        for video in group.videos:
            self.workspace.forget_scratch(video)
        return rows

    def _embedded(self, videos: Sequence[Video]) -> list[Features]:
        rows = {video.video_id: failed(video) for video in videos}
        sampled = [video for video in videos if video.pending]
        if not sampled:
            return list(rows.values())
        clips, distinct = zip(*(self._clip(video) for video in sampled), strict=True)
        made = self.network.embeddings(clips)  # (B, d)
        if self.about.normalised:
            made = made / np.linalg.norm(made, axis=1, keepdims=True).clip(1e-12)
        for video, embedding, frames in zip(sampled, made, distinct, strict=True):
            if not np.isfinite(embedding).all():
                said = "the network gives numbers that are not finite"
                rows[video.video_id] = failed(video.ended("failed", KIND, "not_finite", said))
                continue
            rows[video.video_id] = Features(
                video_id=video.video_id,
                url=video.url,
                duration_s=video.duration_s,
                frames_used=frames,
                embedding=embedding,
            )
        return list(rows.values())

    def _clip(self, video: Video) -> tuple[NDArray[np.float32], int]:
        """Returns what a worker has sampled, float32 (T, 3, px, px), and how many frames it is."""
        path = self.workspace.scratch_of(video) / FILE
        with np.load(path, allow_pickle=False) as held:
            crops, distinct = held["crops"], int(held["distinct"])
        return PREPROCESSING[self.sampling.preprocess].clip(crops, self.sampling.count), distinct

    def _key(self, videos: Sequence[Video]) -> str:
        """Returns the digest of all that the rows of a group depend on."""
        exact = [
            [v.video_id, v.location.encode("utf-8", "surrogatepass").hex(), v.signature]
            for v in videos
        ]
        computing = [self.network.device, self.network.torch_version]
        return digest([self.about.texts(), computing, self.sampling.version, exact])


def _plain(row: Features) -> dict[str, Any]:
    told = {f.name: getattr(row, f.name) for f in dataclasses.fields(row)}
    if row.embedding is not None:
        told["embedding"] = base64.b64encode(row.embedding.astype("<f4").tobytes()).decode()
    return told


def _row(told: Mapping[str, Any]) -> Features:
    if told["embedding"] is None:
        return Features(**told)
    vector = np.frombuffer(base64.b64decode(told["embedding"]), "<f4")
    return Features(**{**told, "embedding": vector})
