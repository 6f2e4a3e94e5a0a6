"""A file over http or https: whole or not at all, bounded in bytes, time, redirects and attempts.

```
download():  deadline over everything [ attempt -> wait -> attempt -> ... ]
attempt:     redirects, each checked, each when it is due -> status -> declared size -> body in
             pieces: count, hash, write
```

The deadline is over waits for a request or bytes that are due later, too. The turn of a whole video
(`Manners.video`) is not waited for here: others before it are no fault of this one.

httpx and tenacity are imported late: a build of local files needs neither.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import zlib
from collections.abc import Awaitable, Callable, Collection, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from reelscript.pipeline.errors import StageError
from reelscript.transforms.urls import WEB_SCHEMES, published_url, without_credentials
from reelscript.transforms.web.answers import TryAgain, blocked, check_head, site_at
from reelscript.transforms.web.gunzip import Gunzip

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

    from reelscript.transforms.web.terms import Web

T = TypeVar("T")


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


class Unwanted(StageError):
    """The server calls it by a content type that is not wanted; the body was not read."""


def download(url: str, target: Path, web: Web, unwanted: Collection[str] = frozenset()) -> Fetched:
    """Returns the digest and size of what was written to `target`.

    Args:
        url: http or https.
        target: a file, which is written anew.
        web: limits and manners.
        unwanted: content types, in lower case, of what is not fetched.

    Raises:
        Unwanted: it is of one of those types.
        StageError: `http_<status>`, `too_large`, `timed_out`, `connection_failed`, `truncated`,
            `too_many_redirects`, `unsupported_scheme`, `bad_address`, `private_address` or
            `bad_encoding`; `blocked`: the site wants no more requests now. What lies at `target` is
            then of no use.
        StorageError: as `Manners`.
        UsageError: the proxy cannot be used.
    """

    async def save(response: httpx.Response) -> Fetched:
        said = published_url(url)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in unwanted:
            raise Unwanted("unwanted", f"{said}: {kind}")
        return await _save(response, target, web, said)

    return _run(_asked(url, web, save))


def declared_bytes(url: str, web: Web) -> int | None:
    """Returns the size that the server states for a file, or None where it states none.

    Asked with GET, the body left unread: a signed URL is signed for that alone, and so the answer
    is the one that `download` gets.

    Raises:
        StageError: as `download`.
    """

    async def size(response: httpx.Response) -> int | None:
        declared = response.headers.get("content-length", "")
        return int(declared[:20]) if declared.isdecimal() else None

    return _run(_asked(url, web, size))


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
    except TryAgain as error:
        raise StageError(error.kind, error.detail) from error


@cache
def _tls() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()  # reads all certificates: once a process


async def _asked(url: str, web: Web, take: Callable[[httpx.Response], Awaitable[T]]) -> T:
    """Returns what `take` makes of the server's answer, its body not yet read."""
    import httpx
    import tenacity

    from reelscript.transforms.web.guarded_http import GuardedTransport

    limits = web.limits
    headers = {"User-Agent": web.user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
    attempts = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(limits.retries + 1),
        wait=_wait(limits),
        retry=tenacity.retry_if_exception_type(TryAgain),
        reraise=True,
    )
    transport = GuardedTransport(web.guard, web.proxy, _tls())
    try:
        async with (
            asyncio.timeout(limits.total_s),
            httpx.AsyncClient(
                headers=headers, timeout=limits.timeout_s, transport=transport, trust_env=False
            ) as client,
        ):
            taken: T = await attempts(_attempt, client, url, web, take)
            return taken
    except TimeoutError:
        detail = f"{published_url(url)}: not finished within {limits.total_s:g} s"
        raise StageError("timed_out", detail) from None
    except TryAgain as error:
        if error.limited is None:
            raise
        said = f"{error.limited} answers 429, too many requests, to all of its attempts"
        raise blocked(web, error.limited, said) from error


def _wait(limits: Limits) -> Callable[[RetryCallState], float]:
    """Returns the wait before the next attempt: what the server asks for, else random back-off."""
    import tenacity

    jittered = tenacity.wait_random_exponential(multiplier=limits.backoff_s, max=limits.max_wait_s)

    def wait_s(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_s if isinstance(error, TryAgain) else None
        return jittered(state) if asked is None else min(asked, limits.max_wait_s)

    return wait_s


async def _attempt(
    client: httpx.AsyncClient,
    url: str,
    web: Web,
    take: Callable[[httpx.Response], Awaitable[T]],
) -> T:
    """Makes one attempt; what httpx raises becomes an error of ours, with no password in it."""
    import httpx

    said = published_url(url)
    try:
        response = await _follow(client, url, web)
        try:
            check_head(response, web, said)
            return await take(response)
        finally:
            await response.aclose()
    except httpx.TimeoutException as error:
        raise TryAgain(
            "timed_out", f"{said}: {type(error).__name__} after {web.limits.timeout_s:g} s"
        ) from error
    except httpx.TransportError as error:
        found = without_credentials(str(error)) or "no reason given"
        raise TryAgain("connection_failed", f"{said}: {type(error).__name__}: {found}") from error


async def _follow(client: httpx.AsyncClient, url: str, web: Web) -> httpx.Response:
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
    for _ in range(web.limits.max_redirects + 1):
        if request.url.scheme not in WEB_SCHEMES:
            to = published_url(str(request.url))
            raise StageError("unsupported_scheme", f"{published_url(url)} redirects to {to}")
        for wait_s in web.manners.waits_s(site_at(request.url)):
            await asyncio.sleep(wait_s)
        response = await client.send(request, stream=True, auth=auth)
        if response.next_request is None:
            return response
        await response.aclose()
        request, auth = response.next_request, None  # to the same host, it carries the header along
    said = f"{published_url(url)}: more than {web.limits.max_redirects} redirects"
    raise StageError("too_many_redirects", said)


async def _save(response: httpx.Response, target: Path, web: Web, said: str) -> Fetched:
    """Writes the body to `target` in pieces, and counts and hashes what is written."""
    import httpx

    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise StageError(
            "bad_encoding", f"{said}: encoded as {encoding!r}, which was not asked for"
        )
    gunzip = Gunzip() if "gzip" in encoding else None
    sha256, size, max_bytes = hashlib.sha256(), 0, web.limits.max_bytes
    site = site_at(response.url)
    try:
        with target.open("wb") as file:
            async for data in response.aiter_raw():
                for piece in gunzip.feed(data) if gunzip else (data,):
                    size += len(piece)
                    if size > max_bytes:
                        raise StageError("too_large", f"{said}: more than {max_bytes} bytes")
                    sha256.update(piece)
                    file.write(piece)
                if wait_s := web.manners.received_s(site, len(data)):
                    await asyncio.sleep(wait_s)
    except httpx.RemoteProtocolError as error:
        raise TryAgain("truncated", f"{said}: the body ends after {size} bytes") from error
    except zlib.error as error:
        raise StageError("bad_encoding", f"{said}: its gzip encoding is damaged") from error
    if gunzip is not None and not gunzip.complete:
        raise TryAgain("truncated", f"{said}: its gzip encoding ends early, after {size} bytes")
    return Fetched(sha256.hexdigest(), size)
