"""What the head of an answer means: read on, try again, give up, or all stop asking that site."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from reelscript.pipeline.errors import BLOCKED, StageError
from reelscript.transforms.web.challenges import challenger
from reelscript.transforms.web.rates import site_of

if TYPE_CHECKING:
    import httpx

    from reelscript.transforms.web.terms import Web

WHOLE = frozenset({200, 203})
WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""It, or something on the way, is busy: RFC 9110 section 15 (425: RFC 8470, 429: RFC 6585)."""
YEAR_S = 365 * 86400.0


class TryAgain(StageError):
    """An attempt failed in a way that may pass.

    Attributes:
        retry_after_s: the wait that the server asks for.
        limited: the site that has had too many requests (429).
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        retry_after_s: float | None = None,
        limited: str | None = None,
    ) -> None:
        super().__init__(kind, detail)
        self.retry_after_s = retry_after_s
        self.limited = limited


def check_head(response: httpx.Response, web: Web, said: str) -> None:
    """Raises StageError where status or headers say that the body need not be read.

    All who would ask the site learn of it: how long it wants them to wait, that it blocks, or that
    it does not. The body is not touched.

    Args:
        response: the answer, after redirects.
        web: limits and manners.
        said: the URL, as it may be published.
    """
    status, site = response.status_code, site_at(response.url)
    if whose := challenger(status, response.headers):
        raise blocked(web, site, f"{site} answers {status} with a challenge by {whose}")
    if status in WORTH_RETRYING:
        raise _busy(response, web, said)
    if status not in WHOLE:
        raise StageError(f"http_{status}", f"{said}: the server answers {status}")
    web.manners.answered(site)
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > web.limits.max_bytes:
        detail = f"{said}: {declared[:20]} bytes, at most {web.limits.max_bytes}"
        raise StageError("too_large", detail)


def blocked(web: Web, site: str, said: str) -> StageError:
    """Counts a blocked answer, and returns the error that it means."""
    web.manners.refused(site, said)
    return StageError(BLOCKED, said)


def site_at(url: httpx.URL) -> str:
    """Returns the site that a URL leads to."""
    return site_of(url.netloc.decode("ascii"))


def seconds_asked(retry_after: str | None) -> float | None:
    """Returns the seconds that a Retry-After header asks for (RFC 9110 section 10.2.3), or None."""
    if retry_after is None:
        return None
    if re.fullmatch(r"\s*[0-9]+\s*", retry_after):
        return float(retry_after)
    try:
        when = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def _busy(response: httpx.Response, web: Web, said: str) -> StageError:
    """Returns what a busy server's answer means; all who would ask it wait as long as it asks."""
    status, site = response.status_code, site_at(response.url)
    asked_s = seconds_asked(response.headers.get("retry-after"))
    if asked_s is not None and status in (429, 503):
        if status == 429 and asked_s > web.limits.max_wait_s:
            return blocked(web, site, f"{site} asks to wait {_until(asked_s)}")
        web.manners.hold(site, min(asked_s, web.limits.max_wait_s))
    limited = site if status == 429 else None
    return TryAgain(f"http_{status}", f"{said}: the server answers {status}", asked_s, limited)


def _until(seconds: float) -> str:
    """Returns when a wait from now on is over, for people."""
    if seconds > YEAR_S:
        return "for more than a year"
    when = datetime.now(UTC) + timedelta(seconds=seconds)
    return f"until {when:%Y-%m-%d %H:%M} UTC"
