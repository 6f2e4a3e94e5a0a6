"""What a report plays, in `report_media/` beside it: kept passages, and pieces of rejects.

```
report_media.json                    what each file shows: source, times, text, words
report_media/0123456789abcdef.mp4    named by the first 16 hex digits of its sha256
report_media/fedcba9876543210.jpg    a picture of it
```

Rejected pieces are written by the build, which alone has the sources; kept passages are copied out
of the shards. A name says what is in the file, so that a release that is being written puts its own
beside those of the one that stands. report_media.json changes with the other files of a release,
and what it does not name goes when releases are settled.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reelscript.pipeline.errors import DataError
from reelscript.pipeline.store import Store
from reelscript.reading.tables import no_json
from reelscript.schemas.sample import SampleJson
from reelscript.schemas.text import canonical_json, one_line

FOLDER = "report_media"
INDEX = "report_media.json"
NAME = re.compile(r"[0-9a-f]{16}\.(?:mp4|jpg)")
KEPT = 8  # passages that are played, each of another video
MAX_INDEX_BYTES = 20_000_000  # of an index that is read: ours have a hundredth of it
MAX_FILE_BYTES = 100_000_000  # of an mp4 that is copied: what is larger is shown as text
LONGEST_S = 1e9


@dataclass
class ReportMedia:
    """The files of a report and what they show.

    Attributes:
        kept: passages of the corpus.
        rejected: `<video_id>/<clip_index>`, or `<video_id>/` for a whole video -> a piece of it.
        files: name -> bytes, of those still to be written.
    """

    kept: list[dict[str, Any]] = field(default_factory=list)
    rejected: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, piece: Mapping[str, Any], mp4: bytes, picture: bytes | None) -> dict[str, Any]:
        """Returns a piece with the names of its mp4 and JPEG, which are added to the files."""
        named = {"mp4": self._add(mp4, "mp4"), "jpg": picture and self._add(picture, "jpg")}
        return {**piece, **named}

    def _add(self, data: bytes, kind: str) -> str:
        name = f"{hashlib.sha256(data).hexdigest()[:16]}.{kind}"
        self.files[name] = data
        return name

    def index(self) -> dict[str, Any]:
        """Returns what stands in report_media.json, and what the page is given."""
        return {"kept": self.kept, "rejected": self.rejected}

    def names(self) -> set[str]:
        """Returns the names of the files that are shown."""
        pieces = (*self.kept, *self.rejected.values())
        return {piece[kind] for piece in pieces for kind in ("mp4", "jpg") if piece[kind]}

    def write(self, corpus: Store) -> None:
        """Puts the files, beside those that are there. Raises DataError: their folder is a link."""
        if self.files and _leads_away(corpus):
            raise DataError(f"{one_line(corpus.url)}/{FOLDER} is a link: remove it")
        for name, data in self.files.items():
            if corpus.size_or_none(f"{FOLDER}/{name}") != len(data):
                corpus.put(f"{FOLDER}/{name}", data)


def forget_media(corpus: Store, among: Collection[str] | None = None) -> None:
    """Removes the files that the report_media.json of a corpus does not name.

    None where that is damaged; nor what is not named as ours are.

    Args:
        corpus: the folder.
        among: names of the files that may go; None: all. Beside a build, that is what the page
            played before: others may be of the release that it is about to publish.
    """
    found = media_in(corpus)
    damaged = corpus.exists(INDEX) and not found.names() and not _is_empty(corpus)
    if damaged or _leads_away(corpus):
        return
    shown = found.names()
    for name in list(corpus.names(FOLDER)):
        file = name.removeprefix(f"{FOLDER}/")
        if NAME.fullmatch(file) and file not in shown and (among is None or file in among):
            corpus.delete(name)


def _is_empty(corpus: Store) -> bool:
    return corpus.get(INDEX) == canonical_json(ReportMedia().index())


def media_in(corpus: Store) -> ReportMedia:
    """Returns what the report_media.json of a corpus names; nothing where it is missing or damaged.

    It may come from anywhere: a piece stays only if its files are named as ours are.
    """
    try:
        if (corpus.size_or_none(INDEX) or 0) > MAX_INDEX_BYTES or _leads_away(corpus):
            return ReportMedia()
        found = json.loads(corpus.get(INDEX), parse_constant=no_json)
        rejected = {str(of): piece for of, piece in found["rejected"].items() if is_piece(piece)}
        return ReportMedia([piece for piece in found["kept"] if is_piece(piece)], rejected)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ReportMedia()


def _leads_away(corpus: Store) -> bool:
    """Returns whether the folder is a link: then its files are somebody else's."""
    return corpus.local_root is not None and (corpus.local_root / FOLDER).is_symlink()


def is_piece(piece: Any) -> bool:
    """Returns whether a piece can be shown: its fields are there, and of their types."""
    try:
        canonical_json(piece)
        texts = [piece[name] for name in ("mp4", "jpg") if piece[name] is not None]
        times = [piece["start_s"], piece["end_s"]]
        for name in ("title", "text", "stage", "reason", "link"):
            if piece.get(name) is not None:
                str.strip(piece[name])
        for clip in piece["clips"]:
            times += [clip["start_s"], clip["end_s"]]
            str.strip(clip["text"])
        for word in piece["words"]:
            times += [word["start_s"], word["end_s"], word.get("probability") or 0]
            str.strip(word["word"])
        str.strip(piece["video_id"])
        return (
            isinstance(piece["mp4"], str)
            and all(NAME.fullmatch(text) for text in texts)
            and all(isinstance(time, int | float) and abs(time) < LONGEST_S for time in times)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def kept_piece(meta: SampleJson, link: str | None) -> dict[str, Any]:
    """Returns what a kept passage shows, without its files.

    Args:
        meta: the json member of its sample.
        link: to the source at its start.
    """
    facts = {name: meta[name] for name in ("video_id", "key", "title", "start_s", "end_s")}
    words = [
        {name: word.get(name) for name in ("word", "start_s", "end_s", "probability")}
        for clip in meta["clips"]
        for word in clip["words"]
    ]
    clips = [{name: clip[name] for name in ("start_s", "end_s", "text")} for clip in meta["clips"]]
    text = " ".join(clip["text"] for clip in meta["clips"])
    none = {"clip_index": None, "stage": None, "reason": None}
    return {**facts, **none, "link": link, "text": text, "clips": clips, "words": words}


def kept_keys(keys: Sequence[str], video_ids: Sequence[str], most: int = KEPT) -> list[str]:
    """Returns the samples that are played: by hash, each of another video."""
    found: dict[str, str] = {}
    hashed = ((hashlib.sha256(key.encode()).hexdigest(), row) for row, key in enumerate(keys))
    for _, row in heapq.nsmallest(50 * most, hashed):
        found.setdefault(video_ids[row], keys[row])
    return list(found.values())[:most]
