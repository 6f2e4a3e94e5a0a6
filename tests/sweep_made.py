"""Makes the tables of corpora for sweeps: any sources and clips, decided as a build decides."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from reelscript.jobs.config import Config, config_from
from reelscript.jobs.dataset import videos_table
from reelscript.pipeline.clips import MEASURED
from reelscript.pipeline.decide import Decision, decide, with_encode_failures
from reelscript.pipeline.errors import Reject
from reelscript.pipeline.store import Store
from reelscript.schemas.sample import FORMAT
from reelscript.schemas.tables import SAMPLES
from reelscript.schemas.text import ms
from reelscript.schemas.video import Video
from reelscript.schemas.videos import Videos
from reelscript.transforms.mp4_format import frames_in
from reelscript.transforms.shard import table_bytes
from reelscript.transforms.speech import language_to_transcribe
from tests.test_decide import row

Row = dict[str, Any]
NOTHING: dict[str, Any] = {"string": "", "int64": 0, "double": 0.0}


def decided(
    videos: Videos, clips: pa.Table, config: Config, failing: Collection[str] = ()
) -> Decision:
    """Returns what a build decides, some videos failing when they are encoded."""
    rules = (config.quality, config.dedup, config.passage)
    found = decide(videos, clips, *rules, config.shard.split_of)
    failed = {v.video_id for v in found.videos if v.outcome == "kept"} & set(failing)
    if not failed:
        return found
    ended = Videos.of(
        v.ended("failed", "encode", "decode_failed") if v.video_id in failed else v
        for v in found.videos
    )
    return with_encode_failures(dataclasses.replace(found, videos=ended), failed)


def duration_s(start_s: float, end_s: float, video: Video, config: Config) -> float:
    """Returns how long the mp4 of a passage is."""
    fps = config.encode.form(video).fps
    return ms(float(frames_in(end_s - start_s, fps) / fps))


def put_corpus(folder: Path, config: Config, found: Decision) -> Path:
    """Writes the tables, dataset.json and config.yaml of a corpus; it has no shards."""
    samples = []
    for video in found.videos:
        for p in found.passages.get(video.video_id, []):
            row = {f.name: NOTHING[str(f.type)] for f in SAMPLES if not f.nullable}
            own = {"key": p.key, "video_id": video.video_id, "start_s": p.start_s}
            own |= {"end_s": p.end_s, "split": p.split, "clips": len(p.clips)}
            own |= {"duration_s": duration_s(p.start_s, p.end_s, video, config)}
            samples.append(row | own)
    tables = {
        "videos": videos_table(found, {}),
        "clips": found.clips,
        "samples": pa.Table.from_pylist(samples, schema=SAMPLES),
    }
    store, sha256 = Store(str(folder)), {}
    for name, table in tables.items():
        data = table_bytes(name, table)
        store.put(f"{name}.parquet", data)
        sha256[name] = hashlib.sha256(data).hexdigest()
    info = {"format": FORMAT, "name": "made", "release": 0, "tables": sha256}
    store.put("config.yaml", config.to_yaml().encode())
    store.put("dataset.json", json.dumps(info).encode())
    return folder


def clips_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Returns clips as measured."""
    return pa.Table.from_pylist(list(rows), schema=MEASURED)


def config_with(*overrides: str) -> Config:
    """A resolved config, as far as a sweep looks at it."""
    data: dict[str, Any] = {"speech": {"accept": ["en"]}, "name": "made"}
    for text in overrides:
        name, _, value = text.partition("=")
        section, _, key = name.partition(".")
        data.setdefault(section, {})[key] = json.loads(value)
    return config_from(data, "test")


STAGES = ("probe", "glance", "speech", "transcribe", "language")


