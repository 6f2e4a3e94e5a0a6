"""What `features` says at its end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from reelscript.jobs.features.table import FeaturesTable
from reelscript.schemas.text import one_line

SHOWN = 5  # failed videos that are named


def summary(made: FeaturesTable, out: str | Path) -> str:
    """Returns a few printable lines: how many embeddings, how they were made, what failed."""
    about, kept, failed = made.about, made.kept.num_rows, made.failed
    length = "of length 1" if about.normalised else "not normalised"
    size = made.size
    frames = f"{about.frames} frame{'s' if about.frames != 1 else ''}"
    lines = [
        f"{kept} of {made.table.num_rows} videos embedded: {size} numbers each, {length}; "
        f"{about.model}, {frames}, {about.preprocess} preprocessing; written to "
        f"{one_line(str(out), 200)}"
    ]
    if failed.num_rows:
        reasons = Counter(failed["reason"].to_pylist()).most_common()
        lines.append("failed: " + ", ".join(f"{reason} {count}" for reason, count in reasons))
        named = zip(failed["url"].to_pylist()[:SHOWN], failed["detail"].to_pylist(), strict=False)
        lines += [f"  {one_line(url, 100)}: {one_line(detail or '', 200)}" for url, detail in named]
    return "\n".join(lines)
