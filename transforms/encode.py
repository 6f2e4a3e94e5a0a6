"""Passages to mp4: a source is decoded once, in order; every picture and sample lands in its place.

```
video's timeline   0 ------ passage.start_s --------------------- passage.end_s ---->
mp4                         0   1/fps   2/fps  ...   frames/fps
frame k of the mp4          the picture on display at passage.start_s + k/fps
sample n of its sound       what is heard at passage.start_s + n/rate
```
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

from annotated_types import Ge, Gt, Le, MultipleOf

from reelscript.pipeline.errors import DataError, StageError
from reelscript.pipeline.stage import Live, Stage
from reelscript.pipeline.store import sha256_of_file
from reelscript.pipeline.workspace import Workspace, from_plain, to_plain
from reelscript.schemas.clip import Passage
from reelscript.schemas.sample import Encoding
from reelscript.schemas.text import digest
from reelscript.schemas.video import Seconds, Video
from reelscript.transforms.audio import read_audio
from reelscript.transforms.frame_clock import MAX_HOLE_S, FrameClock
from reelscript.transforms.frames_mp4 import with_frames
from reelscript.transforms.media import Undecodable, open_media
from reelscript.transforms.mp4_format import (
    MIN_FPS,
    Format,
    exact_rate,
    frames_in,
    output_fps,
    output_size,
)
from reelscript.transforms.passage_mp4 import Colours, Upright, write_mp4
from reelscript.transforms.proxy import has_own, stand_in
from reelscript.transforms.sound_tape import Samples, SoundTape

Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
]


@dataclass(frozen=True)
class Encode(Stage):
    """The chosen passages as H.264 and AAC in mp4: exact to the frame, the same bytes every time.

    Attributes:
        short_side_px: of every mp4; smaller sources are scaled up, so that all have one size.
        max_fps: sources of a higher rate are brought down to it; others keep theirs.
        preset, crf: x264's speed and quality.
        keyframe_every_s: longest way from a frame back to its keyframe.
        audio_rate_hz: of the sound. 48 kHz is a whole number of samples a frame at 24, 25 and 30
            fps, is what cameras and WebM have, and holds all of 44.1 kHz.
        audio_max_channels: more are mixed down to so many; fewer stay.
        audio_bits_per_s: of the AAC, for all its channels.
        frames_per_s: of the member `frames.mp4`, made from the mp4 for fast training reads; None:
            no such member.
    """

    short_side_px: Annotated[int, Ge(16), Le(2160), MultipleOf(2)] = 256
    max_fps: Annotated[float, Ge(MIN_FPS), Le(120)] = 30.0
    preset: Preset = "veryfast"
    crf: Annotated[float, Ge(0), Le(51)] = 23.0
    keyframe_every_s: Annotated[Seconds, Gt(0), Le(1)] = 1.0
    audio_rate_hz: Literal[16000, 24000, 32000, 44100, 48000] = 48000
    audio_max_channels: Literal[1, 2] = 2
    audio_bits_per_s: Annotated[int, Ge(32_000), Le(320_000)] = 96_000
    frames_per_s: Annotated[float, Ge(0.1), Le(30)] | None = None

    name: ClassVar[str] = "encode"
    reads: ClassVar[tuple[str, ...]] = (
        *("source_sha256", "video_stream", "audio_stream", "audio_channels"),
        *("start_s", "duration_s", "fps", "width_px", "height_px", "rotation_deg"),
        *("proxy", "passages"),
    )
    writes: ClassVar[tuple[str, ...]] = ("encodings",)
    artefacts: ClassVar[tuple[str, ...]] = ("encodings",)

    def settings(self) -> dict[str, Any]:
        """Returns the settings that results depend on: without frames, those before there were."""
        found = super().settings()
        if self.frames_per_s is None:
            del found["frames_per_s"]
        return found

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""
        yield self._encode

    def _encode(self, video: Video, workspace: Workspace) -> Video:
        passages = workspace.get_records(Passage, video.passages)
        keys = {p.key: self.passage_key(video, p) for p in passages}
        done = {p.key: found for p in passages if (found := _remembered(workspace, keys[p.key]))}
        wanted = sorted((p for p in passages if p.key not in done), key=lambda p: p.start_s)
        if wanted:
            read = stand_in(video)
            path, scratch = workspace.media(read), workspace.scratch_of(video) / "passage.mp4"
            with open_source(path, read, self.form(video)) as source:
                for passage in wanted:
                    try:
                        done[passage.key] = source.write(passage, scratch)
                        workspace.put_file(scratch, done[passage.key].mp4)
                    finally:
                        scratch.unlink(missing_ok=True)
                    result = to_plain(done[passage.key])
                    workspace.remember("encode_passage", keys[passage.key], result)
        encodings = [replace(done[p.key], key=p.key) for p in passages]
        if self.frames_per_s is not None:
            rate, scratch = exact_rate(self.frames_per_s), workspace.scratch_of(video)
            encodings = [with_frames(e, rate, workspace, scratch) for e in encodings]
        return replace(video, encodings=workspace.put_record(encodings))

    def still_there(self, facts: Mapping[str, Any], workspace: Workspace) -> bool:
        """Returns whether all that a remembered result names is still in the store, mp4s too."""
        if not super().still_there(facts, workspace):
            return False
        encodings = workspace.get_records(Encoding, facts["encodings"])
        named = (name for e in encodings for name in (e.mp4, e.frames_mp4) if name is not None)
        return all(map(workspace.has, named))

    def passage_key(self, video: Video, passage: Passage) -> str:
        """Returns the digest of all that a passage's mp4 depends on: not the name of the video."""
        left_out = ("passages",) if has_own(video) else ("passages", "proxy")
        inputs = [getattr(video, name) for name in self.reads if name not in left_out]
        settings = replace(self, frames_per_s=None).settings()
        return digest([self.name, self.version, settings, inputs, passage.start_s, passage.end_s])

    def form(self, video: Video) -> Format:
        """Returns what the mp4s of a video are to be.

        Raises:
            StageError: `aspect`: the picture is too oblong.
            DataError: it was not probed.
        """
        if not (video.fps and video.width_px and video.height_px):
            raise DataError(f"{video.video_id} is to be encoded before it was probed")
        width_px, height_px = output_size(video.width_px, video.height_px, self.short_side_px)
        fps = output_fps(video.fps, self.max_fps)
        channels = min(video.audio_channels or 1, self.audio_max_channels)
        return Format(
            width_px=width_px,
            height_px=height_px,
            fps=fps,
            keyframe_every=max(1, math.floor(fps * Fraction(self.keyframe_every_s))),
            preset=self.preset,
            crf=self.crf,
            audio_rate_hz=self.audio_rate_hz,
            audio_channels=0 if video.audio_stream is None else channels,
            audio_bits_per_s=self.audio_bits_per_s,
        )


