"""What the charts of a comparison are drawn from: for each a spec, as frame.py tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from reelscript.jobs.report.drawings import FACTS as FACTS_OF_VIDEOS
from reelscript.jobs.report.drawings import UNNAMED
from reelscript.jobs.report.meanings import meaning_of_score
from reelscript.jobs.report.wording import compact, number

Spec: TypeAlias = dict[str, Any]

SIZES = ("negligible", "small", "medium", "large")
BORDERS = (0.29, 0.36, 0.44, 0.56, 0.64, 0.71)
"""Where one word for an effect size ends and the next begins, see effect_size."""

FACTS = FACTS_OF_VIDEOS | {
    "reasons_of_videos": "Why videos are not in it",
    "reasons_of_clips": "Why clips are not in it",
}
PER_WORDS = 10_000
WHOSE = {"a": "A ", "b": "B ", "both": ""}


def drawings(result: Mapping[str, Any]) -> dict[str, Spec]:
    """Returns the spec of every chart by its id; `result` is what stands in comparison.json."""
    return dict(_drawings(result))


def _drawings(result: Mapping[str, Any]) -> Iterator[tuple[str, Spec]]:
    measured = [row for row in result["scores"] if row["size"] is not None]
    if measured:
        yield "drift", _drift(measured)
    for shape in result["histograms"]:
        yield score_id(shape), _shape(shape)
    moved = [row for row in result["facts"] if row["distance"]]
    if moved:
        yield "facts", _facts(moved)
    if result["words"]["words"]:
        yield "words", _words(result["words"]["words"])


def score_id(score: Mapping[str, Any]) -> str:
    """Returns the id of the chart of a score."""
    return f"{score['of']}-{score['name']}"


def unnamed(fact: str) -> str:
    """Returns what to call those of which a fact is not known."""
    return UNNAMED.get(fact, "not stated")


def _drift(scores: Sequence[Mapping[str, Any]]) -> Spec:
    rows = [
        {
            "label": f"{meaning_of_score(row['name'])} ({row['of']}): {row['size']}",
            "value": row["larger_in_b"],
            **_stem(0.5, row["larger_in_b"]),
        }
        for row in scores
    ]
    first = scores[0]
    return {
        "kind": "dots",
        "label": "How likely a score of B is larger than one of A; one half is no drift. Most: "
        f"{rows[0]['label']}, {number(first['larger_in_b'])}.",
        "x": "probability that one of B is larger than one of A",
        "rows": rows,
        "marks": list(BORDERS),
    }


def _shape(shape: Mapping[str, Any]) -> Spec:
    """A stands, B hangs: each adds up to 100 % of its own, so that shapes compare."""
    what = meaning_of_score(shape["name"])
    sides = [
        {"name": f"of {side.upper()}", "tone": tone, "counts": shape[side]["counts"]}
        for side, tone in (("a", "kept"), ("b", "rejected"))
    ]
    told = "; ".join(
        f"{side.upper()} {number(shape[side]['n'])}, median {number(shape[side]['median'])}"
        for side in "ab"
    )
    return {
        "kind": "histogram",
        "label": f"Histogram of {what}: {told}.",
        "x": what,
        "edges": shape["edges"],
        "sides": sides,
        "limits": [_limit(limit, shape["whole"]) for limit in shape["limits"]],
    }


def _limit(limit: Mapping[str, Any], whole: bool) -> Spec:
    # a whole number lies in the bin that it begins: the most that may be is on this side
    past = 1 if whole and limit["side"] == "max" else 0
    label = f"{WHOSE[limit['in']]}{limit['side']} {compact(limit['value'])}"
    return {"side": limit["side"], "at": limit["value"] + past, "label": label}


def _facts(facts: Sequence[Mapping[str, Any]]) -> Spec:
    rows = [
        {
            "label": FACTS.get(row["name"], row["name"]),
            "value": round(100 * row["distance"], 3),
            "tone": "accent",
        }
        for row in facts
    ]
    return {
        "kind": "bars",
        "label": "How much must change to make the shares of A those of B: most in "
        f"{rows[0]['label']}, {number(rows[0]['value'])} %.",
        "x": "% must change",
        "rows": rows,
    }


def _words(words: Sequence[Mapping[str, Any]]) -> Spec:
    moved = [round(PER_WORDS * (word["b"] - word["a"]), 3) for word in words]
    rows = [
        {"label": word["text"], "value": value, **_stem(0, value)}
        for word, value in zip(words, moved, strict=True)
    ]
    return {
        "kind": "dots",
        "label": f"Words that moved most: {', '.join(word['text'] for word in words[:5])}.",
        "x": f"times more in B, of {PER_WORDS:,} words",
        "rows": rows,
        "marks": [0],
    }


def _stem(at: float, value: float) -> dict[str, float]:
    """Returns the ends of a line from where nothing moved to where it is now."""
    return {"low": min(at, value), "high": max(at, value)}
