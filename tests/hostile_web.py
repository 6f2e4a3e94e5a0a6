"""A web server on 127.0.0.1 that does all that servers do wrong, and counts what it is asked.

An address is `/<behaviour>/<file>`: what is served, and how. `/page/...` makes a page of the files
named in its query (`?video=/stalled/video.mp4&track=/ok/cues.vtt`), so that each behaviour can be
met in a page or in the media that it leads to.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import html
import json
import re
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit

import av

from tests.media_made import make_media

MIB = 1 << 20
TYPES = {
    ".mp4": "video/mp4",
    ".ts": "video/mp2t",
    ".m4a": "audio/mp4",
    ".vtt": "text/vtt",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".html": "text/html; charset=utf-8",
    ".rss": "application/rss+xml",
}
CUES = "WEBVTT\n\n00:00.000 --> 00:02.000\nA ball rolls.\n\n" + "NOTE more\n\n" * 2000
BEEPS_S = (1.0, 3.5, 6.0)  # in the sound of video.mp4 and of the streams that are made of it
GIVE_UP_S = 20.0  # of what would go on for ever


@dataclass
class Asked:
    """One request."""

    path: str
    at_s: float
    headers: dict[str, str]
    sent_bytes: int = 0


@dataclass
class HostileWeb:
    """The server: its address, the files that it serves, and what it was asked."""

    url: str
    files: dict[str, bytes]
    asked: list[Asked] = field(default_factory=list)

    def at(self, path: str) -> str:
        """Returns the whole address of a path."""
        return f"{self.url}{path}"

    def times(self, begin: str) -> int:
        """Returns how many requests were sent to addresses that begin so."""
        return sum(asked.path.startswith(begin) for asked in self.asked)

    def sent_bytes(self) -> int:
        """Returns how many bytes of bodies were sent."""
        return sum(asked.sent_bytes for asked in self.asked)


@contextlib.contextmanager
def hostile_web() -> Iterator[HostileWeb]:
    """Yields a server that runs as long as the `with` block does, and was not asked yet."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    web = HostileWeb(f"http://127.0.0.1:{server.server_port}", dict(media_files()))
    server.web = web  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()


@functools.cache
def media_files() -> dict[str, bytes]:
    """Returns videos, streams and subtitles to be served, made once a process."""
    with tempfile.TemporaryDirectory() as folder:
        return _made(Path(folder))


def _made(folder: Path) -> dict[str, bytes]:
    whole = make_media(
        folder / "video.mp4",
        duration_s=8,
        fps=12,
        beeps_s=BEEPS_S,
        muxer={"movflags": "+faststart"},
    )
    made = {
        "video.mp4": whole,
        "large.mp4": make_media(folder / "large.mp4", duration_s=1, size=(384, 224)),
        "picture.mp4": make_media(folder / "picture.mp4", duration_s=4, audio=False),
        "sound.m4a": make_media(folder / "sound.mp4", duration_s=4, video=False),
    }
    files = {name: path.read_bytes() for name, path in made.items()} | streams(folder, whole)
    files["cues.vtt"] = CUES.encode()
    return files


def streams(folder: Path, source: Path) -> dict[str, bytes]:
    """Returns HLS in segments of 2 s: picture and sound in one, and apart from each other."""
    files: dict[str, bytes] = {}
    for name, kinds in {"muxed": "va", "seen": "v", "heard": "a"}.items():
        options = {"hls_time": "2", "hls_playlist_type": "vod"}
        options["hls_segment_filename"] = str(folder / f"{name}%d.ts")
        with (
            av.open(str(source)) as there,
            av.open(str(folder / f"{name}.m3u8"), "w", format="hls", options=options) as here,
        ):
            streams = [s for s in there.streams if s.type[0] in kinds]
            tracks = {s.index: here.add_stream_from_template(s) for s in streams}
            for packet in there.demux(streams):
                if packet.dts is not None:
                    packet.stream = tracks[packet.stream_index]
                    here.mux(packet)
        files |= {p.name: p.read_bytes() for p in folder.glob(f"{name}*.ts")}
        files[f"{name}.m3u8"] = (folder / f"{name}.m3u8").read_bytes()
    files["apart.m3u8"] = (
        b"#EXTM3U\n"
        b'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="en",DEFAULT=YES,URI="heard.m3u8"\n'
        b"#EXT-X-STREAM-INF:BANDWIDTH=200000,RESOLUTION=192x112,"
        b'CODECS="avc1.42c00b,mp4a.40.2",AUDIO="a"\nseen.m3u8\n'
    )
    return files


