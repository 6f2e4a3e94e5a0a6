"""Makes small random corpora as tables, with rows of every kind, and puts them into stores."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from reelscript.jobs.config import Config
from reelscript.jobs.provenance import all_reasons, all_thresholds
from reelscript.jobs.statistics.rows import Rows
from reelscript.jobs.statistics.stats import statistics
from reelscript.pipeline.rules import DUPLICATE_CONTENT, PASSAGE_TOO_SHORT, Quality, rules_of
from reelscript.pipeline.store import Store
from reelscript.schemas.sample import FORMAT
from reelscript.schemas.tables import CLIPS, SAMPLES, VIDEOS

CONFIG = Config(quality=Quality(max_static_share=0.8, video_min_words_per_s=0.5))
REASONS, THRESHOLDS = all_reasons(CONFIG), all_thresholds(CONFIG)
CLIP_LIMITS = [
    (rule.score, rule.side, rule.limit)
    for rule in rules_of(CONFIG.quality)
    if rule.limit is not None and not rule.of_video
]
WHOLE = {field.name for field in CLIPS if pa.types.is_integer(field.type)}
CLIP_REASONS = [*REASONS["quality"], PASSAGE_TOO_SHORT, "video_failed", "of_no_stage"]
FAILURES = (
    *(("acquire", "pending"), ("acquire", "http_404"), ("acquire", "http_503")),
    *(("acquire", "needs_yt_dlp"), ("acquire", "video_removed"), ("probe", "error")),
    *(("speech", "out_of_memory"), (None, None), ("unheard_of", "blocked")),
)
TIMED = ("acquire", "probe", "speech", "transcribe", "a new stage")
WORDS = (
    *("the", "The", "the,", "and", "a", "cat", "cat.", "sat", "Été", "naïve", "¿qué?", "…", "--"),
    *(
        "日本語",
        "👩‍👩‍👧",
        "<script>alert(1)</script>",
        "'; DROP TABLE clips; --",
        "${x}",
        "{{ 7 * 7 }}",
    ),
    *("x\u00a0y", "a\u2003b", "\u202egnp", "z\x00w", "ǅ", "STRASSE", "don't"),
)
TITLES = (
    *(None, "", "A title", "Ein Titel — mit Strich", "<b>bold</b>", "\u202eright to left\u202c"),
    *("line\nbreak\r\n", "\x1b[31mred", "quote ' \" `", "題名", "x" * 400, "</script><script>"),
)
URLS = (
    *("a folder/b.mp4", "https://www.youtube.com/watch?v=abcdefghijk&t=3s", "https://youtu.be/abc"),
    *("http://Host.Example:80/w?x=1#part", "HTTPS://U@host.example/é.mp4", "javascript:alert(1)"),
    *("https://[broken", "https://other.example/a b", "ftp://host.example/x", "//host.example/x"),
    *("https://host.example/'\"><script>", "", "http://", "https://host.example\\@evil.example/"),
)
SITE_FACTS = (
    *(None, "{}", "[]", "null", "not JSON", '{"upload_date": ', '{"upload_date": null}'),
    *('{"upload_date": "2019"}', '{"upload_date": 20190304}', '{"upload_date": ["20190304"]}'),
    *('{"upload_date": "20190304"}', '{"upload_date": "20070101", "tags": ["a"]}'),
    *('{"upload_date": "99990101"}', '{"upload_date": "٢٠١٩٠٣٠٤"}', '{"id": "20200101"}'),
)
NAMES = ("en", "de", "h264", "mov,mp4", "asr", "x y", "")
TIMINGS = (None, "{}", "[1]", "not JSON", '{"probe": "slow"}', '{"probe": null}', '{"probe": -1}')


class Tables(NamedTuple):
    """The tables of a corpus."""

    videos: pa.Table
    clips: pa.Table
    samples: pa.Table


def made_corpus(seed: int, videos: int) -> Tables:
    """Returns a corpus in which the laws of conservation hold; nearly all else is drawn."""
    r = random.Random(seed)
    rows: dict[str, list[dict[str, Any]]] = {"videos": [], "clips": [], "samples": []}
    for position in range(videos):
        video = _video(r, position)
        clips = _clips(r, video) if video["outcome"] == "kept" or r.random() < 0.3 else []
        samples = _samples(r, video, [clip for clip in clips if clip["outcome"] == "kept"])
        video["clips_kept"] = sum(clip["outcome"] == "kept" for clip in clips)
        video["clips_rejected"] = len(clips) - video["clips_kept"]
        for name, more in (("videos", [video]), ("clips", clips), ("samples", samples)):
            rows[name] += more
    return Tables(
        pa.Table.from_pylist(rows["videos"], schema=VIDEOS),
        pa.Table.from_pylist(rows["clips"], schema=CLIPS),
        pa.Table.from_pylist(rows["samples"], schema=SAMPLES),
    )


def shuffled(tables: Tables, seed: int) -> Tables:
    """Returns the same rows in another order, in chunks of other sizes."""
    r = random.Random(seed)
    found = []
    for table in tables:
        order = r.sample(range(len(table)), len(table))
        at = r.randint(0, len(table))
        taken = table.take(pa.array(order, pa.int64()))
        found.append(pa.concat_tables([taken.slice(0, at), taken.slice(at)]))
    return Tables(*found)


def numbers_of(tables: Sequence[pa.Table], threads: int | None = None, **given: Any) -> Any:
    """Returns the statistics of three tables; reasons and thresholds are those of CONFIG."""
    with Rows.of_tables(*tables, threads=threads) as rows:
        return statistics(rows, **({"reasons": REASONS, "thresholds": THRESHOLDS} | given))


def put_corpus(store: Store, tables: Tables, parts: int = 0, /, **info: Any) -> None:
    """Stores tables as a corpus: each as one file, or as a folder of so many part files."""
    for name, table in tables._asdict().items():
        if not parts:
            store.put(f"{name}.parquet", parquet(table))
        size = -(-len(table) // parts) if parts else 0
        for part in range(parts):
            piece = table.slice(part * size, size)
            store.put(f"{name}.parquet/part-{part:03d}.parquet", parquet(piece))
    store.put("dataset.json", json.dumps({"format": FORMAT, **info}).encode())


def parquet(table: pa.Table) -> bytes:
    """Returns a table as a Parquet file, in row groups of ten."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=10)
    return buffer.getvalue()


