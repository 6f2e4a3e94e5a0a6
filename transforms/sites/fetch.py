"""A video from a site or a page, or the list of those that it stands for, by yt-dlp.

```
fetch_from_site():  deadline over everything [ attempt -> wait -> attempt -> ... ] -> checked, moved
attempt:            a child process, which is killed with all that it started when time is over
```

yt-dlp runs apart because it cannot be stopped where it waits, holds what a page sends in memory,
and its 1800 extractors read what strangers write. An attempt that fails leaves its parts to the
next one. An attempt that went on with them (`parts.grew`) does not count as one that failed: a long
video may break off more often than a short one. All together are bounded by `MOST_TIMES`.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from reelscript.pipeline.errors import BLOCKED, StageError, StorageError, UsageError
from reelscript.transforms.sites.errors import DISK_FULL, STORAGE, USAGE, Fault
from reelscript.transforms.sites.job import Job
from reelscript.transforms.sites.options import SiteOptions
from reelscript.transforms.sites.parts import grew, sizes
from reelscript.transforms.sites.supervise import answer_of
from reelscript.transforms.sites.video import Entry, SitePlaylist, SiteSubtitles, SiteVideo
from reelscript.transforms.urls import published_url
from reelscript.transforms.web.manners import site_of_url
from reelscript.transforms.web.terms import Web

MOST_TIMES = 2
"""Once `max_bytes` came in so many times for one video, pages too, no further attempt begins."""
OF_THE_MACHINE: dict[str, Callable[[str], Exception]] = {
    USAGE: UsageError,
    STORAGE: StorageError,
    DISK_FULL: lambda number: OSError(int(number), os.strerror(int(number))),
}


def fetch_from_site(
    url: str, folder: Path, web: Web, options: SiteOptions, sound_only: bool = False
) -> SiteVideo | SitePlaylist:
    """Returns a video as a file in `folder`, or the list of videos that an address stands for.

    Of a page with one video it is that video. Nothing else is left in the folder.

    Args:
        url: http or https.
        folder: on this machine's disk.
        web: limits and manners. The turn of a whole video (`Manners.video`) is the caller's.
        options: what is wanted.
        sound_only: of a video only its sound, where the site has it alone.

    Raises:
        StageError: why it cannot be had; `blocked`: the site wants no more requests now.
        StorageError: as `Manners`.
        OSError: the disk is full.
        UsageError: the settings cannot be used.
    """
    work = Path(tempfile.mkdtemp(prefix=".site-", dir=folder))
    try:
        job = Job(url, work, web, options, sound_only, web.limits.total_s)
        answer = _answered(job)
        if "playlist" in answer:
            return _playlist(answer["playlist"])
        return _video(answer["video"], work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _answered(job: Job) -> dict[str, Any]:
    """Returns what an attempt found, at the first that found something. Raises as above."""
    limits, failed, received_bytes = job.web.limits, 0, 0
    deadline_s = time.monotonic() + job.left_s
    while True:
        before = sizes(job.folder)
        answer = answer_of(replace(job, left_s=max(0.0, deadline_s - time.monotonic())))
        if "fault" not in answer:
            return answer
        fault = Fault(**answer["fault"])
        failed = 1 if grew(before, sizes(job.folder)) else failed + 1
        received_bytes += fault.received_bytes
        wait_s = random.uniform(0.0, min(limits.max_wait_s, limits.backoff_s * 2 ** (failed - 1)))
        if fault.asked_s is not None:
            wait_s = min(fault.asked_s, limits.max_wait_s)
        too_long = fault.kind == "http_429" and (fault.asked_s or 0.0) > limits.max_wait_s
        late = time.monotonic() + wait_s >= deadline_s
        spent = failed > limits.retries or received_bytes >= MOST_TIMES * limits.max_bytes
        if not fault.passing or spent or too_long or late:
            raise _error(fault, job)
        time.sleep(wait_s)


def _error(fault: Fault, job: Job) -> Exception:
    """Returns what a fault is raised as, and counts it if the site blocks us."""
    if fault.kind in OF_THE_MACHINE:
        return OF_THE_MACHINE[fault.kind](fault.detail)
    if fault.kind in (BLOCKED, "http_429"):
        site = fault.site or site_of_url(job.url)
        said = fault.detail if fault.detail.startswith(site) else f"{site}: {fault.detail}"
        job.web.manners.refused(site, said)
        return StageError(BLOCKED, said)
    return StageError(fault.kind, f"{published_url(job.url)}: {fault.detail}")


def _playlist(answer: dict[str, Any]) -> SitePlaylist:
    entries = tuple(Entry(url, title) for url, title in answer["entries"])
    return SitePlaylist(answer["title"], entries, answer["more"])


def _video(answer: dict[str, Any], work: Path, folder: Path) -> SiteVideo:
    """Returns what lies in `work`, moved to `folder`."""
    path = _moved(work, answer["path"], folder)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    subtitles = None
    if (found := answer["subtitles"]) is not None:
        at = _moved(work, found["path"], folder)
        subtitles = SiteSubtitles(at, found["language"], found["kind"], found["format"])
    return SiteVideo(path, sha256, path.stat().st_size, answer["info"], subtitles)


def _moved(work: Path, name: str, folder: Path) -> Path:
    """Returns where a file of the child's lies from now on."""
    source = work / Path(name).name
    if not stat.S_ISREG(source.lstat().st_mode):
        raise StageError("crashed", "what fetches from sites names a file that is none")
    return source.replace(folder / f"{work.name}-{source.name}")
