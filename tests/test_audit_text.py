"""What is told of the text of a corpus, against loops over its clips and closed forms."""

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

from reelscript.jobs.statistics.ngrams import ngram_keys
from reelscript.jobs.statistics.rows import Rows
from reelscript.jobs.statistics.text import heaps, text_statistics
from reelscript.jobs.statistics.tokens import PUNCTUATION
from reelscript.schemas.text import one_line

Clip: TypeAlias = tuple[str, int, str | None, str]  # video_id, clip_index, text, outcome
Read: TypeAlias = list[tuple[str, list[str]]]  # video_id, words; in reading order

EMPTY = {
    "clips": 0,
    "tokens": 0,
    "types": 0,
    "growth": [],
    "heaps": None,
    "ngrams": {"1": [], "2": [], "3": []},
    "boilerplate": [],
    "zipf": None,
    "sampled": None,
}


def rows_of(clips: list[Clip], threads: int = 1) -> Rows:
    names = ["video_id", "clip_index", "text", "outcome"]
    kinds = [pa.string(), pa.int64(), pa.string(), pa.string()]
    columns = [[clip[i] for clip in clips] for i in range(4)]
    arrays = [pa.array(c, kind) for c, kind in zip(columns, kinds, strict=True)]
    none = pa.table({"video_id": pa.array([], pa.string())})
    return Rows.of_tables(none, pa.table(arrays, names=names), none, threads=threads)


def told(clips: list[Clip], **options: Any) -> dict[str, Any]:
    with rows_of(clips) as rows:
        return text_statistics(rows, **options)


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def read(clips: list[Clip]) -> Read:
    kept = [clip for clip in clips if clip[3] == "kept"]
    kept.sort(key=lambda c: (md5(c[0]), c[0], c[1], (c[2] or "").encode()))
    out = []
    for video_id, _, text, _ in kept:
        words = [word.strip(PUNCTUATION).lower() for word in (text or "").split()]
        out.append((video_id, [word for word in words if word]))
    return out


# Boilerplate, as its module describes it, place by place.


def naive_boilerplate(clips: Read) -> list[dict[str, Any]]:
    covered: set[tuple[int, int]] = set()
    found: list[dict[str, Any]] = []
    while len(found) < 20:
        places: dict[tuple[str, ...], list[tuple[int, int]]] = {}
        for c, (_, words) in enumerate(clips):
            runs = [(k, k + 6) for k in range(len(words) - 5)]
            if len(words) in (4, 5):
                runs.append((0, len(words)))
            for start, end in runs:
                if not any((c, k) in covered for k in range(start, end)):
                    places.setdefault(tuple(words[start:end]), []).append((c, start))
        ranked = [
            (-len({clips[c][0] for c, _ in at}), -len({c for c, _ in at}), at[0], text)
            for text, at in places.items()
        ]
        if not ranked or min(ranked)[0] > -3:
            break
        seed = min(ranked)[3]
        shown, text = naive_grown(clips, places[seed], seed, covered)
        in_clips = {c for c, _ in shown}
        videos = {clips[c][0] for c in in_clips}
        found.append(
            {"text": one_line(" ".join(text)), "clips": len(in_clips), "videos": len(videos)}
        )
        covered |= {(c, k + i) for c, k in places[seed] for i in range(len(seed))}
        covered |= {(c, k + i) for c, k in shown for i in range(len(text))}
    return sorted(found, key=lambda f: (-f["videos"], -f["clips"], f["text"]))


def naive_grown(
    clips: Read,
    places: list[tuple[int, int]],
    text: tuple[str, ...],
    covered: set[tuple[int, int]],
) -> tuple[list[tuple[int, int]], tuple[str, ...]]:
    enough = max(3, 0.9 * len({clips[c][0] for c, _ in places}))
    first_read: dict[str, int] = {}
    for _, words in clips:
        for word in words:
            first_read.setdefault(word, len(first_read))
    for after in (True, False):
        while True:
            beside: dict[str, list[tuple[int, int]]] = {}
            for c, k in places:
                at = k + len(text) if after else k - 1
                if 0 <= at < len(clips[c][1]) and (c, at) not in covered:
                    beside.setdefault(clips[c][1][at], []).append((c, k))
            ranked = [
                (-len({clips[c][0] for c, _ in at}), first_read[word], word)
                for word, at in beside.items()
            ]
            if not ranked or -min(ranked)[0] < enough:
                break
            word = min(ranked)[2]
            places = beside[word]
            if after:
                text = (*text, word)
            else:
                text, places = (word, *text), [(c, k - 1) for c, k in places]
    return places, text


def naive_ngrams(clips: Read, length: int) -> list[dict[str, Any]]:
    counts: Counter[tuple[str, ...]] = Counter()
    for _, words in clips:
        counts.update(tuple(words[k : k + length]) for k in range(len(words) - length + 1))
    often = sorted((-n, [w.encode() for w in words], words) for words, n in counts.items() if n > 1)
    return [{"text": one_line(" ".join(words)), "count": -n} for n, _, words in often[:20]]


