"""The numbers of a corpus against naive recounts."""

from __future__ import annotations

import json
import math
import random
import string
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.jobs.statistics import stats as numbers
from reelscript.jobs.statistics.contents import MAX_GROUPS
from reelscript.jobs.statistics.histogram import MAX_BINS, histogram
from reelscript.jobs.statistics.rows import Rows
from reelscript.jobs.statistics.scores import VIDEO_SCORES
from reelscript.jobs.statistics.stats import MAX_SOURCES
from reelscript.schemas.clip import SCORE_NAMES
from reelscript.schemas.tables import CLIPS, SAMPLES, VIDEOS
from reelscript.schemas.text import one_line

REASONS = {
    "acquire": ["pending"],
    "probe": ["too_short", "no_audio"],
    "speech": ["no_speech"],
    "segment": ["no_clips"],
    "quality": ["clip_out_of_bounds", "low_words", "too_short"],
    "passage": ["passage_too_short"],
    "encode": ["video_failed"],
}
ENDINGS = [  # outcome, stage, reason, whether clips were cut before
    *[("kept", None, None, True)] * 6,
    ("failed", "acquire", "http_404", False),
    ("failed", "acquire", "pending", False),
    ("rejected", "probe", "too_short", False),
    ("failed", "probe", "error", False),
    ("rejected", "speech", "no_speech", False),
    ("rejected", "quality", "low_words", True),
    ("failed", "encode", "encode_failed", True),
    ("rejected", "nowhere", "unheard_of", False),
]
CLIP_STAGE = {
    "clip_out_of_bounds": "quality",
    "low_words": "quality",
    "too_short": "quality",
    "passage_too_short": "passage",
    "video_failed": "encode",
    "of_no_stage": "unlisted",
}
THRESHOLDS: dict[str, list[dict[str, Any]]] = {
    "words": [{"setting": "quality.min_words", "value": 3, "side": "min", "origin": "ours"}],
    "words_per_s": [
        {"setting": "quality.max_words_per_s", "value": 6.0, "side": "max", "origin": "ours"},
        {"setting": "quality.video_min_words_per_s", "value": None, "side": "min", "origin": "off"},
    ],
    "speech_share": [{"setting": "speech.min_share", "value": 0.2, "side": "min", "origin": ""}],
    "passage.duration_s": [
        {"setting": "passage.max_s", "value": 16.0, "side": "max", "origin": "the format"}
    ],
}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "${{ 7 * 7 }} {% raw %}{{ config }}",
    "]]> --> </style></title></textarea>",
    "javascript:alert(1)",
    "\u202egnp.exe\u202c \u2066x",
    "' onmouseover='x",
    "https://evil.example/<b>?a=1&lt;",
    "a\r\nb\x00\x1b[31mred",
]


def random_value(r: random.Random, field: pa.Field) -> Any:
    if field.nullable and r.random() < 0.2:
        return None
    if pa.types.is_integer(field.type):
        return r.randrange(60)
    if pa.types.is_floating(field.type):
        return r.choice([0.0, 1.0, round(r.uniform(-2, 4), 3), round(r.lognormvariate(0, 1), 4)])
    return r.random() < 0.5 if pa.types.is_boolean(field.type) else r.choice(["en", "de", "x y"])


def a_video(r: random.Random, position: int) -> tuple[dict[str, Any], bool]:
    outcome, stage, reason, cut = r.choice(ENDINGS)
    row = {field.name: random_value(r, field) for field in VIDEOS}
    row |= {
        "video_id": f"x_{position:04d}",
        "url": r.choice(["a/b.mp4", "https://U@Host.example:80/w?x", "http://other.example"]),
        "title": r.choice([None, "A title", *HOSTILE]),
        "license": r.choice([None, "CC-BY-4.0", "", "Mine | <b>"]),
        "outcome": outcome,
        "stage": stage,
        "reason": reason,
        "duration_s": r.choice([None, float("nan"), round(r.uniform(1, 4000), 3)]),
        "clips_kept": 0,
        "clips_rejected": 0,
    }
    if cut:
        row["duration_s"] = 5000.0
    return row, cut


