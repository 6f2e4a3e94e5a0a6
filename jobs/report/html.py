"""The page that tells what a build made (`report.html`): one file, no network, no script, no date.

Everything on it comes from `stats.json`, so that page and numbers cannot disagree. Titles,
transcripts and URLs are hostile: every value is cleaned and escaped as it is printed, nothing from
outside becomes a link, an attribute's name or a style, and the page's own content security policy
allows one style sheet, named by its hash, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any
from unicodedata import category

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from reelscript.jobs.report.histogram import round_ticks
from reelscript.jobs.report.meanings import meaning_of_reason, meaning_of_score

NOT_SHOWN = (
    "sources",
    "work",
)  # of the config: places on the machine that built; the sources have their own table
UNNAMED = "Unnamed corpus"
ACCOUNT = {
    "samples": "in samples",
    "rejected_clips_of_kept_videos": "rejected clips of kept videos",
    "outside_clips_of_kept_videos": "kept videos, outside any clip (mostly without speech)",
    "rejected_videos": "rejected videos",
    "failed_videos": "failed videos",
}
"""Where an hour of source video can go, in the order of the bar."""

COSTS = {"wall_s": "Elapsed, summed", "videos": "Videos", "remembered": "Remembered"}
"""Columns of the costs besides CPU time, shown where some stage has them."""


def report_html(
    stats: Mapping[str, Any],
    config: Mapping[str, Any],
    versions: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> str:
    """Returns the report as one self-contained HTML page; equal for equal arguments.

    Args:
        stats: what `statistics` returned. In its `costs` alone may two equal builds differ.
        config: the resolved config as plain data.
        versions: package or tool -> version, nested as one likes.
        name: of the corpus; by default `name` of the config.
    """
    page = Environment(
        autoescape=True,
        finalize=printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {
        "number": number,
        "hours": hours_text,
        "seconds": seconds_text,
        "compact": compact,
        "csp_hash": csp_hash,
        "percent": percent,
    }
    page.globals |= {
        "ticks": round_ticks,
        "meaning_of_reason": meaning_of_reason,
        "meaning_of_score": meaning_of_score,
        "account": ACCOUNT,
    }
    shown = {k: v for k, v in config.items() if k not in NOT_SHOWN}
    template = (
        files("reelscript.jobs.report").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )
    return page.from_string(template).render(
        stats=stats,
        reasons=_by_stage(stats["reasons"]),
        cost_columns={
            k: v for k, v in COSTS.items() if any(k in c for c in stats["costs"].values())
        },
        name=name or config.get("name") or UNNAMED,
        config_yaml=yaml.safe_dump(shown, sort_keys=False, allow_unicode=True),
        versions=flat_versions(versions or {}),
    )


def _by_stage(reasons: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for row in reasons:
        stages.setdefault(row["stage"], []).append(row)
    return stages


def flat_versions(versions: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Returns nested versions as one mapping of dotted names to text."""
    flat: dict[str, str] = {}
    for name, value in versions.items():
        if isinstance(value, Mapping):
            flat |= flat_versions(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = str(value)
    return flat


def printable(value: Any) -> Any:
    """Returns text without control characters or turns of direction; all else as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(c if c == "\n" or category(c)[0] != "C" else " " for c in value)


def csp_hash(style: str) -> str:
    """Returns the source expression by which a content security policy allows this style sheet.

    Source: W3C Content Security Policy Level 3, section 2.3.1 (hash-source).
    """
    return "sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


def number(value: float | int | None) -> str:
    """Returns a number for people: thousands parted, four significant digits; a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def compact(value: float) -> str:
    """Returns a number for an axis, with k and M for thousands and millions."""
    for limit, sign in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{sign}"
    return f"{value:.6g}"


def hours_text(hours: float | None) -> str:
    """Returns a length given in hours in the unit that people would use."""
    if hours is None:
        return "–"
    for limit, unit_h, sign in ((1.0, 1.0, "h"), (1 / 60, 1 / 60, "min"), (0.0, 1 / 3600, "s")):
        if hours >= limit * 0.9995:
            value = hours / unit_h
            return f"{value:,.0f} {sign}" if value >= 99.95 or value == 0 else f"{value:.1f} {sign}"
    return f"{hours:.1f} h"


def seconds_text(seconds: float | None) -> str:
    """Returns a length given in seconds in the unit that people would use."""
    return hours_text(None if seconds is None else seconds / 3600)


def percent(part: float, whole: float) -> str:
    """Returns a share in per cent; a dash of nothing. What is not nothing is never shown as 0."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1 %"
    return f"{share:.1f} %" if share < 99.95 or share == 100 else ">99.9 %"
