"""What is made of good pages: formats, subtitles, lists; and who ends when."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest

from reelscript.pipeline.errors import StageError, StorageError, UsageError
from reelscript.transforms.sites import supervise
from reelscript.transforms.sites.fetch import fetch_from_site
from reelscript.transforms.sites.job import Job
from reelscript.transforms.sites.options import SiteOptions
from reelscript.transforms.sites.video import Entry, SitePlaylist, SiteVideo
from reelscript.transforms.web.addresses import AddressGuard
from reelscript.transforms.web.download import Limits
from reelscript.transforms.web.manners import Manners
from reelscript.transforms.web.terms import Web
from tests.hostile_web import BEEPS_S, CUES, MIB, HostileWeb, hostile_web, media_files
from tests.media_made import beeps_in, number_in

LIMITS = Limits(4 * MIB, 2.0, 60.0, 3, 1, 0.01, 5.0)


@pytest.fixture
def server() -> Iterator[HostileWeb]:
    """A server that has not been asked yet."""
    with hostile_web() as web:
        yield web


def web_of(tmp_path: Path, **changed: Any) -> Web:
    """Returns how the server is asked."""
    manners = Manners(tmp_path / "state", "run", preset="none")
    return Web(replace(LIMITS, **changed), "test", AddressGuard(("127.0.0.1",)), manners)


def fetch(
    server: HostileWeb, path: str, tmp_path: Path, sound_only: bool = False, **options: Any
) -> SiteVideo | SitePlaylist:
    """Returns what is at a path."""
    asked = SiteOptions(**options)
    return fetch_from_site(server.at(path), tmp_path, web_of(tmp_path), asked, sound_only)


# what is there


def test_sites_track_of_a_page_is_kept_beside_its_video(server: HostileWeb, tmp_path: Path) -> None:
    page = "/page/x?video=/ok/video.mp4&track=/ok/cues.vtt&title=A ball"
    found = fetch(server, page, tmp_path, subtitle_languages=("de", "en"))
    assert isinstance(found, SiteVideo)
    assert found.subtitles is not None
    assert found.subtitles.path.read_text() == CUES
    assert (found.subtitles.language, found.subtitles.kind) == ("en", "manual")
    assert found.subtitles.format == "vtt"
    assert found.info["title"] == "A ball"
    assert found.info["webpage_url"].startswith(server.at("/page/x?"))


def test_sites_ask_for_no_subtitles_where_none_are_wanted(
    server: HostileWeb, tmp_path: Path
) -> None:
    found = fetch(server, "/page/x?video=/ok/video.mp4&track=/ok/cues.vtt", tmp_path)
    assert isinstance(found, SiteVideo)
    assert found.subtitles is None
    assert server.times("/ok/cues.vtt") == 0


@pytest.mark.parametrize(
    "track",
    ["/404/cues.vtt", "/stalled/cues.vtt", "/huge-page/cues.vtt", "http://10.0.0.1/cues.vtt"],
)
def test_sites_video_is_there_whatever_becomes_of_its_subtitles(
    track: str, server: HostileWeb, tmp_path: Path
) -> None:
    page = f"/page/x?video=/ok/video.mp4&track={track}"
    found = fetch(server, page, tmp_path, subtitle_languages=("en",))
    assert isinstance(found, SiteVideo)
    assert found.path.read_bytes() == media_files()["video.mp4"]
    assert found.subtitles is None


def test_sites_title_of_a_page_names_no_file(server: HostileWeb, tmp_path: Path) -> None:
    page = "/page/x?video=/ok/video.mp4&title=..%2F..%2F..%2Ftmp%2Fx%00%0A%1b[31m%E2%80%AE"
    found = fetch(server, page, tmp_path)
    assert isinstance(found, SiteVideo)
    assert found.path.parent == tmp_path
    assert found.path.name.isascii()
    assert found.info["title"].isprintable()
    assert not set("\n\x1b\u202e") & set(found.info["title"])


def test_sites_page_with_several_videos_is_a_list(server: HostileWeb, tmp_path: Path) -> None:
    page = "/page/x?video=/ok/video.mp4&video=/ok/large.mp4&video=/ok/video.mp4&title=Two"
    found = fetch(server, page, tmp_path)
    assert found == SitePlaylist(
        "Two",
        (
            Entry(server.at("/ok/video.mp4"), "Two (1)"),
            Entry(server.at("/ok/large.mp4"), "Two (2)"),
        ),
    )
    assert len(server.asked) == 1


def test_sites_feed_is_a_list_cut_off_where_it_is_asked_to_be(
    server: HostileWeb, tmp_path: Path
) -> None:
    places = [
        "https://a.example/1.mp4",
        "file:///etc/passwd",
        "//b.example/3",
        "https://c.example/",
    ]
    feed = "/rss/x?" + "&".join(f"video={place}" for place in places)
    found = fetch(server, feed, tmp_path, max_playlist_videos=3)
    assert found == SitePlaylist(
        "A feed",
        (Entry("https://a.example/1.mp4", "Number 0"), Entry("https://b.example/3", "Number 2")),
        more=True,
    )
    found = fetch(server, feed, tmp_path, max_playlist_videos=4)
    assert isinstance(found, SitePlaylist)
    assert [entry.url for entry in found.entries][2:] == ["https://c.example/"]
    assert not found.more


def test_sites_stream_in_segments_is_one_file(server: HostileWeb, tmp_path: Path) -> None:
    found = fetch(server, "/ok/muxed.m3u8", tmp_path)
    assert isinstance(found, SiteVideo)
    files = media_files()
    names = sorted(name for name in files if name.startswith("muxed") and name.endswith(".ts"))
    assert found.path.read_bytes() == b"".join(files[name] for name in names)
    assert found.info["played_s"] == pytest.approx(8.0, abs=0.1)


def test_sites_picture_and_sound_that_come_apart_are_put_together(
    server: HostileWeb, tmp_path: Path
) -> None:
    found = fetch(server, "/ok/apart.m3u8", tmp_path)
    assert isinstance(found, SiteVideo)
    with av.open(str(found.path)) as merged:
        shown = [(f.time, number_in(f)) for f in merged.decode(video=0)]
    with av.open(str(found.path)) as merged:
        heard = list(merged.decode(audio=0))
    start_s = float(heard[0].time or 0.0)
    samples = [sample for frame in heard for sample in frame.to_ndarray()[0]]
    assert [number for _, number in shown] == list(range(96))
    zero_s = shown[0][0]  # of the clock that both shared when they were made
    assert [at - zero_s for at, _ in shown] == pytest.approx([k / 12 for k in range(96)], abs=0.002)
    loud = beeps_in((np.array(samples) * 32767).astype(np.int16), heard[0].sample_rate)
    assert [at + start_s - zero_s for at in loud] == pytest.approx(BEEPS_S, abs=0.03)
    again = fetch(server, "/ok/apart.m3u8", tmp_path)
    assert isinstance(again, SiteVideo)
    assert again.sha256 == found.sha256


def test_sites_sound_alone_is_fetched_without_its_picture(
    server: HostileWeb, tmp_path: Path
) -> None:
    found = fetch(server, "/ok/apart.m3u8", tmp_path, sound_only=True)
    assert isinstance(found, SiteVideo)
    segments = [asked.path for asked in server.asked if asked.path.endswith(".ts")]
    assert segments == [f"/ok/heard{k}.ts" for k in range(len(segments))]


def test_sites_fetch_no_video_for_its_sound(server: HostileWeb, tmp_path: Path) -> None:
    with pytest.raises(StageError) as raised:
        fetch(server, "/page/x?video=/ok/video.mp4", tmp_path, sound_only=True)
    assert raised.value.kind == "no_sound_alone"
    assert server.times("/ok/") == 0


# as whom


def test_sites_cookies_are_sent_and_never_written(server: HostileWeb, tmp_path: Path) -> None:
    line = "127.0.0.1\tFALSE\t/\tFALSE\t0\tkey\tsecret\n"
    cookies = tmp_path / "cookies.txt"
    cookies.write_text(f"# Netscape HTTP Cookie File\n{line}")
    before = cookies.stat().st_mtime_ns
    out = tmp_path / "out"
    out.mkdir()
    fetch(server, "/page/x?video=/ok/video.mp4", out, cookies_file=str(cookies))
    assert {asked.headers.get("Cookie") for asked in server.asked} == {"key=secret"}
    assert cookies.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "options",
    [
        {"cookies_file": "/no/such/file"},
        {"cookies_from_browser": "nobrowser"},
        {"extractor_args": ("noargument",)},
        {"proxy": "gopher://127.0.0.1:70"},
    ],
)
def test_sites_settings_that_cannot_be_used_blame_no_video(
    options: dict[str, Any], server: HostileWeb, tmp_path: Path
) -> None:
    with pytest.raises(UsageError):
        fetch(server, "/ok/video.mp4", tmp_path, **options)
    assert not server.asked


def test_sites_proxy_may_be_private_and_what_is_behind_it_not(
    server: HostileWeb, tmp_path: Path
) -> None:
    web = replace(web_of(tmp_path), proxy=server.url, guard=AddressGuard())
    url = "http://93.184.215.14/page/x?video=/ok/video.mp4"
    found = fetch_from_site(url, tmp_path, web, SiteOptions())
    assert isinstance(found, SiteVideo)
    assert server.asked[-1].path == "http://93.184.215.14/ok/video.mp4"
    with pytest.raises(StageError) as raised:
        fetch_from_site("http://10.0.0.1/ok/video.mp4", tmp_path, web, SiteOptions())
    assert raised.value.kind == "private_address"
    assert len(server.asked) == 2


# who ends when


def test_sites_manners_that_cannot_be_kept_blame_no_video(
    server: HostileWeb, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    web = replace(web_of(tmp_path), manners=Manners(tmp_path / "file" / "state", "run"))
    with pytest.raises(StorageError):
        fetch_from_site(server.at("/ok/video.mp4"), tmp_path, web, SiteOptions())


def test_sites_process_that_gives_no_answer_is_one_failed_source(
    server: HostileWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "CHILD", "this")  # prints, and ends
    with pytest.raises(StageError) as raised:
        fetch(server, "/ok/video.mp4", tmp_path)
    assert raised.value.kind == "crashed"


def test_sites_child_ends_with_a_parent_that_is_killed(server: HostileWeb, tmp_path: Path) -> None:
    job = Job(
        server.at("/silent/x"), tmp_path, web_of(tmp_path, timeout_s=50.0), SiteOptions(), False, 50
    )
    (tmp_path / "job").write_bytes(pickle.dumps(job))
    code = (
        "import pickle, sys; from reelscript.transforms.sites.supervise import answer_of; "
        "answer_of(pickle.load(open(sys.argv[1], 'rb')))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "job")]) as parent:
        while not server.asked:
            time.sleep(0.02)
        (child,) = psutil.Process(parent.pid).children()
        parent.kill()
    child.wait(20)  # raises if it lives on