def clips_of(
    r: random.Random, video: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    clips: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    at = 0.0
    for index in range(r.randint(1, 12)):
        start = at + r.random()
        at = start + r.uniform(1, 15)
        kept = video["outcome"] == "kept" and (index == 0 or r.random() < 0.7)
        row = {field.name: random_value(r, field) for field in CLIPS}
        text = " ".join(r.choices(["The", "the", "cat,", "sat.", "...", "Été", *HOSTILE[:2]], k=5))
        row |= {"video_id": video["video_id"], "clip_index": index, "text": text}
        row |= {"start_s": round(start, 3), "end_s": round(at, 3)}
        row |= {"outcome": "kept" if kept else "rejected", "reason": None, "sample_key": None}
        if kept:
            key = f"{video['video_id']}-{round(start * 1000):09d}"
            row["sample_key"] = key
            sample = {field.name: random_value(r, field) for field in SAMPLES}
            sample |= {"key": key, "video_id": video["video_id"], "clips": 1}
            sample |= {"split": r.choice(["train", "train", "val"]), "start_s": row["start_s"]}
            sample |= {"shard": f"{sample['split']}-00000{r.randrange(3)}.tar"}
            sample |= {"end_s": row["end_s"], "duration_s": round(at - start + 0.02, 2)}
            samples.append(sample)
        else:
            row["reason"] = r.choice(list(CLIP_STAGE))
        video["clips_kept" if kept else "clips_rejected"] += 1
        clips.append(row)
    return clips, samples


def random_corpus(seed: int, videos: int) -> tuple[pa.Table, pa.Table, pa.Table]:
    r = random.Random(seed)
    rows: list[dict[str, Any]] = []
    clips: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    for position in range(videos):
        video, cut = a_video(r, position)
        rows.append(video)
        own = clips_of(r, video) if cut else ([], [])
        clips += own[0]
        samples += own[1]
    return (
        pa.Table.from_pylist(rows, schema=VIDEOS),
        pa.Table.from_pylist(clips, schema=CLIPS),
        pa.Table.from_pylist(samples, schema=SAMPLES),
    )


def statistics(*tables: pa.Table, **given: Any) -> dict[str, Any]:
    with Rows.of_tables(*tables) as rows:
        return numbers.statistics(rows, **given)


def seconds(value: float | None) -> float:
    return 0.0 if value is None or not math.isfinite(value) else value


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=2e-6)


@pytest.fixture(scope="module", params=[(0, 0), (1, 1), (2, 40), (3, 400)])
def corpus(request: pytest.FixtureRequest) -> dict[str, Any]:
    tables = random_corpus(*request.param)
    stats = statistics(*tables, reasons=REASONS, thresholds=THRESHOLDS)
    rows = [table.to_pylist() for table in tables]
    return {
        "stats": stats,
        "tables": tables,
        **dict(zip(("videos", "clips", "samples"), rows, strict=True)),
    }


def test_statistics_are_json_without_nan(corpus: dict[str, Any]) -> None:
    text = json.dumps(corpus["stats"], allow_nan=False)
    assert json.loads(text) == corpus["stats"]


def test_statistics_are_equal_for_equal_tables_in_other_chunks(corpus: dict[str, Any]) -> None:
    chunked = [pa.concat_tables([t.slice(0, 7), t.slice(7)]) for t in corpus["tables"]]
    again = statistics(*chunked, reasons=REASONS, thresholds=THRESHOLDS)
    assert json.dumps(again) == json.dumps(corpus["stats"])


def test_counts_are_those_of_the_rows(corpus: dict[str, Any]) -> None:
    videos = Counter(v["outcome"] for v in corpus["videos"])
    clips = Counter(c["outcome"] for c in corpus["clips"])
    assert corpus["stats"]["counts"] == {
        "sources": len(corpus["videos"]),
        "kept": videos["kept"],
        "rejected": videos["rejected"],
        "failed": videos["failed"],
        "clips": len(corpus["clips"]),
        "clips_kept": clips["kept"],
        "clips_rejected": clips["rejected"],
        "samples": len(corpus["samples"]),
    }
    assert all(check["holds"] for check in corpus["stats"]["checks"])


