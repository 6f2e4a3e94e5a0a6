"""The bytes of a source: local files are read in place, what lies elsewhere is stored once.

A digest is remembered under what tells cheaply that bytes are the same: for a local file its path,
size and time of change, for a URL its canonical form. So a build that runs again reads no file and
fetches no URL.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt

from reelscript.pipeline.errors import Reject, StageError
from reelscript.pipeline.stage import Live, Stage, threshold, tuning
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.site import Site, Subtitles
from reelscript.schemas.text import canonical_json, digest, one_line
from reelscript.schemas.video import Seconds, Video
from reelscript.transforms.asking import refuse_secrets, site_options_of, web_of
from reelscript.transforms.fetch import TURN_S, Through, fetch, stated_bytes
from reelscript.transforms.local_file import file_signature, lies_below, read_in_place
from reelscript.transforms.site_facts import site_facts
from reelscript.transforms.sites.video import SitePlaylist, SiteVideo
from reelscript.transforms.urls import canonical_url, last_part, printable_address, scheme_of

PLAYLIST = "playlist"


@dataclass(frozen=True)
class Acquire(Stage):
    """The digest and size of a source, and for what lies elsewhere a stored copy.

    No setting changes what is fetched once it was fetched: a changed one fetches nothing again.

    Attributes:
        max_bytes: largest file that is fetched. Local files are read in place, whatever their size.
        timeout_s: longest wait to connect, and for the next bytes.
        total_s: longest time for one file, all attempts and waits together.
        max_redirects: to http and https only.
        retries: attempts after the first, where the server is busy or the connection fails.
        backoff_s: the n-th wait is a random part of `backoff_s` * 2^(n-1), unless the server names
            one.
        max_wait_s: longest wait between two attempts. A server that asks for more blocks us.
        contact: a mail address or URL by which the owner of a server reaches you; stands in the
            user agent.
        user_agent: in place of `reelscript/<version> (+<contact>)`.
        through: how http and https are fetched: "direct", by "yt-dlp", or "auto": what yt-dlp knows
            as a video site, and pages, by yt-dlp, files directly.
        max_height_px: of the formats that a site offers the largest up to this, H.264 and AAC
            before others; None: the largest.
        subtitles: whether those of a site are stored beside the video: manual ones before
            automatic.
        subtitle_languages: in which; None: `language.accept`.
        audio_first: where a site offers the sound alone, it is fetched and judged as `speech` does,
            and the video only if it passes.
        max_playlist_videos: most videos that a playlist, channel or feed stands for; 0: none.
        cookies_file: of a browser, in Netscape's format, for sites.
        cookies_from_browser: name of a browser on this machine, as yt-dlp takes it.
        proxy: URL of a proxy for all of http and https; `$NAME` stands for an environment variable.
        extractor_args: for yt-dlp's extractors, as on its command line:
            "youtube:player_client=web"; `$NAME` as above.
        rates: "youtube-guest" or "youtube-token": `transforms/web/rates.py` has their numbers;
            "auto": "youtube-guest" at YouTube, nothing elsewhere; "none". The five settings that
            follow hold for each site, and come before these numbers.
        requests_per_min, bytes_per_min, videos_per_hour: most of them, for all processes of this
            user on this machine.
        concurrent: videos fetched from one site at once.
        sleep_s: between two videos of a site, on average.
        blocked_after: answers in a row by which a site blocks us, after which this build asks it
            nothing more.
        allow_addresses: networks, such as 10.0.0.0/8, that may be asked beside the public internet.
        local_roots: folders in which local sources must lie, wherever links lead; None: anywhere.
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
    through: Through = tuning("auto")
    max_height_px: Annotated[int, Gt(0)] | None = tuning(480)
    subtitles: bool = tuning(True)
    subtitle_languages: tuple[str, ...] | None = tuning(None)
    audio_first: bool = tuning(False)
    max_playlist_videos: Annotated[int, Ge(0)] = tuning(1000)
    cookies_file: str | None = tuning(None)
    cookies_from_browser: str | None = tuning(None)
    proxy: str | None = tuning(None)
    extractor_args: tuple[str, ...] = tuning(())
    rates: Literal["auto", "none", "youtube-guest", "youtube-token"] = tuning("auto")
    requests_per_min: Annotated[float, Gt(0)] | None = tuning(None)
    bytes_per_min: Annotated[float, Gt(0)] | None = tuning(None)
    videos_per_hour: Annotated[float, Gt(0)] | None = tuning(None)
    concurrent: Annotated[int, Ge(1)] | None = tuning(None)
    sleep_s: Annotated[Seconds, Ge(0)] | None = tuning(None)
    blocked_after: Annotated[int, Ge(1)] = tuning(3)
    allow_addresses: tuple[str, ...] = tuning(())
    local_roots: tuple[str, ...] | None = threshold(None)

    name: ClassVar[str] = "acquire"
    rejects: ClassVar[tuple[str, ...]] = (
        "duplicate_source",  # given by the listing of sources
        PLAYLIST,
    )
    reads: ClassVar[tuple[str, ...]] = ("url",)
    writes: ClassVar[tuple[str, ...]] = (
        *("source_sha256", "source_bytes", "media", "retrieved_at"),
        *("site_title", "site_channel", "site_license", "site_facts", "site"),
        "playlist_videos",
    )
    artefacts: ClassVar[tuple[str, ...]] = ("site",)

    def __post_init__(self) -> None:
        sent = f"{self.contact or ''}{self.user_agent or ''}"
        if not (sent.isascii() and (sent.isprintable() or not sent)):
            raise ValueError("acquire.contact and acquire.user_agent must be one line of ASCII")
        for network in self.allow_addresses:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ValueError(f"acquire.allow_addresses: {error}") from None
        refuse_secrets(self.proxy, self.extractor_args)

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

    def still_there(self, facts: Mapping[str, Any], workspace: Workspace) -> bool:
        """Returns whether what a site has beside the video is still in the store."""
        if not super().still_there(facts, workspace):
            return False
        site = facts.get("site") and workspace.get_record(Site, facts["site"])
        return not site or site.subtitles is None or workspace.has(site.subtitles.sha256)

    def judge(self, video: Video) -> None:
        """Raises Reject for a playlist, StageError for what may not be had (any more)."""
        size = video.source_bytes or 0
        if (count := video.playlist_videos) is not None:
            cut = {"most": self.max_playlist_videos} if count >= self.max_playlist_videos else {}
            raise Reject(PLAYLIST, videos=count, **cut)
        if video.media is not None and size > self.max_bytes:
            raise StageError("too_large", f"{video.url}: {size} bytes, at most {self.max_bytes}")
        self.check_root(video.location)

    def check_root(self, location: str) -> None:
        """Raises StageError where a local file lies outside of `local_roots`."""
        if self.local_roots is None or scheme_of(location) is not None:
            return
        if not lies_below(location, self.local_roots):
            name = printable_address(os.path.basename(location))
            raise StageError("outside_roots", f"{name} lies in none of acquire.local_roots")

    @property
    def patience_s(self) -> float:
        """What a source may wait for its turn, and then take."""
        return TURN_S + self.total_s

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""

        def live(video: Video, workspace: Workspace) -> Video:
            self.check_root(video.location)
            if scheme_of(video.location) is None:
                return replace(video, **read_in_place(video.location))
            return replace(video, **self._fetch(video, workspace))

        yield live

    def _fetch(self, video: Video, workspace: Workspace) -> dict[str, Any]:
        """Returns the facts of a source that lies elsewhere, once there is a whole copy of it.

        Raises:
            StageError: why it cannot be had; `changed`: it is not what was measured.
        """
        folder, key = workspace.scratch_of(video), self.key(video)
        web, options = web_of(self, workspace.scratch), site_options_of(self)
        try:
            found = fetch(video.location, folder, web, options, self.through)
        except StageError:
            if not (known := entries_of(workspace, key)):
                raise
            return {"playlist_videos": len(known)}  # asked again in vain: it stays as it was
        if isinstance(found, SitePlaylist):
            new = [entry.url for entry in found.entries]
            entries = list(dict.fromkeys([*entries_of(workspace, key), *new]))
            workspace.remember(PLAYLIST, key, {"of": video.location, "entries": entries})
            return {"playlist_videos": len(entries), "retrieved_at": _now()}
        try:
            if video.media not in (None, found.sha256):
                workspace.unremember(self.name, key)  # so that it is measured anew
                said = f"{video.url} no longer holds the bytes that were measured: build again"
                raise StageError("changed", said)
            self.keep(found.sha256, found.path, video, workspace)
            return self._facts(found, video, workspace)
        finally:
            found.path.unlink(missing_ok=True)
            if found.subtitles is not None:
                found.subtitles.path.unlink(missing_ok=True)

    def _facts(self, found: SiteVideo, video: Video, workspace: Workspace) -> dict[str, Any]:
        facts = site_facts(found.info)
        return {
            "source_sha256": found.sha256,
            "source_bytes": found.size_bytes,
            "media": found.sha256,
            "retrieved_at": _now(),
            "site_title": facts.title or one_line(last_part(video.location)) or None,
            "site_channel": facts.channel,
            "site_license": facts.license,
            "site_facts": facts.others,
            "site": _stored(found, workspace) if found.info else None,
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

    def fetch_file(self, url: str, target: Path, workspace: Workspace) -> SiteVideo:
        """Returns what is at a URL as a file at `target`, whatever it is; see `transforms.fetch`.

        Raises:
            StageError: why it cannot be had; `playlist`: it is one.
        """
        web, options = web_of(self, workspace.scratch), site_options_of(self)
        found = fetch(url, target.parent, web, options, self.through)
        if isinstance(found, SitePlaylist):
            raise StageError(PLAYLIST, f"a list of {len(found.entries)} videos")
        return replace(found, path=found.path.replace(target))

    def stated_bytes(self, url: str, workspace: Workspace) -> int | None:
        """Returns the size of a source unfetched, None if nobody states it. Raises StageError."""
        return stated_bytes(url, web_of(self, workspace.scratch), self.through)

    def restore(self, video: Video, workspace: Workspace) -> None:
        """Fetches a source again that was let go. Raises StageError as `_fetch`."""
        self._fetch(video, workspace)


@dataclass(frozen=True)
class AcquireForNow(Acquire):
    """Acquire where fetched sources are not kept: a copy stays as long as its video is in work.

    It lies in scratch, by video: two URLs of the same bytes do not meet, nothing is left of it in
    the work folder, whenever a build ends, and on its way no byte is written twice. Where groups of
    stages run on several machines it passes through the store, and is removed with its video.
    """

    def keep(self, sha256: str, part: Path, video: Video, workspace: Workspace) -> None:
        """Moves what was fetched to where the stages after this one find it."""
        workspace.hold(video, part, sha256)


def _stored(found: SiteVideo, workspace: Workspace) -> str:
    """Returns the digest of what a site says and has, once it is in the store."""
    subtitles = None
    if (there := found.subtitles) is not None:
        sha256 = workspace.put(there.path.read_bytes())
        subtitles = Subtitles(sha256, there.language, there.kind)
    return workspace.put_record(Site(canonical_json(found.info).decode(), subtitles))


def entries_of(workspace: Workspace, key: str) -> list[str]:
    """Returns the addresses that a playlist has been found to hold; none where it is none."""
    known = workspace.remembered(PLAYLIST, key)
    return list(known["entries"]) if known else []


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
