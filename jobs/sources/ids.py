"""Ids of sources, and which of them are the same."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Hashable

from reelscript.jobs.sources.places import Place
from reelscript.jobs.sources.subtitles import SubtitleFinder
from reelscript.schemas.text import one_line
from reelscript.schemas.video import Outcome
from reelscript.schemas.videos import LISTED, Videos, VideosBuilder
from reelscript.transforms.urls import (
    canonical_url,
    is_fetchable,
    is_plain,
    plain_youtube_id,
    printable_address,
    published_url,
    scheme_of,
    youtube_id,
)

STAGE = "acquire"
GIVEN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_ADDRESS_CHARS = 2000  # a record holds it twice and stays near 4 kB
MAX_SHOWN_CHARS = 300


class Listing:
    """The records of the sources added so far, each with an id of its own.

    Args:
        subtitles: finds their subtitles; None: nobody wants them.
        before: records that stand before these: their ids are taken, positions go on from them.
    """

    def __init__(
        self, subtitles: SubtitleFinder | None = None, before: Videos | None = None
    ) -> None:
        self._subtitles = subtitles
        self._first_position = 0 if before is None else len(before)
        self._count = 0
        self._rows = VideosBuilder(LISTED)
        self._firsts: dict[Hashable, str] = {}  # what tells sources apart -> id of the first
        taken = [] if before is None else before.column("video_id").to_pylist()
        self._ids: set[str] = set(taken)
        self._relative: set[str] = set()
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return self._count

    def videos(self) -> Videos:
        """Returns the records in the order in which they were added."""
        return self._rows.videos()

    def add(self, place: Place) -> None:
        """Adds the record of one source, a new one or one that was there before."""
        address = place.location
        if (
            is_plain(address) and len(address) <= MAX_ADDRESS_CHARS
        ):  # saves time where there are many
            computed = _hashed(address)
            self._add(place, address, computed, computed, None, None)
            return
        if tube := plain_youtube_id(address):
            self._add(place, address, f"yt_{tube}", f"yt_{tube}", None, None)
            return
        fault = _fault(address)
        if scheme_of(address) is None:
            self._add_file(place, fault)
            return
        computed = id_of_url(address)
        url = published_url(address[:MAX_ADDRESS_CHARS])
        self._add(place, url, computed, computed, None, fault)

    def _add_file(self, place: Place, fault: tuple[str, str] | None) -> None:
        relative = place.relative
        if place.identity not in self._firsts:
            relative = self._own_relative(place)
            self._relative.add(relative)
        stem = os.path.splitext(os.path.basename(place.location))[0]
        url = printable_address(relative[:MAX_ADDRESS_CHARS])
        self._add(place, url, _hashed(relative), place.identity, stem, fault)

    def _own_relative(self, place: Place) -> str:
        """Returns the path below its root, after the root's name where that path is another's."""
        folder = os.path.basename(place.root) or "root"
        which = f"{folder}~{hashlib.sha256(_exact(place.root)).hexdigest()[:8]}"
        for prefix in ("", f"{folder}/", f"{which}/"):
            if (relative := prefix + place.relative) not in self._relative:
                return relative
        return f"{which}/{self._count}/{place.relative}"

    def _add(
        self,
        place: Place,
        url: str,
        computed: str,
        identity: Hashable,
        title: str | None,
        fault: tuple[str, str] | None,
    ) -> None:
        row, location, first = place.row, place.location, self._firsts.get(identity)
        outcome: Outcome = "pending"
        reason = detail = None
        if fault is not None:  # of what is not fetched, a start is enough to find the row
            url, location = url[:MAX_SHOWN_CHARS], location[:MAX_SHOWN_CHARS]
        if first is not None:
            video_id = self._numbered(first, "dup")
            outcome, reason = "rejected", "duplicate_source"
            detail = f"the same source as {first}"
        else:
            video_id = self._id(row.id, computed)
            if fault is not None:
                outcome, (reason, detail) = "failed", fault
        captions = (None, None) if self._subtitles is None else self._subtitles.find(place)
        self._rows.add_row(
            (
                video_id,
                url,
                location,
                place.signature,
                self._first_position + self._count,
                row.title or (title and _short(title)) or None,
                row.license,
                row.channel,
                row.language,
                row.subtitles,
                row.metadata,
                *captions,
                outcome,
                None if reason is None else STAGE,
                reason,
                detail,
            )
        )
        self._count += 1
        self._ids.add(video_id)
        if first is None:
            self._firsts[identity] = video_id

    def _id(self, given: str | None, computed: str) -> str:
        """Returns the id that the list gives if it fits and is free, else the computed one."""
        if given is not None and given not in self._ids and GIVEN_ID.fullmatch(given):
            return given
        return computed if computed not in self._ids else self._numbered(computed, "alt")

    def _numbered(self, video_id: str, mark: str) -> str:
        """Returns the first of `<id>_<mark>1`, `<id>_<mark>2`, ... that is free."""
        while True:
            number = self._numbers[video_id] = self._numbers.get(video_id, 0) + 1
            if (numbered := f"{video_id}_{mark}{number}") not in self._ids:
                return numbered


def id_of_url(url: str) -> str:
    """Returns the id that a source at a URL has, unless the list gives it another."""
    tube = youtube_id(url)
    return f"yt_{tube}" if tube else _hashed(canonical_url(url))


def _fault(address: str) -> tuple[str, str] | None:
    """Returns why an address is of no use, as reason and detail, or None."""
    if len(address) > MAX_ADDRESS_CHARS:
        return "bad_address", f"{len(address)} characters, at most {MAX_ADDRESS_CHARS}"
    if "\0" in address:
        return "bad_address", "it holds a NUL character"
    scheme = scheme_of(address)
    if scheme is not None and not is_fetchable(address):
        return "unsupported_scheme", f"{scheme}: is not fetched; expected http, https or a path"
    return None


def _hashed(identity: str) -> str:
    return f"x_{hashlib.sha256(_exact(identity)).hexdigest()[:16]}"


def _exact(text: str) -> bytes:
    """Returns the bytes of a path or URL, those on disk where a file name is not UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # no file name either
        return text.encode("utf-8", "surrogatepass")


def _short(text: str) -> str:
    """Returns `one_line(text)`, at once where it plainly is one line already."""
    plain = text.isascii() and text.isprintable() and len(text) <= 300 and " " not in text
    return text if plain else one_line(text)
