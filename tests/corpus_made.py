"""Makes small valid corpora without any recogniser, and breaks them on purpose."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reelscript.pipeline.plan import plan_shards
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Clip, Passage, Scores, sample_key
from reelscript.schemas.sample import FORMAT, Encoding
from reelscript.schemas.tables import CLIPS, SAMPLES, VIDEOS
from reelscript.schemas.transcript import Transcript, Word
from reelscript.schemas.video import Video
from reelscript.transforms.sample import sample_parts
from reelscript.transforms.shard import write_shard, write_table
from reelscript.transforms.tar_writer import TarWriter

FPS, WIDTH_PX, HEIGHT_PX, RATE_HZ = 10, 64, 48, 16000
CLIP_S = 1.0
SCORES = Scores(3, 3.0, 12.0, 0.9, 0.8, -0.2, 0.01, 1.1, 0.9, 0.0, 1.0, 5, 0.95, None, 0.0)
TRANSCRIPT = Transcript("asr", "made-by-hand 1", "none", "int8", "en", [], [])
LEVELS = 6  # luma steps from one frame to the next, so that a frame tells its number


def make_mp4(
    path: Path,
    frames: int = 20,
    keyframe_every: int = FPS,
    faststart: bool = True,
    sound: bool = True,
    codec: str = "libx264",
) -> None:
    """Writes a tiny mp4, 10 frames a second: frame n is a grey of luma 16 + 6 n, over a sine."""
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        video: Any = container.add_stream(codec, rate=FPS)
        video.width, video.height, video.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        video.gop_size = keyframe_every
        if codec == "libx264":
            video.options = {"preset": "ultrafast", "crf": "12", "bf": "2", "sc_threshold": "0"}
        video.codec_context.thread_count = 1
        audio = container.add_stream("aac", rate=RATE_HZ) if sound else None
        for n in range(frames):
            luma = np.full((HEIGHT_PX * 3 // 2, WIDTH_PX), 128, np.uint8)
            luma[:HEIGHT_PX] = 16 + LEVELS * (n % 36)
            frame = av.VideoFrame.from_ndarray(luma, format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            times = np.arange(frames * RATE_HZ // FPS) / RATE_HZ
            wave = (np.sin(2 * np.pi * 440 * times) * 8000).astype(np.int16)[None]
            heard = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            heard.sample_rate, heard.pts = RATE_HZ, 0
            container.mux(audio.encode(heard))
            container.mux(audio.encode(None))


def made_clips(count: int, start_s: float = 0.0, first_index: int = 0) -> list[Clip]:
    """Returns clips of one second each, one after the other, of three words each."""
    return [
        Clip(i, t, t + CLIP_S, f"clip {i} speaks", 3 * i, 3 * i + 3, True, SCORES)
        for i, t in ((first_index + n, start_s + n * CLIP_S) for n in range(count))
    ]


def words_of(clips: Sequence[Clip]) -> list[Word]:
    """Returns the words of such clips, each a third of its clip."""
    words = []
    for clip in clips:
        for n, word in enumerate(clip.text.split()):
            at_s = clip.start_s + n * CLIP_S / 3
            words.append(Word(f" {word}", at_s, at_s + CLIP_S / 3, 0.9, 0))
    return words


def made_video(video_id: str, **facts: Any) -> Video:
    """Returns a kept source of which all is known that a sample states."""
    sha256 = hashlib.sha256(video_id.encode()).hexdigest()
    known: dict[str, Any] = {
        "outcome": "kept",
        "source_sha256": sha256,
        "duration_s": 60.0,
        "language": "en",
    }
    known |= {"title": f"About {video_id}", "license": "CC0", "language_probability": 0.99}
    return Video(video_id=video_id, url=f"{video_id}.mp4", location="", **(known | facts))


def make_corpus(folder: Path) -> Path:
    """Makes a corpus of 6 sources (3 kept, 2 rejected, 1 failed), 4 samples, 2 shards or more.

    `x_one` has two passages with a rejected clip between them; `x_val` lies in val.
    """
    work = folder.with_name(f"{folder.name}.work")
    workspace = Workspace(Store(str(work / "store")), work / "scratch")
    store = Store(str(folder))
    videos = [
        made_video("x_one"),
        made_video("x_two", title="\x1b[31mred\u202e</script>", license=None),
        made_video("x_val", channel="a channel"),
        made_video("x_mute", outcome="rejected", stage="probe", reason="no_audio", language=None),
        made_video("x_talk", outcome="rejected", stage="passage", reason="too_short"),
        made_video("x_bad", outcome="failed", stage="probe", reason="undecodable"),
    ]
    videos[-1] = replace(videos[-1], source_sha256=None, duration_s=None, language=None)
    clips = {"x_one": made_clips(5, 2.0), "x_two": made_clips(2), "x_val": made_clips(3, 0.5)}
    clips["x_talk"] = made_clips(1)
    groups = {"x_one": [[0, 1], [3, 4]], "x_two": [[0, 1]], "x_val": [[0, 1, 2]]}
    parts, keys = {}, {}
    for video in videos:
        own = clips.get(video.video_id, [])
        for indices in groups.get(video.video_id, []):
            start_s, end_s = own[indices[0]].start_s, own[indices[-1]].end_s
            key = sample_key(video.video_id, start_s)
            split = "val" if video.channel else "train"
            passage = Passage(key, start_s, end_s, split, indices)
            encoding = put_mp4(workspace, key, end_s - start_s)
            parts[key] = sample_parts(video, passage, own, words_of(own), encoding, TRANSCRIPT)
            keys.update({(video.video_id, i): key for i in indices})
    plans = plan_shards([p.planned() for p in parts.values()], [], 40_000, 0)
    shards = [write_shard(p.name, (parts[k] for k in p.keys), workspace, store) for p in plans]
    rows = {
        "videos": (VIDEOS, [_video_row(v, clips.get(v.video_id, []), keys) for v in videos]),
        "clips": (CLIPS, [_clip_row(v, c, keys) for v in clips for c in clips[v]]),
        "samples": (SAMPLES, [row for s in shards for row in s.rows.to_pylist()]),
    }
    tables = {name: pa.Table.from_pylist(r, schema=schema) for name, (schema, r) in rows.items()}
    info = {
        "format": FORMAT,
        "name": "made",
        "counts": {"sources": 6, "kept": 3, "rejected": 2, "failed": 1}
        | {"clips": 11, "clips_kept": 9, "samples": 4},
        "hours": {"source": 300 / 3600, "kept": 9 / 3600},
        "shards": [shard.entry for shard in shards],
        "fingerprint": "0" * 64,
        "versions": {"packages": {}, "hardware": {}},
        "releases": [],
        "tables": {n: write_table(store, f"{n}.parquet", t) for n, t in tables.items()},
    }
    store.put("README.md", b"---\nlicense: other\n---\n# made\n")
    store.put("report.html", b"<!doctype html><title>made</title>")
    store.put("stats.json", b"{}")
    store.put("config.yaml", b"name: made\n")
    store.put("dataset.json", json.dumps(info).encode())
    return folder


def put_mp4(workspace: Workspace, key: str, duration_s: float, **settings: Any) -> Encoding:
    """Makes an mp4 of this length, puts it into the workspace and returns what it holds."""
    workspace.scratch.mkdir(parents=True, exist_ok=True)
    path = workspace.scratch / f"{key}.mp4"
    frames = round(duration_s * FPS)
    make_mp4(path, frames, **settings)
    data = path.read_bytes()
    sha256 = workspace.put(data)
    size = (WIDTH_PX, HEIGHT_PX)
    return Encoding(key, sha256, len(data), *size, float(FPS), frames, frames / FPS, True)


def _video_row(video: Video, clips: list[Clip], keys: dict[tuple[str, int], str]) -> dict[str, Any]:
    kept = sum((video.video_id, clip.clip_index) in keys for clip in clips)
    row = {name: getattr(video, name, None) for name in VIDEOS.names}
    return row | {"clips_kept": kept, "clips_rejected": len(clips) - kept, "timings": "{}"}


def _clip_row(video_id: str, clip: Clip, keys: dict[tuple[str, int], str]) -> dict[str, Any]:
    key = keys.get((video_id, clip.clip_index))
    row = {name: getattr(clip, name, getattr(clip.scores, name, None)) for name in CLIPS.names}
    judged = {"outcome": "kept" if key else "rejected", "reason": None if key else "too_fast"}
    return row | judged | {"video_id": video_id, "sample_key": key}


# Breaking: what a change implies elsewhere is brought in line, so that only the fault is left.


def edit_dataset(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes dataset.json in place."""
    path = folder / "dataset.json"
    info = json.loads(path.read_bytes())
    change(info)
    path.write_text(json.dumps(info))


