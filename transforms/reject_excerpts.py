"""Small mp4s of what was left out: so that a report can play what it says was rejected."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le, MultipleOf

from reelscript.pipeline.errors import StageError
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Passage
from reelscript.schemas.sample import Encoding
from reelscript.schemas.video import Video
from reelscript.transforms.encode import Encode, Preset, open_source
from reelscript.transforms.excerpt import cut_span
from reelscript.transforms.media import Undecodable
from reelscript.transforms.mp4_format import MIN_FPS
from reelscript.transforms.proxy import stand_in


@dataclass(frozen=True)
class RejectExcerpts(Encode):
    """Pieces of a source as `Encode` makes them, only smaller: about 15 kB a second.

    What is small enough to lie beside a page and clear enough to judge a rejection by. No setting
    of a config: it changes nothing of a corpus. Each piece is found by a seek, so that one near the
    end of a long video costs no more than one at its beginning; a file that cannot be sought in
    gives none.
    """

    short_side_px: Annotated[int, Ge(16), Le(2160), MultipleOf(2)] = 180
    max_fps: Annotated[float, Ge(MIN_FPS), Le(120)] = 15.0
    preset: Preset = "veryfast"
    crf: Annotated[float, Ge(0), Le(51)] = 28.0
    audio_rate_hz: Literal[16000, 24000, 32000, 44100, 48000] = 24000
    audio_max_channels: Literal[1, 2] = 1
    audio_bits_per_s: Annotated[int, Ge(32_000), Le(320_000)] = 48_000

    name: ClassVar[str] = "excerpt"

    def _encode(self, video: Video, workspace: Workspace) -> Video:
        passages = workspace.get_records(Passage, video.passages)
        made = [self._excerpt(video, passage, workspace) for passage in passages]
        return replace(video, encodings=workspace.put_record(made))

    def _excerpt(self, video: Video, passage: Passage, workspace: Workspace) -> Encoding:
        """Returns one piece as encoded, its mp4 in the store."""
        read, scratch = stand_in(video), workspace.scratch_of(video)
        span, mp4 = scratch / "span.mkv", scratch / "excerpt.mp4"
        zero = replace(passage, start_s=0.0, end_s=passage.end_s - passage.start_s)
        try:
            part = self._span(workspace.media(read), span, read, passage)
            with open_source(span, part, self.form(part)) as source:
                found = source.write(zero, mp4)
            workspace.put_file(mp4, found.mp4)
            return found
        finally:
            span.unlink(missing_ok=True)
            mp4.unlink(missing_ok=True)

    def _span(self, path: Path, span: Path, video: Video, passage: Passage) -> Video:
        """Returns the record of the part of the source that holds a passage."""
        try:
            return cut_span(path, span, video, passage.start_s, passage.end_s)
        except Undecodable as error:
            raise StageError("decode_failed", str(error)) from error
