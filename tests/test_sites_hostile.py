"""yt-dlp's own extractor for any page, in a child process, against a web that does all it can."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reelscript.pipeline.errors import StageError
from reelscript.transforms.sites import fetch as sites_fetch
from reelscript.transforms.sites import supervise
from reelscript.transforms.sites.fetch import fetch_from_site
from reelscript.transforms.sites.job import Job
from reelscript.transforms.sites.options import SiteOptions
from reelscript.transforms.sites.video import SitePlaylist, SiteVideo
from reelscript.transforms.web.addresses import AddressGuard
from reelscript.transforms.web.download import Limits
from reelscript.transforms.web.manners import Manners, Rates
from reelscript.transforms.web.terms import Web
from tests.hostile_web import MIB, HostileWeb, hostile_web, media_files

LIMITS = Limits(
    max_bytes=2 * MIB,
    timeout_s=1.0,
    total_s=60.0,
    max_redirects=3,
    retries=1,
    backoff_s=0.01,
    max_wait_s=5.0,
)
OPTIONS = SiteOptions(subtitle_languages=("en",), max_playlist_videos=3)
PRIVATE = "http://10.0.0.1/x.mp4"
VIDEO = media_files()["video.mp4"]
METADATA = "http://169.254.169.254/latest"


@pytest.fixture
def server() -> Iterator[HostileWeb]:
    """A server that has not been asked yet."""
    with hostile_web() as web:
        yield web


def web_of(tmp_path: Path, limits: Limits = LIMITS, rates: Rates | None = None) -> Web:
    """Returns how the server is asked."""
    manners = Manners(tmp_path / "state", "run", rates or Rates(), "none")
    agent = "reelscript/test (+me@example.org)"
    return Web(limits, agent, AddressGuard(("127.0.0.0/8",)), manners)


def fetch(
    server: HostileWeb, path: str, tmp_path: Path, web: Web | None = None
) -> SiteVideo | SitePlaylist:
    """Returns what is at a path, once nothing but what was found is left in the folder."""
    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True)
    found: SiteVideo | SitePlaylist | None = None
    try:
        found = fetch_from_site(server.at(path), folder, web or web_of(tmp_path), OPTIONS)
        return found
    finally:
        kept = set()
        if isinstance(found, SiteVideo):
            kept = {found.path} | ({found.subtitles.path} if found.subtitles else set())
        assert set(folder.iterdir()) == kept


SAYS_NO = {
    # path: kind, most requests, most bytes of bodies
    "/404/x": ("http_404", 1, 0),
    "/status/401/x": ("http_401", 1, 0),
    "/status/403/x": ("http_403", 1, 0),
    "/status/410/x": ("http_410", 1, 0),
    "/endless-403/x": ("http_403", 1, 6 * MIB),  # what fits into the system's buffers
    "/challenge/x": ("blocked", 1, 100),
    "/attention/x": ("blocked", 1, 100),
    "/limited/x": ("blocked", 2, 0),
    "/limited-long/x": ("blocked", 1, 0),
    "/busy/x": ("http_503", 2, 0),
    "/silent/x": ("timed_out", 2, 0),
    "/reset/x": ("connection_failed", 2, 0),
    "/page/x": ("no_video_found", 1, 1000),
    "/rss/x": ("no_video_found", 1, 1000),
    "/rss/x?video=file:///etc/passwd": ("no_video_found", 1, 1000),
    # in the media that a page leads to: the page is asked again, as it may give another address
    "/page/x?video=/limited/video.mp4": ("blocked", 4, 1000),
    "/page/x?video=/challenge/video.mp4": ("blocked", 2, 1000),
    "/page/x?video=/status/403/video.mp4": ("http_403", 4, 1000),
    "/page/x?video=/404/video.mp4": ("http_404", 2, 1000),
    "/page/x?video=/html-video/video.mp4": ("no_video_found", 2, 1000),
    # bodies that end early: both attempts, each a look at what it is and a download
    "/truncated/video.mp4": ("truncated", 4, MIB),
    "/unmeasured/video.mp4": ("truncated", 4, MIB),
    "/stalled/video.mp4": ("timed_out", 4, MIB),
    "/empty/video.mp4": ("truncated", 4, 0),
    "/json-ld/x?video=/ok/video.mp4&duration=PT600S": ("truncated", 6, 2 * MIB),
    # bodies without end
    "/endless/video.mp4": ("too_large", 2, 12 * MIB),
    "/terabytes/video.mp4": ("too_large", 2, 6 * MIB),
    "/huge-page/x": ("too_large", 1, 6 * MIB),
    "/endless-page/x": ("too_large", 1, 16 * MIB),
    "/bomb/x": ("too_large", 1, MIB),
    # ways that lead nowhere
    "/loop/x": ("too_many_redirects", 5, 0),
    "/hops/4/x": ("too_many_redirects", 4, 0),
    "/onward/0": ("too_many_redirects", 10, 10_000),
    "/to/x?url=file:///etc/passwd": ("unsupported_scheme", 1, 0),
    "/to/x?url=ftp://127.0.0.1/x": ("unsupported_scheme", 1, 0),
    f"/to/x?url={PRIVATE}": ("private_address", 1, 0),
    f"/to/x?url={METADATA}": ("private_address", 1, 0),
    f"/page/x?video={PRIVATE}": ("private_address", 1, 1000),
    "/page/x?video=file:///etc/passwd": ("no_format", 1, 1000),
    # manifests: nobody but us fetches, and not everything
    "/manifest/x.m3u8?segment=file:///etc/passwd": ("unsupported_scheme", 4, 2000),
    f"/manifest/x.m3u8?segment={METADATA}": ("private_address", 4, 2000),
    "/manifest/x.m3u8?segment=/ok/muxed0.ts&segment=/404/muxed1.ts": ("http_404", 6, MIB),
    "/manifest/x.m3u8?segment=/ok/muxed0.ts&live=1": ("is_live", 3, 2000),
    "/manifest/x.m3u8?segment=/ok/muxed0.ts&key=METHOD%3DAES-128,URI%3D%22file:///etc/passwd%22": (
        "unsupported_scheme",
        5,
        MIB,
    ),
    f"/manifest/x.m3u8?segment=/ok/muxed0.ts&key=METHOD%3DAES-128,URI%3D%22{METADATA}%22": (
        "private_address",
        5,
        MIB,
    ),
    # yt-dlp would hand these on to ffmpeg, which asks whom it likes
    "/manifest/x.m3u8?segment=/ok/muxed0.ts&key=METHOD%3DSAMPLE-AES,URI%3D%22/ok/k%22": (
        "unsupported_stream",
        4,
        2000,
    ),
}


@pytest.mark.parametrize("path", SAYS_NO)
def test_sites_name_what_is_wrong_in_bounded_requests_and_bytes(
    path: str, server: HostileWeb, tmp_path: Path
) -> None:
    kind, most_requests, most_bytes = SAYS_NO[path]
    with pytest.raises(StageError) as raised:
        fetch(server, path, tmp_path)
    assert raised.value.kind == kind
    assert "Traceback" not in raised.value.detail
    assert "\n" not in raised.value.detail
    assert len(server.asked) <= most_requests
    assert server.sent_bytes() <= most_bytes


MENDS = {
    "/ok/video.mp4": 2,
    "/whole-unmeasured/video.mp4": 2,
    "/hops/3/x": 6,
    "/endless-redirect/x": 4,
    "/busy-once/video.mp4": 3,
    "/limited-once/video.mp4": 3,
    "/cut-once/video.mp4": 4,
    "/page/x?video=/ok/video.mp4": 2,
    "/page/x?video=/busy-once/video.mp4": 4,
    "/page/x?video=/cut-once/video.mp4": 4,
    "/json-ld/x?video=/ok/video.mp4": 3,
}


@pytest.mark.parametrize("path", MENDS)
def test_sites_give_the_very_bytes_once_they_can_be_had(
    path: str, server: HostileWeb, tmp_path: Path
) -> None:
    found = fetch(server, path, tmp_path)
    assert isinstance(found, SiteVideo)
    assert found.path.read_bytes() == VIDEO
    assert found.size_bytes == len(VIDEO)
    assert len(server.asked) == MENDS[path]


def test_sites_slow_server_is_given_up_when_time_is_over(
    server: HostileWeb, tmp_path: Path
) -> None:
    web = web_of(tmp_path, replace(LIMITS, total_s=4.0))
    with pytest.raises(StageError, match="not finished within 4 s") as raised:
        fetch(server, "/slow/video.mp4", tmp_path, web)
    assert raised.value.kind == "timed_out"


def test_sites_resume_where_a_body_broke_off(server: HostileWeb, tmp_path: Path) -> None:
    fetch(server, "/page/x?video=/cut-once/video.mp4", tmp_path)
    half = len(VIDEO) // 2
    assert server.asked[-1].headers["Range"] == f"bytes={half}-"


def test_sites_begin_anew_at_a_server_without_ranges(server: HostileWeb, tmp_path: Path) -> None:
    server.files["pieces.mp4"] = VIDEO
    found = fetch(server, "/page/x?video=/cut-no-ranges/pieces.mp4", tmp_path)
    assert isinstance(found, SiteVideo)
    assert found.path.read_bytes() == VIDEO


def test_sites_failures_do_not_add_up_while_a_video_grows(
    server: HostileWeb, tmp_path: Path
) -> None:
    """A long video may break off more often than `retries`: each time at least 1 MiB came."""
    server.files["long.mp4"] = VIDEO + bytes(6 * MIB)
    web = web_of(tmp_path, replace(LIMITS, max_bytes=16 * MIB))
    found = fetch(server, "/page/x?video=/pieces/long.mp4", tmp_path, web)
    assert isinstance(found, SiteVideo)
    assert found.path.read_bytes() == server.files["long.mp4"]
    assert server.times("/pieces/") == 4


def test_sites_count_blocked_answers_and_forget_them_after_a_good_one(
    server: HostileWeb, tmp_path: Path
) -> None:
    web = web_of(tmp_path, rates=Rates(blocked_after=2))
    site = server.url.removeprefix("http://")
    with pytest.raises(StageError, match="challenge by Cloudflare"):
        fetch(server, "/challenge/a", tmp_path, web)
    found = fetch(server, "/ok/video.mp4", tmp_path, web)
    assert isinstance(found, SiteVideo)
    found.path.unlink()
    with pytest.raises(StageError, match="challenge by Cloudflare"):
        fetch(server, "/challenge/b", tmp_path, web)
    assert web.manners.blocked(site) is None
    with pytest.raises(StageError, match="challenge by Cloudflare"):
        fetch(server, "/challenge/c", tmp_path, web)
    assert web.manners.blocked(site) is not None
    before = len(server.asked)
    with pytest.raises(StageError) as raised:
        fetch(server, "/ok/video.mp4", tmp_path, web)
    assert raised.value.kind == "blocked"
    assert len(server.asked) == before, "a blocked site is not asked again"


def test_sites_keep_of_their_attempts_the_last_formats_alone(
    server: HostileWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an address that offers another stream at each visit is asked for ever, and all kept."""
    lay_bytes = []

    def answer_of(job: Job) -> dict[str, Any]:
        answer = supervise.answer_of(job)
        lay_bytes.append(sum(f.stat().st_size for f in job.folder.rglob("*") if f.is_file()))
        return answer

    monkeypatch.setattr(sites_fetch, "answer_of", answer_of)
    server.files["long.ts"] = bytes(MIB + MIB // 4)
    web = web_of(tmp_path, replace(LIMITS, retries=2, total_s=20.0))
    with pytest.raises(StageError) as raised:
        fetch(server, "/renewed/x.m3u8?segment=/ok/long.ts", tmp_path, web)
    assert raised.value.kind == "http_503"
    assert len(lay_bytes) == 3, "nothing has grown: all are failures"
    assert min(lay_bytes) > MIB
    assert max(lay_bytes) < LIMITS.max_bytes


def test_sites_bound_what_all_attempts_together_bring_in(
    server: HostileWeb, tmp_path: Path
) -> None:
    server.files["long.mp4"] = VIDEO + bytes(6 * MIB)
    web = web_of(tmp_path, replace(LIMITS, max_bytes=7 * MIB, retries=50))
    with pytest.raises(StageError) as raised:
        fetch(server, "/page/x?video=/truncated/long.mp4", tmp_path, web)
    assert raised.value.kind == "truncated"
    assert server.times("/truncated/") == 5, "3 MiB each, until twice max_bytes came in"


def test_sites_count_blocked_answers_of_each_site_that_was_asked(
    server: HostileWeb, tmp_path: Path
) -> None:
    """A page here, its media there: what is in a row is so at one of them."""
    web = web_of(tmp_path, replace(LIMITS, retries=0), Rates(blocked_after=2))
    here = server.url.removeprefix("http://")
    with hostile_web() as media:
        there = media.url.removeprefix("http://")
        good = f"/page/x?video={media.at('/ok/video.mp4')}"
        blocked = f"/page/x?video={media.at('/challenge/video.mp4')}"
        fetch_or_not(server, [blocked, good, blocked], tmp_path, web)
        assert web.manners.blocked(there) is None, "a good one was between"
        fetch_or_not(server, ["/challenge/x", blocked, "/challenge/x"], tmp_path, web)
    assert web.manners.blocked(there)
    assert web.manners.blocked(here) is None, "the page between was good, its media elsewhere not"
    own = "/page/x?video=/challenge/video.mp4"
    fetch_or_not(server, ["/page/x?video=/ok/video.mp4", own, own], tmp_path, web)
    assert web.manners.blocked(here), "a good page does not make up for its media"


def fetch_or_not(server: HostileWeb, paths: list[str], tmp_path: Path, web: Web) -> None:
    """Fetches some of those that are challenged and others that are not."""
    for path in paths:
        with contextlib.suppress(StageError):
            found = fetch(server, path, tmp_path, web)
            assert isinstance(found, SiteVideo)
            found.path.unlink()


def test_sites_space_requests_as_the_rates_say(server: HostileWeb, tmp_path: Path) -> None:
    web = web_of(tmp_path, rates=Rates(requests_per_min=120))
    fetch(server, "/ok/muxed.m3u8", tmp_path, web)
    times = [asked.at_s for asked in server.asked]
    assert len(times) == 8
    assert times[-1] - times[0] >= 7 * 0.5 * 0.95


def test_sites_read_no_faster_than_the_rates_say(server: HostileWeb, tmp_path: Path) -> None:
    web = web_of(tmp_path, rates=Rates(bytes_per_min=6_000_000.0))
    server.files["long.mp4"] = VIDEO + bytes(300_000)
    fetch(server, "/page/x?video=/ok/long.mp4", tmp_path, web)
    took_s = time.monotonic() - server.asked[-1].at_s
    assert took_s >= 4.4 * 0.95 - 1.0, "448 kB at 100 kB/s, one second's worth ahead of its time"


def test_sites_say_who_asks(server: HostileWeb, tmp_path: Path) -> None:
    fetch(server, "/page/x?video=/ok/video.mp4", tmp_path)
    agents = {asked.headers["User-Agent"] for asked in server.asked}
    assert agents == {"reelscript/test (+me@example.org)"}
