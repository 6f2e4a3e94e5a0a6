"""The dataset card (`README.md` of a corpus): front matter for the Hub, and what to know of it.

Nothing in Markdown is escaped by default, so here everything is: what a template prints is escaped
unless it is markup that this file made. Front matter goes through `yaml.safe_dump`, never through a
template.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from reelscript.jobs.report.html import ACCOUNT, UNNAMED, flat_versions
from reelscript.jobs.report.meanings import meaning_of_reason, meaning_of_score
from reelscript.jobs.report.wording import hours_text, number, percent
from reelscript.schemas.text import one_line

MAX_NAME_CHARS = 120
SIZES = (
    *((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")),
    *((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B")),
)
LICENSES = frozenset(
    {
        f"cc-by{kind}-{version}"
        for kind in ("", "-nc", "-nc-sa")
        for version in ("2.0", "3.0", "4.0")
    }
    | {"cc-by-2.5", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0"}
    | {"cc-by-sa-4.0", "cc0-1.0", "gfdl", "odbl", "odc-by", "pddl", "unlicense"}
    | {"apache-2.0", "bsd-2-clause", "bsd-3-clause", "mit"}
)
"""Identifiers of the Hugging Face Hub ("Licenses" in its documentation) that videos may have."""

MARKS = re.compile(
    r"[\\`*{}\[\]|~$]"  # emphasis, code, links, table cells, formulas
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"  # within a word an underscore is only itself
    r"|:(?=\S)|@(?=\w)|#(?=\w)|(?i:(?<=www)\.)"  # what renderers make links, mentions and emoji of
)
HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def dataset_card(
    stats: Mapping[str, Any],
    config: Mapping[str, Any],
    versions: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> str:
    """Returns the dataset card as Markdown with YAML front matter; equal for equal arguments.

    Args:
        stats: what `statistics` returned; its `costs` are not used.
        config: the resolved config as plain data.
        versions: package or tool -> version, nested as one likes.
        name: of the corpus; by default `name` of the config.
    """
    title = one_line(str(name or config.get("name") or UNNAMED), MAX_NAME_CHARS)
    card = Environment(
        autoescape=True,
        finalize=markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    card.filters |= {"number": number, "hours": hours_text, "percent": percent}
    card.globals |= {
        "account": ACCOUNT,
        "meaning_of_reason": meaning_of_reason,
        "meaning_of_score": meaning_of_score,
    }
    template = files("reelscript.jobs.report").joinpath("card.md.jinja").read_text(encoding="utf-8")
    body = card.from_string(template).render(
        stats=stats,
        name=title,
        models=models(config),
        versions=flat_versions(versions or {}),
    )
    return f"---\n{front_matter(stats, title)}---\n\n{body}"


def front_matter(stats: Mapping[str, Any], name: str) -> str:
    """Returns the YAML that the Hugging Face Hub reads: licence, languages, size, files of a split.

    Source of the keys: huggingface/hub-docs, datasetcard.md.
    """
    licenses = _licenses(stats)
    languages = {
        row["name"] for row in stats["languages"]["rows"] if row["samples"] and row["name"]
    }
    fields: dict[str, Any] = {
        "pretty_name": name,
        "license": licenses[0] if len(licenses) == 1 else licenses,
        "language": sorted(x for x in languages if re.fullmatch(r"[a-z]{2,3}", x)),
        "task_categories": ["video-text-to-text"],
        "tags": ["video", "speech", "transcripts", "webdataset", "reelscript"],
        "size_categories": [_size(stats["counts"]["samples"])],
    }
    if "other" in licenses:
        fields["license_details"] = (
            "as stated for each source, see column license of videos.parquet"
        )
    splits = [split for split in ("train", "val") if split in stats["splits"]]
    if splits:
        data_files = [{"split": s, "path": f"shards/{s}-*.tar"} for s in splits]
        fields["configs"] = [{"config_name": "default", "data_files": data_files}]
    wanted = {k: v for k, v in fields.items() if v}
    text: str = yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True, width=10_000)
    return text


def _licenses(stats: Mapping[str, Any]) -> list[str]:
    """Returns the Hub's identifiers of the licences under which samples stand."""
    found = {license_id(r["name"]) for r in stats["licenses"]["rows"] if r["samples"]}
    if stats["licenses"]["rest"]["samples"]:
        found.add("other")
    return sorted(found) or ["unknown"]


def license_id(stated: str | None) -> str:
    """Returns the Hub's identifier of a licence as stated; or "other", or "unknown" for none."""
    if not stated or not stated.strip():
        return "unknown"
    spelled = re.sub(r"[\s_-]+", "-", stated.strip().lower())
    spelled = {"cc0": "cc0-1.0", "apache2.0": "apache-2.0"}.get(spelled, spelled)
    return spelled if spelled in LICENSES else "other"


def _size(samples: int) -> str:
    return next((name for limit, name in SIZES if samples < limit), "n>1T")


def models(config: Mapping[str, Any]) -> dict[str, str]:
    """Returns every setting that names a model; of a model in a folder only the folder's name."""
    found = {}
    for section, settings in config.items():
        for key, value in settings.items() if isinstance(settings, Mapping) else ():
            if str(key).endswith("model") and isinstance(value, str):
                local = PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()
                found[f"{section}.{key}"] = PureWindowsPath(value).name if local else value
    return found


def markdown(value: Any) -> Markup:
    """Returns a value as one line of Markdown that shows it: no markup, no link, no HTML.

    It must not stand first in a line, where a digit or a dash could begin a list.
    Sources: backslash escapes, CommonMark 0.31, section 2.4; pipes in tables and bare links, GitHub
    Flavored Markdown, sections 4.10 and 6.9.
    """
    if isinstance(value, Markup):
        return value
    text = one_line(str(value), 1000)
    text = MARKS.sub(lambda m: "\\" + m[0], text)
    return Markup("".join(HTML.get(c, c) for c in text))
