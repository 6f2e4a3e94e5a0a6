"""The page that tells what a build made (`report.html`): one file, no network, no date.

Everything on it comes from `stats.json`, so that page and numbers cannot disagree; what can be
played, from the index of `report_media/`, which lies beside it. Titles, transcripts and URLs are
hostile: every value is cleaned and escaped as it is printed, a link leads to http(s) or nowhere,
and scripts set them as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from markupsafe import Markup

from reelscript.jobs.report.drawings import FACTS, drawings, name_of, score_id
from reelscript.jobs.report.examples import judged_scores
from reelscript.jobs.report.frame import environment, page
from reelscript.jobs.report.meanings import meaning_of_reason, meaning_of_score
from reelscript.jobs.report.playlist import Playlist, web_link
from reelscript.jobs.report.wording import number
from reelscript.schemas.text import one_line

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

MOST = 5  # reasons named at the top of the page


def report_html(
    stats: Mapping[str, Any],
    config: Mapping[str, Any],
    versions: Mapping[str, Any] | None = None,
    name: str | None = None,
    media: Mapping[str, Any] | None = None,
) -> str:
    """Returns the report as one HTML page; equal for equal arguments.

    Args:
        stats: what `statistics` returned. In its `costs` alone may two equal builds differ.
        config: the resolved config as plain data.
        versions: package or tool -> version, nested as one likes.
        name: of the corpus; by default `name` of the config.
        media: what lies in `report_media/` beside the page (its report_media.json); without it, the
            page shows texts, and says why there is nothing to play.
    """
    title = name or config.get("name") or UNNAMED
    playlist = Playlist.of_media(media)
    made = environment()
    made.globals |= {
        "account": ACCOUNT,
        "facts": FACTS,
        "name_of": name_of,
        "score_id": score_id,
        "judged": lambda example: judged_scores(example, stats["thresholds"]),
        "meaning_of_reason": meaning_of_reason,
        "meaning_of_score": meaning_of_score,
        "web_link": web_link,
    }
    body = made.get_template("report.html.jinja").render(
        stats=stats,
        name=title,
        playlist=playlist,
        ids=_ids(stats["reasons"]),
        stages=_by_stage(stats["reasons"]),
        most=_most(stats["reasons"]),
        config_yaml=yaml.safe_dump(
            {k: v for k, v in config.items() if k not in NOT_SHOWN},
            sort_keys=False,
            allow_unicode=True,
        ),
        versions=flat_versions(versions or {}),
        reasons_of=reasons_of,
    )
    data = {"charts": drawings(stats), "pieces": playlist.pieces}
    scripts = ("charts.js", "player.js")
    return page(f"{title} · reelscript report", Markup(body), data, scripts)


def _ids(reasons: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Returns where on the page each reason of each stage is told."""
    return {(row["stage"], row["reason"]): f"reason-{i}" for i, row in enumerate(reasons)}


def reasons_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Returns what a stage, a row of `stats["funnel"]`, let go: reason -> how many, most first."""
    kinds = (("videos", "rejected_by"), ("videos", "failed_by"), ("clips", "rejected_by"))
    counts: dict[str, dict[str, int]] = {}
    for level, by in kinds:
        for reason, count in (row[level] or {}).get(by, {}).items():
            of = counts.setdefault(one_line(reason), {})
            of[level] = of.get(level, 0) + count
    order = sorted(counts, key=lambda reason: (-sum(counts[reason].values()), reason))
    return {
        reason: " and ".join(
            f"{number(n)} {level if n != 1 else level[:-1]}" for level, n in counts[reason].items()
        )
        for reason in order
    }


def _by_stage(reasons: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for row in reasons:
        stages.setdefault(row["stage"], []).append(row)
    return stages


def _most(reasons: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Returns the reasons that kept out most: hours of videos, and hours of clips.

    Where no length was known, most videos.
    """
    rows = list(reasons)

    def videos(row: Mapping[str, Any]) -> int:
        return int(row["videos_rejected"] + row["videos_failed"])

    by_video = sorted(rows, key=lambda row: (-row["video_hours"], -videos(row)))
    by_clip = sorted(rows, key=lambda row: (-row["clip_hours"], -row["clips"]))
    return {
        "videos": [row for row in by_video if videos(row)][:MOST],
        "clips": [row for row in by_clip if row["clips"]][:MOST],
    }


def flat_versions(versions: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Returns nested versions as one mapping of dotted names to text."""
    flat: dict[str, str] = {}
    for name, value in versions.items() if isinstance(versions, Mapping) else ():
        if isinstance(value, Mapping):
            flat |= flat_versions(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = str(value)
    return flat
