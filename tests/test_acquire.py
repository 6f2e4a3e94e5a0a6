"""acquire against a server that does everything a server may do wrong."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import socket
import struct
import threading
import time
import tracemalloc
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest

from reelscript.pipeline.stage import Timing, apply
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.transforms.acquire import Acquire
from reelscript.transforms.web.gunzip import Gunzip

MEDIA = bytes(range(256)) * 1200  # 307,200 bytes
SHA256 = hashlib.sha256(MEDIA).hexdigest()
MIB = 1 << 20
QUICK = Acquire(
    backoff_s=0.001,
    max_wait_s=0.01,
    retries=2,
    timeout_s=2.0,
    total_s=20.0,
    blocked_after=1000,
    allow_addresses=("127.0.0.0/8",),
)


class Rude(BaseHTTPRequestHandler):
    """Does what the path says."""

    protocol_version = "HTTP/1.1"
    hits: ClassVar[Counter[str]] = Counter()
    seen: ClassVar[list[dict[str, str]]] = []
    sent_bytes: ClassVar[int] = 0

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].strip("/").partition("/")[0].replace("-", "_")
        type(self).hits[name] += 1
        type(self).seen.append(dict(self.headers))
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client left, as it should
            getattr(self, f"route_{name}", self.route_404)()

    def head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for key, value in {"Connection": "close", **headers}.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()

    def whole(self) -> None:
        self.head(Content_Length=len(MEDIA))
        self.wfile.write(MEDIA)

    def for_ever(self, piece: bytes, pause_s: float = 0.0) -> None:
        type(self).sent_bytes = 0
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            self.wfile.write(piece)
            self.wfile.flush()
            type(self).sent_bytes += len(piece)
            time.sleep(pause_s)

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)  # close() sends RST
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def first(self, name: str, times: int) -> bool:
        return self.hits[name] <= times

    route_ok = whole

    def route_empty(self) -> None:
        self.head(Content_Length=0)

    def route_404(self) -> None:
        self.head(404, Content_Length=0)

    def route_status(self) -> None:
        self.head(int(self.path.split("/")[2]), Content_Length=0)

    def route_busy_once(self) -> None:
        if self.first("busy_once", 1):
            self.head(429, Content_Length=0, Retry_After=0)
        else:
            self.whole()

    def route_busy_until(self) -> None:
        if self.first("busy_until", 1):
            when = datetime.now(UTC) + timedelta(hours=3)
            self.head(503, Content_Length=0, Retry_After=format_datetime(when, usegmt=True))
        else:
            self.whole()

    def route_busy_twice(self) -> None:
        if self.first("busy_twice", 2):
            self.head(503, Content_Length=0)
        else:
            self.whole()

    def route_busy_always(self) -> None:
        self.head(503, Content_Length=0, Retry_After="9" * 400)

    def route_cut_once(self) -> None:
        self.head(Content_Length=len(MEDIA))
        self.wfile.write(MEDIA[:1000] if self.first("cut_once", 1) else MEDIA)

    def route_truncated(self) -> None:
        self.head(Content_Length=len(MEDIA))
        self.wfile.write(MEDIA[:100_000])

    def route_chunks_cut(self) -> None:
        self.head(Transfer_Encoding="chunked")
        self.wfile.write(b"3e8\r\n" + MEDIA[:1000] + b"\r\n")

    def route_length_is_no_number(self) -> None:
        self.head(Content_Length="many")
        self.wfile.write(MEDIA)

    def route_undeclared(self) -> None:
        self.head()
        self.wfile.write(MEDIA)

    def route_drip(self) -> None:
        self.head(Content_Length=len(MEDIA))
        self.for_ever(b"x", pause_s=0.02)

    def route_drip_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self.for_ever(b"x", pause_s=0.02)

    def route_silent(self) -> None:
        time.sleep(1)

    def route_endless(self) -> None:
        self.head()
        self.for_ever(MEDIA)

    def route_endless_refusal(self) -> None:
        self.head(403)
        self.for_ever(MEDIA)

    def route_endless_redirect(self) -> None:
        self.head(302, Location="/ok")
        self.for_ever(MEDIA)

    def route_declares_terabytes(self) -> None:
        self.head(Content_Length=10**12)
        self.for_ever(MEDIA)

    def route_gzip(self) -> None:
        body = gzip.compress(MEDIA)
        self.head(Content_Encoding="gzip", Content_Length=len(body))
        self.wfile.write(body)

    def route_gzip_cut(self) -> None:
        body = gzip.compress(MEDIA)[:-20]
        self.head(Content_Encoding="gzip", Content_Length=len(body))
        self.wfile.write(body)

    def route_gzip_lie(self) -> None:
        self.head(Content_Encoding="gzip", Content_Length=len(MEDIA))
        self.wfile.write(MEDIA)

    def route_bomb(self) -> None:
        body = gzip.compress(bytes(64 * MIB), 9)
        assert len(body) < 100_000
        self.head(Content_Encoding="gzip", Content_Length=len(body))
        self.wfile.write(body)

    def route_brotli(self) -> None:
        self.head(Content_Encoding="br", Content_Length=5)
        self.wfile.write(b"hello")

    def route_loop(self) -> None:
        self.head(302, Location="/loop", Content_Length=0)

    def route_to_file(self) -> None:
        self.head(302, Location="file:///etc/passwd", Content_Length=0)

    def route_to_nonsense(self) -> None:
        self.head(302, Location="http://[::1", Content_Length=0)

    def route_away(self) -> None:
        here = self.server.server_address[1]
        self.head(307, Location=f"http://localhost:{here}/ok", Content_Length=0)

    def route_near(self) -> None:
        self.head(308, Location="/ok", Content_Length=0)

    route_reset = reset

    def route_reset_in_body(self) -> None:
        self.head(Content_Length=len(MEDIA))
        self.wfile.write(MEDIA[:1000])
        self.wfile.flush()
        self.reset()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Rude) as http:
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


@dataclass
class Bench:
    """A workspace, and what lies in it."""

    workspace: Workspace
    server: str = ""
    timings: list[Timing] = field(default_factory=list)

    def acquire(self, location: str, stage: Acquire = QUICK, video_id: str = "x_1") -> Video:
        location = f"{self.server}{location}" if location.startswith("/r/") else location
        location = location.replace("/r/", "/", 1)
        with stage.open() as live:
            video = Video(video_id=video_id, url="u", location=location)
            video, timing = apply(stage, live, video, self.workspace)
        self.timings.append(timing)
        return video

    def objects(self) -> list[str]:
        return list(self.workspace.store.names("objects"))

    def scratch(self) -> list[Path]:
        return [p for p in self.workspace.scratch.rglob("*") if p.is_file()]

    def refused(self, location: str, kind: str, stage: Acquire = QUICK) -> Video:
        """Acquires, and checks that it failed for this reason and left nothing."""
        video = self.acquire(location, stage)
        assert (video.outcome, video.stage, video.reason) == ("failed", "acquire", kind)
        assert video.detail
        assert "\n" not in video.detail
        assert self.timings[-1].trace is None
        assert (video.source_sha256, video.media) == (None, None)
        assert self.objects() == []
        assert self.scratch() == []
        assert list(self.workspace.store.names("results")) == []  # a failure is tried again
        return video


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture(params=["file", "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, server: str) -> Bench:
    url = str(tmp_path / "store") if request.param == "file" else f"memory://{uuid.uuid4().hex}"
    Rude.hits.clear()
    Rude.seen.clear()
    return Bench(Workspace(Store(url), tmp_path / "scratch"), server)


@pytest.fixture
def here(tmp_path: Path, server: str) -> Bench:
    """A bench on disk only, where the kind of store makes no difference."""
    Rude.hits.clear()
    Rude.seen.clear()
    return Bench(Workspace(Store(str(tmp_path / "store")), tmp_path / "scratch"), server)


# What goes well.


def test_acquire_stores_a_download_whole_under_its_digest(bench: Bench) -> None:
    video = bench.acquire("/r/ok")
    assert video.pending
    assert (video.source_sha256, video.source_bytes, video.media) == (SHA256, len(MEDIA), SHA256)
    assert bench.workspace.get(SHA256) == MEDIA
    assert video.retrieved_at is not None
    assert datetime.fromisoformat(video.retrieved_at).tzinfo is not None
    assert bench.scratch() == []
    assert bench.workspace.media(video).read_bytes() == MEDIA


def test_acquire_remembers_a_download_under_its_canonical_url(bench: Bench) -> None:
    first = bench.acquire("/r/ok?b=2&a=1&utm_source=x")
    again = bench.acquire("/r/ok?a=1&b=2#t=3", video_id="x_2")
    assert Rude.hits["ok"] == 1
    assert bench.timings[-1].remembered
    assert (again.media, again.retrieved_at) == (first.media, first.retrieved_at)
    other = replace(QUICK, retries=0, timeout_s=1.0, user_agent="other", max_bytes=10**6)
    assert bench.acquire("/r/ok?a=1&b=2", other).media == first.media
    assert Rude.hits["ok"] == 1
    lower = bench.acquire("/r/ok?a=1&b=2", replace(QUICK, max_bytes=1000))
    assert (lower.outcome, lower.reason) == ("failed", "too_large")


@pytest.mark.parametrize("path", ["/r/undeclared", "/r/gzip", "/r/near", "/r/away", "/r/cut-once"])
def test_acquire_gets_the_same_bytes_whichever_way_they_come(here: Bench, path: str) -> None:
    assert here.acquire(path).media == SHA256
    assert here.workspace.get(SHA256) == MEDIA
    assert here.scratch() == []


def test_acquire_leaves_an_empty_body_to_probe(here: Bench) -> None:
    video = here.acquire("/r/empty")
    assert (video.pending, video.source_bytes) == (True, 0)


def test_acquire_asks_for_plain_bytes_and_says_who_it_is(here: Bench) -> None:
    here.acquire("/r/ok", replace(QUICK, contact="mail@example.org"))
    asked = Rude.seen[-1]
    assert asked["Accept-Encoding"] == "identity"
    assert asked["User-Agent"].startswith("reelscript/")
    assert asked["User-Agent"].endswith(" (+mail@example.org)")
    here.acquire("/r/ok?2", replace(QUICK, user_agent="me"))
    assert Rude.seen[-1]["User-Agent"] == "me"
    with pytest.raises(ValueError, match="ASCII"):
        Acquire(user_agent="a\r\nX-Evil: 1")


def test_acquire_works_where_an_event_loop_runs(here: Bench) -> None:
    import asyncio

    async def cell() -> Video:
        return here.acquire("/r/ok")

    assert asyncio.run(cell()).media == SHA256


# What is tried again, and what is not.


@pytest.mark.parametrize(("path", "hits"), [("busy-once", 2), ("busy-twice", 3), ("busy-until", 2)])
def test_acquire_tries_again_where_the_server_is_busy(bench: Bench, path: str, hits: int) -> None:
    assert bench.acquire(f"/r/{path}").media == SHA256
    assert Rude.hits[path.replace("-", "_")] == hits


@pytest.mark.parametrize(
    ("asked", "waits_s"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("9" * 400, 30.0),  # no more than max_wait_s
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 30.0),
        ("soon", None),
        ("-3", None),
        ("²", None),
        ("", None),
    ],
)
def test_acquire_waits_as_long_as_the_server_asks(asked: str, waits_s: float | None) -> None:
    from tenacity import Future

    from reelscript.transforms.web import answers, download

    class State:
        attempt_number = 3
        outcome = Future(3)

    error = answers.TryAgain("http_503", "", answers.seconds_asked(asked))
    State.outcome.set_exception(error)
    limits = download.Limits(1, 1, 1, 1, 1, backoff_s=0.5, max_wait_s=30.0)
    found = [download._wait(limits)(State()) for _ in range(50)]  # type: ignore[arg-type]
    if waits_s is None:
        assert all(0 <= f <= 2.0 for f in found)
        assert len(set(found)) > 40
    else:
        assert set(found) == {waits_s}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 451, 501, 206, 304, 300])
def test_acquire_does_not_ask_twice_where_the_answer_is_no(here: Bench, status: int) -> None:
    here.refused(f"/r/status/{status}", f"http_{status}")
    assert Rude.hits["status"] == 1


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504])
def test_acquire_gives_up_after_its_retries(here: Bench, status: int) -> None:
    here.refused(f"/r/status/{status}", f"http_{status}")
    assert Rude.hits["status"] == 1 + QUICK.retries


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("truncated", "truncated"),
        ("chunks-cut", "truncated"),
        ("gzip-cut", "truncated"),
        ("reset", "connection_failed"),
        ("reset-in-body", "connection_failed"),
        ("length-is-no-number", "connection_failed"),
        ("to-nonsense", "connection_failed"),
        ("busy-always", "http_503"),
    ],
)
def test_acquire_fails_where_every_attempt_does(bench: Bench, path: str, kind: str) -> None:
    bench.refused(f"/r/{path}", kind)
    assert Rude.hits[path.replace("-", "_")] == 1 + QUICK.retries


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("gzip-lie", "bad_encoding"),
        ("brotli", "bad_encoding"),
        ("to-file", "unsupported_scheme"),
        ("endless-refusal", "http_403"),
    ],
)
def test_acquire_fails_at_once_where_trying_again_is_vain(
    here: Bench, path: str, kind: str
) -> None:
    here.refused(f"/r/{path}", kind)
    assert Rude.hits[path.replace("-", "_")] == 1


def test_acquire_follows_so_many_redirects_and_no_more(here: Bench) -> None:
    here.refused("/r/loop", "too_many_redirects")
    assert Rude.hits["loop"] == 1 + QUICK.max_redirects
    here.refused("/r/near", "too_many_redirects", replace(QUICK, max_redirects=0))


def test_acquire_fails_where_nobody_listens(here: Bench) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here.refused(f"http://127.0.0.1:{port}/x", "connection_failed")


# Bounds.


@pytest.mark.parametrize("path", ["endless", "bomb", "declares-terabytes", "undeclared", "ok"])
def test_acquire_stops_at_max_bytes(bench: Bench, path: str) -> None:
    limit = len(MEDIA) - 1
    stage = replace(QUICK, max_bytes=limit)
    tracemalloc.start()
    bench.refused(f"/r/{path}", "too_large", stage)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert Rude.hits[path.replace("-", "_")] == 1
    assert peak < 16 * MIB or path == "bomb"  # the server makes the bomb in this process


def test_acquire_takes_a_file_of_exactly_max_bytes(here: Bench) -> None:
    assert here.acquire("/r/ok", replace(QUICK, max_bytes=len(MEDIA))).media == SHA256


def test_acquire_does_not_read_the_body_of_a_redirect(here: Bench) -> None:
    assert here.acquire("/r/endless-redirect").media == SHA256
    assert Rude.sent_bytes < 64 * MIB


@pytest.mark.parametrize("path", ["drip", "drip-headers"])
def test_acquire_ends_at_its_deadline_though_bytes_still_come(bench: Bench, path: str) -> None:
    video = bench.refused(f"/r/{path}", "timed_out", replace(QUICK, total_s=0.4))
    assert "0.4 s" in (video.detail or "")
    assert Rude.hits[path.replace("-", "_")] == 1


def test_acquire_ends_at_its_deadline_while_it_waits_for_a_busy_server(here: Bench) -> None:
    here.refused("/r/busy-always", "timed_out", replace(QUICK, total_s=0.3, max_wait_s=60))
    assert Rude.hits["busy_always"] == 1


def test_acquire_does_not_wait_long_for_a_silent_server(here: Bench) -> None:
    here.refused("/r/silent", "timed_out", replace(QUICK, timeout_s=0.5, retries=1))
    assert Rude.hits["silent"] == 2


def test_gunzip_gives_pieces_of_at_most_a_mebibyte() -> None:
    plain = bytes(5 * MIB + 3) + os.urandom(MIB) + bytes(2 * MIB)
    packed = gzip.compress(plain[: 4 * MIB]) + gzip.compress(plain[4 * MIB :])
    for step in (1 << 16, 999, len(packed)):
        gunzip = Gunzip()
        pieces = [
            piece
            for i in range(0, len(packed), step)
            for piece in gunzip.feed(packed[i : i + step])
        ]
        assert b"".join(pieces) == plain
        assert max(map(len, pieces)) <= MIB
        assert gunzip.complete


# Secrets.


@pytest.mark.parametrize(
    "location",
    [
        "http://me:secret@HERE/404",
        "http://me:secret@HERE/to-file",
        "http://me:secret@HERE/truncated",
        "http://me:sec/secret@HERE/ok",
        "http://me:secret@[::1/ok",
        "http://me:secret@/ok",
        "http://HERE/404?X-Amz-Signature=secret&a=1",
        "s4://me:secret@host/x",
    ],
)
def test_acquire_keeps_passwords_out_of_its_messages(
    here: Bench, location: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "httpx")
    video = here.acquire(location.replace("HERE", here.server.removeprefix("http://")))
    assert video.outcome == "failed"
    assert video.reason != "error"
    assert video.detail
    assert "secret" not in video.detail
    assert "me:" not in caplog.text


def test_acquire_gives_a_password_to_the_host_it_is_for_and_to_no_other(here: Bench) -> None:
    known = here.server.replace("http://", "http://me:secret@")
    here.acquire(f"{known}/near")
    assert all("Authorization" in seen for seen in Rude.seen)
    Rude.seen.clear()
    here.acquire(f"{known}/away")
    assert ["Authorization" in seen for seen in Rude.seen] == [True, False]


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("file:///etc/passwd", "unsupported_scheme"),
        ("ftp://example.org/x.mp4", "unsupported_scheme"),
        ("data:video/mp4;base64,AAAA", "unsupported_scheme"),
        ("javascript:alert(1)", "unsupported_scheme"),
        ("zip://x.mp4::/etc/x.zip", "unsupported_scheme"),
        ("memory://x::file:///etc/passwd", "unsupported_scheme"),
        ("http://a b\x1b[2J/x", "bad_address"),
        ("http://", "bad_address"),
    ],
)
def test_acquire_refuses_what_it_does_not_fetch(here: Bench, location: str, kind: str) -> None:
    here.refused(location, kind)


@pytest.mark.parametrize(
    "location",
    [
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
        "https://youtu.be/dQw4w9WgXcQ",
        "https://www.youtube.com/@channel",
    ],
)
def test_acquire_says_what_a_video_site_needs(
    here: Bench, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reelscript.transforms.fetch.has_yt_dlp", lambda: False)
    video = here.refused(location, "needs_yt_dlp")
    assert "pip install" in (video.detail or "")


# Object stores.


def test_acquire_copies_an_object_from_its_store(bench: Bench) -> None:
    url = f"memory://{uuid.uuid4().hex}/a b%20#?.mp4"
    fsspec.filesystem("memory").pipe_file(url.removeprefix("memory:/"), MEDIA)
    video = bench.acquire(url)
    assert (video.media, video.source_bytes) == (SHA256, len(MEDIA))
    assert bench.workspace.get(SHA256) == MEDIA
    assert bench.scratch() == []


def test_acquire_refuses_an_object_that_is_too_large_or_missing(here: Bench) -> None:
    folder = f"memory://{uuid.uuid4().hex}"
    fsspec.filesystem("memory").pipe_file(folder.removeprefix("memory:/") + "/x", MEDIA)
    here.refused(f"{folder}/x", "too_large", replace(QUICK, max_bytes=1000))
    here.refused(f"{folder}/y", "not_found")
    here.refused(folder, "not_a_file")
    here.refused(f"{folder}/x", "timed_out", replace(QUICK, total_s=1e-9))


def test_acquire_says_when_the_library_of_a_store_is_not_installed(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(_: str) -> Any:
        raise ImportError("Install s3fs to access S3")

    assert here.objects() == []  # its own store connects first
    monkeypatch.setattr(fsspec.core, "url_to_fs", absent)
    assert "s3fs" in (here.refused("s3://bucket/x.mp4", "unsupported_scheme").detail or "")


# Local files.


def test_acquire_reads_a_local_file_in_place(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "a b\n%41é.mp4"
    path.write_bytes(MEDIA)
    video = bench.acquire(str(path), replace(QUICK, max_bytes=10))
    assert video.pending
    assert (video.source_sha256, video.source_bytes) == (SHA256, len(MEDIA))
    assert (video.media, video.retrieved_at) == (None, None)
    assert bench.objects() == []
    assert bench.scratch() == []
    assert bench.workspace.media(video) == path


def test_acquire_hashes_a_local_file_again_only_when_it_changed(
    here: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(MEDIA)
    here.acquire(str(path))
    here.acquire(str(path), replace(QUICK, retries=0))
    before = path.stat()
    path.write_bytes(bytes(len(MEDIA)))  # as large as before
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    changed = here.acquire(str(path))
    assert [t.remembered for t in here.timings] == [False, True, False]
    assert changed.source_sha256 == hashlib.sha256(bytes(len(MEDIA))).hexdigest()


def test_acquire_opens_a_file_whose_name_is_no_text(here: Bench, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.mp4")
    try:
        Path(path).write_bytes(MEDIA)
    except OSError:
        pytest.skip("this file system takes no such name")
    assert here.acquire(path).source_sha256 == SHA256


def test_acquire_fails_where_there_is_no_readable_file(here: Bench, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "file.mp4").write_bytes(MEDIA)
    for name, kind in {
        "absent.mp4": "not_found",
        "file.mp4/x.mp4": "not_found",
        "nul\0.mp4": "not_found",
        "half\ud800.mp4": "not_found",
        "pipe.mp4": "not_a_file",
        "": "not_a_file",
        "loop.mp4": "unreadable",
        "n" * 5000: "unreadable",
    }.items():
        here.refused(f"{tmp_path}/{name}", kind)
    here.refused("/dev/zero", "not_a_file")


def test_acquire_fails_where_a_file_may_not_be_read(
    here: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "x.mp4").write_bytes(MEDIA)
    # A test may run as root, who may read all.
    monkeypatch.setattr("reelscript.transforms.local_file.open", refuse, raising=False)
    video = here.refused(str(tmp_path / "x.mp4"), "unreadable")
    assert "Permission denied" in (video.detail or "")


def test_acquire_notices_a_file_that_is_still_being_written(
    here: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(MEDIA)
    whole = hashlib.file_digest

    def slow(file: Any, name: str) -> Any:
        found = whole(file, name)
        with path.open("ab") as more:
            more.write(b"more")
        return found

    monkeypatch.setattr(hashlib, "file_digest", slow)
    here.refused(str(path), "changed")
