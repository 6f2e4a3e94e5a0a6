"""What playlists among the sources stand for, and what a site keeps from us for now."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from reelscript.jobs.blocked import Blocked
from reelscript.jobs.sources.listing import list_sources
from reelscript.jobs.sources.playlists import MOST_DEPTH, known_playlists, with_playlists
from reelscript.pipeline.errors import SitesBlocked
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.schemas.videos import Videos
from reelscript.transforms.acquire import Acquire

LIST = "https://example.org/list"
CHANNEL = "https://example.org/@channel"


def videos_of(
    tmp_path: Path, lists: dict[str, list[str]], *listed: str, most: int = 1000
) -> Videos:
    """Returns the sources, after acquire has found out what some of them stand for."""
    workspace = Workspace(Store(f"memory://{uuid.uuid4().hex}"), tmp_path)
    for url, entries in lists.items():
        key = Acquire().key(Video(video_id="l", url=url, location=url))
        workspace.remember("playlist", key, {"of": url, "entries": entries})
    (tmp_path / "list.csv").write_text("url,id\n" + "".join(f"{row}\n" for row in listed))
    sources = list_sources(str(tmp_path / "list.csv"), tmp_path)
    return with_playlists(sources, known_playlists(workspace.store), most)


def test_playlists_stand_for_their_videos_behind_the_list(tmp_path: Path) -> None:
    entries = ["https://example.org/b.mp4", "https://www.youtube.com/watch?v=abcdefghijk"]
    found = videos_of(tmp_path, {LIST: entries}, f"{LIST},", "https://example.org/a.mp4,")
    assert [v.location for v in found] == [LIST, "https://example.org/a.mp4", *entries]
    assert [v.position for v in found] == [0, 1, 2, 3]
    assert found[3].video_id == "yt_abcdefghijk"
    assert all(v.pending for v in found)


def test_playlists_give_no_second_row_to_a_source(tmp_path: Path) -> None:
    entries = ["HTTPS://EXAMPLE.ORG:443/a.mp4#t=3", "https://youtu.be/abcdefghijk"]
    same = "https://www.youtube.com/watch?v=abcdefghijk&t=10s"
    other = "https://www.youtube.com/watch?v=kjihgfedcba"
    listed = (f"{LIST},", "https://example.org/a.mp4,mine", "https://youtu.be/kjihgfedcba,")
    found = videos_of(tmp_path, {LIST: [*entries, same, other, *entries]}, *listed)
    assert [v.video_id for v in found][1:] == ["mine", "yt_kjihgfedcba", "yt_abcdefghijk"]


def test_playlists_that_lead_on_and_on_end(tmp_path: Path) -> None:
    """A feed of one feed, of one feed, ...: as deep as a channel may be, and no deeper."""
    chain = {f"{LIST}/{n}": [f"{LIST}/{n + 1}"] for n in range(50)}
    found = videos_of(tmp_path, chain, f"{LIST}/0,")
    assert [v.location for v in found] == [f"{LIST}/{n}" for n in range(MOST_DEPTH + 1)]


def test_playlists_stand_for_so_many_videos_and_no_more(tmp_path: Path) -> None:
    lists = {f"{LIST}/{a}": [f"{LIST}/{a}{b}" for b in "0123456789"] for a in ["0", "00", "01"]}
    found = videos_of(tmp_path, lists, f"{LIST}/0,", most=15)
    assert len(found) == 1 + 15


def test_playlists_whose_record_is_damaged_are_none(tmp_path: Path) -> None:
    store = Store(f"memory://{uuid.uuid4().hex}")
    store.put("results/playlist/ab/abcd.json", b"{")
    store.put("results/playlist/ab/abce.json", b"[]")
    assert known_playlists(store) == {}


def test_playlists_may_hold_playlists(tmp_path: Path) -> None:
    lists = {
        CHANNEL: [f"{CHANNEL}/videos", f"{CHANNEL}/shorts"],
        f"{CHANNEL}/videos": ["https://example.org/1.mp4", CHANNEL],
        f"{CHANNEL}/shorts": ["https://example.org/2.mp4", f"{CHANNEL}/videos"],
    }
    found = videos_of(tmp_path, lists, f"{CHANNEL},")
    assert [v.location for v in found] == [
        CHANNEL,
        f"{CHANNEL}/videos",
        f"{CHANNEL}/shorts",
        "https://example.org/1.mp4",
        "https://example.org/2.mp4",
    ]


def test_playlists_leave_ids_that_the_list_gives(tmp_path: Path) -> None:
    listed = (f"{LIST},", "https://example.org/a.mp4,yt_abcdefghijk")
    entries = ["https://www.youtube.com/watch?v=abcdefghijk"]
    found = videos_of(tmp_path, {LIST: entries}, *listed)
    assert [v.video_id for v in found][1:] == ["yt_abcdefghijk", "yt_abcdefghijk_alt1"]


def test_playlists_of_strangers_name_no_files(tmp_path: Path) -> None:
    """Whatever stands in a list, it is judged as a source; `sites` gives http and https only."""
    found = videos_of(tmp_path, {LIST: ["file:///etc/passwd", "javascript:1"]}, f"{LIST},")
    assert [(v.outcome, v.reason) for v in found][1:] == [("failed", "unsupported_scheme")] * 2


def test_blocked_sources_are_counted_by_site_and_said_in_one_sentence() -> None:
    blocked = Blocked()
    blocked.raise_if_any()
    youtube = Video(video_id="a", url="a", location="https://youtu.be/abcdefghijk")
    other = Video(video_id="b", url="b", location="https://example.org:8443/x")
    assert not blocked.takes(youtube)
    assert not blocked.takes(youtube.ended("failed", "acquire", "http_403", "no"))
    said = "youtube: Sign in to confirm you're not a bot"
    for _ in range(3):
        assert blocked.takes(youtube.ended("failed", "acquire", "blocked", said))
    assert blocked.takes(other.ended("failed", "acquire", "blocked", "example.org: 429"))
    with pytest.raises(SitesBlocked) as caught:
        blocked.raise_if_any()
    assert "youtube blocks us, 3 of its sources wait" in str(caught.value)
    assert "example.org:8443 blocks us, 1 of" in str(caught.value)
    assert "--publish" in str(caught.value)