def edit_rows(folder: Path, name: str, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Changes the rows of a table, and its sha256 in dataset.json."""
    path = folder / f"{name}.parquet"
    rows = pq.read_table(path).to_pylist()
    change(rows)
    schema = {"videos": VIDEOS, "clips": CLIPS, "samples": SAMPLES}[name]
    nullable = pa.schema([field.with_nullable(True) for field in schema])
    replace_table(folder, name, pa.Table.from_pylist(rows, schema=nullable))


def replace_table(folder: Path, name: str, table: pa.Table) -> None:
    """Puts another table in place, and its sha256 into dataset.json."""
    path = folder / f"{name}.parquet"
    pq.write_table(table, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_dataset(folder, lambda info: info["tables"].update({name: sha256}))


Members = list[tuple[str, bytes]]


def edit_shard(folder: Path, name: str, change: Callable[[Members], Members | None]) -> None:
    """Changes the members of a shard; its entry and its rows in the index follow."""
    path = folder / "shards" / name
    with tarfile.open(path) as tar:
        members = [(m.name, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]
    members = change(members) or members
    found: dict[str, dict[str, Any]] = {}
    with path.open("wb") as file:
        tar_writer = TarWriter(file)
        for member, data in members:
            key, _, kind = member.removesuffix(".mp4").partition(".")
            kind = kind or "mp4"
            facts = found.setdefault(key, {})
            facts[f"{kind}_offset"] = tar_writer.add(member, data)
            facts[f"{kind}_size"] = len(data)
            facts[f"{kind}_sha256"] = hashlib.sha256(data).hexdigest()
        tar_writer.close()
    edit_rows(folder, "samples", lambda rows: [r.update(found.get(r["key"], {})) for r in rows])
    entry_follows(folder, name)


def entry_follows(folder: Path, name: str) -> None:
    """Brings bytes and sha256 of a shard's entry in line with the file."""
    data = (folder / "shards" / name).read_bytes()
    facts = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit_dataset(
        folder, lambda info: [e.update(facts) for e in info["shards"] if e["name"] == name]
    )


def edit_json(
    folder: Path, change: Callable[[dict[str, Any]], object], key: str | None = None
) -> None:
    """Changes the json of a sample: of the first one of train if no key is given."""

    def changed(members: Members) -> Members:
        target = f"{key}.json" if key else next(n for n, _ in members if n.endswith(".json"))
        return [(n, _changed(d, change) if n == target else d) for n, d in members]

    row_of = {r["key"]: r["shard"] for r in pq.read_table(folder / "samples.parquet").to_pylist()}
    edit_shard(folder, row_of[key] if key else "train-000000.tar", changed)


def _changed(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    meta = json.loads(data)
    change(meta)
    return json.dumps(meta).encode()
