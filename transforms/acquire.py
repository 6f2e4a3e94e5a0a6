"""The bytes of a source: local files are read in place, what lies elsewhere is stored once.

A digest is remembered under what tells cheaply that bytes are the same: for a local file its path,
size and time of change, for a URL its canonical form. So a build that runs again reads no file and
fetches no URL.
"""

from __future__ import annotations

import hashlib
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt

from reelscript.pipeline.errors import StageError
from reelscript.pipeline.stage import Live, Stage, threshold, tuning
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.text import digest
from reelscript.schemas.video import Seconds, Video
from reelscript.transforms.download import Fetched, Limits, declared_bytes, download
from reelscript.transforms.object_copy import copy_object, object_bytes
from reelscript.transforms.urls import (
    WEB_SCHEMES,
    canonical_url,
    is_fetchable,
    is_youtube,
    printable_address,
    scheme_of,
)


@dataclass(frozen=True)
class Acquire(Stage):
    """The digest and size of a source, and for what lies elsewhere a stored copy.

    No setting changes what is fetched, only whether it is: a changed one fetches nothing again.

    Attributes:
        max_bytes: largest file that is fetched. Local files are read in place, whatever their size.
        timeout_s: longest wait to connect, and for the next bytes.
        total_s: longest time for one file, all attempts and waits together.
        max_redirects: to http and https only.
        retries: attempts after the first, where the server is busy or the connection fails.
        backoff_s: the n-th wait is a random part of `backoff_s` * 2^(n-1), unless the server names
            one.
        max_wait_s: longest wait between two attempts, also where the server asks for more.
        contact: a mail address or URL by which the owner of a server reaches you; stands in the
            user agent.
        user_agent: in place of `reelscript/<version> (+<contact>)`.
    """

    max_bytes: Annotated[int, Gt(0)] = threshold(4 << 30)
    timeout_s: Annotated[Seconds, Gt(0)] = tuning(30.0)
    total_s: Annotated[Seconds, Gt(0)] = tuning(3600.0)
    max_redirects: Annotated[int, Ge(0)] = tuning(5)
    retries: Annotated[int, Ge(0)] = tuning(4)
    backoff_s: Annotated[Seconds, Ge(0)] = tuning(1.0)
    max_wait_s: Annotated[Seconds, Ge(0)] = tuning(120.0)
    contact: str | None = tuning(None)
    user_agent: str | None = tuning(None)

    name: ClassVar[str] = "acquire"
    rejects: ClassVar[tuple[str, ...]] = ("duplicate_source",)  # given by the listing of sources
    reads: ClassVar[tuple[str, ...]] = ("url",)
    writes: ClassVar[tuple[str, ...]] = ("source_sha256", "source_bytes", "media", "retrieved_at")

    def __post_init__(self) -> None:
        sent = f"{self.contact or ''}{self.user_agent or ''}"
        if not (sent.isascii() and (sent.isprintable() or not sent)):
            raise ValueError("acquire.contact and acquire.user_agent must be one line of ASCII")

    def key(self, video: Video) -> str:
        """Returns what the result is remembered under: see the top of this file."""
        place = video.location
        if scheme_of(place) is not None:
            identity = [canonical_url(place)]
        else:
            identity = [place, file_signature(place) or ""]
        # A file name need not be valid text, and JSON takes nothing else: its bytes.
        exact = [text.encode("utf-8", "surrogatepass").hex() for text in identity]
        return digest([self.name, self.version, self.settings(), exact])

    def judge(self, video: Video) -> None:
        """Raises StageError where a copy fetched under a larger `max_bytes` is too large now."""
        size = video.source_bytes or 0
        if video.media is not None and size > self.max_bytes:
            raise StageError("too_large", f"{video.url}: {size} bytes, at most {self.max_bytes}")

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""

        def live(video: Video, workspace: Workspace) -> Video:
            if scheme_of(video.location) is None:
                return replace(video, **read_in_place(video.location))
            return replace(video, **self._fetch(video, workspace))

        yield live

    def _fetch(self, video: Video, workspace: Workspace) -> dict[str, Any]:
        """Returns the facts of a source that lies elsewhere, once there is a whole copy of it.

        Raises:
            StageError: why it cannot be had; `changed`: it is not what was measured.
        """
        part = workspace.scratch_of(video) / f".part-{uuid.uuid4().hex}"
        try:
            fetched = self.fetch(video.location, part)
            if video.media not in (None, fetched.sha256):
                workspace.unremember(self.name, self.key(video))  # so that it is measured anew
                said = f"{video.url} no longer holds the bytes that were measured: build again"
                raise StageError("changed", said)
            self.keep(fetched.sha256, part, video, workspace)
        finally:
            part.unlink(missing_ok=True)
        return {
            "source_sha256": fetched.sha256,
            "source_bytes": fetched.size_bytes,
            "media": fetched.sha256,
            "retrieved_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def keep(
        self,
        sha256: str,
        part: Path,
        video: Video,  # noqa: ARG002 - kept by content; AcquireForNow keeps by video
        workspace: Workspace,
    ) -> None:
        """Puts what was fetched to where the stages after this one find it."""
        workspace.put_file(part, sha256)

    def fetch(self, url: str, target: Path) -> Fetched:
        """Returns digest and size of a source, once it lies at `target`. Raises StageError."""
        _refuse_unfetchable(url)
        if scheme_of(url) in WEB_SCHEMES:
            return download(url, target, self._limits(), self._agent())
        return copy_object(url, target, self._limits())

    def stated_bytes(self, url: str) -> int | None:
        """Returns the size of a source unfetched, None if nobody states it. Raises StageError."""
        _refuse_unfetchable(url)
        if scheme_of(url) in WEB_SCHEMES:
            return declared_bytes(url, self._limits(), self._agent())
        return object_bytes(url)

    def _limits(self) -> Limits:
        return Limits(
            self.max_bytes,
            self.timeout_s,
            self.total_s,
            self.max_redirects,
            self.retries,
            self.backoff_s,
            self.max_wait_s,
        )

    def restore(self, video: Video, workspace: Workspace) -> None:
        """Fetches a source again that was let go. Raises StageError as `_fetch`."""
        self._fetch(video, workspace)

    def _agent(self) -> str:
        """Returns the User-Agent header."""
        if self.user_agent:
            return self.user_agent
        contact = f" (+{self.contact})" if self.contact else ""
        return f"reelscript/{metadata.version('reelscript')}{contact}"


