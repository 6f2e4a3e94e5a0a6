"""Where the subtitles of a source lie: where its list says so, or in a file beside the video."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeAlias

from reelscript.jobs.sources.places import Place
from reelscript.transforms.captions import MAX_LOCATION_CHARS
from reelscript.transforms.local_file import file_signature
from reelscript.transforms.urls import scheme_of

Beside: TypeAlias = dict[str, list[tuple[str, str]]]
"""Name of a video without its suffix -> language (`en-us`, "": none) and name of each file."""
SUFFIXES = (".json3", ".vtt", ".srt")  # what tells more of times first


class SubtitleFinder:
    """Finds at most one file of subtitles for a source.

    Args:
        languages: those of the corpus; of several files `<video>.<language>.vtt` the first counts.
            The one that the list states for a source takes their place.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        self._languages = tuple(languages)
        self._beside: dict[str, Beside] = {}  # by folder

    def find(self, place: Place) -> tuple[str | None, str | None]:
        """Returns a URL or an absolute path, and the signature of a local file; None, None if none.

        What a list names is taken as it is, whether it is there or not: its row shall say so.
        """
        written = (place.row.subtitles_at or "").strip()
        written = written[: MAX_LOCATION_CHARS + 1]  # one more than the captions stage accepts
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
        files = self._beside[folder].get(os.path.splitext(name)[0], [])
        languages = (place.row.language,) if place.row.language else self._languages
        fitting = [(*rank, file) for mark, file in files if (rank := _rank(mark, file, languages))]
        if not fitting:
            return None, None
        path = os.path.join(folder, min(fitting)[-1])
        return path, file_signature(path)


def _rank(mark: str, file: str, languages: Sequence[str]) -> tuple[int, int, int] | None:
    """Returns how late a file is taken: by language, `en` before `en-US`, by suffix; None: never.

    A file without a mark comes after those of all languages.
    """
    spoken = mark.partition("-")[0]
    if mark and spoken not in languages:
        return None
    place = languages.index(spoken) if mark else len(languages)
    return place, int(mark != spoken), SUFFIXES.index(os.path.splitext(file)[1].lower())


def _named(written: str, folders: Sequence[str]) -> tuple[str, str | None]:
    """Returns the file that a list names; a relative path starts from the first fitting folder."""
    if scheme_of(written) is not None:
        return written, None
    paths = [os.path.normpath(os.path.join(folder, written)) for folder in folders]
    signatures = [file_signature(path) for path in paths]
    return next(((p, s) for p, s in zip(paths, signatures, strict=True) if s), (paths[0], None))


def _subtitles_in(folder: str) -> Beside:
    """Returns the subtitle files in a folder; links may lead anywhere, so none of them."""
    found: Beside = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                root, suffix = os.path.splitext(entry.name)
                if suffix.lower() in SUFFIXES and entry.is_file(follow_symlinks=False):
                    stem, _, mark = root.rpartition(".")
                    found.setdefault(root, []).append(("", entry.name))
                    found.setdefault(stem, []).append((mark.lower(), entry.name))
    except (OSError, ValueError):
        return {}
    return found
