"""The videos that playlists, channels and feeds among the sources stand for, as sources too.

Whether a page is a playlist is known once it was asked for. So `acquire` finds out, keeps the list,
and rejects the page itself (`playlist`: its row tells how many videos it has). The list then
becomes rows of its own, behind those of the source list, which the same build goes on to measure.
A playlist is asked once: what is added to it later is found with `--retry-failed playlist`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.sources.ids import Listing
from reelscript.jobs.sources.lists import Row
from reelscript.jobs.sources.places import Place
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.site import Site
from reelscript.schemas.videos import Videos
from reelscript.transforms.urls import canonical_url, scheme_of

COLUMNS = ("location", "playlist_videos", "site")
"""What must be known of the ledger's rows."""
MOST_ROUNDS = 4  # a channel, its tabs, a playlist in one of them, its videos


def with_playlists(listed: Videos, known: pa.Table, workspace: Workspace) -> Videos:
    """Returns the sources, and behind them what those of them stand for that are playlists.

    A video that is a source already, by its canonical URL, gets no row of its own.

    Args:
        listed: the sources.
        known: `Ledger.latest(COLUMNS)`.
        workspace: where the lists lie.
    """
    found = known.filter(pc.is_valid(known["playlist_videos"]))
    if not len(found):
        return listed
    lists = dict(zip(found["location"].to_pylist(), found["site"].to_pylist(), strict=True))
    for _ in range(MOST_ROUNDS):
        more = _entries(listed, lists, workspace)
        if not len(more):
            break
        listed = Videos(pa.concat_tables([listed.table, more.table.cast(listed.table.schema)]))
    return listed


def _entries(listed: Videos, lists: dict[str, str], workspace: Workspace) -> Videos:
    """Returns the new sources that the lists of listed playlists hold."""
    locations = listed.column("location").to_pylist()
    seen = {canonical_url(at) for at in locations if scheme_of(at) is not None}
    listing = Listing(before=listed)
    for url in _urls((lists[at] for at in locations if at in lists), workspace):
        if (same := canonical_url(url)) not in seen:
            seen.add(same)
            listing.add(Place(Row(0, url), url))
    return listing.videos()


def _urls(digests: Iterator[str], workspace: Workspace) -> Iterator[str]:
    for digest in dict.fromkeys(digests):
        yield from workspace.get_record(Site, digest).entries or ()