def test_hours_are_sums_over_rows_and_the_account_adds_up(corpus: dict[str, Any]) -> None:
    found, by_outcome = corpus["stats"]["hours"], defaultdict(float)
    for v in corpus["videos"]:
        by_outcome[v["outcome"]] += seconds(v["duration_s"]) / 3600
    for outcome in ("kept", "rejected", "failed"):
        assert close(found[outcome], by_outcome[outcome])
    assert close(found["source"], sum(by_outcome.values()))
    assert close(found["samples"], sum(s["duration_s"] for s in corpus["samples"]) / 3600)
    all_clips = sum(c["end_s"] - c["start_s"] for c in corpus["clips"]) / 3600
    kept_clips = sum(c["end_s"] - c["start_s"] for c in corpus["clips"] if c["outcome"] == "kept")
    assert close(found["clips"], all_clips)
    assert close(found["clips_kept"], kept_clips / 3600)
    kept = {v["video_id"] for v in corpus["videos"] if v["outcome"] == "kept"}
    rejected = [c for c in corpus["clips"] if c["video_id"] in kept and c["outcome"] == "rejected"]
    lost = sum(c["end_s"] - c["start_s"] for c in rejected) / 3600
    assert close(found["account"]["rejected_clips_of_kept_videos"], lost)
    assert math.isclose(sum(found["account"].values()), found["source"], abs_tol=1e-5)


def test_funnel_lets_through_what_did_not_end_before(corpus: dict[str, Any]) -> None:
    stages = [row["stage"] for row in corpus["stats"]["funnel"]]
    assert stages[: len(REASONS)] == list(REASONS)
    assert set(stages) - set(REASONS) <= {"nowhere", "unlisted"}
    for row in corpus["stats"]["funnel"]:
        before = stages[: stages.index(row["stage"])]
        entered = [v for v in corpus["videos"] if v["stage"] is None or v["stage"] not in before]
        here = [v for v in entered if v["stage"] == row["stage"]]
        level = row["videos"]
        assert level["entered"] == len(entered)
        assert level["left"] == len(entered) - len(here)
        for outcome in ("rejected", "failed"):
            counted = Counter(v["reason"] for v in here if v["outcome"] == outcome)
            assert level[f"{outcome}_by"] == counted
            assert level[outcome] == counted.total()
        assert close(level["hours_entered"], sum(seconds(v["duration_s"]) for v in entered) / 3600)


def test_funnel_counts_clips_from_the_stage_that_cuts_them(corpus: dict[str, Any]) -> None:
    rows = corpus["stats"]["funnel"]
    stages = [row["stage"] for row in rows]
    for row in rows:
        if stages.index(row["stage"]) < stages.index("segment"):
            assert row["clips"] is None
            continue
        later = stages[stages.index(row["stage"]) :]
        alive = [c for c in corpus["clips"] if not c["reason"] or CLIP_STAGE[c["reason"]] in later]
        here = [c for c in alive if c["reason"] and CLIP_STAGE[c["reason"]] == row["stage"]]
        assert row["clips"]["entered"] == len(alive)
        assert row["clips"]["rejected_by"] == Counter(c["reason"] for c in here)
        assert row["clips"]["left"] == len(alive) - len(here)
    kept = sum(c["outcome"] == "kept" for c in corpus["clips"])
    assert rows[-1]["clips"]["left"] == kept


def test_reasons_show_zeros_counts_and_examples(corpus: dict[str, Any]) -> None:
    found = {(r["stage"], r["reason"]): r for r in corpus["stats"]["reasons"]}
    assert {(s, r) for s, reasons in REASONS.items() for r in reasons} <= set(found)
    for (stage, reason), row in found.items():
        videos = [v for v in corpus["videos"] if (v["stage"], v["reason"]) == (stage, reason)]
        clips = [
            c for c in corpus["clips"] if c["reason"] == reason and CLIP_STAGE[reason] == stage
        ]
        assert row["videos_rejected"] + row["videos_failed"] == len(videos)
        assert row["videos_failed"] == sum(v["outcome"] == "failed" for v in videos)
        assert close(row["video_hours"], sum(seconds(v["duration_s"]) for v in videos) / 3600)
        assert row["clips"] == len(clips)
        assert close(row["clip_hours"], sum(c["end_s"] - c["start_s"] for c in clips) / 3600)
        assert len(row["examples"]) == min(3, len(clips) + len(videos))
        of_clips = {(c["video_id"], c["clip_index"], one_line(c["text"])) for c in clips}
        for example in row["examples"][: len(clips)]:
            assert (example["video_id"], example["clip_index"], example["text"]) in of_clips
        for example in row["examples"][len(clips) :]:
            assert example["video_id"] in {v["video_id"] for v in videos}
    assert sum(r["clips"] for r in found.values()) == corpus["stats"]["counts"]["clips_rejected"]


