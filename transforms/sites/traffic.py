"""What goes out and comes in of the child process: whom it asks, when, and how much it reads.

yt-dlp takes whole pages, manifests and keys into memory, and media in pieces. So while it looks for
a video all pages together are bounded, and while it fetches one, what is left of that video.
Imported by the child process alone: it needs yt-dlp.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from yt_dlp.networking.exceptions import RequestError  # noqa: TID253 - see above

from reelscript.pipeline.errors import BLOCKED, StageError, StorageError
from reelscript.transforms.web.answers import seconds_asked
from reelscript.transforms.web.challenges import challenger
from reelscript.transforms.web.manners import site_of_url
from reelscript.transforms.web.terms import Web

MAX_PAGES_BYTES = 100 << 20  # all pages and manifests for one video or list
COUNTED_BYTES = 64 << 10  # so many at once are told to the manners, which lie in a file


class Refused(RequestError):  # type: ignore[misc]
    """A request that we do not send, or an answer that we do not read further.

    A RequestError that is none of the network's ends an extraction of yt-dlp's; it is not retried.
    """

    def __init__(self, refusal: StageError | StorageError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class Traffic:
    """What goes out and comes in of one child.

    Args:
        web: limits and manners.
        deadline_s: end of everything, by `time.monotonic`.
        proxies: host and port of the proxies that the user named.
    """

    def __init__(
        self, web: Web, deadline_s: float, proxies: frozenset[tuple[str, int]] = frozenset()
    ) -> None:
        self.web, self._proxies = web, proxies
        self.site = ""  # that was asked last
        self.good: set[str] = set()  # sites that gave a good answer
        self.received_bytes = 0
        self.unmeasured = False  # a body came whose end nobody stated, and so may be cut off
        self._deadline_s = deadline_s
        self._media = False
        self._left_bytes = MAX_PAGES_BYTES
        self._uncounted_bytes = 0

    @contextmanager
    def media(self, most_bytes: int) -> Iterator[None]:
        """Within, so many bytes may come, in bodies as large as they like."""
        pages_left, self._left_bytes, self._media = self._left_bytes, most_bytes, True
        try:
            yield
        finally:
            self._left_bytes, self._media = pages_left, False

    def before(self, url: str) -> None:
        """Waits until a request is due. Raises Refused where it is not to be sent."""
        self.count()
        self.site = site_of_url(url)
        with refusing():
            if self._proxies:
                self._check_target(url)
            for wait_s in self.web.manners.waits_s(self.site):
                self._wait(wait_s)

    def answered(self, status: int, headers: Any) -> None:
        """Notes the head of an answer. Raises Refused where its body is not to be read."""
        lower = {name.lower(): value for name, value in headers.items()}
        if whose := challenger(status, lower):
            said = f"the server answers {status} with a challenge by {whose}"
            raise Refused(StageError(BLOCKED, said))
        asked_s = seconds_asked(lower.get("retry-after"))
        if asked_s is not None and status in (429, 503):
            with refusing():
                self.web.manners.hold(self.site, min(asked_s, self.web.limits.max_wait_s))
        length = lower.get("content-length", "")
        if self._media and status < 300:
            if length.isdecimal() and int(length[:20]) > self._left_bytes:
                raise self._too_large()
            self.unmeasured |= not length and "transfer-encoding" not in lower
        if status < 400:
            self.good.add(self.site)

    def received(self, size_bytes: int) -> None:
        """Counts bytes, and waits until more may be read. Raises Refused after too many."""
        self.received_bytes += size_bytes
        self._left_bytes -= size_bytes
        if self._left_bytes < 0:
            raise self._too_large()
        self._uncounted_bytes += size_bytes
        if self._uncounted_bytes >= COUNTED_BYTES:
            self.count()

    def count(self) -> None:
        """Tells the manners of what has come in."""
        size, self._uncounted_bytes = self._uncounted_bytes, 0
        if size and self.site:
            with refusing():
                self._wait(self.web.manners.received_s(self.site, size))

    def close(self) -> None:
        """Tells the manners what they do not know yet: bytes, and who gave good answers."""
        with refusing():
            for site in sorted(self.good):
                self.web.manners.answered(site)
        self.count()

    def _too_large(self) -> Refused:
        what = f"{self.web.limits.max_bytes}" if self._media else f"{MAX_PAGES_BYTES} for its pages"
        return Refused(StageError("too_large", f"more bytes than {what}"))

    def _wait(self, seconds: float) -> None:
        if seconds > self._deadline_s - time.monotonic():
            total_s = self.web.limits.total_s
            said = (
                f"{self.site} may be asked again in {seconds:.0f} s, later than the {total_s:g} s"
            )
            raise StageError("timed_out", f"{said} for one video")
        time.sleep(seconds)

    def _check_target(self, url: str) -> None:
        """Raises StageError for a target that can be seen from here not to be public."""
        parts = urlsplit(url)
        try:
            self.web.guard.resolve(parts.hostname or "", parts.port or 80)
        except (OSError, ValueError):
            return  # only the proxy can look names up

    def connect(
        self, address: tuple[str, int], timeout: float | None = None, *_: object
    ) -> socket.socket:
        """Returns a socket to the first address of a host that the guard lets through, and answers.

        Raises:
            OSError: none answers, or the name is not known.
            Refused: the guard lets none through.
        """
        if address in self._proxies:
            return socket.create_connection(address, timeout)
        with refusing():
            found = self.web.guard.resolve(*address)
        failed = OSError("no address")
        for family, kind, protocol, _name, where in found:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(timeout)
                sock.connect(where)
                return sock
            except OSError as error:
                sock.close()
                failed = error
        raise failed


@contextmanager
def refusing() -> Iterator[None]:
    """Makes a Refused, which ends an extraction, of errors of ours that leave the `with` block."""
    try:
        yield
    except (StageError, StorageError) as error:
        raise Refused(error) from error
