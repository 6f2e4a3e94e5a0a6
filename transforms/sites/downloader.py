"""yt-dlp as it is used here: one address at a time, nothing of its own accord.

Imported by the child process alone.
"""

from __future__ import annotations

import functools
import io
import optparse
from pathlib import Path
from typing import Any

import yt_dlp  # noqa: TID253 - see above
from yt_dlp.downloader import FileDownloader  # noqa: TID253

from reelscript.pipeline.errors import StageError, UsageError
from reelscript.schemas.text import one_line
from reelscript.transforms.sites.handler import PoliteRH
from reelscript.transforms.sites.job import Job
from reelscript.transforms.sites.traffic import Refused, Traffic

MAX_HOPS = 10  # pages that only lead to another; a refresh may lead back and forth for ever
MAX_WARNINGS = 50


class Log:
    """Keeps yt-dlp quiet, and its warnings for `errors.py`."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, said: str) -> None:
        """Drops it."""

    info = error = debug

    def warning(self, said: str) -> None:
        """Keeps it."""
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(one_line(said))


class Downloader(yt_dlp.YoutubeDL):  # type: ignore[misc]
    """yt-dlp with one handler of requests, and with an end to pages that lead to pages."""

    def __init__(self, settings: dict[str, Any], traffic: Traffic) -> None:
        self._traffic, self._hops = traffic, 0
        super().__init__(settings, auto_init="no_verbose_header")

    def build_request_director(self, *_: object) -> Any:
        """Returns yt-dlp's director with our handler alone: no curl_cffi, requests, websockets."""
        return super().build_request_director([functools.partial(PoliteRH, traffic=self._traffic)])

    def extract_info(self, url: str, *args: Any, **options: Any) -> Any:
        """Returns what is at an address; yt-dlp calls it again for what a page leads to."""
        self._hops += 1
        if self._hops > MAX_HOPS:
            raise Refused(StageError("too_many_redirects", f"more than {MAX_HOPS} pages in a row"))
        try:
            return super().extract_info(url, *args, **options)
        finally:
            self._hops -= 1

    def process_video_result(self, info_dict: dict[str, Any], download: bool = True) -> Any:
        """Returns a video with its formats sorted; of those in a list only what is known."""
        if info_dict.get("playlist_index") is not None:
            return info_dict
        return super().process_video_result(info_dict, download)


def downloader(job: Job, traffic: Traffic, log: Log) -> Downloader:
    """Returns yt-dlp, set up for one job.

    Raises:
        UsageError: settings of the user that yt-dlp does not understand.
    """
    _without_plugins()
    # Retries are the parent's, which knows what passes: yt-dlp would also ask again after a 403.
    FileDownloader.report_retry = _raise
    made = Downloader(_settings(job, log), traffic)
    made.cookiejar  # noqa: B018 - read now, as it may start programs that know a browser's key
    return made


def _settings(job: Job, log: Log) -> dict[str, Any]:
    limits = job.web.limits
    return {
        "logger": log,
        "quiet": True,
        "noprogress": True,
        "color": "never",
        "cachedir": False,
        "format": lambda found: found["formats"][-1:],  # we choose ourselves, see formats.py
        "extract_flat": "in_playlist",
        "noplaylist": True,  # a video that is watched in a list is that video
        "playlistend": job.options.max_playlist_videos + 1,
        "lazy_playlist": True,
        "geo_bypass": False,  # it would pretend to be elsewhere
        "socket_timeout": limits.timeout_s,
        "retries": 0,
        "fragment_retries": 0,
        "extractor_retries": 0,
        "file_access_retries": 0,
        "skip_unavailable_fragments": False,  # else they are missing without a word
        "hls_prefer_native": True,
        "updatetime": False,
        "http_headers": {"User-Agent": job.web.user_agent},
        "proxy": job.options.proxy or job.web.proxy,
        "cookiefile": _cookies(job.options.cookies_file),
        **_of_command_line(job),
    }


def _cookies(path: str | None) -> io.StringIO | None:
    """Returns a copy of a file of cookies, which yt-dlp may write to. Raises UsageError."""
    if path is None:
        return None
    try:
        return io.StringIO(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "no text"
        raise UsageError(f"acquire.cookies_file {path!r} cannot be read: {said}") from error


def _of_command_line(job: Job) -> dict[str, Any]:
    """Returns settings that are written as on yt-dlp's command line. Raises UsageError."""
    words = [f"--extractor-args={args}" for args in job.options.extractor_args]
    if job.options.cookies_from_browser:
        words.append(f"--cookies-from-browser={job.options.cookies_from_browser}")
    try:
        found = yt_dlp.parse_options(["--ignore-config", *words]).ydl_opts
    except optparse.OptParseError as error:
        reason = one_line(str(error).rpartition("error: ")[2])
        raise UsageError(f"yt-dlp does not understand a setting of acquire: {reason}") from error
    return {name: found[name] for name in ("extractor_args", "cookiesfrombrowser")}


def _without_plugins() -> None:
    from yt_dlp import globals as of_yt_dlp

    of_yt_dlp.plugin_dirs.value = []


def _raise(_: object, error: Exception, *__: object, **___: object) -> None:
    raise error
