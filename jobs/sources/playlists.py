"""The videos that playlists, channels and feeds among the sources stand for, as sources too.

Whether a page is a playlist is known once it was asked for. So `acquire` finds out, remembers what
the list holds, and rejects the page itself (`playlist`: its row tells how many). What it holds then
becomes rows of its own, behind those of the source list, which the same build goes on to measure.
A playlist is asked once, and with `--retry-failed playlist` again: what is new goes behind what was
there, and what is gone from it stays a source.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import pyarrow as pa

from reelscript.jobs.sources.ids import Listing, id_of_url
from reelscript.jobs.sources.lists import Row
from reelscript.jobs.sources.places import Place
from reelscript.pipeline.store import Store
from reelscript.schemas.videos import Videos
from reelscript.transforms.acquire import PLAYLIST
from reelscript.transforms.urls import scheme_of

MOST_DEPTH = 4  # a channel, its tabs, a playlist in one of them, its videos

Playlists = Mapping[str, Sequence[str]]
"""Id of an address, as the listing computes it -> addresses of what the playlist there holds."""


def known_playlists(work: Store) -> Playlists:
    """Returns what acquire has found to be playlists, in any build with this work folder."""
    found: dict[str, Sequence[str]] = {}
    for name in work.names(f"results/{PLAYLIST}"):
        with suppress(FileNotFoundError, ValueError, LookupError, TypeError):  # damaged: asked anew
            record = json.loads(work.get(name))
            found[id_of_url(record["of"])] = [str(url) for url in record["entries"]]
    return found


def with_playlists(listed: Videos, known: Playlists, most_videos: int) -> Videos:
    """Returns the sources, and behind them what those of them stand for that are playlists.

    A video that is a source already gets no row of its own. The result follows from the arguments
    alone: the same list and the same playlists give the same rows in the same order.

    Args:
        listed: the sources of the list, none that came from playlists.
        known: which of them are playlists.
        most_videos: that one of them stands for, playlists in playlists included.
    """
    if not known:
        return listed
    locations = [at for at in listed.column("location").to_pylist() if scheme_of(at) is not None]
    seen = {id_of_url(at) for at in locations}
    listing = Listing(before=listed)
    for root in locations:
        if id_of_url(root) in known:
            for url in _new_ones(root, known, most_videos, seen):
                listing.add(Place(Row(0, url), url))
    if not len(listing):
        return listed
    more = listing.videos().table.cast(listed.table.schema)
    return Videos(pa.concat_tables([listed.table, more]))


def _new_ones(root: str, known: Playlists, most_videos: int, seen: set[str]) -> Iterator[str]:
    """Yields what a playlist stands for, the nearest first, and notes it as seen."""
    level, count = [root], 0
    for _ in range(MOST_DEPTH):
        entries = [url for at in level for url in known.get(id_of_url(at), ())]
        level = []
        for url in entries:
            if count == most_videos:
                return
            if (same := id_of_url(url)) not in seen:
                seen.add(same)
                level.append(url)
                count += 1
                yield url