def _video(r: random.Random, position: int) -> dict[str, Any]:
    outcome = r.choice(["kept", "kept", "rejected", "failed"])
    stage, reason = None, None
    if outcome == "failed":
        stage, reason = r.choice(FAILURES)
    if outcome == "rejected":
        stage = r.choice([*REASONS, "nowhere"])
        reason = r.choice([*REASONS.get(stage, ()), "seldom"])
    row = {field.name: _drawn(r, field) for field in VIDEOS}
    timed = {stage: round(r.expovariate(0.1), 4) for stage in TIMED if r.random() < 0.7}
    row |= {"video_id": f"x_{position:04d}", "url": r.choice(URLS), "title": r.choice(TITLES)}
    row |= {"outcome": outcome, "stage": stage, "reason": reason, "detail": r.choice(TITLES)}
    row |= {"channel": r.choice([None, "", *(f"c{n}" for n in range(position // 2 + 1))])}
    row |= {"license": r.choice([None, "", "CC-BY-4.0", "Mine | <b>"])}
    row |= {"duration_s": r.choice([None, float("nan"), 0.0, round(r.uniform(1, 4000), 4)])}
    row |= {"site_facts": r.choice(SITE_FACTS)}
    row |= {"timings": json.dumps(timed) if r.random() < 0.7 else r.choice(TIMINGS)}
    return row


def _clips(r: random.Random, video: Mapping[str, Any]) -> list[dict[str, Any]]:
    clips: list[dict[str, Any]] = []
    at = 0.0
    for index in range(r.randint(1, 9)):
        start_s = round(at + r.random(), 3)
        at = round(start_s + r.uniform(1, 15), 3)
        kept = video["outcome"] == "kept" and (index == 0 or r.random() < 0.6)
        reasons = [DUPLICATE_CONTENT] if video["stage"] == "dedup" else CLIP_REASONS
        row = {field.name: _drawn(r, field) for field in CLIPS}
        row |= {"video_id": video["video_id"], "clip_index": index, "start_s": start_s, "end_s": at}
        row |= {"text": " ".join(r.choices(WORDS, k=r.randint(0, 12)))}
        row |= {"outcome": "kept" if kept else "rejected", "sample_key": None}
        row |= {"reason": None if kept else r.choice(reasons), "within_bounds": r.random() < 0.9}
        row |= {score: _judged(r, score, side, at) for score, side, at in CLIP_LIMITS}
        clips.append(row)
    return clips


def _judged(r: random.Random, score: str, side: str, limit: float) -> float | int | None:
    """Returns a score that mostly meets a limit, and now and then lies on it or beyond."""
    far = r.choice([0, 0, *(r.random() for _ in range(9)), -r.random()])
    value = limit + (far if side == "min" else -far) * max(1.0, abs(limit))
    if CLIPS.field(score).nullable and r.random() < 0.2:
        return None
    return round(value) if score in WHOLE else value


def _samples(
    r: random.Random, video: Mapping[str, Any], kept: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Returns samples of three kept clips each, and writes their keys into these."""
    samples = []
    for first in range(0, len(kept), 3):
        own = kept[first : first + 3]
        key = f"{video['video_id']}-{round(own[0]['start_s'] * 1000):09d}"
        split = r.choice(["train", "train", "val"])
        row = {field.name: _drawn(r, field) for field in SAMPLES}
        row |= {"key": key, "video_id": video["video_id"], "clips": len(own), "split": split}
        row |= {"shard": f"{split}-00000{r.randrange(3)}.tar", "start_s": own[0]["start_s"]}
        row |= {"end_s": own[-1]["end_s"], "text": " ".join(clip["text"] for clip in own)}
        row |= {"duration_s": round(own[-1]["end_s"] - own[0]["start_s"] + 0.02, 2)}
        samples.append(row)
        for clip in own:
            clip["sample_key"] = key
    return samples


def _drawn(r: random.Random, field: pa.Field) -> Any:
    """Returns a value for a column: null now and then, numbers on both sides of thresholds."""
    if field.nullable and r.random() < 0.15:
        return None
    if pa.types.is_integer(field.type):
        return r.choice([0, r.randrange(12), r.randrange(1200)])
    if pa.types.is_floating(field.type):
        return r.choice([0.0, 1.0, r.random(), r.uniform(-2, 8), round(r.uniform(0, 1), 1)])
    return r.random() < 0.9 if pa.types.is_boolean(field.type) else r.choice(NAMES)
