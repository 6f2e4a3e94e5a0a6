"""What went wrong at a site, from the exceptions of yt-dlp: permanent, passing, or blocked.

The answer of the server comes first, the sentence of the site second: an address or the words
beside a status are written by strangers, and may say anything.
"""

from __future__ import annotations

import errno
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from reelscript.pipeline.attempts import FULL
from reelscript.pipeline.errors import StageError, StorageError, UsageError
from reelscript.schemas.text import one_line
from reelscript.transforms.sites.said import class_and_kind
from reelscript.transforms.urls import WEB_SCHEMES, published_url
from reelscript.transforms.web.answers import WORTH_RETRYING, seconds_asked

USAGE, STORAGE, DISK_FULL = "usage", "storage", "disk_full"
"""Kinds of faults that are none of the source: the settings, our own state, our own disk."""
NO_RUNTIME = "No supported JavaScript runtime"  # a warning of yt-dlp's
NEEDS_JAVASCRIPT = (
    "YouTube needs a JavaScript runtime, and none is here: pip install 'reelscript[youtube]'"
)
_HINTS = re.compile(
    r"[.,]?\s*(?:Use (?:the )?--|Try again with|See +http|Also see|It is recommended to use"
    r"|You might want to|; ?(?:see|try|please report)|To use an? HTTPS proxy).*",
    re.IGNORECASE | re.DOTALL,
)  # how yt-dlp's own command line would be used
_WHO = re.compile(r"^(?:ERROR: )?(?:\[[\w:.+-]+\] )?")
_URL = re.compile(r"https?://[^\s'\"<>]+")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no video.

    Attributes:
        kind: of the StageError that it becomes.
        detail: one line, without secrets.
        passing: the same again may go well.
        asked_s: the wait that the server asks for.
        site: which was asked last; "" before the first request.
        received_bytes: that came in until then.
    """

    kind: str
    detail: str
    passing: bool = False
    asked_s: float | None = None
    site: str = ""
    received_bytes: int = 0


class Failed(Exception):
    """An error of which it is known what it means."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


def fault_of(error: BaseException, warnings: tuple[str, ...] = ()) -> Fault:
    """Returns what an exception of yt-dlp means.

    Args:
        error: as it was raised.
        warnings: of yt-dlp until then.
    """
    if isinstance(error, Failed):
        return error.fault
    for cause in _explicit(error):
        if fault := _of_ours(cause) or _of_type(cause) or _of_transport(cause):
            return fault
    said = sentence(error)
    found = class_and_kind(said)
    if found is None:
        for cause in _implicit(error):  # what a sentence of nobody's was said upon
            if fault := _of_transport(cause):
                return fault
        return Fault("site_unreadable", f"{said} (a newer yt-dlp may help)")
    rank, kind = found
    if kind in ("no_format", "no_video_found") and any(NO_RUNTIME in w for w in warnings):
        return Fault("needs_javascript", NEEDS_JAVASCRIPT)
    return Fault(kind, said, passing=rank == "passing")


def sentence(error: BaseException) -> str:
    """Returns what an exception says in one line: without secrets, and without hints for others."""
    said = str(error)
    for cause in _explicit(error):
        said = str(getattr(cause, "orig_msg", None) or said)
    said = _URL.sub(lambda found: published_url(found[0]), _WHO.sub("", said)[:4000])
    return one_line(_HINTS.sub("", said)) or type(error).__name__


def _explicit(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an exception and those that it was made to tell of."""
    seen: set[int] = set()
    while isinstance(error, BaseException) and id(error) not in seen:
        seen.add(id(error))
        yield error
        told = getattr(error, "cause", None)
        if _is(error, "DownloadError"):  # its exc_info leads past what it was raised for
            told = error.__context__ or _handled(error)
        error = told or error.__cause__


def _implicit(error: BaseException | None) -> Iterator[BaseException]:
    for cause in _explicit(error):
        yield from _explicit(_handled(cause) or cause.__context__)


def _handled(error: BaseException) -> BaseException | None:
    """Returns what yt-dlp was about to handle when it made an exception."""
    found: BaseException | None = (getattr(error, "exc_info", None) or (None, None))[1]
    return found


def _is(error: BaseException, name: str) -> bool:
    """Returns whether an exception is of a class of yt-dlp's; without importing yt-dlp."""
    return any(c.__name__ == name and c.__module__.startswith("yt_dlp") for c in type(error).mro())


def _of_ours(error: BaseException) -> Fault | None:
    """Returns what an exception of ours or of the machine means."""
    error = getattr(error, "refusal", error)
    if isinstance(error, StageError):
        return Fault(error.kind, error.detail)
    if isinstance(error, UsageError | StorageError):
        return Fault(USAGE if isinstance(error, UsageError) else STORAGE, str(error))
    if isinstance(error, MemoryError):
        return Fault("out_of_memory", "more memory than one page or video may need")
    if isinstance(error, RecursionError):
        return Fault("site_unreadable", "nested too deeply")
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return Fault("too_large", "a file larger than it may be")
    if isinstance(error, OSError) and error.errno in FULL:
        return Fault(DISK_FULL, str(error.errno))
    return None


def _of_type(error: BaseException) -> Fault | None:
    if _is(error, "UnsupportedError"):
        return Fault("no_video_found", "no video was found on the page")
    if _is(error, "GeoRestrictedError"):
        return Fault("geo_blocked", sentence(error))
    if _is(error, "UserNotLive"):
        return Fault("not_yet_live", sentence(error))
    if _is(error, "CookieLoadError"):
        return Fault(
            USAGE,
            "the cookies cannot be read: expected a file in Netscape's format, or that browser's",
        )
    return None


def _of_transport(error: BaseException) -> Fault | None:
    """Returns what the failure of a request means."""
    if _is(error, "HTTPError"):
        return _of_answer(error)
    if _is(error, "ContentTooShortError") or _is(error, "IncompleteRead"):
        return Fault("truncated", f"the body ends early: {sentence(error)}", passing=True)
    if not _is(error, "TransportError"):
        return None
    causes = [*_explicit(error), *(getattr(c, "reason", None) for c in _explicit(error))]
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return Fault("timed_out", "the server is silent", passing=True)
    if any(isinstance(cause, zlib.error) for cause in causes):
        return Fault("bad_encoding", "its gzip encoding is damaged")
    return Fault("connection_failed", sentence(error), passing=True)


def _of_answer(error: Any) -> Fault:
    """Returns what an answer with another status than 200 means."""
    status, headers = int(error.status), error.response.headers
    if getattr(error, "redirect_loop", False):
        return Fault("too_many_redirects", "redirects without end")
    if 300 <= status < 400:
        scheme = urlsplit(headers.get("Location") or "").scheme.lower()
        if scheme and scheme not in WEB_SCHEMES:
            return Fault("unsupported_scheme", f"redirects to {scheme}:")
    asked_s = seconds_asked(headers.get("Retry-After"))
    detail = f"the server answers {status}"
    if status == 429:
        detail += ", too many requests"
    return Fault(f"http_{status}", detail, status in WORTH_RETRYING, asked_s)
