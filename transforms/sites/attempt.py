"""One attempt at one address: what is there, the formats that are wanted, subtitles if there are.

```
extract -> a list:   its entries, named and not opened
        -> a video:  choose formats -> fetch each, resuming -> whole? -> put together -> subtitles
```

All file names are ours. Imported by the child process alone.
"""

from __future__ import annotations

import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from yt_dlp.utils import is_html  # noqa: TID253 - see above

from reelscript.pipeline.errors import StageError
from reelscript.schemas.text import one_line
from reelscript.schemas.video import Seconds
from reelscript.transforms.caption_formats import MAX_BYTES as MAX_SUBTITLE_BYTES
from reelscript.transforms.sites.downloader import Downloader
from reelscript.transforms.sites.errors import Failed, Fault, fault_of
from reelscript.transforms.sites.formats import Format, chosen
from reelscript.transforms.sites.info import provenance
from reelscript.transforms.sites.job import Job
from reelscript.transforms.sites.lists import listed
from reelscript.transforms.sites.media_file import lengths, merge
from reelscript.transforms.sites.parts import keep_only, part_of
from reelscript.transforms.sites.subtitles import best_track
from reelscript.transforms.sites.traffic import Refused, Traffic

LISTS = ("playlist", "multi_video", "compat_list")
SUBTITLES_S = 60.0  # no longer is waited for a file that nothing depends on
EXPIRED = ("http_403", "http_410")
"""Addresses of media are made for one visit. Asked again, the page gives new ones."""
INHERITED = ("hls_aes", "extra_param_to_segment_url", "extra_param_to_key_url")
OVERHEAD_BYTES = 1 << 20  # headers, manifests, keys; and 2 % of a media file


def attempt(job: Job, ydl: Downloader, traffic: Traffic) -> dict[str, Any]:
    """Returns what was found, as JSON: `{"video": ...}` or `{"playlist": ...}`.

    Raises:
        Exception: whatever `errors.fault_of` understands.
    """
    found = ydl.extract_info(job.url, download=False)
    if not found:
        raise StageError("no_video_found", "no video was found on the page")
    if found.get("_type") in LISTS:
        return {"playlist": listed(found, job.options.max_playlist_videos)}
    _refuse_unready(found)
    formats = chosen(found.get("formats") or [found], job.options.max_height_px, job.sound_only)
    path, played_s = _fetched(job, ydl, traffic, found, formats)
    return {
        "video": {
            "path": path.name,
            "info": provenance(found, formats, played_s),
            "subtitles": None if job.sound_only else _subtitles(job, ydl, traffic, found),
        }
    }


def _refuse_unready(info: dict[str, Any]) -> None:
    status = info.get("live_status")
    if status in ("is_live", "post_live"):
        raise StageError("is_live", "a live stream, or one that the site still works on")
    if status == "is_upcoming":
        raise StageError("not_yet_live", "has not begun yet")
    if info.get("section_start") is not None or info.get("section_end") is not None:
        raise StageError("unsupported_stream", "a part of another video")


def _fetched(
    job: Job, ydl: Downloader, traffic: Traffic, info: dict[str, Any], formats: tuple[Format, ...]
) -> tuple[Path, Seconds | None]:
    """Returns the file of a video, and how long it plays if that is known."""
    limit = job.web.limits.max_bytes
    keep_only(job.folder, [part_of(job.folder, f) for f in formats])
    with traffic.media(limit + limit // 50 + OVERHEAD_BYTES):
        parts = [_fetch(job, ydl, traffic, info, f) for f in formats]
    if sum(part.stat().st_size for part, _ in parts) > limit:
        raise StageError("too_large", f"more than {limit} bytes")
    played_s = max((s for _, s in parts if s is not None), default=None)
    if len(parts) == 1:
        return parts[0][0], played_s
    merged = job.folder / "merged"
    merge(parts[0][0], parts[1][0], merged)
    return merged, played_s


def _fetch(
    job: Job, ydl: Downloader, traffic: Traffic, info: dict[str, Any], chosen_format: Format
) -> tuple[Path, Seconds | None]:
    """Returns the file of one format, and how long it plays; goes on where an attempt ended."""
    path = part_of(job.folder, chosen_format)
    traffic.unmeasured = False
    wanted = {key: info[key] for key in INHERITED if key in info} | chosen_format
    wanted |= {"id": "video", "title": "video", "is_live": False}
    wanted["extractor_key"] = info.get("extractor_key")
    try:
        done, _ = ydl.dl(str(path), wanted)
    except Exception as error:
        fault = fault_of(error)
        if fault.kind in EXPIRED:
            raise Failed(replace(fault, passing=True)) from error
        raise
    if not done or not stat.S_ISREG(path.lstat().st_mode):
        raise StageError("site_unreadable", "yt-dlp wrote no file")
    with path.open("rb") as file:
        if is_html(file.read(512)):
            raise StageError("no_video_found", "the site sends a page in place of the video")
    return path, _played_s(path, info.get("duration"), traffic.unmeasured)


def _played_s(path: Path, said_s: object, unmeasured: bool) -> Seconds | None:
    """Returns how long a file plays. Raises Failed where it is cut off, and removes it then.

    Args:
        path: the file.
        said_s: how long the site says the video is.
        unmeasured: nobody stated where the file ends, so that it may be cut off unnoticed. Other
            files are so only if more than half is missing: pages are careless with lengths.
    """
    found = lengths(path)
    if found is None:
        if not unmeasured:
            return None
        said = "its index, which stands at the end, is not there"
    else:
        stated_s = float(said_s) if isinstance(said_s, int | float) else None
        if unmeasured and stated_s is None:
            stated_s = found.stated_s
        lost_s = (stated_s or 0.0) - found.played_s
        if lost_s <= max(2.0, (0.1 if unmeasured else 0.5) * (stated_s or 0.0)):
            return found.played_s
        said = f"{found.played_s:.0f} s of {stated_s:.0f} s came"
    path.unlink()  # else it would be taken for whole the next time
    raise Failed(Fault("truncated", said, passing=True))


def _subtitles(
    job: Job, ydl: Downloader, traffic: Traffic, info: dict[str, Any]
) -> dict[str, Any] | None:
    """Returns the subtitles of a video, None where there are none or they cannot be had."""
    track = best_track(info, job.options.subtitle_languages)
    if track is None:
        return None
    path = job.folder / "subtitles"
    try:
        with _at_most(SUBTITLES_S), traffic.media(MAX_SUBTITLE_BYTES):
            if (text := track.file.get("data")) is not None:
                path.write_text(str(text)[:MAX_SUBTITLE_BYTES], encoding="utf-8", newline="")
            else:
                ydl.dl(str(path), dict(track.file), subtitle=True)
        start = path.read_bytes()[:512]
    except Exception:  # whatever it is, the video is there
        return None
    if not start or is_html(start):
        return None
    return {
        "path": path.name,
        "language": one_line(track.language, 40),
        "kind": track.kind,
        "format": track.format,
    }


@contextmanager
def _at_most(seconds: Seconds) -> Iterator[None]:
    """Raises Refused inside the `with` block once its time is over."""

    def over(*_: object) -> None:
        raise Refused(StageError("timed_out", "not finished in time"))

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
