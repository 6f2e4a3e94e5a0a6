"""Two corpora side by side, against loops over their rows."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.jobs.compare.clips import clip_differences
from reelscript.jobs.compare.compare import compare
from reelscript.jobs.compare.compare_text import compare_text
from reelscript.jobs.compare.drift import (
    cdf_distance,
    effect_size,
    probability_larger,
    score_drift,
)
from reelscript.jobs.compare.settings import differences
from reelscript.jobs.compare.shares import fact_drift, most_moved, variation_distance
from reelscript.jobs.compare.words import word_drift
from reelscript.jobs.statistics.rows import Rows
from reelscript.jobs.statistics.stats import statistics
from reelscript.jobs.statistics.tokens import PUNCTUATION
from reelscript.schemas.tables import CLIPS, SAMPLES, VIDEOS
from reelscript.schemas.text import one_line

Corpus: TypeAlias = dict[str, list[dict[str, Any]]]

HOSTILE = ["<script>alert(1)</script>", "\u202egnp.exe\u202c", "\x1b[31mred", "[bold]x[/] :smile:"]
REASONS = ["low_words", "clip_out_of_bounds", "high_words_per_s"]


def made(seed: int, videos: int = 12) -> Corpus:
    """Returns the rows of a corpus; corpora of different seeds have most videos in common."""
    r = random.Random(seed)
    corpus: Corpus = {"videos": [], "clips": [], "samples": []}
    for v in r.sample(range(15), videos):
        video_id, cut = f"v{v}", r.choice([True, True, True, False])
        own = random.Random(v if r.random() < 0.8 else f"{seed} {v}")
        clips = [made_clip(r, own, video_id, k) for k in range(r.randrange(1, 7))] if cut else []
        kept = sum(clip["outcome"] == "kept" for clip in clips)
        ended = {} if kept else {"stage": r.choice(["probe", "quality"]), "reason": "too_short"}
        corpus["videos"].append(
            {
                "video_id": video_id,
                "url": r.choice(["https://example.org/w", "a/b.mp4", "javascript:x"]),
                "title": r.choice(HOSTILE),
                "channel": r.choice([None, *HOSTILE]),
                "license": r.choice([None, "cc-by", "cc0"]),
                "language": "en",
                "outcome": "kept" if kept else r.choice(["rejected", "failed"]),
                "duration_s": round(r.uniform(1, 99), 2),
                "speech_share": r.choice([None, 0.2, 0.5, math.nan, r.random()]),
                "clips_kept": kept,
                "clips_rejected": len(clips) - kept,
                **ended,
            }
        )
        corpus["clips"] += clips
        if kept:
            duration_s = round(r.uniform(1, 30), 3)
            sample = {"video_id": video_id, "duration_s": duration_s, "clips": kept}
            sample |= {"language": r.choice([None, "en", "es"])}
            corpus["samples"].append(sample)
    return corpus


def made_clip(r: random.Random, own: random.Random, video_id: str, index: int) -> dict[str, Any]:
    outcome = r.choice(["kept", "kept", "rejected"])
    start_s = index * 10 + own.choice([0.0, 0.5, 1.234])
    return {
        "video_id": video_id,
        "clip_index": index,
        "start_s": start_s,
        "end_s": start_s + own.choice([2.5, 4.001]),
        "text": " ".join(r.choices(["The", "the", "pan,", "fold", "it", *HOSTILE], k=6)),
        "outcome": outcome,
        "reason": None if outcome == "kept" else r.choice(REASONS),
        "words": r.randrange(9),
        "avg_logprob": r.choice([None, -0.5, r.uniform(-1, 0)]),
        "within_bounds": True,
    }


def rows_of(corpus: Corpus, order: random.Random | None = None, threads: int = 1) -> Rows:
    tables = {}
    for (name, own), schema in zip(corpus.items(), (VIDEOS, CLIPS, SAMPLES), strict=True):
        some = order.sample(own, len(own)) if order else own
        columns = {f.name: pa.array([row.get(f.name) for row in some], f.type) for f in schema}
        tables[name] = pa.table(columns)
    return Rows.of_tables(**tables, threads=threads)


def compared(a: Corpus, b: Corpus, **options: Any) -> dict[str, Any]:
    with rows_of(a) as one, rows_of(b) as other:
        stats = [statistics(rows, reasons={}) for rows in (one, other)]
        return compare(one, other, *stats, **options)


# Effect sizes.

numbers = st.lists(st.integers(-3, 3) | st.floats(-3, 3), max_size=25)


@settings(max_examples=200, deadline=None)
@given(numbers, numbers)
def test_effect_sizes_equal_naive_loops(a: list[float], b: list[float]) -> None:
    one, other = (np.sort(np.array(side, dtype=float)) for side in (a, b))
    if not a or not b:
        assert probability_larger(one, other) is cdf_distance(one, other) is None
        return
    pairs = [(x < y) + (x == y) / 2 for x in a for y in b]
    assert probability_larger(one, other) == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)
    apart = [
        abs(sum(x <= at for x in a) / len(a) - sum(y <= at for y in b) / len(b))
        for at in sorted([*a, *b])
    ]
    assert cdf_distance(one, other) == pytest.approx(max(apart), abs=1e-6)


@pytest.mark.parametrize(
    ("larger", "word"),
    [
        *((0.5, "negligible"), (0.559, "negligible"), (0.56, "small"), (0.44, "small")),
        *((0.639, "small"), (0.64, "medium"), (0.36, "medium"), (0.709, "medium")),
        *((0.71, "large"), (0.29, "large"), (0.0, "large"), (1.0, "large")),
    ],
)
def test_effect_size_has_the_words_of_vargha_and_delaney(larger: float, word: str) -> None:
    assert effect_size(larger) == word


def test_score_drift_puts_the_largest_first_and_counts_what_is_kept() -> None:
    a, b = made(1), made(2)
    for clip in b["clips"]:
        clip["words"] += 5
    with rows_of(a) as one, rows_of(b) as other:
        found = score_drift(one, other)
    assert (found[0]["of"], found[0]["name"], found[0]["size"]) == ("clip", "words", "large")
    away = [abs(s["larger_in_b"] - 0.5) for s in found if s["larger_in_b"] is not None]
    assert away == sorted(away, reverse=True)
    assert [s["larger_in_b"] is None for s in found] == sorted(
        s["larger_in_b"] is None for s in found
    )
    own = [[c["words"] for c in corpus["clips"] if c["outcome"] == "kept"] for corpus in (a, b)]
    pairs = [(x < y) + (x == y) / 2 for x in own[0] for y in own[1]]
    assert found[0]["larger_in_b"] == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)
    assert found[0]["a"] == {"n": len(own[0]), "median": float(np.median(own[0]))}
    speech = next(s for s in found if (s["of"], s["name"]) == ("video", "speech_share"))
    measured = [
        v["speech_share"]
        for v in a["videos"]
        if v["outcome"] == "kept" and v["speech_share"] is not None
    ]
    assert speech["a"]["n"] == sum(math.isfinite(x) for x in measured)


# Shares.

amounts = st.dictionaries(st.sampled_from([None, *"abcdefg"]), st.integers(1, 9))


@settings(max_examples=200, deadline=None)
@given(amounts, amounts)
def test_variation_distance_equals_the_largest_difference_of_any_event(
    a: dict[str | None, int], b: dict[str | None, int]
) -> None:
    found = variation_distance(a, b)
    if not a or not b:
        assert found is None
        return
    p = {c: n / sum(a.values()) for c, n in a.items()}
    q = {c: n / sum(b.values()) for c, n in b.items()}
    gained = sum(max(0.0, q.get(c, 0) - p.get(c, 0)) for c in {*p, *q})
    assert found == pytest.approx(gained, abs=1e-6)
    moved = most_moved(a, b)
    assert [abs(m["difference"]) for m in moved] == sorted(
        (abs(m["difference"]) for m in moved), reverse=True
    )
    largest = sorted((abs(q.get(c, 0) - p.get(c, 0)) for c in {*p, *q}), reverse=True)[:5]
    assert [abs(m["difference"]) for m in moved] == pytest.approx(
        [x for x in largest if x > 1e-12], abs=1e-6
    )


def test_fact_drift_weighs_samples_by_their_time_and_reasons_by_their_number() -> None:
    a, b = made(3), made(4)
    with rows_of(a) as one, rows_of(b) as other:
        found = {f["name"]: f for f in fact_drift(one, other)}
    naive: list[dict[str, Counter[str | None]]] = []
    for corpus in (a, b):
        of = {v["video_id"]: v for v in corpus["videos"]}
        counts: dict[str, Counter[str | None]] = {
            name: Counter() for name in ("languages", "licenses", "channels")
        }
        for sample in corpus["samples"]:
            ms = round(sample["duration_s"] * 1000)
            counts["languages"][sample["language"]] += ms
            counts["licenses"][of[sample["video_id"]]["license"]] += ms
            counts["channels"][of[sample["video_id"]]["channel"]] += ms
        counts["reasons_of_clips"] = Counter(c["reason"] for c in corpus["clips"] if c["reason"])
        counts["reasons_of_videos"] = Counter(
            f"{v['stage']}.{v['reason']}" for v in corpus["videos"] if v["outcome"] != "kept"
        )
        naive.append(counts)
    for name in naive[0]:
        assert found[name]["distance"] == variation_distance(naive[0][name], naive[1][name])
        assert found[name]["categories"] == most_moved(naive[0][name], naive[1][name])
        unit = 3_600_000 if found[name]["unit"] == "hours" else 1
        assert found[name]["a"] == round(sum(naive[0][name].values()) / unit, 6)


# Words.


@pytest.mark.parametrize("seeds", [(1, 2), (5, 6), (7, 7)])
def test_word_drift_equals_the_sum_over_words(seeds: tuple[int, int]) -> None:
    a, b = (made(seed) for seed in seeds)
    with rows_of(a) as one, rows_of(b) as other:
        found = word_drift(one, other)
    shares = []
    for corpus in (a, b):
        texts = [c["text"] for c in corpus["clips"] if c["outcome"] == "kept"]
        words = [w.strip(PUNCTUATION).lower() for text in texts for w in text.split()]
        counts = Counter(w for w in words if w)
        shares.append({w: n / counts.total() for w, n in counts.items()})
    p, q = shares
    parts = {
        w: sum(
            x * math.log2(2 * x / (p.get(w, 0) + q.get(w, 0))) for x in (p.get(w), q.get(w)) if x
        )
        / 2
        for w in {*p, *q}
    }
    assert found["divergence"] == pytest.approx(sum(parts.values()), abs=2e-6)
    for word in found["words"]:
        [text] = [w for w in parts if one_line(w) == word["text"]]
        assert word["part"] == pytest.approx(parts[text], abs=1e-6)
    if seeds[0] == seeds[1]:
        assert (found["divergence"], found["words"]) == (0.0, [])


def test_word_drift_of_no_common_word_is_one() -> None:
    a, b = made(1), made(1)
    for clip in a["clips"]:
        clip["text"] = "only here"
    for clip in b["clips"]:
        clip["text"] = "nothing shared"
    with rows_of(a) as one, rows_of(b) as other:
        found = word_drift(one, other)
    assert found["divergence"] == 1.0
    assert [w["part"] for w in found["words"]] == [0.25] * 4


# Clips in one and not in the other.


def clip_key(clip: dict[str, Any]) -> tuple[str, int, int]:
    return clip["video_id"], round(clip["start_s"] * 1000), round(clip["end_s"] * 1000)


def naive_fates(a: Corpus, b: Corpus) -> dict[tuple[str, str | None], list[tuple[str, int, int]]]:
    fates: dict[tuple[str, str | None], list[tuple[str, int, int]]] = {}
    for clip in a["clips"]:
        if clip["outcome"] != "kept":
            continue
        [twin] = [c for c in b["clips"] if clip_key(c) == clip_key(clip)] or [None]
        [video] = [v for v in b["videos"] if v["video_id"] == clip["video_id"]] or [None]
        if twin is not None:
            fate = ("kept", None) if twin["outcome"] == "kept" else ("rejected", twin["reason"])
        elif video is None:
            fate = ("no_video", None)
        elif video["outcome"] == "kept" or any(
            c["video_id"] == clip["video_id"] for c in b["clips"]
        ):
            fate = ("other_clips", None)
        else:
            fate = ("video_ended", f"{video['stage']}.{video['reason']}")
        fates.setdefault(fate, []).append(clip_key(clip))
    return fates


@pytest.mark.parametrize("seed", range(8))
def test_clip_differences_equal_naive_loops(seed: int) -> None:
    a, b = made(2 * seed), made(2 * seed + 1)
    with rows_of(a) as one, rows_of(b) as other:
        found = clip_differences(one, other)
    for side, own, there in (("only_a", a, b), ("only_b", b, a)):
        naive = naive_fates(own, there)
        both = naive.pop(("kept", None), [])
        assert found["both"] == size_of(both)
        only = found[side]
        assert {k: only[k] for k in ("clips", "hours")} == size_of(
            [key for keys in naive.values() for key in keys]
        )
        assert {(f["fate"], f["reason"]) for f in only["fates"]} == set(naive)
        for fate in only["fates"]:
            keys = naive[fate["fate"], fate["reason"]]
            assert {k: fate[k] for k in ("clips", "hours")} == size_of(keys)
            first = sorted(
                keys, key=lambda k: (hashlib.md5(f"{k[0]}/{k[1]}".encode()).hexdigest(), k)
            )
            assert [clip_key(e) for e in fate["examples"]] == first[:5]
            for example in fate["examples"]:
                [clip] = [c for c in own["clips"] if clip_key(c) == clip_key(example)]
                assert example["text"] == one_line(clip["text"])
                assert example["link"] is None or example["link"].startswith("https://")


def size_of(keys: list[tuple[str, int, int]]) -> dict[str, Any]:
    return {"clips": len(keys), "hours": round(sum(e - s for _, s, e in keys) / 3_600_000, 6)}


# The whole.


def test_settings_differ_by_name() -> None:
    a = {"quality": {"min_words": 3, "max": None}, "name": "a", "only_a": [1]}
    b = {"quality": {"min_words": 4, "max": None}, "name": "a\x1b[31m", "only_b": {"x": None}}
    assert differences(a, b) == [
        {"name": "name", "a": "a", "b": "a [31m"},
        {"name": "only_a", "a": "[1]", "b": None},
        {"name": "only_b.x", "a": None, "b": "null"},
        {"name": "quality.min_words", "a": "3", "b": "4"},
    ]


def test_a_corpus_compared_with_itself_differs_in_nothing() -> None:
    found = compared(made(1), made(1))
    assert all(n["difference"] == 0 for n in [*found["counts"], *found["hours"]])
    assert {s["larger_in_b"] for s in found["scores"]} <= {0.5, None}
    assert {s["distance"] for s in found["scores"]} <= {0.0, None}
    assert {f["distance"] for f in found["facts"]} <= {0.0, None}
    assert found["clips"]["only_a"] == {"clips": 0, "hours": 0.0, "fates": []}


def test_a_comparison_depends_on_no_order_and_no_threads() -> None:
    a, b = made(1), made(2)
    with rows_of(a) as one, rows_of(b) as other:
        stats = [statistics(rows, reasons={}) for rows in (one, other)]
        found = compare(one, other, *stats)
    order = random.Random(0)
    with rows_of(a, order, threads=3) as one, rows_of(b, order, threads=2) as other:
        again = compare(one, other, *stats)
    assert json.dumps(found, allow_nan=False) == json.dumps(again)


def test_an_empty_corpus_can_be_compared() -> None:
    nothing: Corpus = {"videos": [], "clips": [], "samples": []}
    for a, b in ((nothing, made(1)), (made(1), nothing), (nothing, nothing)):
        found = compared(a, b)
        assert {s["larger_in_b"] for s in found["scores"]} == {None}
        assert {f["distance"] for f in found["facts"]} == {None}
        assert found["words"]["divergence"] is None
        assert "B - A" in compare_text(found)


def test_the_table_says_what_moved_and_lets_no_text_act() -> None:
    a, b = made(1), made(2)
    for clip in b["clips"]:
        clip["words"] += 5
    text = compare_text(
        compared(
            a,
            b,
            names=("[red]one[/red]", "two\x1b[31m"),
            configs=({"quality": {"min_words": 3}}, {"quality": {"min_words": 4}}),
            versions=({"python": "3.11"}, {"python": "3.12"}),
        )
    )
    assert all(c == "\n" or c.isprintable() for c in text)
    assert max(map(len, text.splitlines())) <= 100
    assert text.startswith("A: [red]one[/red]    B: two [31m\n")
    scores = text[text.index("Scores of what is kept") : text.index("Shares")].splitlines()
    assert scores[4].split()[0] == "clip.words"
    assert "large" in scores[4]
    for said in ("sources", "hours.source", "quality.min_words", "3.12", "in both", "only in A"):
        assert said in text
