"""What is kept: all accounted for once, the same in any order, and no better passages."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.pipeline.decide import Decision, best_passages, decide, with_encode_failures
from reelscript.pipeline.rules import (
    DUPLICATE_CONTENT,
    OUT_OF_BOUNDS,
    PASSAGE_TOO_SHORT,
    VIDEO_FAILED,
    Dedup,
    PassageRules,
    Quality,
    quality_reasons,
    rules_of,
)
from reelscript.schemas.clip import SCORE_NAMES, sample_key
from reelscript.schemas.tables import CLIPS
from reelscript.schemas.video import FIELD_NAMES, Outcome, Video
from reelscript.schemas.videos import Videos

DECIDED = ("outcome", "reason", "sample_key")
MEASURED = pa.schema([f for f in CLIPS if f.name not in DECIDED])
Row = dict[str, Any]
GOOD: Row = {
    "words": 10,
    "words_per_s": 2.5,
    "chars_per_s": 12.0,
    "mean_word_probability": 0.9,
    "min_word_probability": 0.5,
    "avg_logprob": -0.2,
    "no_speech_probability": 0.1,
    "window_compression_ratio": 1.5,
    "compression_ratio": 1.2,
    "repeated_ngram_share": 0.0,
    "unique_word_share": 0.9,
    "longest_word_chars": 9,
    "speech_share": 0.9,
    "static_share": 0.0,
    "interpolated_share": 0.0,
}


def split_of(video: Video) -> str:
    return "val" if video.video_id.endswith("3") else "train"


def row(video_id: str, index: int, start_s: float, end_s: float, **more: Any) -> Row:
    place = {"video_id": video_id, "clip_index": index, "start_s": start_s, "end_s": end_s}
    return {**place, "text": f"clip {index}", "within_bounds": True, **GOOD, **more}


def table(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=MEASURED)


def video(video_id: str, **facts: Any) -> Video:
    return Video(video_id=video_id, url=video_id, location=video_id, **facts)


def run(
    videos: list[Video],
    rows: list[Row],
    quality: Quality | None = None,
    dedup: Dedup | None = None,
    passage: PassageRules | None = None,
) -> Decision:
    quality, dedup = quality or Quality(), dedup or Dedup()
    return decide(
        Videos.of(videos), table(rows), quality, dedup, passage or PassageRules(), split_of
    )


Corpus = tuple[list[Video], list[Row]]
RULES = PassageRules(min_clips=2, max_clips=4, max_s=25.0, max_gap_s=3.0)


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    """Up to 6 videos, some ended, some of the same bytes; the measured ones with up to 12 clips."""
    videos: list[Video] = []
    rows: list[Row] = []
    for n in range(draw(st.integers(0, 6))):
        one = video(f"x_{n}", source_sha256=draw(st.sampled_from(["s1", "s2", "s3", "s4", None])))
        one = replace(one, words_per_s=draw(st.sampled_from([None, 0.1, 2.0])))
        fates: list[Outcome] = ["pending", "pending", "pending", "pending", "rejected", "failed"]
        fate = draw(st.sampled_from(fates))
        if fate != "pending":
            videos.append(one.ended(fate, "probe", "undecodable"))
            continue
        videos.append(one)
        at_ms = 0
        for index in range(draw(st.integers(0, 12))):
            at_ms += draw(st.sampled_from([0, 0, 200, 2999, 3001]))
            length_ms = draw(st.integers(1000, 9000))
            more = {
                "within_bounds": draw(st.sampled_from([True] * 5 + [False])),
                "words_per_s": draw(st.sampled_from([2.5, 2.5, 2.5, 9.0, 0.1])),
                "avg_logprob": draw(st.sampled_from([-0.2, -0.2, None, -3.0])),
            }
            rows.append(row(one.video_id, index, at_ms / 1000, (at_ms + length_ms) / 1000, **more))
            at_ms += length_ms
    return videos, rows


qualities = st.builds(
    Quality,
    max_words_per_s=st.sampled_from([None, 1.0, 7.0, 10.0]),
    min_avg_logprob=st.sampled_from([None, -5.0, -1.0]),
    video_min_words_per_s=st.sampled_from([None, 0.5]),
)


def kept(decision: Decision) -> list[Row]:
    return [r for r in decision.clips.to_pylist() if r["outcome"] == "kept"]


@given(corpora(), qualities, st.booleans())
@settings(max_examples=150, deadline=None)
def test_decide_every_video_and_clip_is_accounted_for_once(
    corpus: Corpus, quality: Quality, same_bytes: bool
) -> None:
    videos, rows = corpus
    found = run(videos, rows, quality, Dedup(same_bytes), RULES)
    assert [v.video_id for v in found.videos] == [v.video_id for v in videos]
    assert found.clips.schema == CLIPS
    clips = found.clips.to_pylist()
    assert [{k: r[k] for k in MEASURED.names} for r in clips] == rows
    for before, after in zip(videos, found.videos, strict=True):
        own = [r for r in clips if r["video_id"] == before.video_id]
        assert after.outcome in ("kept", "rejected", "failed")
        assert (after.outcome == "kept") == any(r["outcome"] == "kept" for r in own)
        if not before.pending:
            assert after == before
        if after.outcome != "kept":
            assert after.stage
            assert after.reason
            assert after.video_id not in found.passages
    for r in clips:
        assert r["outcome"] == ("rejected" if r["sample_key"] is None else "kept")
        assert (r["reason"] is None) == (r["outcome"] == "kept")
    check_passages(found, clips)


def check_passages(found: Decision, clips: list[Row]) -> None:
    """Passages hold the kept clips, each once, in order, with nothing rejected between."""
    held = []
    for video_id, passages in found.passages.items():
        own = {r["clip_index"]: r for r in clips if r["video_id"] == video_id}
        for p in passages:
            inside = [own[i] for i in p.clips]
            assert p.clips == list(range(p.clips[0], p.clips[-1] + 1))
            assert (p.start_s, p.end_s) == (inside[0]["start_s"], inside[-1]["end_s"])
            assert p.key == sample_key(video_id, p.start_s)
            assert {r["sample_key"] for r in inside} == {p.key}
            assert p.split == split_of(video(video_id))
            assert RULES.min_clips <= len(inside) <= RULES.max_clips
            assert p.duration_s <= RULES.max_s + 1e-6
            gaps = [b["start_s"] - a["end_s"] for a, b in pairwise(inside)]
            assert all(gap <= RULES.max_gap_s for gap in gaps)
            held += [(video_id, i) for i in p.clips]
        assert [p.start_s for p in passages] == sorted(p.start_s for p in passages)
    assert Counter(held) == Counter(
        (r["video_id"], r["clip_index"]) for r in clips if r["outcome"] == "kept"
    )
    keys = [p.key for passages in found.passages.values() for p in passages]
    assert len(set(keys)) == len(keys)


@given(corpora(), qualities, st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_decide_the_order_of_clips_and_videos_does_not_matter(
    corpus: Corpus, quality: Quality, random: Any
) -> None:
    videos, rows = corpus
    wanted = run(videos, rows, quality, Dedup(False), RULES)
    shuffled = random.sample(rows, len(rows))
    assert run(videos, shuffled, quality, Dedup(False), RULES).clips.equals(wanted.clips)
    turned = run(videos[::-1], shuffled, quality, Dedup(False), RULES)
    assert turned.videos == list(wanted.videos)[::-1]
    assert turned.passages == wanted.passages
    by_place = sorted(turned.clips.to_pylist(), key=lambda r: (r["video_id"], r["clip_index"]))
    assert by_place == wanted.clips.to_pylist()


@given(corpora(), st.sampled_from([1.0, 5.0, 8.0]), st.sampled_from([None, 2.0, 8.5, 10.0]))
@settings(max_examples=80, deadline=None)
def test_decide_a_looser_threshold_loses_nothing(
    corpus: Corpus, strict: float, loose: float | None
) -> None:
    """Fewer clips fail the rules, and every video keeps at least as many."""
    videos, rows = corpus
    low, high = (strict, loose) if loose is None or strict <= loose else (loose, strict)
    a = run(videos, rows, Quality(max_words_per_s=low), None, RULES)
    b = run(videos, rows, Quality(max_words_per_s=high), None, RULES)
    passes = [
        {i for i, r in enumerate(d.clips["reason"].to_pylist()) if r in (None, PASSAGE_TOO_SHORT)}
        for d in (a, b)
    ]
    assert passes[0] <= passes[1]
    counts = [Counter(r["video_id"] for r in kept(d)) for d in (a, b)]
    assert counts[0] <= counts[1]


@given(corpora())
@settings(max_examples=60, deadline=None)
def test_decide_of_the_same_bytes_the_first_measured_one_stays(corpus: Corpus) -> None:
    videos, rows = corpus
    found = run(videos, rows, None, Dedup(True), RULES)
    seen: dict[str, str] = {}
    for before, after in zip(videos, found.videos, strict=True):
        sha = before.source_sha256
        twin = before.pending and sha in seen
        assert (after.reason == DUPLICATE_CONTENT) == twin
        if twin:
            assert (after.outcome, after.stage) == ("rejected", "dedup")
            assert after.detail == f"same bytes as {seen[str(sha)]}"
            own = [r for r in found.clips.to_pylist() if r["video_id"] == after.video_id]
            assert {r["reason"] for r in own} <= {DUPLICATE_CONTENT}
        elif before.pending and sha is not None:
            seen[sha] = before.video_id
    without = run(videos, rows, None, Dedup(False), RULES)
    assert DUPLICATE_CONTENT not in [v.reason for v in without.videos]


def bad_value(side: str, limit: float) -> float:
    return limit - 1 if side == "min" else limit + 1


LIMITS = [rule for rule in rules_of(Quality()) if rule.limit is not None and not rule.of_video]


@pytest.mark.parametrize("rule", LIMITS, ids=lambda rule: rule.setting)
def test_decide_each_rule_rejects_below_or_above_its_limit_only(rule: Any) -> None:
    at_limit = int(rule.limit) if rule.score in ("words", "longest_word_chars") else rule.limit
    values = [bad_value(rule.side, at_limit), at_limit]
    if rule.score not in ("words", "longest_word_chars"):
        values[0] = at_limit - 1e-6 if rule.side == "min" else at_limit + 1e-6
    rows = [row("x_1", i, i * 4.0, i * 4.0 + 4, **{rule.score: v}) for i, v in enumerate(values)]
    found = run([video("x_1")], rows, passage=PassageRules(min_clips=1))
    assert found.clips["reason"].to_pylist() == [rule.reason, None]
    off = replace(Quality(), **{rule.setting: None})
    found = run([video("x_1")], rows, off, passage=PassageRules(min_clips=1))
    assert found.clips["reason"].to_pylist() == [None, None]


def test_decide_what_was_not_measured_is_not_judged() -> None:
    optional = [n for n in SCORE_NAMES if CLIPS.field(n).nullable]
    assert optional
    everything_null = dict.fromkeys(optional)
    found = run(
        [video("x_1")],
        [row("x_1", i, i * 4.0, i * 4.0 + 4, **everything_null) for i in range(4)],
        Quality(max_static_share=0.5, video_min_words_per_s=5.0, video_max_static_share=0.1),
    )
    assert found.videos[0].outcome == "kept"
    assert len(kept(found)) == 4


@pytest.mark.parametrize(
    ("quality", "reason"),
    [
        (Quality(video_min_words_per_s=0.5), "video_low_words_per_s"),
        (Quality(video_min_densest_30s_words=50), "video_low_densest_30s_words"),
        (Quality(video_max_static_share=0.9), "video_high_static_share"),
        (Quality(), None),
    ],
)
def test_decide_a_video_rule_takes_all_clips(quality: Quality, reason: str | None) -> None:
    one = video("x_1", words_per_s=0.4, densest_30s_words=49, static_share=0.95)
    found = run([one], [row("x_1", i, i * 4.0, i * 4.0 + 4) for i in range(4)], quality)
    assert set(found.clips["reason"].to_pylist()) == {reason}
    assert found.videos[0].reason == reason


def test_decide_a_clip_out_of_bounds_ends_a_passage() -> None:
    rows = [row("x_1", i, i * 4.0, i * 4.0 + 4, within_bounds=i != 4) for i in range(9)]
    found = run([video("x_1")], rows)
    assert [p.clips for p in found.passages["x_1"]] == [[0, 1, 2, 3], [5, 6, 7, 8]]
    assert found.clips["reason"].to_pylist()[4] == OUT_OF_BOUNDS


def test_decide_says_why_a_video_without_passages_is_out() -> None:
    rows = [
        *(row("x_1", i, i * 4.0, i * 4.0 + 4) for i in range(3)),
        *(row("x_2", i, i * 4.0, i * 4.0 + 4, words_per_s=99.0 if i else 0.1) for i in range(4)),
    ]
    found = run([video("x_1"), video("x_2"), video("x_3")], rows)
    assert [(v.stage, v.reason) for v in found.videos] == [
        ("passage", PASSAGE_TOO_SHORT),
        ("quality", "high_words_per_s"),
        ("passage", PASSAGE_TOO_SHORT),
    ]
    assert found.videos[0].detail == "clips rejected for passage_too_short: 3"
    assert found.videos[1].detail == "clips rejected for high_words_per_s: 3, low_words_per_s: 1"
    assert found.videos[2].detail == "no clips"


def test_decide_of_nothing_is_nothing() -> None:
    found = run([], [])
    assert (found.videos, found.passages) == ([], {})
    assert found.clips.schema == CLIPS


@given(corpora(), st.integers(0, 63))
@settings(max_examples=60, deadline=None)
def test_decide_what_fails_in_encode_loses_its_kept_clips(corpus: Corpus, which: int) -> None:
    videos, rows = corpus
    before = run(videos, rows, None, None, RULES)
    failed = {
        v.video_id: replace(v, outcome="failed", stage="encode", reason="crashed")
        for n, v in enumerate(before.videos)
        if v.outcome == "kept" and which >> n & 1
    }
    ended = Videos.of(failed.get(v.video_id, v) for v in before.videos)
    after = with_encode_failures(replace(before, videos=ended), failed)
    assert [v.video_id for v in after.videos] == [v.video_id for v in before.videos]
    assert after.clips.schema == CLIPS
    for a, b in zip(before.videos, after.videos, strict=True):
        assert b == failed.get(a.video_id, a)
    for old, new in zip(before.clips.to_pylist(), after.clips.to_pylist(), strict=True):
        if old["video_id"] in failed and old["outcome"] == "kept":
            changed = {"outcome": "rejected", "reason": VIDEO_FAILED, "sample_key": None}
            assert new == old | changed
        else:
            assert new == old
    assert after.passages == {k: p for k, p in before.passages.items() if k not in failed}


# Passages: no other choice holds more clips, or as many in fewer passages.


def every_choice(count: int, first: int = 0) -> list[list[range]]:
    """All sets of disjoint ranges of the positions from `first` on."""
    found: list[list[range]] = [[]]
    for start in range(first, count):
        for end in range(start + 1, count + 1):
            found += [[range(start, end), *rest] for rest in every_choice(count, end)]
    return found


CHOICES = {count: every_choice(count) for count in range(11)}


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(500, 9000)), max_size=10),
    st.integers(1, 4),
    st.integers(0, 4),
    st.sampled_from([6.0, 12.0, 20.0, 90.0]),
    st.integers(0, 50),
)
@settings(max_examples=100, deadline=None)
def test_decide_no_other_passages_hold_more_clips(
    clips: list[tuple[int, int]], least: int, more: int, max_s: float, offset: int
) -> None:
    starts, ends, at = [], [], 0
    for gap, length in clips:
        starts.append((at + gap) / 1000)
        at += gap + length
        ends.append(at / 1000)
    rules = PassageRules(min_clips=least, max_clips=least + more, max_s=max_s)

    def allowed(p: range) -> bool:
        return least <= len(p) <= least + more and ends[p[-1]] - starts[p[0]] <= max_s + 1e-9

    best = max(
        (sum(map(len, choice)), -len(choice))
        for choice in CHOICES[len(clips)]
        if all(allowed(p) for p in choice)
    )
    found = best_passages(offset, starts, ends, rules)
    assert (sum(map(len, found)), -len(found)) == best
    plain = [range(p.start - offset, p.stop - offset) for p in found]
    assert all(allowed(p) for p in plain)
    assert all(a.stop <= b.start for a, b in pairwise(plain))


# The rules as data.


def test_rules_name_scores_that_exist_and_say_where_their_numbers_come_from() -> None:
    rules = list(rules_of(Quality()))
    assert len(rules) == len(dataclasses.fields(Quality))
    for rule in rules:
        assert rule.score in (FIELD_NAMES if rule.of_video else SCORE_NAMES)
        assert rule.side in ("min", "max")
        assert rule.origin
    reasons = quality_reasons(Quality())
    assert len(set(reasons)) == len(reasons)
    assert "high_words_per_s" in reasons
    assert "video_low_words_per_s" in reasons


def test_rules_refuse_a_passage_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"passage\.min_clips \(5\) is larger than passage\.max_"):
        PassageRules(min_clips=5, max_clips=4)
