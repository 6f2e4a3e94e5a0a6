"""A source from elsewhere, by the way that leads there.

```
http, https     a file, directly                   transforms/web/download.py
                a video site or a page, by yt-dlp  transforms/sites/
s3, gs, ...     copied                             transforms/object_copy.py
```
"""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from reelscript.pipeline.errors import StageError
from reelscript.transforms.object_copy import copy_object, object_bytes
from reelscript.transforms.sites.known import is_known_site
from reelscript.transforms.sites.options import SiteOptions
from reelscript.transforms.sites.video import SitePlaylist, SiteVideo
from reelscript.transforms.urls import (
    MEDIA_SUFFIXES,
    WEB_SCHEMES,
    is_fetchable,
    is_youtube,
    last_part,
    scheme_of,
)
from reelscript.transforms.web.download import Unwanted, declared_bytes, download
from reelscript.transforms.web.manners import site_of_url
from reelscript.transforms.web.terms import Web

Through: TypeAlias = Literal["auto", "direct", "yt-dlp"]
TURN_S = 24 * 3600.0  # longest wait for one's turn at a site
PAGES = frozenset(
    {"text/html", "text/xml", "application/xhtml+xml", "application/xml", "application/rss+xml"}
    | {"application/atom+xml", "application/dash+xml", "application/vnd.apple.mpegurl"}
    | {"application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl"}
)
"""Content types of what is no video but tells where some are: pages, feeds, manifests."""


def fetch(
    url: str, folder: Path, web: Web, options: SiteOptions, through: Through = "auto"
) -> SiteVideo | SitePlaylist:
    """Returns a source as a file in `folder`, or the list of those that it stands for.

    Args:
        url: where it lies.
        folder: on this machine's disk.
        web: limits and manners.
        options: which of a site's formats and subtitles are wanted.
        through: "direct"; "yt-dlp"; "auto": yt-dlp for the sites that it knows and for pages.

    Raises:
        StageError: why it cannot be had.
    """
    _refuse_unfetchable(url)
    if scheme_of(url) not in WEB_SCHEMES:
        target = _part(folder)
        with _gone_if_it_fails(target):
            copied = copy_object(url, target, web.limits)
        return SiteVideo(target, copied.sha256, copied.size_bytes)
    with web.manners.video(site_of_url(url), TURN_S):
        if by_site(url, through):
            return _from_site(url, folder, web, options, "a video site")
        target = _part(folder)
        try:
            with _gone_if_it_fails(target):
                fetched = download(url, target, web, PAGES if through == "auto" else ())
        except Unwanted:
            return _from_site(url, folder, web, options, "a page, no file")
        return SiteVideo(target, fetched.sha256, fetched.size_bytes)


def fetch_file(url: str, target: Path, web: Web) -> None:
    """Stores what is at a URL at `target`, whatever it is, without waiting for a video's turn.

    Raises:
        StageError: why it cannot be had.
    """
    _refuse_unfetchable(url)
    with _gone_if_it_fails(target):
        if scheme_of(url) in WEB_SCHEMES:
            download(url, target, web)
        else:
            copy_object(url, target, web.limits)


def fetch_sound(url: str, folder: Path, web: Web, options: SiteOptions) -> Path:
    """Returns the sound of a video of a site as a file in `folder`.

    Raises:
        StageError: as `fetch`; `no_sound_alone`: the site has it with the picture only, or the
            address is a playlist.
    """
    with web.manners.video(site_of_url(url), TURN_S):
        found = _from_site(url, folder, web, options, "a video site", sound_only=True)
    if isinstance(found, SitePlaylist):
        raise StageError("no_sound_alone", "a playlist")
    return found.path


def by_site(url: str, through: Through) -> bool:
    """Returns whether a web address goes to yt-dlp at once."""
    if through != "auto":
        return through == "yt-dlp"
    if is_youtube(url):
        return True
    return not _is_file_name(url) and has_yt_dlp() and is_known_site(url)


def stated_bytes(url: str, web: Web, through: Through = "auto") -> int | None:
    """Returns the size of a source unfetched, None if nobody states it. Raises StageError."""
    _refuse_unfetchable(url)
    if scheme_of(url) not in WEB_SCHEMES:
        return object_bytes(url)
    return None if by_site(url, through) else declared_bytes(url, web)


def has_yt_dlp() -> bool:
    """Returns whether yt-dlp is installed."""
    return importlib.util.find_spec("yt_dlp") is not None


def _from_site(
    url: str, folder: Path, web: Web, options: SiteOptions, what: str, sound_only: bool = False
) -> SiteVideo | SitePlaylist:
    if not has_yt_dlp():
        said = f"{what}: it needs yt-dlp: pip install 'reelscript[sites]'"
        raise StageError("needs_yt_dlp", said)
    from reelscript.transforms.sites.fetch import fetch_from_site

    return fetch_from_site(url, folder, web, options, sound_only)


@contextmanager
def _gone_if_it_fails(target: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _part(folder: Path) -> Path:
    return folder / f".part-{uuid.uuid4().hex}"


def _is_file_name(url: str) -> bool:
    return PurePosixPath(last_part(url)).suffix.lower() in MEDIA_SUFFIXES


def _refuse_unfetchable(url: str) -> None:
    if not is_fetchable(url):
        raise StageError("unsupported_scheme", f"{scheme_of(url)}: is not fetched")
