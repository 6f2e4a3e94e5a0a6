"""Where the subtitles of a source lie: where its list says so, or in a file beside the video."""

from __future__ import annotations

import os
from collections.abc import Sequence

from reelscript.jobs.sources.places import Place
from reelscript.transforms.acquire import file_signature
from reelscript.transforms.urls import scheme_of

SUFFIXES = (".json3", ".vtt", ".srt")  # what tells more of times first
MAX_LOCATION_CHARS = 2000


class SubtitleFinder:
    """Finds at most one file of subtitles for a source.

    Args:
        languages: those of the corpus; of several files `<video>.<language>.vtt` the first counts.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        self._languages = tuple(languages)
        self._beside: dict[str, frozenset[str]] = {}  # folder -> names of subtitle files in it

    def find(self, place: Place) -> tuple[str | None, str | None]:
        """Returns a URL or an absolute path, and the signature of a local file; None, None if none.

        What a list names is taken as it is, whether it is there or not: its row shall say so.
        """
        written = (place.row.subtitles_at or "").strip()[:MAX_LOCATION_CHARS]
        if written:
            return _named(written, place.folders)
        if scheme_of(place.location) is not None:
            return None, None
        return self._sidecar(place)

    def _sidecar(self, place: Place) -> tuple[str | None, str | None]:
        """Returns `video.en.vtt` or `video.vtt` beside `video.mp4`, and its signature."""
        folder, name = os.path.split(place.location)
        if folder not in self._beside:
            self._beside[folder] = _subtitles_in(folder)
        names, stem = self._beside[folder], os.path.splitext(name)[0]
        languages = (place.row.language,) if place.row.language else self._languages
        for mark in (*(f".{language}" for language in languages), ""):
            for suffix in SUFFIXES:
                if (found := f"{stem}{mark}{suffix}") in names:
                    path = os.path.join(folder, found)
                    return path, file_signature(path)
        return None, None


def _named(written: str, folders: Sequence[str]) -> tuple[str, str | None]:
    """Returns the file that a list names; a relative path starts from the first fitting folder."""
    if scheme_of(written) is not None:
        return written, None
    paths = [os.path.normpath(os.path.join(folder, written)) for folder in folders]
    signatures = [file_signature(path) for path in paths]
    return next(((p, s) for p, s in zip(paths, signatures, strict=True) if s), (paths[0], None))


def _subtitles_in(folder: str) -> frozenset[str]:
    """Returns the names of subtitle files in a folder; links may lead anywhere, so none of them."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(
                e.name
                for e in entries
                if e.name.endswith(SUFFIXES) and e.is_file(follow_symlinks=False)
            )
    except (OSError, ValueError):
        return frozenset()