PIECES = ["Thanks for watching, please like and subscribe!", "see you next time", "the pan", "the"]
PIECES += [
    "and fold it over once",
    "fold",
    "Fold,",
    "—",
    "...",
    "THE END.",
    "a",
    "b",
    "c d",
    "e f g",
]
texts = st.lists(st.sampled_from(PIECES), max_size=8).map(" ".join)
clip_lists = st.lists(
    st.tuples(
        st.sampled_from([f"v{i}" for i in range(7)]),
        st.integers(0, 5),
        texts | st.none(),
        st.sampled_from(["kept", "kept", "kept", "rejected"]),
    ),
    max_size=60,
)


@settings(max_examples=50, deadline=None)
@given(clip_lists)
def test_text_counts_equal_naive_loops(clips: list[Clip]) -> None:
    naive, found = read(clips), told(clips)
    words = [word for _, own in naive for word in own]
    assert found["clips"] == len(naive)
    assert found["tokens"] == len(words)
    assert found["types"] == len(set(words))
    for length in (1, 2, 3):
        assert found["ngrams"][str(length)] == naive_ngrams(naive, length)
    assert found["boilerplate"] == naive_boilerplate(naive)
    for point in found["growth"]:
        assert point["types"] == len(set(words[: point["tokens"]]))
    assert [p["tokens"] for p in found["growth"][-1:]] == ([len(words)] if words else [])


# Of İ and Σ the lower case depends on what stands beside them, or is two characters.
ANY = st.characters(exclude_categories=["Cs", "Cn"], exclude_characters="İΣ")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9), st.text(ANY, max_size=30))))
def test_text_of_any_characters_is_counted_as_python_splits_it(
    some: list[tuple[str, int, str]],
) -> None:
    clips: list[Clip] = [(v, i, t, "kept") for v, i, t in some]
    found = told(clips)
    assert found["types"] == len({word for _, words in read(clips) for word in words})
    json.dumps(found, allow_nan=False).encode("utf-8")


@settings(max_examples=12, deadline=None)
@given(clip_lists, st.randoms(use_true_random=False))
def test_text_statistics_depend_on_no_order_and_no_threads(
    clips: list[Clip], order: random.Random
) -> None:
    shuffled = order.sample(clips, len(clips))
    with rows_of(clips) as one, rows_of(shuffled, threads=3) as other:
        assert json.dumps(text_statistics(one)) == json.dumps(text_statistics(other))


@pytest.mark.parametrize(
    "clips",
    [[], [("v", 0, "never kept", "rejected")]],
    ids=["none", "rejected"],
)
def test_text_of_an_empty_corpus_is_zeros(clips: list[Clip]) -> None:
    assert told(clips) == EMPTY


@pytest.mark.parametrize("text", [None, "", " \n", "... — !?"])
def test_text_without_words_counts_its_clip(text: str | None) -> None:
    assert told([("v", 0, text, "kept")]) == EMPTY | {"clips": 1}


def test_text_of_one_word_has_no_exponent() -> None:
    found = told([(f"v{i}", 0, "Yes!", "kept") for i in range(50)])
    assert (found["tokens"], found["types"], found["zipf"]) == (50, 1, None)
    assert found["ngrams"] == {"1": [{"text": "yes", "count": 50}], "2": [], "3": []}
    assert found["growth"][-1] == {"tokens": 50, "types": 1}


def test_text_without_spaces_counts_runs_of_characters() -> None:
    found = told(
        [("v", 0, "今日は、料理をします。", "kept"), ("v", 1, "今日は、料理をします", "kept")]
    )
    assert (found["tokens"], found["types"]) == (2, 1)


def test_ngrams_never_reach_over_the_end_of_a_clip() -> None:
    clips = [
        ("v", i, text, "kept") for i, text in enumerate(["one two", "three", "one two", "three"])
    ]
    assert told(clips)["ngrams"]["2"] == [{"text": "one two", "count": 2}]
    assert told(clips)["ngrams"]["3"] == []


def test_ngram_keys_tell_all_runs_of_a_large_alphabet_apart() -> None:
    ids = np.random.default_rng(3).integers(0, 300, 40_000).astype(np.int32)
    places = np.arange(len(ids) - 2)
    keys = ngram_keys(ids, places, 3)
    runs = list(zip(ids[:-2].tolist(), ids[1:-1].tolist(), ids[2:].tolist(), strict=True))
    assert (
        len(set(zip(runs, keys.tolist(), strict=True))) == len(set(runs)) == len(set(keys.tolist()))
    )


def test_boilerplate_is_one_line_a_sentence() -> None:
    sentence = "Thanks for watching, please like and subscribe to the channel."
    said = [f"{sentence} Bye number{i}." if i % 2 else f"Well{i}: {sentence}" for i in range(10)]
    clips = [(f"v{i}", 0, text, "kept") for i, text in enumerate(said)]
    clips += [(f"v{i}", 1, "See you next time!", "kept") for i in range(4)]
    clips += [(f"v{i}", 2, "see you later", "kept") for i in range(10)]  # three words say little
    assert told(clips)["boilerplate"] == [
        {
            "text": "thanks for watching please like and subscribe to the channel",
            "clips": 10,
            "videos": 10,
        },
        {"text": "see you next time", "clips": 4, "videos": 4},
    ]


