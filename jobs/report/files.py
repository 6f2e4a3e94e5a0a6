"""The files by which a corpus tells of itself: numbers, page, card, and what the page plays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reelscript.jobs.report.card import dataset_card
from reelscript.jobs.report.html import report_html
from reelscript.jobs.report.media import INDEX, ReportMedia
from reelscript.schemas.text import canonical_json

STATS, REPORT, CARD = "stats.json", "report.html", "README.md"


def report_files(
    stats: Mapping[str, Any],
    config: Mapping[str, Any],
    dataset: Mapping[str, Any],
    media: ReportMedia,
) -> dict[str, bytes]:
    """Returns the files by name; equal for equal arguments.

    Args:
        stats: what `statistics` returned.
        config: the resolved config as plain data.
        dataset: the dataset.json that they stand beside.
        media: what the page plays.
    """
    about = (stats, config, dataset.get("versions") or {}, dataset.get("name"))
    return {
        STATS: pretty_json(stats),
        REPORT: report_html(*about, media.index()).encode(),
        CARD: dataset_card(*about).encode(),
        INDEX: canonical_json(media.index()),
    }


def pretty_json(value: Any) -> bytes:
    """Returns JSON that people can read, too."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
