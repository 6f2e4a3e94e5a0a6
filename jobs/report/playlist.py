"""What of `report_media/` a page plays: pieces with names, times and links that can be trusted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reelscript.jobs.report.media import NAME

WEB = re.compile(r"https?://\S+", re.I)


@dataclass(frozen=True)
class Playlist:
    """The pieces that can be played, in the order in which they are listed.

    Attributes:
        kept: positions in `pieces` of passages of the corpus.
        rejected: positions of what was left out.
        of: `<video_id>/<clip_index>`, or `<video_id>/` for a whole video -> its position.
        pieces: each as `jobs/report/media.py` tells, `place` being its position.
    """

    kept: list[int] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)
    of: dict[str, int] = field(default_factory=dict)
    pieces: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of_media(cls, media: Mapping[str, Any] | None) -> Playlist:
        """Returns what can be played; a piece whose file is not named as ours are is left out."""
        found = cls()
        for piece in (media or {}).get("kept", ()):
            found._add(piece, found.kept)
        for of, piece in (media or {}).get("rejected", {}).items():
            place = found._add(piece, found.rejected)
            if place is not None:
                found.of[of] = place
        return found

    def _add(self, piece: Mapping[str, Any], listed: list[int]) -> int | None:
        if not is_file(piece.get("mp4"), "mp4"):
            return None
        place = len(self.pieces)
        jpg = piece.get("jpg")
        self.pieces.append(
            {
                "place": place,
                "mp4": piece["mp4"],
                "jpg": jpg if is_file(jpg, "jpg") else None,
                "title": str(piece.get("title") or piece.get("video_id") or ""),
                "text": str(piece.get("text") or ""),
                "link": web_link(piece.get("link")),
                "start_s": _seconds(piece.get("start_s")),
                "end_s": _seconds(piece.get("end_s")),
                "stage": piece.get("stage"),
                "reason": piece.get("reason"),
                "clips": _stretches(piece.get("clips") or ()),
                "words": [
                    {"word": str(word["word"]), **word_times, "probability": _share(word)}
                    for word, word_times in _timed(piece.get("words") or ())
                ],
            }
        )
        listed.append(place)
        return place


def is_file(name: Any, kind: str) -> bool:
    """Returns whether this is the name of a file of `report_media/` of that kind."""
    return isinstance(name, str) and bool(NAME.fullmatch(name)) and name.endswith(kind)


def web_link(link: Any) -> str | None:
    """Returns a link that may be followed, None for any but http(s) and for what does not print."""
    return link if isinstance(link, str) and WEB.fullmatch(link) and link.isprintable() else None


def _stretches(clips: Iterable[Mapping[str, Any]]) -> list[dict[str, float]]:
    return [times for _, times in _timed(clips)]


def _timed(
    rows: Iterable[Mapping[str, Any]],
) -> Iterable[tuple[Mapping[str, Any], dict[str, float]]]:
    """Yields each row that has a start and an end with these two, in seconds."""
    for row in rows:
        start_s, end_s = _seconds(row.get("start_s")), _seconds(row.get("end_s"))
        if start_s is not None and end_s is not None:
            yield row, {"start_s": start_s, "end_s": end_s}


def _seconds(value: Any) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _share(word: Mapping[str, Any]) -> float | None:
    value = _seconds(word.get("probability"))
    return None if value is None else min(1.0, max(0.0, value))
