"""What `acquire.audio_first` saves: bytes fetched of kept and of rejected videos.

`python benchmarks/audio_first.py [FOLDER]` serves each video of a folder (default: the demo's) as
HLS with the sound apart, on 127.0.0.1, and builds a corpus of them twice, once with the setting.
Picture and sound are copied as they are; videos that HLS cannot hold are left out.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import av

from reelscript.jobs.build import build
from reelscript.jobs.progress import Progress
from reelscript.reading.corpus import open_corpus

EXAMPLES = Path(__file__).parents[1] / "examples" / "videos"
SUFFIXES = (".mp4", ".mkv", ".mov")
SETTINGS = (
    "transcribe.model=tiny.en",
    "speech.language_model=base",
    "acquire.through=yt-dlp",
    "acquire.allow_addresses=[127.0.0.0/8]",
)
MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="en",DEFAULT=YES,URI="a.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=800000,RESOLUTION=640x360,CODECS="avc1.4d401e,mp4a.40.2",AUDIO="a"
v.m3u8
"""


def streamed(source: Path, folder: Path) -> None:
    """Writes a video as HLS with the sound apart."""
    folder.mkdir()
    for kind in ("video", "audio"):
        options = {"hls_time": "4", "hls_playlist_type": "vod"}
        options["hls_segment_filename"] = str(folder / f"{kind[0]}%d.ts")
        target = str(folder / f"{kind[0]}.m3u8")
        with (
            av.open(str(source)) as there,
            av.open(target, "w", format="hls", options=options) as here,
        ):
            stream = next(s for s in there.streams if s.type == kind)
            track = here.add_stream_from_template(stream)
            for packet in there.demux(stream):
                if packet.dts is not None:
                    packet.stream = track
                    here.mux(packet)
    (folder / "master.m3u8").write_text(MASTER)


class Counting(SimpleHTTPRequestHandler):
    """Serves files, and adds up their sizes by folder."""

    sent: ClassVar[Counter[str]] = Counter()

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """Serves one file."""
        path = Path(self.translate_path(self.path))
        if path.is_file():
            self.sent[path.parent.name] += path.stat().st_size
        super().do_GET()


def main() -> None:
    """Prints a table of bytes."""
    parser = argparse.ArgumentParser(description="What acquire.audio_first saves.")
    parser.add_argument("folder", type=Path, nargs="?", default=EXAMPLES)
    folder: Path = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "served"
        root.mkdir()
        for source in sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES):
            try:
                streamed(source, root / source.stem)
            except (av.error.FFmpegError, StopIteration, ValueError) as error:
                print(f"{source.name} is left out: {type(error).__name__}")
        handler = partial(Counting, directory=str(root))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            at = f"http://127.0.0.1:{server.server_port}"
            urls = [f"{at}/{p.name}/master.m3u8" for p in sorted(root.iterdir())]
            sent, ended = {}, {}
            for first in ("false", "true"):
                Counting.sent = Counter()
                out = Path(place) / first
                asked = [*SETTINGS, f"acquire.audio_first={first}"]
                build(*urls, out=out, settings=asked, progress=Progress(None))
                sent[first] = Counting.sent
                rows = open_corpus(out).videos.to_pylist()
                ended[first] = {
                    r["url"].split("/")[-2]: f"{r['outcome']} {r['reason'] or ''}" for r in rows
                }
            server.shutdown()
    print(f"{'video':34}{'becomes':26}{'whole, bytes':>14}{'sound first':>14}{'share':>8}")
    for name in sorted(sent["false"]):
        whole, first = sent["false"][name], sent["true"][name]
        said = ended["true"].get(name, "")
        print(f"{name[:33]:34}{said[:25]:26}{whole:14,}{first:14,}{first / whole:8.2f}")
    for kind in ("kept", "rejected", "failed"):
        names = [n for n in sent["false"] if ended["true"].get(n, "").startswith(kind)]
        whole, first = (sum(sent[s][n] for n in names) for s in ("false", "true"))
        if whole:
            print(f"{f'all {len(names)} {kind}':60}{whole:14,}{first:14,}{first / whole:8.2f}")


if __name__ == "__main__":
    main()