@dataclass(frozen=True)
class AcquireForNow(Acquire):
    """Acquire where fetched sources are not kept: a copy stays as long as its video is in work.

    It lies in scratch, by video: two URLs of the same bytes do not meet, nothing is left of it in
    the work folder, whenever a build ends, and on its way no byte is written twice.
    """

    def keep(self, sha256: str, part: Path, video: Video, workspace: Workspace) -> None:
        """Moves what was fetched to where the stages after this one find it."""
        workspace.hold(video, part, sha256)


def _refuse_unfetchable(url: str) -> None:
    if not is_fetchable(url):
        raise StageError("unsupported_scheme", f"{scheme_of(url)}: is not fetched")
    if is_youtube(url):
        raise StageError("needs_yt_dlp", "this version downloads direct links only")


def file_signature(location: str) -> str | None:
    """Returns `<bytes>:<time of change in ns>` of a local file; None for a URL or no file."""
    if scheme_of(location) is not None:
        return None
    try:
        return signature_of(os.stat(location))
    except (
        OSError,
        ValueError,
    ):  # ValueError: a NUL or half a surrogate pair, which no file name holds
        return None


def signature_of(found: os.stat_result) -> str:
    """Returns the signature of a file from what the system says of it."""
    return f"{found.st_size}:{found.st_mtime_ns}"


@contextmanager
def regular_file(location: str) -> Iterator[BufferedReader]:
    """Yields a local file, open to be read.

    Raises:
        StageError: `not_found`, `not_a_file`, or `unreadable`, also while it is read.
    """
    name = printable_address(os.path.basename(location))
    try:
        if not stat.S_ISREG(
            os.stat(location).st_mode
        ):  # before opening: a pipe would block for ever
            raise StageError("not_a_file", f"{name} is no regular file")
        with open(location, "rb") as file:
            yield file
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise StageError("not_found", f"there is no file {name}") from error
    except OSError as error:
        raise StageError("unreadable", f"{name}: {error.strerror or error}") from error


def read_in_place(location: str) -> dict[str, Any]:
    """Returns the facts of a local file.

    Raises:
        StageError: `not_found`, `not_a_file`, `unreadable`, or `changed` while it was read.
    """
    name = printable_address(os.path.basename(location))
    with regular_file(location) as file:
        before = os.fstat(file.fileno())
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise StageError(
            "changed", f"{name} changed while it was read: build again when it is whole"
        )
    return {
        "source_sha256": sha256,
        "source_bytes": after.st_size,
        "media": None,
        "retrieved_at": None,
    }
