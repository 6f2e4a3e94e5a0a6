"""The page that shows two corpora side by side (`comparison.html`): one file, no network, no date.

Everything on it comes from `comparison.json`, so that page and numbers cannot disagree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from markupsafe import Markup

from reelscript.jobs.compare.drawings import FACTS, SIZES, drawings, score_id, unnamed
from reelscript.jobs.config import Config
from reelscript.jobs.report.frame import environment, page
from reelscript.jobs.report.meanings import meaning_of_reason, meaning_of_score
from reelscript.jobs.report.playlist import web_link
from reelscript.jobs.report.wording import hours_text, number

MINUS = "\u2212"
JUDGING = ("dedup", "quality", "passage")  # sections of the config
MOST_FATES = 6  # of clips of either side that show before the rest is opened
AMOUNTS = {
    "source": "source videos",
    "sources": "source videos",
    "kept": "videos kept",
    "rejected": "videos rejected",
    "failed": "videos failed",
    "clips_kept": "clips kept",
    "clips_rejected": "clips rejected",
}
"""What a count or a time is of, where its name alone does not say so."""

FATES = {
    "rejected": "Rejected in {other}",
    "video_ended": "In {other} no clip was cut from their video",
    "other_clips": "In {other} their video was cut at other times",
    "no_video": "Their video is not in {other}",
}


def comparison_page(result: Mapping[str, Any]) -> str:
    """Returns the comparison as one HTML page; equal for equal arguments.

    Args:
        result: what stands in comparison.json, see `compare_corpora`.
    """
    made = environment("reelscript.jobs.compare")
    made.globals |= {
        "meaning_of_reason": meaning_of_reason,
        "meaning_of_score": meaning_of_score,
        "hours_text": hours_text,
        "number": number,
        "score_id": score_id,
        "signed": signed,
        "signed_hours": signed_hours,
        "unnamed": unnamed,
        "web_link": web_link,
    }
    made.filters["change"] = change
    thresholds = threshold_settings()
    shapes = {(shape["of"], shape["name"]): shape for shape in result["histograms"]}
    scores = result["scores"]
    drifting = [s for s in scores if s["size"] not in (None, SIZES[0])]
    body = made.get_template("compare.html.jinja").render(
        result=result,
        names=dict(zip("ab", result["names"], strict=True)),
        same=nothing_differs(result),
        counts={row["name"]: row for row in result["counts"]},
        hours={row["name"]: row for row in result["hours"]},
        amount_names=AMOUNTS,
        fate_words=FATES,
        settings=sorted(result["settings"], key=lambda s: s["name"] not in thresholds),
        thresholds=thresholds,
        limits=limits_of(result["thresholds"]),
        shapes=shapes,
        measured=[s for s in scores if s["size"] is not None],
        unmeasured=[s for s in scores if s["size"] is None],
        drifting=drifting,
        steady=[s for s in scores if s["size"] == SIZES[0]],
        by_size=Counter(s["size"] for s in drifting),
        sizes=SIZES,
        fact_titles=FACTS,
        most_fates=MOST_FATES,
    )
    title = " and ".join(result["names"])
    return page(f"{title} · reelscript comparison", Markup(body), {"charts": drawings(result)})


def nothing_differs(result: Mapping[str, Any]) -> bool:
    """Returns whether the two have equal settings, counts, distributions, words and clips."""
    amounts = [*result["counts"], *result["hours"]]
    apart = [row["distance"] for row in (*result["scores"], *result["facts"])]
    return not (
        result["settings"]
        or any(row["difference"] for row in amounts)
        or any(apart)
        or result["words"]["divergence"]
        or any(result["clips"][side]["clips"] for side in ("only_a", "only_b"))
    )


def threshold_settings() -> frozenset[str]:
    """Returns the names of the settings that only judge: a change of them measures nothing anew."""
    config, found = Config(), set()
    for section in fields(config):
        values = getattr(config, section.name)
        for setting in fields(values) if is_dataclass(values) else ():
            if section.name in JUDGING or setting.metadata.get("role") == "threshold":
                found.add(f"{section.name}.{setting.name}")
    return frozenset(found)


def limits_of(thresholds: Mapping[str, Any]) -> dict[str, str]:
    """Returns what each threshold of either bounds, in words, by its setting."""
    words = {}
    for limit in (*thresholds["a"], *thresholds["b"]):
        end = {"min": "least", "max": "greatest"}[limit["side"]]
        words[limit["setting"]] = f"{end} {meaning_of_score(limit['score'])} ({limit['of']})"
    return words


def signed(value: float | None) -> str:
    """Returns a difference for people, with its sign; a dash for none."""
    if not value:
        return "–"
    return f"{MINUS if value < 0 else '+'}{number(abs(value))}"


def signed_hours(value: float) -> str:
    """Returns a difference of hours for people, with its sign; a dash for none."""
    return f"{MINUS if value < 0 else '+'}{hours_text(abs(value))}" if value else "–"


def change(row: Mapping[str, Any]) -> str:
    """Returns by how many per cent of A an amount of B is larger or smaller."""
    if row["a"] == row["b"]:
        return "the same"
    if not row["a"]:
        return "new"
    share = 100 * (row["b"] - row["a"]) / row["a"]
    sign = MINUS if share < 0 else "+"
    return f"{sign}<0.1 %" if abs(share) < 0.05 else f"{sign}{abs(share):,.1f} %"
