"""The transport below httpx: connects to no address but those that an `AddressGuard` lets through.

```
httpx client -> GuardedTransport -> direct:    names looked up and checked, then connected to
                                    by proxy:  the proxy that the user named looks names up itself
```
What is checked is what is connected to, at each redirect again; TLS still asks for the certificate
of the name. Imported late: httpx is heavy.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx  # noqa: TID253 - this module is imported late itself

from reelscript.pipeline.errors import UsageError
from reelscript.transforms.web.addresses import AddressGuard


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests to addresses that the guard lets through.

    Args:
        guard: which they are.
        proxy: all requests go through it; None: through those that the environment names.
        tls: how certificates are checked.

    A proxy's own address is not checked: the user has named it. What lies behind it is, as far as
    it can be seen from here: a target that is, or leads to, a private address is refused.
    """

    def __init__(self, guard: AddressGuard, proxy: str | None, tls: ssl.SSLContext) -> None:
        self._guard, self._proxy, self._tls = guard, proxy, tls
        self._pools: dict[str | None, httpcore.AsyncConnectionPool] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Returns the answer, its body not yet read; raises what httpx would."""
        url = request.url
        proxy = self._proxy or _proxy_of_environment(url)
        if proxy is not None:
            await self._check(url)
        asked = httpcore.Request(
            request.method,
            httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _errors_of_httpx():
            answer = await self._pool(proxy).handle_async_request(asked)
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer.stream),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Closes all connections."""
        for pool in self._pools.values():
            await pool.aclose()

    def _pool(self, proxy: str | None) -> httpcore.AsyncConnectionPool:
        if proxy not in self._pools:
            if proxy is None:
                pool = httpcore.AsyncConnectionPool(
                    ssl_context=self._tls, network_backend=GuardedBackend(self._guard)
                )
            else:
                pool = _pool_by_proxy(proxy, self._tls)
            self._pools[proxy] = pool
        return self._pools[proxy]

    async def _check(self, url: httpx.URL) -> None:
        """Raises StageError for a target that can be seen not to be public; else it is unknown."""
        try:
            await _resolved(self._guard, url.host, url.port or 80)
        except OSError:
            return  # where only the proxy can look names up


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to what its guard found, and looks up nothing again."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard, self._plain = guard, httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Returns a stream to the first address that answers; each gets its share of the time."""
        until = time.monotonic() + (timeout or 3600.0)
        try:
            async with asyncio.timeout(timeout):
                addresses = await _resolved(self._guard, host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("the name was not looked up in time") from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        failed: Exception = httpcore.ConnectError("no address")
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            share_s = max(0.0, until - time.monotonic()) / left
            try:
                return await self._plain.connect_tcp(
                    address, port, share_s, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)


class _Body(httpx.AsyncByteStream):
    """The body of an answer, as it comes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _errors_of_httpx():
            async for piece in self._stream:
                yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _resolved(guard: AddressGuard, host: str, port: int) -> list[str]:
    """Returns the addresses of a host that may be asked, each once. Raises as `guard.resolve`."""
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(None, guard.resolve, host, port)
    return list(dict.fromkeys(str(f[4][0]) for f in found))


def _proxy_of_environment(url: httpx.URL) -> str | None:
    """Returns what HTTP_PROXY, HTTPS_PROXY or ALL_PROXY name for a URL, unless NO_PROXY does."""
    named = urllib.request.getproxies()
    proxy = named.get(url.scheme) or named.get("all")
    return None if not proxy or urllib.request.proxy_bypass(url.host) else proxy


def _pool_by_proxy(text: str, tls: ssl.SSLContext) -> httpcore.AsyncConnectionPool:
    try:
        proxy = httpx.Proxy(text if "://" in text else f"http://{text}")
        if proxy.url.scheme not in ("http", "https") or not proxy.url.host:
            raise ValueError
    except (ValueError, httpx.InvalidURL):  # which may quote its password
        said = "files are fetched directly by http:// or https:// proxies only (acquire.proxy, "
        raise UsageError(f"{said}or HTTP_PROXY and its like in the environment)") from None
    url = proxy.url
    return httpcore.AsyncHTTPProxy(
        httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=b"/"),
        proxy_auth=proxy.raw_auth,
        ssl_context=tls,
        proxy_ssl_context=tls if url.scheme == "https" else None,
    )


@contextmanager
def _errors_of_httpx() -> Iterator[None]:
    """Raises errors of httpcore as those of httpx, which have the same names."""
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.UnsupportedProtocol,
    ) as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error
