"""A file over http or https: whole or not at all, bounded in bytes, time, redirects and attempts.

```
download():  deadline over everything [ attempt -> wait -> attempt -> ... ]
attempt:     redirects, each checked -> status -> declared size -> body in pieces: count, hash,
write ```

httpx and tenacity are imported late: a build of local files needs neither.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
import zlib
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from reelscript.pipeline.errors import StageError
from reelscript.transforms.gunzip import Gunzip
from reelscript.transforms.urls import WEB_SCHEMES, published_url, without_credentials

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

T = TypeVar("T")
WHOLE = frozenset({200, 203})
WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""It, or something on the way, is busy: RFC 9110 section 15 (425: RFC 8470, 429: RFC 6585)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one download may take: see the settings of `Acquire`."""

    max_bytes: int
    timeout_s: float
    total_s: float
    max_redirects: int
    retries: int
    backoff_s: float
    max_wait_s: float


@dataclass(frozen=True, slots=True)
class Fetched:
    """What lies in the target file after a download."""

    sha256: str
    size_bytes: int


class _TryAgain(StageError):
    """An attempt failed in a way that may pass. `retry_after_s`: the wait the server asks for."""

    def __init__(self, kind: str, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(kind, detail)
        self.retry_after_s = retry_after_s


def download(url: str, target: Path, limits: Limits, user_agent: str) -> Fetched:
    """Returns the digest and size of what was written to `target`.

    Raises:
        StageError: `http_<status>`, `too_large`, `timed_out`, `connection_failed`, `truncated`,
            `too_many_redirects`, `unsupported_scheme`, `bad_address` or `bad_encoding`. What lies
            at `target` is then of no use.
    """

    async def save(response: httpx.Response) -> Fetched:
        return await _save(response, target, limits.max_bytes, published_url(url))

    return _run(_asked(url, limits, user_agent, save))


def declared_bytes(url: str, limits: Limits, user_agent: str) -> int | None:
    """Returns the size that the server states for a file, or None where it states none.

    Asked with GET, the body left unread: a signed URL is signed for that alone, and so the answer
    is the one that `download` gets.

    Raises:
        StageError: as `download`.
    """

    async def size(response: httpx.Response) -> int | None:
        declared = response.headers.get("content-length", "")
        return int(declared[:20]) if declared.isdecimal() else None

    return _run(_asked(url, limits, user_agent, size))


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Returns what a coroutine returns.

    A coroutine can be stopped wherever it waits, as one deadline for everything needs; a blocking
    call ends only when the next byte comes, and a server may send one a minute, headers too.
    """
    try:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(work)
        with ThreadPoolExecutor(1) as thread:  # inside a notebook or an actor, whose own loop runs
            return thread.submit(asyncio.run, work).result()
    except _TryAgain as error:
        raise StageError(error.kind, error.detail) from error


@cache
def _tls() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()  # reads all certificates: once a process


async def _asked(
    url: str, limits: Limits, user_agent: str, take: Callable[[httpx.Response], Awaitable[T]]
) -> T:
    """Returns what `take` makes of the server's answer, its body not yet read."""
    import httpx
    import tenacity

    headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
    attempts = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(limits.retries + 1),
        wait=_wait(limits),
        retry=tenacity.retry_if_exception_type(_TryAgain),
        reraise=True,
    )
    try:
        async with asyncio.timeout(limits.total_s):
            async with httpx.AsyncClient(
                headers=headers, timeout=limits.timeout_s, verify=_tls()
            ) as client:
                taken: T = await attempts(_attempt, client, url, limits, take)
                return taken
    except TimeoutError:
        detail = f"{published_url(url)}: not finished within {limits.total_s:g} s"
        raise StageError("timed_out", detail) from None


