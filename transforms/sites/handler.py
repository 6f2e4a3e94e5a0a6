"""yt-dlp's handler of requests, with each request, connection and body under a `Traffic`.

```
yt-dlp -> PoliteRH -> urllib:  _Gate     each request, redirects too: scheme, address, its turn
                               _Http     connects only to what the guard found
                               _Answer   counts what leaves the socket, before it is unpacked
```

yt-dlp reads a page, manifest or key by `read()`, and media by `read(size)`: the first is bounded by
`MAX_PAGE_BYTES`. Imported by the child process alone: it needs yt-dlp.
"""

from __future__ import annotations

import functools
import http.client
import io
import urllib.request
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from yt_dlp.networking import _urllib  # noqa: TID253 - see above

from reelscript.pipeline.errors import StageError
from reelscript.transforms.sites.traffic import Refused, Traffic
from reelscript.transforms.urls import WEB_SCHEMES

MAX_PAGE_BYTES = 10 << 20  # also once it is unpacked
MAX_REFUSAL_BYTES = 64 << 10  # what comes with a redirect or an error is not read further


class PoliteRH(_urllib.UrllibRH):  # type: ignore[misc]
    """yt-dlp's handler of requests by urllib, all of whose traffic goes through a `Traffic`."""

    _SUPPORTED_URL_SCHEMES = (*WEB_SCHEMES, "data")

    def __init__(self, *, traffic: Traffic, **options: Any) -> None:
        super().__init__(**options)
        self._traffic = traffic

    def _check_url_scheme(self, request: Any) -> None:
        scheme = urlsplit(request.url).scheme.lower()
        if scheme not in self._SUPPORTED_URL_SCHEMES:
            raise Refused(StageError("unsupported_scheme", f"leads to {scheme}:"))

    def _prepare_headers(self, _: object, headers: Any) -> None:
        headers.setdefault("Accept-Encoding", "gzip, deflate")

    def _create_instance(
        self, proxies: Any, cookiejar: Any, legacy_ssl_support: bool | None = None
    ) -> urllib.request.OpenerDirector:
        redirects = _urllib.RedirectHandler()
        redirects.max_redirections = self._traffic.web.limits.max_redirects
        opener = urllib.request.OpenerDirector()
        for handler in (
            _Gate(self._traffic),
            _urllib.ProxyHandler(proxies),
            _Http(self._traffic, context=self._make_sslcontext(legacy_ssl_support)),
            urllib.request.HTTPCookieProcessor(cookiejar),
            urllib.request.DataHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            redirects,
        ):
            opener.add_handler(handler)
        opener.addheaders = []  # urllib's own name, where yt-dlp gives none
        return opener


class _Gate(urllib.request.BaseHandler):
    """First to see each request and each answer; urllib opens redirects as further requests."""

    handler_order = 0

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        self._traffic.before(request.full_url)
        return request

    def http_response(self, _: object, response: Any) -> Any:
        self._traffic.answered(response.status, response.headers)
        return response

    def unknown_open(self, request: urllib.request.Request) -> Any:
        raise Refused(StageError("unsupported_scheme", f"leads to {request.type}:"))

    https_request, https_response = http_request, http_response


class _Http(_urllib.HTTPHandler):  # type: ignore[misc]
    """yt-dlp's handler of http and https, with our connections and bounded unpacking."""

    def __init__(self, traffic: Traffic, context: Any) -> None:
        super().__init__(context=context)
        self._traffic = traffic

    def http_open(self, request: urllib.request.Request) -> Any:
        kind = self._make_conn_class(http.client.HTTPConnection, request)
        return self.do_open(self._ours(kind), request)

    def https_open(self, request: urllib.request.Request) -> Any:
        kind = self._make_conn_class(http.client.HTTPSConnection, request)
        return self.do_open(self._ours(kind), request, context=self._context)

    def _ours(self, kind: type[http.client.HTTPConnection]) -> Callable[..., Any]:
        def connection(*args: Any, **options: Any) -> http.client.HTTPConnection:
            made: Any = kind(*args, **options)
            made.response_class = functools.partial(_Answer, traffic=self._traffic)
            made._create_connection = self._traffic.connect
            return made  # type: ignore[no-any-return]

        return connection

    @staticmethod
    def gz(data: bytes) -> bytes:
        return _unpacked(data, zlib.MAX_WBITS | 16)

    @staticmethod
    def deflate(data: bytes) -> bytes:
        try:
            return _unpacked(data, -zlib.MAX_WBITS)
        except zlib.error:
            return _unpacked(data, zlib.MAX_WBITS)

    @staticmethod
    def brotli(_: bytes) -> bytes:
        raise Refused(StageError("bad_encoding", "encoded as br, which was not asked for"))


def _unpacked(data: bytes, window_bits: int) -> bytes:
    if not data:
        return data
    unpacker = zlib.decompressobj(window_bits)
    text = unpacker.decompress(data, MAX_PAGE_BYTES)
    if unpacker.unconsumed_tail:
        raise _page_too_large()
    if not unpacker.eof:
        raise http.client.IncompleteRead(text)
    return text


def _page_too_large() -> Refused:
    return Refused(StageError("too_large", f"a page of more than {MAX_PAGE_BYTES} bytes"))


class _Answer(http.client.HTTPResponse):
    """An answer whose bytes are counted as they leave the socket, and that is never read whole."""

    def __init__(self, *args: Any, traffic: Traffic, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fp: Any = io.BufferedReader(_Counted(self.fp.detach(), traffic))

    def read(self, amt: int | None = None) -> bytes:
        """Returns the next bytes, or all of a body that is no larger than a page may be."""
        if amt is not None and amt >= 0:
            return super().read(amt)
        if self.status >= 300:
            return super().read(MAX_REFUSAL_BYTES)
        if self.length is None:
            data = super().read(MAX_PAGE_BYTES + 1)
            if len(data) > MAX_PAGE_BYTES:
                raise _page_too_large()
            return data
        if self.length > MAX_PAGE_BYTES:
            raise _page_too_large()
        return super().read()


class _Counted(io.RawIOBase):
    """The bytes of a socket, counted."""

    def __init__(self, raw: io.RawIOBase, traffic: Traffic) -> None:
        self._raw, self._traffic = raw, traffic

    def readable(self) -> bool:
        """Returns that it is."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Returns how many bytes were read."""
        size: int | None = self._raw.readinto(buffer)
        self._traffic.received(size or 0)
        return size

    def close(self) -> None:
        """Closes the socket's file, and tells of what has come."""
        if not self.closed:
            self._raw.close()
            super().close()
