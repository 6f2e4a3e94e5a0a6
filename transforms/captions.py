"""Subtitles of a source in place of speech recognition: words with times, if they can be believed.

The file is one that the source list names, one that lies beside a local video, or one that came
with a download. What can be checked is whether it is written in the language that is spoken, and
whether its times are those of the voice; whether it says the same words, only a reader can tell. A
file that is of no use costs nothing but its reason: the words then come from speech recognition.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from reelscript.pipeline.errors import StageError
from reelscript.pipeline.full_disk import raise_if_disk_full
from reelscript.pipeline.stage import Live, Resources, Stage, tuning
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.site import Site, Subtitles
from reelscript.schemas.text import one_line
from reelscript.schemas.transcript import Transcript, Voice, Word
from reelscript.schemas.video import Seconds, Video
from reelscript.transforms.acquire import Acquire
from reelscript.transforms.asking import web_of
from reelscript.transforms.caption_cleaning import Cleaned, cleaned
from reelscript.transforms.caption_formats import MAX_BYTES, cues_of
from reelscript.transforms.caption_timing import fit, timed_words, until
from reelscript.transforms.fetch import fetch_file
from reelscript.transforms.language import (
    SAME,
    UNKNOWN,
    Language,
    windows_of_text,
    written_language,
)
from reelscript.transforms.local_file import regular_file, signature_of
from reelscript.transforms.speech import language_to_transcribe
from reelscript.transforms.urls import printable_address, scheme_of

MIN_FIT = 0.5  # less is another cut of the video, a description of pictures, or a few lines
MAX_LOCATION_CHARS = 8192  # of an address; signed ones take up to 3000
FETCH_S = 60.0  # a worker waits no longer for a file that the words do not depend on
OF_THE_FILE = ("bad_captions", "no_captions", "captions_misfit", "captions_language")
"""What stays true of a file once it was read; other faults are of fetching it, and may pass."""


@dataclass(frozen=True)
class Captions(Stage):
    """The words of a source's subtitles, if these are in its language and fit what is heard.

    It has no section of its own: `transcribe.captions` says whether there is such a stage.

    Attributes:
        accept: languages that may be transcribed.
        language: judges which language the captions are written in.
        fetching: how a file is fetched that lies elsewhere.
        device: where the stages beside this one run, which it shall not part.
    """

    accept: tuple[str, ...] | None = None
    language: Language = field(default_factory=Language)
    fetching: Acquire = tuning(Acquire())
    device: str = tuning("auto")

    name: ClassVar[str] = "captions"
    reads: ClassVar[tuple[str, ...]] = (
        *("captions_location", "captions_signature", "voice", "duration_s"),
        "site",
        *("heard_languages", "language", "language_probability"),
    )
    writes: ClassVar[tuple[str, ...]] = ("captions", "captions_fault", "captions_counts")
    artefacts: ClassVar[tuple[str, ...]] = ("captions",)

    @property
    def resources(self) -> Resources:
        """Those of speech and transcribe."""
        return Resources(gpus=1.0 if self.device.startswith("cuda") else 0.0)

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function, while langdetect is ready."""
        with self.language.open():
            yield self._measure

    def still_there(self, facts: Mapping[str, Any], workspace: Workspace) -> bool:
        """Returns whether a result may be taken again: one that could not be fetched may not."""
        kind = (facts.get("captions_fault") or "").partition(":")[0]
        return kind in ("", *OF_THE_FILE) and super().still_there(facts, workspace)

    def _measure(self, video: Video, workspace: Workspace) -> Video:
        location, of_site = video.captions_location, None
        if location is None and (of_site := _of_site(video, workspace)) is None:
            return video  # what the list names comes before what the site has
        try:
            end_s = math.inf if video.duration_s is None else video.duration_s
            if of_site is not None:
                data, kind = workspace.get(of_site.sha256), of_site.kind
            else:
                data, kind = self._read(video, workspace), None
            transcript, counts = transcript_of(data, kind, end_s)
            video = replace(video, captions_counts=json.dumps(counts))
            self._check(transcript.words, video, workspace)
        except StageError as error:
            raise_if_disk_full(error, workspace)
            return replace(video, captions_fault=one_line(f"{error.kind}: {error.detail}"))
        language, _ = language_to_transcribe(video, self.accept)
        transcript = replace(transcript, language=language)
        return replace(video, captions=workspace.put_record(transcript))

    def _read(self, video: Video, workspace: Workspace) -> bytes:
        """Returns the bytes of the file that is named. Raises StageError where it is not had."""
        location = video.captions_location or ""
        if len(location) > MAX_LOCATION_CHARS:
            raise StageError("bad_address", f"more than {MAX_LOCATION_CHARS} characters")
        if scheme_of(location) is None:
            self.fetching.check_root(location)
            return read_file(location, video.captions_signature)
        part = workspace.scratch_of(video) / f".part-{uuid.uuid4().hex}"
        try:
            fetching = replace(
                self.fetching,
                max_bytes=MAX_BYTES,
                total_s=min(FETCH_S, self.fetching.total_s),
                retries=min(1, self.fetching.retries),
            )
            fetch_file(location, part, web_of(fetching, workspace.scratch))
            return part.read_bytes()
        finally:
            part.unlink(missing_ok=True)

    def _check(self, words: list[Word], video: Video, workspace: Workspace) -> None:
        """Raises StageError where times or language of the words are not those of the voice."""
        found = fit(words, workspace.get_record(Voice, video.voice).spans)
        if found < MIN_FIT:
            said = f"they and the voice cover {found:.2f} of each other, at least {MIN_FIT:g}"
            raise StageError("captions_misfit", said)
        language, _ = language_to_transcribe(video, self.accept)
        judge = self.language
        texts = windows_of_text([w.word for w in words], judge.window_chars)
        written, probability, _ = written_language(texts, judge.min_chars)
        sure = written != UNKNOWN and (probability or 0.0) >= judge.min_text_probability
        if sure and written != SAME.get(language, language):
            raise StageError("captions_language", f"written in {written}, spoken is {language}")