def test_boilerplate_of_one_video_is_none() -> None:
    clips = [("v", i, "we will fold it over and over again", "kept") for i in range(100)]
    clips += [("w", i, "we will fold it over and over again", "kept") for i in range(100)]
    assert told(clips)["boilerplate"] == []


def test_hostile_texts_stay_one_printable_line() -> None:
    hostile = "<script>alert(1)</script> \u202egnp.exe\u202c \x1b[31mred a\x00b {{7*7}} |x| \u2066y"
    found = told([(f"v{i}", 0, hostile, "kept") for i in range(3)])
    [line] = found["boilerplate"]
    assert line == {"text": line["text"], "clips": 3, "videos": 3}
    shown = [line["text"]] + [n["text"] for own in found["ngrams"].values() for n in own]
    assert all(text == one_line(text) for text in shown)


def test_a_large_corpus_is_sampled_by_whole_videos() -> None:
    r = random.Random(4)
    clips = [
        (f"v{i}", k, " ".join(r.choices("abcdefghij", k=9)), "kept")
        for i in range(40)
        for k in range(5)
    ]
    order = sorted({c[0] for c in clips}, key=md5)
    first = [c for c in clips if c[0] in order[:12]]
    texts_bytes = sum(len(c[2]) for c in first)
    part = told(clips, max_bytes=texts_bytes)
    assert part == told(first) | {"sampled": {"clips": 60, "of": 200}}
    assert told(clips, max_bytes=texts_bytes + 1)["clips"] == 65
    assert told(clips)["sampled"] is None


# Zipf and Heaps: closed forms and likelihoods.


def zipf_clips(exponent: float, types: int, videos: int, seed: int) -> list[Clip]:
    """Returns clips of 12 words drawn from p(rank) ~ rank^-exponent."""
    r = np.random.default_rng(seed)
    p = np.arange(1, types + 1) ** -exponent
    drawn = r.choice(types, (videos, 15, 12), p=p / p.sum())
    names = r.permutation(types)
    return [
        (f"v{v}", k, " ".join(f"w{names[word]}" for word in clip), "kept")
        for v, own in enumerate(drawn.tolist())
        for k, clip in enumerate(own)
    ]


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.0, 1.3])
def test_zipf_interval_holds_the_exponent_that_words_were_drawn_with(exponent: float) -> None:
    found = told(zipf_clips(exponent, 400, 200, seed=7))["zipf"]
    assert found["low"] <= exponent <= found["high"]
    assert found["high"] - found["low"] < 0.06
    assert found["low"] < found["exponent"] < found["high"]
    assert 50 < found["ranks"] <= 400


def test_zipf_exponent_is_where_the_likelihood_is_highest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reelscript.jobs.statistics.zipf.LEAST_RANKS", 2)
    r = random.Random(6)
    words, weights = [f"w{i}" for i in range(8)], [2.0**-i for i in range(8)]
    clips = [
        (f"v{i % 9}", i, " ".join(r.choices(words, weights, k=12)), "kept") for i in range(300)
    ]
    found = told(clips)["zipf"]
    ranking: Counter[str] = Counter()
    frequency: Counter[str] = Counter()
    for video_id, index, text, _ in clips:
        assert text is not None
        odd = int.from_bytes(hashlib.md5(f"{video_id}/{index}".encode()).digest()[8:], "little") % 2
        (frequency if odd else ranking).update(text.split())
    ranked = [word for word, n in ranking.most_common() if n >= 10]
    assert len({ranking[word] for word in ranked}) == len(ranked), "no ties, or choose another seed"

    def likelihood(a: float) -> float:
        whole = math.log(sum(rank**-a for rank in range(1, len(ranked) + 1)))
        return sum(
            frequency[word] * (-a * math.log(rank) - whole) for rank, word in enumerate(ranked, 1)
        )

    a = found["exponent"]
    assert likelihood(a) > max(likelihood(a - 1e-3), likelihood(a + 1e-3))
    assert (found["low"], found["high"]) == (None, None)  # nine videos tell no interval
    assert found["ranks"] == len(ranked)
    assert found["tokens"] == sum(frequency[word] for word in ranked)


@pytest.mark.parametrize(("k", "beta"), [(3.0, 0.5), (10.0, 0.7), (1.0, 1.0)])
def test_heaps_law_is_found_where_it_holds(k: float, beta: float) -> None:
    growth = [{"tokens": 4**i, "types": round(k * 4 ** (i * beta))} for i in range(4, 16)]
    found = heaps(growth)
    assert found is not None
    assert found == {"k": pytest.approx(k, rel=0.02), "beta": pytest.approx(beta, abs=2e-3)}
    assert heaps(growth[:4]) is None
