"""What does a training window cost to read, from which bytes?

    python benchmarks/reading.py [VIDEOS [CORPUS]]      default: examples/videos, built first

Reads the same windows (12 frames, cut to 224 px) in one process with one thread:
- seeks: from the source files as the released TVTSv2 loader does, one seek a frame; with OpenCV
  where it is installed, and with PyAV. Sources are as long as they are here, not hours.
- plain: the mp4 member, decoded from its beginning to the last frame that is needed.
- ours: `windows()` over mp4 members, everything in it: ranged read, sha256, json, frames, crop.
- frames: `windows()` over members of intra-coded frames, 2 a second, made here in several forms.
Prints CPU milliseconds a window (the median of 5 rounds), windows a second and core, how many times
as fast as seeks and plain that is, the bytes for a second of video, and how close single frames
come to those of the mp4.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import shutil
import statistics
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import reelscript
from reelscript.reading.corpus import Corpus
from reelscript.reading.crops import CLEAN
from reelscript.reading.frames import on_display, pictures, rgb

ROUNDS = 5
PX, FRAMES = 224, 12
FRAMES_PER_S = 2
MODELS = ["transcribe.model=tiny.en", "speech.language_model=base"]
ALL = {"split": None, "frames": FRAMES, "px": PX}


@dataclass(frozen=True)
class Form:
    """One way to code single frames; `quantiser` fixes that of MJPEG."""

    codec: str
    pixels: str
    options: dict[str, str]
    quantiser: int | None = None


X264 = {"preset": "veryfast", "x264-params": "keyint=1:bframes=0:scenecut=0"}
FORMS = {
    "H.264 crf 23": Form("libx264", "yuv420p", X264 | {"crf": "23"}),
    "H.264 crf 23 fastdecode": Form(
        "libx264", "yuv420p", X264 | {"crf": "23", "tune": "fastdecode"}
    ),
    "H.264 crf 26 fastdecode": Form(
        "libx264", "yuv420p", X264 | {"crf": "26", "tune": "fastdecode"}
    ),
    "MJPEG q 3": Form("mjpeg", "yuvj420p", {}, 3),
    "MJPEG q 5": Form("mjpeg", "yuvj420p", {}, 5),
}


def frames_member(mp4: bytes, form: Form) -> bytes:
    """Returns the frames on display at 0, 1/2, 1, ... s, each coded by itself, as an mp4."""
    made, number = io.BytesIO(), 0
    with av.open(io.BytesIO(mp4)) as source, av.open(made, "w", format="mp4") as target:
        stream: Any = target.add_stream(form.codec, rate=FRAMES_PER_S)
        stream.options, stream.pix_fmt = form.options, form.pixels
        stream.codec_context.thread_count = stream.codec_context.gop_size = 1
        if form.quantiser is not None:
            stream.codec_context.qmin = stream.codec_context.qmax = form.quantiser
        shown = source.streams.video[0]
        stream.width, stream.height = shown.width, shown.height
        for frame in source.decode(shown):
            if frame.time is None or frame.time < number / FRAMES_PER_S - 1e-6:
                continue
            still = frame.reformat(format=form.pixels)
            still.pict_type, still.pts = 0, number  # type: ignore[assignment]
            still.time_base = Fraction(1, FRAMES_PER_S)
            target.mux(stream.encode(still))
            number += 1
        target.mux(stream.encode(None))
    return made.getvalue()


def with_frames(corpus: Path, out: Path, form: Form) -> int:
    """Writes a corpus with a frames member in each sample. Returns the bytes of these members."""
    shutil.copytree(corpus, out, ignore=shutil.ignore_patterns("shards", "releases"))
    (out / "shards").mkdir()
    opened = reelscript.open(corpus)
    rows = {row["key"]: row for row in opened.samples.to_pylist()}
    for shard in sorted({row["shard"] for row in rows.values()}):
        with (
            tarfile.open(corpus / "shards" / shard) as old,
            tarfile.open(out / "shards" / shard, "w", format=tarfile.USTAR_FORMAT) as new,
        ):
            for member in old:
                data = old.extractfile(member).read()  # type: ignore[union-attr]
                key, _, kind = member.name.partition(".")
                _add(new, rows[key], member.name, kind, data)
                if kind == "txt":
                    data = frames_member(opened[key].mp4, form)
                    _add(new, rows[key], f"{key}.frames.mp4", "frames", data)
    pq.write_table(pa.Table.from_pylist(list(rows.values())), out / "samples.parquet")
    info = json.loads((out / "dataset.json").read_text())
    info["tables"]["samples"] = hashlib.sha256((out / "samples.parquet").read_bytes()).hexdigest()
    (out / "dataset.json").write_text(json.dumps(info))
    return sum(row["frames_size"] for row in rows.values())


def _add(tar: tarfile.TarFile, row: dict[str, Any], name: str, kind: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    row[f"{kind}_offset"] = tar.offset + 512
    row[f"{kind}_size"] = len(data)
    row[f"{kind}_sha256"] = hashlib.sha256(data).hexdigest()
    tar.addfile(info, io.BytesIO(data))


@dataclass(frozen=True)
class Asked:
    """The frames of one window: from which source and passage, when in each of them."""

    source: Path
    height_px: int
    source_s: list[float]
    key: str
    passage_s: list[float]


def asked_of(corpus: Corpus, videos: Path) -> list[Asked]:
    """Returns the windows of the first epoch."""
    found = []
    for step in corpus.windows(4, **ALL):
        meta = corpus[step["key"]].meta
        source, times = videos / meta["url"], [float(t) for t in step["times_s"]]
        with av.open(str(source)) as container:
            height = container.streams.video[0].height
        at = [t + meta["start_s"] for t in times]
        found.append(Asked(source, height, at, step["key"], times))
    return found


def seeks_opencv(window: Asked) -> None:
    """Reads frames as the released loader does: OpenCV, set to the number of each."""
    import cv2

    cv2.setNumThreads(1)
    video = cv2.VideoCapture(str(window.source), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    for at in window.source_s:
        video.set(cv2.CAP_PROP_POS_FRAMES, int(at * video.get(cv2.CAP_PROP_FPS)))
        got, frame = video.read()
        if got:
            height, width = frame.shape[:2]
            scale = PX / min(height, width)
            frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            cv2.resize(frame, (round(width * scale), round(height * scale)))
    video.release()


def seeks_pyav(window: Asked) -> None:
    """Reads frames in the same pattern with PyAV: a seek to the keyframe before each."""
    cut = CLEAN.square(PX, None).cutter()
    with av.open(str(window.source)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "NONE"
        for at in window.source_s:
            container.seek(int(at / stream.time_base), stream=stream)
            cut(next(f for f in _until(container, stream) if f.time is None or f.time >= at - 0.04))


def _until(container: Any, stream: Any) -> Iterator[Any]:
    last = None
    for last in container.decode(stream):
        yield last
    while last is not None:  # beyond the end the last frame is on display
        last.time_base, last.pts = Fraction(1), 10**9
        yield last


def plain(window: Asked, mp4: bytes) -> None:
    """Decodes an mp4 from its beginning to the last frame needed, and keeps those needed."""
    cut, frames, left = CLEAN.square(PX, None).cutter(), [], sorted(window.passage_s)
    with av.open(io.BytesIO(mp4)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "NONE"
        for frame in container.decode(stream):
            if frame.time is not None and frame.time >= left[0] - 0.04:
                frames.append(cut(frame))
                left.pop(0)
                if not left:
                    break


def costs(work: Callable[[], object]) -> float:
    """Returns the CPU seconds of some work: the median of some rounds, after one to warm up."""
    work()
    spent = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return statistics.median(spent)


def psnr(corpus: Corpus, form: Form) -> float:
    """Returns how close its frames come to those of the mp4, in dB: the mean over samples."""
    found = []
    for sample in corpus:
        count = int(sample.row["duration_s"] * FRAMES_PER_S)
        shown = stills(sample.mp4, count), stills(frames_member(sample.mp4, form), count)
        found.append(10 * np.log10(255**2 / np.mean((shown[0] - shown[1]) ** 2)))
    return float(np.mean(found))


def stills(mp4: bytes, count: int) -> NDArray[np.float64]:
    """Returns the frames on display at 0, 1/2, 1, ... s."""
    times_s = [n / FRAMES_PER_S for n in range(count)]
    found = pictures(
        mp4,
        lambda stamps_s: on_display(stamps_s, times_s),
        lambda frame: rgb(frame.reformat(format="rgb24")),
    )
    return found.astype(np.float64)


def main(videos: Path, corpus: Path | None) -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as folder:
        if corpus is None:
            corpus = Path(folder) / "corpus"
            reelscript.build(str(videos), out=corpus, settings=MODELS)
        opened = reelscript.open(corpus)
        windows = asked_of(opened, videos)
        seconds = sum(opened.samples["duration_s"].to_pylist())
        mp4_rate = sum(opened.samples["mp4_size"].to_pylist()) / seconds
        source_rate = bytes_per_s({window.source for window in windows})
        print(f"{len(windows)} windows of {len(opened)} samples, {seconds:.0f} s; ms are of CPU")
        mp4s = {window.key: opened[window.key].mp4 for window in windows}
        has_opencv = importlib.util.find_spec("cv2") is not None
        rows: dict[str, tuple[float, float]] = {}
        if has_opencv:
            rows["source, OpenCV seeks"] = (
                costs(lambda: [seeks_opencv(w) for w in windows]),
                source_rate,
            )
        rows["source, PyAV seeks"] = costs(lambda: [seeks_pyav(w) for w in windows]), source_rate
        rows["mp4, plain"] = costs(lambda: [plain(w, mp4s[w.key]) for w in windows]), mp4_rate
        rows["mp4, windows()"] = costs(lambda: list(opened.windows(4, **ALL))), mp4_rate
        close = {}
        for name, form in FORMS.items():
            out = Path(folder) / f"with {name}"
            rate = with_frames(corpus, out, form) / seconds
            framed = reelscript.open(out).windows(4, **ALL)
            rows[f"frames, {name}"] = costs(lambda of=framed: list(of)), rate
            close[f"frames, {name}"] = psnr(opened, form)
        report(rows, close, len(windows))
        by_height(windows, seeks_opencv if has_opencv else seeks_pyav)


def bytes_per_s(sources: set[Path]) -> float:
    """Returns the bytes of the sources for a second of them."""
    seconds = 0.0
    for source in sources:
        with av.open(str(source)) as container:
            seconds += (container.duration or 0) / av.time_base
    return sum(source.stat().st_size for source in sources) / seconds


def report(rows: dict[str, tuple[float, float]], close: dict[str, float], count: int) -> None:
    """Prints a table."""
    a, b = next(iter(rows.values()))[0], rows["mp4, plain"][0]
    print(f"{'':32}{'ms':>8}{'/s/core':>9}{'x seeks':>9}{'x plain':>9}{'kB/s':>7}{'dB':>6}")
    for name, (spent, rate) in rows.items():
        decibel = f"{close[name]:6.1f}" if name in close else ""
        print(
            f"{name:32}{1000 * spent / count:8.1f}{count / spent:9.1f}{a / spent:9.1f}"
            f"{b / spent:9.1f}{rate / 1000:7.1f}{decibel}"
        )


def by_height(windows: list[Asked], seeks: Callable[[Asked], None]) -> None:
    """Prints what seeks in the sources cost, by the height of their picture."""
    groups = defaultdict(list)
    for window in windows:
        groups[window.height_px].append(window)
    for height, held in sorted(groups.items()):
        spent = costs(lambda of=held: [seeks(w) for w in of])
        print(f"{seeks.__name__}, {height} px high: {1000 * spent / len(held):.1f} ms")


if __name__ == "__main__":
    arguments = [Path(given) for given in sys.argv[1:3]]
    default = Path(__file__).parents[1] / "examples" / "videos"
    main(arguments[0] if arguments else default, arguments[1] if len(arguments) > 1 else None)
