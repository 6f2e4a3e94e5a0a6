"""What is really in a media file: a header may claim what it likes, packets and frames count.

```
all packets, not decoded  -->  where each stream ends and how it ticks             (tracks.py)
first frame of each       -->  that it decodes; where it starts (priming is cut); size, rotation
```
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, cast

from annotated_types import Ge, Gt, Le
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.frame import Frame
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from reelscript.pipeline.errors import Reject
from reelscript.pipeline.stage import Live, Stage, threshold
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Seconds, Video
from reelscript.transforms.media import (
    MAX_PIXELS,
    Undecodable,
    decoded,
    frame_time_s,
    open_media,
    packets,
    stream_of,
)
from reelscript.transforms.tracks import Track, chosen_picture, chosen_sound, tracks_of

FIRST_FRAME_PACKETS = (
    600  # of a stream, tried for its first frame: 20 s at 30 fps, two usual distances of keyframes
)
PIXEL_ASPECTS = (
    Fraction(1, 4),
    Fraction(4),
)  # beyond these a pixel's shape is a slip of the file and left alone
NEARLY_SQUARE = Fraction(
    1, 50
)  # an encoder that rounded a size says 2840:2841; no picture is worth stretching for it

S = TypeVar("S", AudioStream, VideoStream)


@dataclass(frozen=True)
class Probe(Stage):
    """Facts about what the file really holds: which streams, how long, how large, how fast.

    Attributes:
        min_s: least duration: from the first picture or sound to the end of the picture or of the
            sound, whichever ends earlier, because a clip needs both.
        max_s: greatest duration.
        max_pixels: of the largest picture that is decoded.
        max_packets: of all streams together; more is `too_long`, whatever the timestamps say.
            Bounds memory (16 bytes each).
    """

    min_s: Annotated[Seconds, Gt(0)] = threshold(1.0)
    max_s: Annotated[Seconds, Gt(0)] = threshold(4 * 3600.0)
    max_pixels: Annotated[int, Ge(1), Le(MAX_PIXELS)] = MAX_PIXELS
    max_packets: Annotated[int, Ge(1)] = 10_000_000

    name: ClassVar[str] = "probe"
    rejects: ClassVar[tuple[str, ...]] = (
        *("undecodable", "no_video", "no_audio", "too_large", "too_short", "too_long"),
    )
    reads: ClassVar[tuple[str, ...]] = ("source_sha256", "stated_language")
    writes: ClassVar[tuple[str, ...]] = (
        *("duration_s", "start_s", "container", "video_stream", "video_codec", "width_px"),
        *("height_px", "rotation_deg", "fps", "variable_fps", "frames"),
        *("audio_stream", "audio_codec", "audio_rate_hz", "audio_channels"),
    )

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""
        yield self._probe

    def judge(self, video: Video) -> None:
        """Raises Reject where the video is too short or too long."""
        duration_s = video.duration_s or 0.0
        if duration_s < self.min_s:
            raise Reject("too_short", duration_s=duration_s, min_s=self.min_s)
        if duration_s > self.max_s:
            raise Reject("too_long", duration_s=duration_s, max_s=self.max_s)

    def _probe(self, video: Video, workspace: Workspace) -> Video:
        path = workspace.media(video)
        try:
            with open_media(path) as container:
                name = container.format.name.split(",")[0]
                pictures, sounds = tracks_of(container, self.max_packets)
            if not pictures and not sounds:
                raise Undecodable("it holds no packet of picture or sound")
            picture, sound = chosen_picture(pictures), chosen_sound(sounds, video.stated_language)
            self._refuse_large(picture.width_px, picture.height_px)
            seen, pixel = _first(path, picture, VideoStream)
            heard, _ = _first(path, sound, AudioStream)
        except Undecodable as error:
            raise Reject("undecodable", error=str(error)) from error
        shown, voiced = cast(VideoFrame, seen), cast(AudioFrame, heard)
        self._refuse_large(shown.width, shown.height)
        video = replace(video, container=name, **_times(picture, shown, sound, voiced))
        return replace(
            video, **_picture_facts(picture, shown, pixel), **_sound_facts(sound, voiced)
        )

    def _refuse_large(self, width_px: int, height_px: int) -> None:
        if width_px * height_px > self.max_pixels:
            raise Reject("too_large", width_px=width_px, height_px=height_px, max=self.max_pixels)


def _first(path: Path, track: Track, kind: type[S]) -> tuple[Frame, Fraction]:
    """Returns the first frame that a track presents, and the aspect of its pixels (1 for sound).

    Raises:
        Undecodable: none of its first packets decodes.
    """
    with open_media(path) as container:
        stream = stream_of(container, track.index, kind)
        tried = islice(packets(container, [stream]), FIRST_FRAME_PACKETS)
        for frame in decoded(stream, tried):
            aspect = stream.sample_aspect_ratio if isinstance(stream, VideoStream) else None
            return frame, aspect or Fraction(1)
    raise Undecodable(f"stream {track.index} gives no frame")


def _times(picture: Track, shown: VideoFrame, sound: Track, heard: AudioFrame) -> dict[str, Any]:
    """Returns `start_s` and `duration_s`; that is 0 where picture and sound never play together."""
    picture_s, sound_s = _begin_s(picture, shown), _begin_s(sound, heard)
    end_s = min(picture.end_s(picture_s, sound=False), sound.end_s(sound_s, sound=True))
    start_s = min(picture_s, sound_s)
    together = end_s > max(picture_s, sound_s)
    return {
        "start_s": round(start_s, 6),
        "duration_s": round(end_s - start_s, 6) if together else 0.0,
    }


def _begin_s(track: Track, first: Frame) -> Seconds:
    """Returns when a track's first frame is presented; without a time, when its first packet is."""
    at_s = frame_time_s(first)
    return at_s if at_s is not None else float(int(track.starts[0]) * track.time_base)


def _picture_facts(track: Track, first: VideoFrame, pixel: Fraction) -> dict[str, Any]:
    """Returns the facts about the picture; its size as a player shows it, square and upright."""
    fps, variable = track.fps()
    width_px, height_px = shown_size(first.width, first.height, pixel)
    rotation_deg = round(first.rotation / 90) * 90 % 360
    if rotation_deg % 180:
        width_px, height_px = height_px, width_px
    if fps is None:  # one picture, shown for as long as it lasts
        lasts_s = float(int(track.lasts[0]) * track.time_base)
        fps = 1 / lasts_s if lasts_s > 0 else 1.0
    return {
        "video_stream": track.index,
        "video_codec": track.codec,
        "width_px": width_px,
        "height_px": height_px,
        "rotation_deg": rotation_deg,
        "fps": round(fps, 6),
        "variable_fps": variable,
        "frames": track.packets,
    }


def shown_size(width_px: int, height_px: int, pixel: Fraction) -> tuple[int, int]:
    """Returns the size in square pixels of a picture of pixels `pixel` times as wide as high.

    The side that is too short grows, so that nothing is lost. Aspects outside `PIXEL_ASPECTS`
    and those near 1 are taken for 1.
    """
    if not PIXEL_ASPECTS[0] <= pixel <= PIXEL_ASPECTS[1] or abs(pixel - 1) < NEARLY_SQUARE:
        return width_px, height_px
    square = Fraction(1)
    return round(width_px * max(pixel, square)), round(height_px / min(pixel, square))


def _sound_facts(track: Track, first: AudioFrame) -> dict[str, Any]:
    return {
        "audio_stream": track.index,
        "audio_codec": track.codec,
        "audio_rate_hz": first.sample_rate,
        "audio_channels": first.layout.nb_channels,
    }