def _wait(limits: Limits) -> Callable[[RetryCallState], float]:
    """Returns the wait before the next attempt: what the server asks for, else random back-off."""
    import tenacity

    jittered = tenacity.wait_random_exponential(multiplier=limits.backoff_s, max=limits.max_wait_s)

    def wait_s(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_s if isinstance(error, _TryAgain) else None
        return jittered(state) if asked is None else min(asked, limits.max_wait_s)

    return wait_s


async def _attempt(
    client: httpx.AsyncClient,
    url: str,
    limits: Limits,
    take: Callable[[httpx.Response], Awaitable[T]],
) -> T:
    """Makes one attempt; what httpx raises becomes an error of ours, with no password in it."""
    import httpx

    said = published_url(url)
    try:
        response = await _follow(client, url, limits.max_redirects)
        try:
            _check_head(response, limits.max_bytes, said)
            return await take(response)
        finally:
            await response.aclose()
    except httpx.TimeoutException as error:
        raise _TryAgain(
            "timed_out", f"{said}: {type(error).__name__} after {limits.timeout_s:g} s"
        ) from error
    except httpx.TransportError as error:
        found = without_credentials(str(error)) or "no reason given"
        raise _TryAgain("connection_failed", f"{said}: {type(error).__name__}: {found}") from error


async def _follow(client: httpx.AsyncClient, url: str, max_redirects: int) -> httpx.Response:
    """Returns the first answer that is no redirect, its body not yet read.

    httpx could follow by itself, but reads the body of every redirect into memory, however long.
    """
    import httpx

    try:
        asked = httpx.URL(url)
        request = client.build_request("GET", asked.copy_with(userinfo=b""))  # httpx logs URLs
    except (httpx.InvalidURL, ValueError):  # their messages may quote a password
        raise StageError("bad_address", f"{published_url(url)} is no valid URL") from None
    if not asked.host:
        raise StageError("bad_address", f"{published_url(url)} names no host")
    auth = httpx.BasicAuth(asked.username, asked.password) if asked.userinfo else None
    for _ in range(max_redirects + 1):
        if request.url.scheme not in WEB_SCHEMES:
            to = published_url(str(request.url))
            raise StageError("unsupported_scheme", f"{published_url(url)} redirects to {to}")
        response = await client.send(request, stream=True, auth=auth)
        if response.next_request is None:
            return response
        await response.aclose()
        request, auth = response.next_request, None  # to the same host, it carries the header along
    raise StageError(
        "too_many_redirects", f"{published_url(url)}: more than {max_redirects} redirects"
    )


def _check_head(response: httpx.Response, max_bytes: int, said: str) -> None:
    """Raises StageError where status or declared size say that the body need not be read."""
    status = response.status_code
    if status in WORTH_RETRYING:
        retry_after_s = _seconds(response.headers.get("retry-after"))
        raise _TryAgain(f"http_{status}", f"{said}: the server answers {status}", retry_after_s)
    if status not in WHOLE:
        raise StageError(f"http_{status}", f"{said}: the server answers {status}")
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise StageError("too_large", f"{said}: {declared[:20]} bytes, at most {max_bytes}")


def _seconds(retry_after: str | None) -> float | None:
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


async def _save(response: httpx.Response, target: Path, max_bytes: int, said: str) -> Fetched:
    """Writes the body to `target` in pieces, and counts and hashes what is written."""
    import httpx

    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise StageError(
            "bad_encoding", f"{said}: encoded as {encoding!r}, which was not asked for"
        )
    gunzip = Gunzip() if "gzip" in encoding else None
    sha256, size = hashlib.sha256(), 0
    try:
        with target.open("wb") as file:
            async for data in response.aiter_raw():
                for piece in gunzip.feed(data) if gunzip else (data,):
                    size += len(piece)
                    if size > max_bytes:
                        raise StageError("too_large", f"{said}: more than {max_bytes} bytes")
                    sha256.update(piece)
                    file.write(piece)
    except httpx.RemoteProtocolError as error:
        raise _TryAgain("truncated", f"{said}: the body ends after {size} bytes") from error
    except zlib.error as error:
        raise StageError("bad_encoding", f"{said}: its gzip encoding is damaged") from error
    if gunzip is not None and not gunzip.complete:
        raise _TryAgain("truncated", f"{said}: its gzip encoding ends early, after {size} bytes")
    return Fetched(sha256.hexdigest(), size)