class _Source:
    """A source that is being decoded, once, and cut into passages in the order of time."""

    def __init__(
        self, clock: FrameClock, sound: SoundTape | None, form: Format, rotation_deg: int
    ) -> None:
        self._clock = clock
        self._sound = sound
        self._form = form
        self._upright = Upright(form.width_px, form.height_px, rotation_deg)

    def write(self, passage: Passage, path: Path) -> Encoding:
        """Returns the passage as encoded, its mp4 at `path`."""
        form, frames = self._form, frames_in(passage.duration_s, self._form.fps)
        times = (passage.start_s + float(k / form.fps) for k in range(frames))
        pictures = (self._upright(self._clock.at(t)) for t in times)
        sound = None
        if self._sound:
            first = round(passage.start_s * form.audio_rate_hz)
            sound = self._sound.take(first, round(frames / form.fps * form.audio_rate_hz))
        write_mp4(path, form, pictures, Colours.of(self._clock.stream.codec_context), sound)
        self._refuse_short(passage)
        return Encoding(
            key=passage.key,
            mp4=sha256_of_file(path),
            mp4_bytes=path.stat().st_size,
            width_px=form.width_px,
            height_px=form.height_px,
            fps=float(form.fps),
            frames=frames,
            duration_s=float(frames / form.fps),
            has_audio=sound is not None,
        )

    def _refuse_short(self, passage: Passage) -> None:
        """Raises StageError where picture and sound both end before the passage does.

        Where only the picture ends, its last frame stands, as in a player.
        """
        picture_s = self._clock.end_s
        sound_s = self._sound.end_s if self._sound else 0.0
        if max(picture_s, sound_s) < passage.end_s - MAX_HOLE_S:
            ends = f"the picture ends at {picture_s:.2f} s, the sound at {sound_s:.2f} s"
            wanted = f"the passage from {passage.start_s:.2f} to {passage.end_s:.2f} s"
            raise StageError("decode_failed", f"{ends}: too early for {wanted}")


@contextmanager
def open_source(path: Path, video: Video, form: Format) -> Iterator[_Source]:
    """Gives the source from its first packet on, to be cut into passages of a form.

    Raises:
        StageError: `decode_failed`, now or while it is being used; and what `FrameClock` raises.
    """
    if video.video_stream is None or video.start_s is None:
        raise DataError(f"{video.video_id} is to be encoded before it was probed")
    try:
        with ExitStack() as stack:
            container = stack.enter_context(open_media(path))
            clock = FrameClock(container, video.video_stream, video.start_s)
            tape = None
            if video.audio_stream is not None:
                rate, channels = form.audio_rate_hz, form.audio_channels
                blocks = read_audio(
                    path, video.audio_stream, video.start_s, rate, channels, video.duration_s
                )
                # Closed with the source, so that no second handle on the file stays open.
                stack.enter_context(closing(cast(Generator[Samples], blocks)))
                tape = SoundTape(blocks, rate, channels)
            yield _Source(clock, tape, form, video.rotation_deg or 0)
    except Undecodable as error:
        raise StageError("decode_failed", str(error)) from error


def _remembered(workspace: Workspace, key: str) -> Encoding | None:
    """Returns a passage as an earlier build encoded it, if its mp4 is still in the store."""
    found = workspace.remembered("encode_passage", key)
    return from_plain(Encoding, found) if found and workspace.has(found["mp4"]) else None