def manifest(segments: list[str], ends: bool = True) -> str:
    """Returns an HLS manifest of segments of 2 s."""
    lines = [f"#EXTINF:2.0,\n{segment}" for segment in segments]
    end = ["#EXT-X-ENDLIST"] if ends else []
    return "\n".join(["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:2", *lines, *end, ""])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        behaviour, _, self.name = parts.path.strip("/").partition("/")
        self.query = parse_qs(parts.query)
        self.asked = Asked(self.path, time.monotonic(), dict(self.headers))
        self.server.web.asked.append(self.asked)
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client left, as it should
            getattr(self, f"do_{behaviour.replace('-', '_')}", self.do_404)()

    # what is said

    def head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for key, value in {"Connection": "close", **headers}.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()

    def say(self, data: bytes) -> None:
        for start in range(0, len(data), 1 << 14):
            self.wfile.write(data[start : start + (1 << 14)])
            self.asked.sent_bytes += len(data[start : start + (1 << 14)])

    def part(self, begin: int) -> None:
        """Says that all from a byte on follows."""
        length = len(self.body)
        told = f"bytes {begin}-{length - 1}/{length}"
        self.head(206, Content_Type=self.kind, Content_Length=length - begin, Content_Range=told)

    def for_ever(self, piece: bytes, pause_s: float = 0.0) -> None:
        give_up = time.monotonic() + GIVE_UP_S
        while time.monotonic() < give_up:
            self.say(piece)
            time.sleep(pause_s)

    @property
    def body(self) -> bytes:
        return self.server.web.files[PurePosixPath(self.name).name]  # type: ignore[no-any-return]

    @property
    def kind(self) -> str:
        return TYPES.get(PurePosixPath(self.name).suffix, "application/octet-stream")

    def first(self, times: int = 1) -> bool:
        """Returns whether this address was asked no more often than so."""
        return sum(asked.path == self.path for asked in self.server.web.asked) <= times

    # good ones

    def do_ok(self) -> None:
        begin, body = 0, self.body
        if found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            begin = int(found[1])
            told = f"bytes {begin}-{len(body) - 1}/{len(body)}"
            self.head(
                206, Content_Type=self.kind, Content_Length=len(body) - begin, Content_Range=told
            )
        else:
            self.head(Content_Type=self.kind, Content_Length=len(body))
        self.say(body[begin:])

    def do_no_ranges(self) -> None:
        self.head(Content_Type=self.kind, Content_Length=len(self.body))
        self.say(self.body)

    def do_page(self) -> None:
        """Makes a page: ?video=&video=&track=&title="""
        tracks = "".join(
            f'<track kind="subtitles" srclang="en" src="{html.escape(at)}">'
            for at in self.query.get("track", [])
        )
        videos = "".join(
            f'<video controls><source src="{html.escape(at)}" type="video/mp4">{tracks}</video>'
            for at in self.query.get("video", [])
        )
        title = html.escape(self.query.get("title", ["A page"])[0])
        self.html(f"<title>{title}</title></head><body><h1>Hello</h1>{videos}")

    def html(self, inner: str) -> None:
        data = f"<!DOCTYPE html><html><head>{inner}</body></html>".encode()
        self.head(Content_Type="text/html; charset=utf-8", Content_Length=len(data))
        self.say(data)

    def do_json_ld(self) -> None:
        found = {
            "@context": "http://schema.org",
            "@type": "VideoObject",
            "name": "A ball",
            "description": "rolls",
            "duration": self.query.get("duration", ["PT8S"])[0],
            "contentUrl": self.server.web.at(self.query["video"][0]),
        }
        said = json.dumps(found)
        self.html(f'<script type="application/ld+json">{said}</script></head><body>')

    def do_rss(self) -> None:
        items = "".join(
            f"<item><title>Number {k}</title><guid>{k}</guid>"
            f'<enclosure url="{html.escape(at)}" type="video/mp4"/></item>'
            for k, at in enumerate(self.query.get("video", []))
        )
        data = f'<rss version="2.0"><channel><title>A feed</title>{items}</channel></rss>'.encode()
        self.head(Content_Type="application/rss+xml", Content_Length=len(data))
        self.say(data)

    def do_manifest(self) -> None:
        """Makes an HLS manifest: ?segment=&segment=&key=&live="""
        said = manifest(self.query.get("segment", []), ends="live" not in self.query)
        for key in self.query.get("key", []):
            said = said.replace("#EXTINF", f"#EXT-X-KEY:{key}\n#EXTINF", 1)
        data = said.encode()
        self.head(Content_Type=TYPES[".m3u8"], Content_Length=len(data))
        self.say(data)

    def do_renewed(self) -> None:
        """Another stream at each visit: good segments of ?segment=, then one that never comes."""
        bits = 1_000_000 + 1000 * self.server.web.times("/renewed/")
        segments = "&".join(f"segment={at}" for at in [*self.query["segment"], "/busy/x.ts"])
        said = (
            f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH={bits},RESOLUTION=192x112,"
            f'CODECS="avc1.42c00b,mp4a.40.2"\n/manifest/{bits}.m3u8?{segments}\n'
        )
        self.head(Content_Type=TYPES[".m3u8"], Content_Length=len(said))
        self.say(said.encode())

    # those that say no

    def do_404(self) -> None:
        self.head(404, Content_Length=0)

    def do_status(self) -> None:
        self.head(int(self.name.partition("/")[0]), Content_Length=0)

    def do_challenge(self) -> None:
        self.head(403, Content_Length=4, cf_mitigated="challenge")
        self.say(b"wait")

    def do_attention(self) -> None:
        data = b"<html><head><title>Attention Required! | Cloudflare</title></head></html>"
        self.head(403, Content_Type="text/html", Content_Length=len(data))
        self.say(data)

    def do_endless_403(self) -> None:
        self.head(403)
        self.for_ever(bytes(1 << 14))

    def do_limited(self) -> None:
        self.head(429, Content_Length=0)

    def do_limited_once(self) -> None:
        if self.first():
            self.head(429, Content_Length=0, Retry_After=1)
        else:
            self.do_ok()

    def do_limited_long(self) -> None:
        self.head(429, Content_Length=0, Retry_After=3600)

    def do_busy_once(self) -> None:
        if self.first():
            self.head(503, Content_Length=0)
        else:
            self.do_ok()

    def do_busy(self) -> None:
        self.head(503, Content_Length=0)

    # those that do not end, or end early

    def do_silent(self) -> None:
        time.sleep(GIVE_UP_S)

    def do_reset(self) -> None:
        linger = struct.pack("ii", 1, 0)  # close() sends RST
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def do_slow(self) -> None:
        self.head(Content_Type=self.kind, Content_Length=len(self.body))
        for k in range(len(self.body)):
            self.say(self.body[k : k + 1])
            time.sleep(0.05)

    def do_stalled(self) -> None:
        self.head(Content_Type=self.kind, Content_Length=len(self.body))
        self.say(self.body[:10_000])
        time.sleep(GIVE_UP_S)

    def do_truncated(self) -> None:
        self.head(Content_Type=self.kind, Content_Length=len(self.body))
        self.say(self.body[: len(self.body) // 2])

    def do_cut_once(self) -> None:
        """The first visit is yt-dlp's look at what it is, the second its download."""
        if "Range" in self.headers:
            self.do_ok()
        else:
            self.do_truncated()

    def do_cut_no_ranges(self) -> None:
        """As `do_cut_once`, and always all of it from the start."""
        if "Range" in self.headers:
            self.do_no_ranges()
        else:
            self.do_truncated()

    def do_pieces(self) -> None:
        """Breaks off after each 2 MB."""
        begin = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.part(begin)
        self.say(self.body[begin : begin + 2_000_000])

    def do_unmeasured(self) -> None:
        self.head(Content_Type=self.kind)
        self.say(self.body[: len(self.body) // 2])

    def do_whole_unmeasured(self) -> None:
        self.head(Content_Type=self.kind)
        self.say(self.body)

    def do_too_short(self) -> None:
        """States half of its length, and sends all."""
        self.head(Content_Type=self.kind, Content_Length=len(self.body) // 2)
        self.say(self.body)

    def do_empty(self) -> None:
        self.head(Content_Type=self.kind, Content_Length=0)

    def do_endless(self) -> None:
        self.head(Content_Type=self.kind)
        self.say(self.body)
        self.for_ever(bytes(1 << 14))

    def do_terabytes(self) -> None:
        self.head(Content_Type=self.kind, Content_Length=10**12)
        self.for_ever(bytes(1 << 14))

    def do_huge_page(self) -> None:
        self.head(Content_Type="text/html", Content_Length=1 << 30)
        self.say(b"<!DOCTYPE html><html><body>")
        self.for_ever(b"<p>" * 5000)

    def do_endless_page(self) -> None:
        self.head(Content_Type="text/html")
        self.say(b"<!DOCTYPE html><html><body>")
        self.for_ever(b"<p>" * 5000)

    def do_bomb(self) -> None:
        data = gzip.compress(b"<!DOCTYPE html><html>" + bytes(64 * MIB), 9)
        self.head(Content_Type="text/html", Content_Encoding="gzip", Content_Length=len(data))
        self.say(data)

    def do_html_video(self) -> None:
        data = b"<!DOCTYPE html><html><body>log in</body></html>"
        self.head(Content_Type="video/mp4", Content_Length=len(data))
        self.say(data)

    # those that lead elsewhere

    def do_loop(self) -> None:
        self.head(302, Location=self.path, Content_Length=0)

    def do_hops(self) -> None:
        left = int(self.name.partition("/")[0])
        to = f"/hops/{left - 1}" if left > 1 else "/ok/video.mp4"
        self.head(302, Location=to, Content_Length=0)

    def do_to(self) -> None:
        """Redirects to ?url="""
        self.head(302, Location=self.query["url"][0], Content_Length=0)

    def do_onward(self) -> None:
        """A page that leads to the next one, and so on."""
        self.html(f'<meta http-equiv="refresh" content="0; url=/onward/{int(self.name) + 1}">')

    def do_endless_redirect(self) -> None:
        self.head(302, Location="/ok/video.mp4")
        self.for_ever(bytes(1 << 14))
