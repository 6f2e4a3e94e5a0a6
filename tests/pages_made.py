"""Makes pages of reports: of random corpora, and of one in which every text is an attack."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa

from reelscript.jobs.report.html import report_html
from tests.audit_made import made_corpus, numbers_of

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "${{ 7 * 7 }} {% raw %}{{ config }}",
    "]]> --> </style></title></textarea></script>",
    "javascript:alert(1)",
    "\u202egnp.exe\u202c \u2066x",
    "' onmouseover='x",
    "https://evil.example/<b>?a=1&lt;",
    "a\r\nb\x00\x1b[31mred \ud800",
]


def a_piece(of: str, **other: Any) -> dict[str, Any]:
    """Returns a piece of media that says `of` wherever it says something."""
    name = hashlib.sha256(of.encode("utf-8", "replace")).hexdigest()[:16]
    words = [{"word": of, "start_s": 0.5, "end_s": 0.9, "probability": 0.3}]
    piece = {"video_id": of, "clip_index": 0, "key": None, "start_s": 61.0, "end_s": 65.5}
    piece |= {"title": of, "link": of, "text": of, "reason": of, "stage": of}
    piece |= {"mp4": f"{name}.mp4", "jpg": f"{name}.jpg"}
    piece |= {"clips": [{"start_s": 0.0, "end_s": 4.5, "text": of}], "words": words}
    return piece | other


def hostile_page() -> str:
    """Returns a page of which every text is an attack."""
    tables = []
    for table, columns in zip(
        made_corpus(7, 60),
        (("title", "url", "license", "language", "detail", "channel"), ("text",), ("language",)),
        strict=True,
    ):
        rows = table.to_pylist()
        for i, row in enumerate(rows):
            bad = HOSTILE[i % len(HOSTILE)].replace("\ud800", "")
            row |= dict.fromkeys(columns, bad)
            row |= {"reason": bad} if row.get("outcome") == "failed" else {}
        tables.append(pa.Table.from_pylist(rows, schema=table.schema))
    limits = [{"setting": b, "value": 1.0, "side": "max", "origin": b} for b in HOSTILE]
    stats = numbers_of(tables, thresholds={"words_per_s": limits})
    media = {
        "kept": [a_piece(bad) for bad in HOSTILE] + [a_piece("x", mp4=bad) for bad in HOSTILE],
        "rejected": {bad: a_piece(bad, jpg=bad) for bad in HOSTILE},
    }
    config = {"name": HOSTILE[0], "speech": {bad: bad for bad in HOSTILE}, "work": "/secret/place"}
    return report_html(stats, config, {b: b for b in HOSTILE}, "".join(HOSTILE), media)


def a_page(seed: int, videos: int, media: Any = None) -> str:
    """Returns the page of a random corpus."""
    stats = numbers_of(made_corpus(seed, videos))
    config = {"name": "a corpus", "sources": ["/home/somebody/list.txt"]}
    return report_html(stats, config, {"av": "18"}, None, media)
