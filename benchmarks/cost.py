"""What does a build cost beside the same work done bare?

    python benchmarks/cost.py [FOLDER OF ENGLISH VIDEOS] [MINUTES]

Makes long videos by repeating real ones (packets copied, nothing encoded), builds a corpus of them
with one worker, and does the same work bare in this process, with one thread: decode the sound,
Silero, the same number of language windows, faster-whisper batched, decode each video once, x264
of as much as was kept. Prints CPU-seconds by stage and the ratio of the sums. CPU time, not wall
time: other processes disturb it least.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.video.reformatter
import numpy as np
import pyarrow.parquet as pq

from reelscript.jobs.build import build
from reelscript.transforms import whisper

ROOT = Path(__file__).parents[1]
PIECE_S = 600.0
MODELS = ["transcribe.model=tiny.en", "speech.language_model=base"]


def looped(source: Path, target: Path, seconds: float) -> None:
    """Writes the packets of a video again and again until `seconds` are full."""
    shift = Fraction(0)
    with av.open(str(target), "w") as out:
        streams: dict[int, Any] = {}
        last: dict[int, Fraction] = {}
        while shift < seconds:
            with av.open(str(source)) as container:
                video, audio = container.streams.video[0], container.streams.audio[0]
                for stream in (video, audio):
                    if stream.index not in streams:
                        streams[stream.index] = out.add_stream_from_template(stream)
                end = Fraction(0)
                for packet in container.demux(video, audio):
                    if packet.dts is None or packet.pts is None:
                        continue
                    base = packet.time_base
                    end = max(end, (packet.pts + (packet.duration or 0)) * base)
                    packet.pts += round(shift / base)
                    packet.dts += round(shift / base)
                    packet.stream = streams[packet.stream.index]
                    at = packet.dts * base
                    before = last.get(packet.stream.index, Fraction(-1))
                    if at > before and packet.dts <= packet.pts:
                        last[packet.stream.index] = at
                        out.mux(packet)
            shift += end


def bare_speech(path: Path, costs: Counter[str]) -> None:
    """Sound, language windows and words, as faster-whisper does them by itself."""
    from faster_whisper import BatchedInferencePipeline, decode_audio
    from faster_whisper.audio import pad_or_trim

    at = time.process_time()
    audio = decode_audio(str(path))
    at = spent(costs, "decode sound", at)
    judge = whisper.resident("base", "cpu", "int8", 1)
    for start in np.linspace(0, max(0, len(audio) - 480_000), 4).astype(int):
        features = judge.feature_extractor(audio[start : start + 480_000])[..., :-1]
        judge.model.detect_language(judge.encode(pad_or_trim(features)))
    at = spent(costs, "language windows", at)
    model = BatchedInferencePipeline(whisper.resident("tiny.en", "cpu", "int8", 1))
    said, _ = model.transcribe(
        audio, language="en", batch_size=8, word_timestamps=True, vad_filter=True
    )
    list(said)
    spent(costs, "voice activity and words", at)


def bare_video(path: Path, kept_s: float, costs: Counter[str]) -> None:
    """Decodes a video once, and encodes as much as was kept of frames that are ready."""
    at = time.process_time()
    frames: list[Any] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        fps = min(Fraction(30), stream.average_rate or Fraction(25)).limit_denominator(1001)
        width, height = stream.width, stream.height
        for i, frame in enumerate(container.decode(stream)):
            if i < 1500:
                frames.append(frame)
                if len(frames) == 250:
                    costs["decode pictures"] += time.process_time() - at
                    encode(frames, width, height, fps, costs, kept_s)
                    frames, at = [], time.process_time()
    costs["decode pictures"] += time.process_time() - at
    with av.open(str(path)) as container:
        sound = list(itertools.islice(container.decode(audio=0), 2000))
    seconds = sum(f.samples / f.sample_rate for f in sound)
    codec = av.CodecContext.create("aac", "w")
    codec.sample_rate, codec.layout, codec.format = sound[0].sample_rate, sound[0].layout, "fltp"
    codec.bit_rate, codec.options = 96_000, {"aac_coder": "fast"}
    at = time.process_time()
    for frame in sound:
        frame.pts = None
        codec.encode(frame)
    costs["AAC*"] += (time.process_time() - at) * kept_s / seconds


def encode(
    frames: list[Any], width: int, height: int, fps: Fraction, costs: Counter[str], kept_s: float
) -> None:
    """Adds what x264 takes for `kept_s` seconds, from 1500 frames of the video."""
    scale = 256 / min(width, height)
    size = round(width * scale / 2) * 2, round(height * scale / 2) * 2
    at = time.process_time()
    method = "AREA" if scale <= 0.5 else "BICUBIC"
    scaler = av.video.reformatter.VideoReformatter()
    ready = [scaler.reformat(f, *size, format="yuv420p", interpolation=method) for f in frames]
    costs["scaling*"] += (time.process_time() - at) * kept_s * float(fps) / 1500
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = *size, "yuv420p"
    codec.time_base, codec.gop_size, codec.thread_count = 1 / fps, int(fps), 1
    codec.options = {"preset": "veryfast", "crf": "23"}
    at = time.process_time()
    for k, frame in enumerate(ready):
        frame.pts, frame.time_base, frame.pict_type = k, 1 / fps, 0
        codec.encode(frame)
    codec.encode(None)
    costs["x264"] += (time.process_time() - at) * kept_s * float(fps) / 1500


def spent(costs: Counter[str], what: str, since: float) -> float:
    """Adds the CPU time since `since` to `what` and returns now."""
    now = time.process_time()
    costs[what] += now - since
    return now


def main() -> None:
    """Prints the comparison."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples" / "videos"
    minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    work = Path(tempfile.mkdtemp(prefix="reelscript-cost-"))
    try:
        compare(folder, minutes, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def compare(folder: Path, minutes: float, work: Path) -> None:
    """Builds, does the same bare, and prints both."""
    sources = [p for p in sorted(folder.iterdir()) if p.suffix == ".mp4" and p.stat().st_size]
    good = [p for p in sources if p.name not in ("broken.mp4", "silent.mp4", "harbour_es.mp4")]
    (work / "videos").mkdir()
    for i in range(round(minutes * 60 / PIECE_S)):
        looped(good[i % len(good)], work / "videos" / f"{i:02d}.mp4", PIECE_S + i)
    at = time.process_time()
    built = build(work / "videos", out=work / "corpus", settings=MODELS, workers=1)
    ours: Counter[str] = Counter({"publish and supervise": time.process_time() - at})
    rows = pq.read_table(work / "corpus" / "videos.parquet").to_pylist()
    for row in rows:
        ours.update(json.loads(row["timings"]))
    kept: Counter[str] = Counter()
    for row in pq.read_table(work / "corpus" / "samples.parquet").to_pylist():
        kept[row["video_id"]] += row["duration_s"]
    bare: Counter[str] = Counter()
    for row in rows:
        path = work / "videos" / row["url"]
        bare_speech(path, bare)
        bare_video(path, kept[row["video_id"]], bare)
    hours = built.dataset["hours"]
    print(f"{hours['source']:.2f} h of video, {hours['kept']:.2f} h kept; tiny.en, one thread")
    for name, costs in (("reelscript", ours), ("bare", bare)):
        print(f"{name}: {sum(costs.values()):.0f} CPU-s")
        for what, seconds in costs.items():
            print(f"  {what:24} {seconds:8.1f}")
    named = sum(seconds for what, seconds in bare.items() if not what.endswith("*"))
    print(
        f"ratio {sum(ours.values()) / named:.3f} to the work without *, which every corpus of one"
    )
    print(f"size and with sound needs too; {sum(ours.values()) / sum(bare.values()):.3f} with it")


if __name__ == "__main__":
    main()