def host_of(url: str) -> str | None:
    return {"a/b.mp4": None, "https://U@Host.example:80/w?x": "host.example"}.get(
        url, "other.example"
    )


@pytest.mark.parametrize(
    ("table", "fact"),
    [
        ("languages", lambda v, s: (v["language"], s and s["language"])),
        ("licenses", lambda v, _: (v["license"], v["license"])),
        ("transcripts", lambda v, _: (v["transcript_source"], v["transcript_source"])),
        ("hosts", lambda v, _: (host_of(v["url"]), host_of(v["url"]))),
    ],
)
def test_languages_licences_and_hosts_are_recounted(
    corpus: dict[str, Any], table: str, fact: Any
) -> None:
    expected: dict[str | None, list[float]] = defaultdict(lambda: [0, 0, 0.0, 0, 0.0])
    videos = {v["video_id"]: v for v in corpus["videos"]}
    for v in corpus["videos"]:
        row = expected[fact(v, None)[0]]
        row[0] += 1
        row[1] += v["outcome"] == "kept"
        row[2] += seconds(v["duration_s"]) / 3600
    for s in corpus["samples"]:
        row = expected[fact(videos[s["video_id"]], s)[1]]
        row[3] += 1
        row[4] += s["duration_s"] / 3600
    found = corpus["stats"][table]
    assert found["rest"]["names"] == 0
    assert {row["name"] for row in found["rows"]} == set(expected)
    for row in found["rows"]:
        keys = ("videos", "kept", "hours", "samples", "sample_hours")
        assert [row[k] for k in keys] == pytest.approx(expected[row["name"]], abs=1e-5)


def test_languages_beyond_the_bound_are_counted_together() -> None:
    videos, clips, samples = random_corpus(5, 200)
    names = pa.array([f"l{i % 120}" for i in range(200)], pa.string())
    at = VIDEOS.get_field_index("license")
    found = statistics(videos.set_column(at, VIDEOS.field(at), names), clips, samples, reasons={})
    assert len(found["licenses"]["rows"]) == MAX_GROUPS
    assert found["licenses"]["rest"]["names"] == 120 - MAX_GROUPS
    both = [*found["licenses"]["rows"], found["licenses"]["rest"]]
    assert sum(row["videos"] for row in both) == 200
    assert sum(row["samples"] for row in both) == len(samples)


def test_words_and_vocabulary_are_recounted(corpus: dict[str, Any]) -> None:
    marks = string.punctuation + "…“”‘’„«»‹›¿¡—–。、，？！"
    kept = [c for c in corpus["clips"] if c["outcome"] == "kept"]
    words = {w.strip(marks).lower() for c in kept for w in c["text"].split()} - {""}
    assert corpus["stats"]["words"] == {
        "all": sum(c["words"] for c in corpus["clips"]),
        "kept": sum(c["words"] for c in kept),
        "vocabulary_kept": len(words),
    }