def _of_site(video: Video, workspace: Workspace) -> Subtitles | None:
    """Returns the subtitles that came with the video, if it came with some."""
    return None if video.site is None else workspace.get_record(Site, video.site).subtitles


def transcript_of(
    data: bytes, kind: str | None = None, end_s: Seconds = math.inf
) -> tuple[Transcript, dict[str, object]]:
    """Returns the words of a subtitle file with times, and counts of what was found in it.

    Args:
        data: a WebVTT, SubRip or json3 file.
        kind: "manual" or "automatic", where whoever hands over the file knows that; otherwise what
            has times of words, or rolls, is automatic.
        end_s: of the video: what is said later is left out, and nothing lasts longer.

    Raises:
        StageError: `bad_captions`: it is too large, or none of these; `no_captions`: it says
            nothing.
    """
    name, cues = cues_of(data)
    found = cleaned(cues)
    words = timed_words(until(found.lines, end_s))
    if not words:
        raise StageError("no_captions", f"no words of the video in {len(cues)} cues")
    timed = sum(not word.interpolated for word in words)
    kind = kind or ("automatic" if timed or found.repeats else "unknown")
    engine = (
        name if name == "json3" else f"{name} webvtt-py {importlib.metadata.version('webvtt-py')}"
    )
    transcript = Transcript("captions", engine, kind, "none", UNKNOWN, [], words)
    return transcript, _counts(len(cues), len(words), timed, found)


def _counts(cues: int, words: int, timed: int, found: Cleaned) -> dict[str, object]:
    return {
        "cues": cues,
        "words": words,
        "timed_words": timed,
        "beyond_end": sum(len(line.words) for line in found.lines) - words,
        "repeated_words": found.repeats,
        "sounds": found.sounds,
        "speaker_marks": found.speakers,
    }


def read_file(location: str, signature: str | None) -> bytes:
    """Returns a local subtitle file. Raises StageError where it is not what was listed."""
    with regular_file(location) as file:
        data = file.read(MAX_BYTES + 1)
        found = signature_of(os.fstat(file.fileno()))
    if found != signature:
        name = printable_address(Path(location).name)
        raise StageError("changed", f"{name} is not what it was when the sources were listed")
    return data
