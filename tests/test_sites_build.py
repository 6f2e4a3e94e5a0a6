"""Builds from the web: pages, feeds, sites that say no; through the real yt-dlp."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reelscript.jobs import cli
from reelscript.jobs.build import build
from reelscript.jobs.status.status import status
from reelscript.pipeline.errors import SitesBlocked
from tests.built import EXAMPLES, MODELS, needs_models, rows
from tests.hostile_web import HostileWeb, hostile_web, streams
from tests.keep_made import LOCAL

pytest.importorskip("yt_dlp")
pytestmark = needs_models
SETTINGS = [*MODELS, LOCAL, "acquire.backoff_s=0.01", "acquire.timeout_s=5"]


@pytest.fixture
def web() -> Iterator[HostileWeb]:
    with hostile_web() as found:
        for path in EXAMPLES.glob("*.mp4"):
            found.files[path.name] = path.read_bytes()
        yield found


class Feed:
    """A server of the demo videos with a feed of some of them; None: it answers 404."""

    def __init__(self, *held: str) -> None:
        self.held: list[str] | None = list(held)
        feed = self

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                if self.path != "/feed":
                    super().do_GET()
                    return
                items = "".join(
                    f"<item><title>x</title><link>{feed.url}/{name}</link></item>"
                    for name in feed.held or ()
                )
                said = f'<rss version="2.0"><channel><title>t</title>{items}</channel></rss>'
                self.send_response(200 if feed.held is not None else 404)
                self.send_header("Content-Type", "application/rss+xml")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said.encode())

        handler = functools.partial(Handler, directory=str(EXAMPLES))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Feed:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def told_of_garden() -> bytes:
    """Subtitles of garden.mp4 as its narration has it."""
    sentences = json.loads((EXAMPLES / "garden.json").read_text())["sentences"]
    cues = [f"{_clock(s['start_s'])} --> {_clock(s['end_s'])}\n{s['text']}\n" for s in sentences]
    return ("WEBVTT\n\n" + "\n".join(cues)).encode()


def _clock(seconds: float) -> str:
    return f"00:{int(seconds // 60):02d}:{seconds % 60:06.3f}"


def outcomes(corpus: Path) -> dict[str, tuple[str, str | None]]:
    """Returns outcome and reason by the last part of the address."""
    return {
        r["url"].rpartition("/")[2]: (r["outcome"], r["reason"]) for r in rows(corpus, "videos")
    }


def test_build_of_a_page_takes_its_video_its_facts_and_its_subtitles(
    web: HostileWeb, tmp_path: Path
) -> None:
    web.files["told.vtt"] = told_of_garden()
    page = web.at("/page/x?video=/ok/garden.mp4&track=/ok/told.vtt&title=In%20the%20garden")
    out = tmp_path / "corpus"
    build(page, out=out, settings=[*SETTINGS, "transcribe.captions=prefer"], workers=1)
    (row,) = rows(out, "videos")
    assert (row["outcome"], row["title"]) == ("kept", "In the garden")
    assert row["transcript_source"] == "captions"
    assert json.loads(row["site_facts"])["extractor"]
    words = " ".join(sample["text"] for sample in rows(out, "samples"))
    assert "The sun climbs above the green hills" in words
    asked = len(web.asked)
    build(page, out=out, settings=[*SETTINGS, "transcribe.captions=prefer"], workers=1)
    assert len(web.asked) == asked


def test_build_of_a_feed_measures_its_videos_behind_the_list(
    web: HostileWeb, tmp_path: Path
) -> None:
    feed = web.at(f"/rss/x?video={web.url}/ok/silent.mp4&video={web.url}/ok/broken.mp4")
    out, listed = tmp_path / "corpus", tmp_path / "list.txt"
    listed.write_text(f"{feed}\n{web.at('/ok/broken.mp4')}\n")
    for _ in range(2):
        build(listed, out=out, settings=SETTINGS, workers=1)
        assert [(r["outcome"], r["reason"]) for r in rows(out, "videos")] == [
            ("rejected", "playlist"),
            ("rejected", "undecodable"),
            ("rejected", "no_audio"),
        ]
    assert len(web.asked) <= 2 * 3 + 1
    web.asked.clear()
    build(listed, out=out, settings=SETTINGS, workers=1, retry_failed="playlist")
    assert {a.path.partition("?")[0] for a in web.asked} == {"/rss/x"}


def test_build_keeps_what_a_feed_held_and_adds_what_is_new(tmp_path: Path) -> None:
    """Asked again, in vain, or not at all: no source vanishes, and the order stays."""
    with Feed("silent.mp4", "broken.mp4") as feed:
        out, address = tmp_path / "corpus", f"{feed.url}/feed"

        def names(**options: Any) -> list[str]:
            build(address, out=out, settings=SETTINGS, workers=1, **options)
            return [r["url"].rpartition("/")[2] for r in rows(out, "videos")]

        first = ["feed", "silent.mp4", "broken.mp4"]
        assert names() == first
        feed.held = ["garden.mp4", "silent.mp4"]
        assert names(limit=1) == first
        for options in ({"retry_failed": "playlist"}, {}, {"publish_only": True}):
            assert names(**options) == [*first, "garden.mp4"]
        feed.held = None
        assert names(retry_failed="playlist") == [*first, "garden.mp4"]
        records = Path(f"{out}.work/results/playlist")
        for record in records.rglob("*.json"):
            record.write_bytes(b"{")
        feed.held = ["silent.mp4"]
        assert names() == ["feed", "silent.mp4"]


def test_build_goes_on_where_a_site_blocked_it(
    web: HostileWeb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten sources of a site that says 429, and one of another: nothing is lost, few are asked."""
    with hostile_web() as other:
        other.files["silent.mp4"] = web.files["silent.mp4"]
        urls = [web.at(f"/limited/{n}/silent.mp4") for n in range(10)]
        listed, out = tmp_path / "list.txt", tmp_path / "corpus"
        listed.write_text("\n".join([*urls, other.at("/ok/silent.mp4")]))
        options = [o for s in [*SETTINGS, "acquire.retries=0"] for o in ("--set", s)]
        command = ["build", str(listed), "-o", str(out), "--workers", "2", *options]
        with pytest.raises(SystemExit) as end:
            cli.main(command)
        assert end.value.code == 4
        said = capsys.readouterr().err
        assert "blocks us, 10 of its sources wait" in said
        assert "Traceback" not in said
        assert 3 <= web.times("/limited") <= 4  # the other worker may have been on its way
        assert other.times("/ok") == 1
        found = status(str(out))
        assert found.sources is not None
        assert (found.sources.pending, found.sources.rejected) == (10, 1)
        assert found.state == "stopped"
        with pytest.raises(SystemExit) as end:
            cli.main([*command, "--publish"])
        assert [r["reason"] for r in rows(out, "videos")] == [*["pending"] * 10, "no_audio"]
        with pytest.raises(SitesBlocked, match="10 of its sources wait"):
            build(listed, out=out, settings=[*SETTINGS, "acquire.retries=0"], workers=1)
        assert other.times("/ok") == 1


