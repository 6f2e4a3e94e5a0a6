"""A few sources of many, looked at: how long they are, and whether they would pass `probe`."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from reelscript.jobs.config import Config
from reelscript.pipeline.errors import BLOCKED, StageError
from reelscript.pipeline.stage import apply
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.text import digest
from reelscript.schemas.video import Seconds, Video
from reelscript.schemas.videos import Videos
from reelscript.transforms.acquire import PLAYLIST, Acquire
from reelscript.transforms.local_file import file_signature
from reelscript.transforms.urls import scheme_of

SAMPLE = 12
FETCHED, FETCHED_BYTES = 3, 200 * 10**6  # no more is fetched for a guess
NOT_OF_THE_SOURCE = ("too_large", "timed_out", BLOCKED, PLAYLIST)
"""Why a source was not looked at that may be a good one: small limits of ours, a site that wants no
more requests, a list of sources."""
CONNECT_S, FETCH_S = 10.0, 60.0  # longest waits, whatever the config allows a build


@dataclass(frozen=True, slots=True)
class Sampled:
    """One source of the sample.

    Attributes:
        video: with the facts of `probe`, or rejected or failed; its location is a local file. What
            could not be looked at is pending without facts.
        elsewhere: whether it lies elsewhere, so that a build would fetch it.
        size_bytes: None where nobody states it.
        duration_s: None where it is not known; where only the size is, a guess by that.
    """

    video: Video
    elsewhere: bool
    size_bytes: int | None
    duration_s: Seconds | None

    @property
    def passes(self) -> bool:
        """Whether it was read and would go on to the stages behind `probe`."""
        return self.video.pending and self.video.duration_s is not None


def chosen(ids: Iterable[str], count: int) -> list[str]:
    """Returns `count` of the ids, the same ones whenever they are asked for and in whatever order.

    Those with the smallest hash: as good as drawn by lot, and spread over the list.
    """
    return heapq.nsmallest(count, ids, key=_hash)


def _hash(video_id: str) -> bytes:
    return hashlib.blake2b(video_id.encode(), digest_size=8).digest()


def sampled(videos: Videos, config: Config, folder: Path) -> list[Sampled]:
    """Returns up to SAMPLE of the sources as looked at; fetches few of them, into `folder`."""
    ids = chosen((i for c in videos.column("video_id").chunks for i in c.to_pylist()), SAMPLE)
    found = {v.video_id: v for v in _with_ids(videos, ids)}
    workspace = Workspace(Store(f"memory://estimate-{digest(ids)[:16]}"), folder)
    acquire = replace(
        config.acquire,
        retries=0,
        timeout_s=min(config.acquire.timeout_s, CONNECT_S),
        total_s=min(config.acquire.total_s, FETCH_S),
    )
    read = [
        _probed(one, config, workspace)
        for one in _at_hand([found[i] for i in ids], acquire, workspace)
    ]
    for name in list(workspace.store.names("results")):
        workspace.store.delete(name)
    return _with_guesses(read)


def _with_ids(videos: Videos, ids: Sequence[str]) -> Videos:
    import pyarrow.compute as pc

    return videos.where(pc.is_in(videos.column("video_id"), value_set=pa.array(ids, pa.string())))


def _at_hand(videos: Sequence[Video], acquire: Acquire, workspace: Workspace) -> Iterator[Sampled]:
    """Yields the sources: local ones as they are, of the others their size, a few fetched."""
    remote = [v for v in videos if scheme_of(v.location) is not None]
    with ThreadPoolExecutor(SAMPLE) as pool:
        sizes = dict(
            zip(
                (v.video_id for v in remote),
                pool.map(lambda v: _size(v, acquire, workspace), remote),
                strict=True,
            )
        )
    left, left_bytes = FETCHED, FETCHED_BYTES
    for video in videos:
        if video.video_id not in sizes:
            yield _local(video)
            continue
        size = sizes[video.video_id]
        if isinstance(size, StageError):
            yield Sampled(_failed(video, size), True, None, None)
            continue
        one = Sampled(video, True, size, None)
        if left and (size or 0) <= left_bytes:
            left -= 1
            one = _fetched(one, replace(acquire, max_bytes=left_bytes), workspace)
            left_bytes -= one.size_bytes or 0
        yield one


def _size(video: Video, acquire: Acquire, workspace: Workspace) -> int | StageError | None:
    try:
        return acquire.stated_bytes(video.location, workspace)
    except StageError as error:
        return error


def _failed(video: Video, error: StageError) -> Video:
    return video.ended("failed", "acquire", error.kind, error.detail)


def _fetched(one: Sampled, acquire: Acquire, workspace: Workspace) -> Sampled:
    """Returns a source with its file in scratch; too large for a guess, it stays as it is."""
    video, target = one.video, workspace.scratch / f"source-{_hash(one.video.video_id).hex()}"
    try:
        fetched = acquire.fetch_file(video.location, target, workspace)
    except StageError as error:
        target.unlink(missing_ok=True)
        unread = error.kind in NOT_OF_THE_SOURCE
        return one if unread else replace(one, video=_failed(video, error))
    here = replace(video, location=str(target), source_sha256=fetched.sha256)
    return replace(one, video=here, size_bytes=fetched.size_bytes)


def _local(video: Video) -> Sampled:
    """Returns a local file as a source whose bytes are known; for a guess, they are not hashed."""
    signature = file_signature(video.location)
    if signature is None:
        error = StageError("not_found", f"there is no file {video.url}")
        return Sampled(_failed(video, error), False, None, None)
    known = replace(video, source_sha256=digest([video.location, signature]))
    return Sampled(known, False, int(signature.partition(":")[0]), None)


def _probed(one: Sampled, config: Config, workspace: Workspace) -> Sampled:
    if not one.video.pending or one.video.source_sha256 is None:
        return one
    with config.probe.open() as live:
        video, _ = apply(config.probe, live, one.video, workspace)
    return replace(one, video=video, duration_s=video.duration_s)


def _with_guesses(read: Sequence[Sampled]) -> list[Sampled]:
    """Returns the sample, for those of which only the size is known with a duration by that."""
    known: list[Any] = [s for s in read if s.elsewhere and s.passes and s.size_bytes]
    media_bytes = sum(s.size_bytes for s in known)
    per_byte_s = sum(s.duration_s for s in known) / media_bytes if media_bytes else None
    return [
        replace(s, duration_s=s.size_bytes * per_byte_s)
        if s.video.pending and s.duration_s is None and s.size_bytes and per_byte_s
        else s
        for s in read
    ]