class World:
    """Sources with all their facts and clips, also those that a build never comes to measure."""

    def __init__(self, videos: list[Video], clips: dict[str, list[Row]], failing: set[str]) -> None:
        oblong = {video.video_id for video in videos if (video.width_px or 0) > 6000}
        self.videos, self.clips, self.failing = videos, clips, failing | oblong

    def measured(self, config: Config) -> Videos:
        """What a build knows of each: nothing of the stages behind the one that ended it."""
        return Videos.of(self._measured(video, config) for video in self.videos)

    def _measured(self, full: Video, config: Config) -> Video:
        known = Video(video_id=full.video_id, url=full.url, location="")
        known = replace(known, source_sha256=full.source_sha256)
        for name in STAGES:
            stage = getattr(config, name)
            facts = {field: getattr(full, field) for field in stage.writes}
            if name == "transcribe":
                said = language_to_transcribe(known, ("en",))
                facts |= {"language": said[0], "language_probability": said[1]}
            known = replace(known, **facts)
            try:
                stage.judge(known)
            except Reject as no:
                return known.ended("rejected", name, no.reason)
            if name == "probe" and full.fps is None:  # it broke behind its header
                return known.ended("failed", "glance", "crashed")
        scores = ("clips_cut", "words_per_s", "densest_30s_words")
        return replace(known, **{name: getattr(full, name) for name in scores})

    def built(self, config: Config) -> Any:
        """What a build decides and encodes."""
        videos = self.measured(config)
        pending = [v.video_id for v in videos if v.pending]
        table = clips_table([row for video_id in pending for row in self.clips[video_id]])
        return decided(videos, table, config, self.failing)

    def put(self, folder: Path, config: Config) -> Path:
        """The corpus that a build makes, in a new folder."""
        shutil.rmtree(folder, ignore_errors=True)
        return put_corpus(folder, config, self.built(config))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Up to 8 sources, around the thresholds of every stage, some of the same bytes."""
    videos: list[Video] = []
    clips: dict[str, list[Row]] = {}
    for n in range(draw(st.integers(1, 8))):
        one = _source(draw, n)
        videos.append(one)
        clips[one.video_id], at_ms = [], 0
        for index in range(draw(st.integers(1, 9))):
            at_ms += draw(st.sampled_from([0, 0, 200, 4000]))
            length_ms = draw(st.integers(1000, 9000))
            more: Row = {
                "words_per_s": draw(st.sampled_from([2.0, 3.0, 3.5, 8.0])),
                "speech_share": draw(st.sampled_from([0.1, 0.5, 0.9])),
                "within_bounds": draw(st.sampled_from([True] * 6 + [False])),
            }
            start_s, end_s = at_ms / 1000, (at_ms + length_ms) / 1000
            clips[one.video_id].append(row(one.video_id, index, start_s, end_s, **more))
            at_ms += length_ms
        videos[-1] = replace(one, clips_cut=len(clips[one.video_id]))
    failing = draw(st.sets(st.sampled_from([v.video_id for v in videos]), max_size=2))
    return World(videos, clips, failing)


def _source(draw: st.DrawFn, n: int) -> Video:
    def one_of(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    stated = one_of(True, False, False)
    heard = one_of('{"en": 0.9}', '{"en": 0.4, "de": 0.3}', '{"de": 0.45, "en": 0.3}', "{}")
    best = next(iter(json.loads(heard).items()), (None, 0.0))
    language: tuple[Any, Any, Any] = ("en", None, None) if stated else (*best, heard)
    return Video(
        video_id=f"x_{n}",
        url=f"{n}.mp4",
        location="",
        source_sha256=one_of("s1", "s2", "s3", None),
        duration_s=one_of(0.5, 30.0, 60.0, 200.0),
        fps=one_of(25.0, 25.0, 29.97, 12.5, None),
        width_px=one_of(640, 640, 640, 6400),
        height_px=360,
        static_share=one_of(None, 0.1, 0.8),
        speech_s=one_of(0.0, 5.0, 20.0),
        speech_share=one_of(0.15, 0.25, 0.6),
        voice_probability=one_of(0.6, 0.75, 0.9),
        language=language[0],
        language_probability=language[1],
        heard_languages=language[2],
        language_agreement=None if stated else one_of(None, 0.6, 0.8, 1.0),
        words=one_of(0, 50, 50, 50),
        text_language=one_of("en", "en", "en", "de", "und"),
        text_language_probability=one_of(0.7, 0.9),
        words_per_s=one_of(None, 0.4, 2.0),
        densest_30s_words=one_of(10, 60),
    )