def test_build_hears_first_and_fetches_only_what_passes(web: HostileWeb, tmp_path: Path) -> None:
    """Beeps are no speech: of that video no picture is fetched. The garden is fetched whole."""
    settings = [*SETTINGS, "acquire.audio_first=true", "acquire.through=yt-dlp"]
    out = tmp_path / "beeps"
    build(web.at("/ok/apart.m3u8"), out=out, settings=settings, workers=1)
    (row,) = rows(out, "videos")
    assert (row["outcome"], row["stage"], row["reason"]) == ("rejected", "hear_first", "no_speech")
    assert row["duration_s"] == pytest.approx(8.0, abs=0.1)
    assert row["source_sha256"] is None
    assert web.times("/ok/heard") > 1
    assert web.times("/ok/seen0") == 0
    web.files |= streams(tmp_path, EXAMPLES / "garden.mp4")
    out = tmp_path / "garden"
    build(web.at("/ok/apart.m3u8"), out=out, settings=settings, workers=1)
    (row,) = rows(out, "videos")
    assert row["outcome"] == "kept"
    assert web.times("/ok/seen0") == 1
    web.files.clear()
    build(web.at("/ok/apart.m3u8"), out=out, settings=[*SETTINGS, *settings[-1:]], workers=1)
    build(web.at("/ok/apart.m3u8"), out=out, settings=settings, workers=1)
    assert [r["outcome"] for r in rows(out, "videos")] == ["kept"]