def naive_quantile(values: list[float], q: float) -> float:
    values, at = sorted(values), q * (len(values) - 1)
    low = math.floor(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def check_side(side: dict[str, Any], edges: list[float], raw: list[float | None]) -> None:
    values = [v for v in raw if v is not None and math.isfinite(v)]
    assert side["n"] == len(values)
    assert side["unmeasured"] == len(raw) - len(values)
    if not values:
        assert side["min"] is side["median"] is side["max"] is None
        assert not any(side["counts"])
        return
    for name, q in (("min", 0), ("p5", 0.05), ("median", 0.5), ("p95", 0.95), ("max", 1)):
        assert math.isclose(side[name], naive_quantile(values, q), rel_tol=1e-6, abs_tol=2e-6)
    counts = [0] * (len(edges) - 1)
    for v in values:
        inside = [i for i in range(len(counts)) if edges[i] <= v < edges[i + 1]]
        inside = [len(counts) - 1] if v == edges[-1] else inside
        for i in inside:
            counts[i] += 1
    assert side["counts"] == counts
    assert side["below"] == sum(v < edges[0] for v in values)
    assert side["above"] == sum(v > edges[-1] for v in values)
    assert sum(counts) + side["below"] + side["above"] == len(values)


def test_histograms_hold_every_score_of_every_row(corpus: dict[str, Any]) -> None:
    found = {(s["of"], s["name"]): s for s in corpus["stats"]["scores"]}
    clips = [{**c, "duration_s": round(c["end_s"] - c["start_s"], 3)} for c in corpus["clips"]]
    samples = [{**s, "outcome": "kept"} for s in corpus["samples"]]
    rows = {"clip": clips, "video": corpus["videos"], "passage": samples}
    wanted = {("clip", n) for n in (*SCORE_NAMES, "duration_s")} | {
        ("video", n) for n in VIDEO_SCORES
    }
    assert set(found) == wanted | {("passage", "duration_s"), ("passage", "clips")}
    for (of, name), score in found.items():
        assert len(score["edges"]) <= MAX_BINS + 1
        kept = [r[name] for r in rows[of] if r["outcome"] == "kept"]
        rejected = [r[name] for r in rows[of] if r["outcome"] != "kept"]
        check_side(score["kept"], score["edges"], kept)
        check_side(score["rejected"], score["edges"], rejected)


def test_thresholds_find_the_score_that_they_bound() -> None:
    stats = statistics(*random_corpus(1, 3), reasons=REASONS, thresholds=THRESHOLDS)
    of = {t["setting"]: (t["of"], t["score"]) for t in stats["thresholds"]}
    assert of == {
        "quality.min_words": ("clip", "words"),
        "quality.max_words_per_s": ("clip", "words_per_s"),
        "quality.video_min_words_per_s": ("video", "words_per_s"),
        "speech.min_share": ("video", "speech_share"),
        "passage.max_s": ("passage", "duration_s"),
    }
    for score in stats["scores"]:
        own = [t["setting"] for t in score["thresholds"]]
        assert own == [s for s, owner in of.items() if owner == (score["of"], score["name"])]


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(st.floats(-1e9, 1e9) | st.floats(0, 1) | st.just(math.nan), max_size=60),
    limits=st.lists(st.floats(-1e9, 1e9), max_size=3),
)
def test_histogram_counts_every_value_once(values: list[float], limits: list[float]) -> None:
    kept = np.arange(len(values)) % 3 > 0
    found = histogram(np.array(values, dtype=np.float64), kept, limits)
    edges = found["edges"]
    assert len(edges) <= MAX_BINS + 1
    assert edges == sorted(set(edges))
    check_side(found["kept"], edges, [v for v, k in zip(values, kept, strict=True) if k])
    check_side(found["rejected"], edges, [v for v, k in zip(values, kept, strict=True) if not k])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=60))
def test_histogram_of_whole_numbers_has_bins_of_whole_numbers(values: list[int]) -> None:
    found = histogram(
        np.array(values, dtype=np.float64), np.ones(len(values), dtype=bool), whole=True
    )
    assert 2 <= len(found["edges"]) <= MAX_BINS + 1
    assert all(edge == int(edge) for edge in found["edges"])
    assert found["edges"][-1] > naive_quantile([float(v) for v in values], 0.995) - 1e-9


def test_histogram_takes_in_near_thresholds_and_not_far_ones() -> None:
    values = np.linspace(0, 1, 101)
    kept = np.ones(101, dtype=bool)
    assert histogram(values, kept, [1.5])["edges"][-1] >= 1.5
    assert histogram(values, kept, [1e6])["edges"][-1] <= 1.1
    assert histogram(np.ones(5), kept[:5])["edges"] == [0.9, 1.0]
    assert histogram(np.zeros(5), kept[:5])["edges"][0] == 0.0


def test_checks_name_the_law_that_is_broken() -> None:
    videos, clips, samples = random_corpus(2, 40)
    twice = pa.concat_tables([videos, videos.slice(0, 1)])
    broken = statistics(twice, clips, samples.slice(1), reasons=REASONS)
    laws = [check["law"] for check in broken["checks"] if not check["holds"]]
    assert "every source is one row" in laws
    assert "kept clips = clips in samples" in laws


def test_sources_are_listed_up_to_the_bound_and_the_rest_counted() -> None:
    stats = statistics(*random_corpus(4, MAX_SOURCES + 20), reasons=REASONS)
    assert len(stats["sources"]["rows"]) == MAX_SOURCES
    assert stats["sources"]["more"] == 20
    assert all(
        row["title"] is None or row["title"] == one_line(row["title"])
        for row in stats["sources"]["rows"]
    )
