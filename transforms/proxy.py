"""A small stand-in for a source: from it every passage can be encoded when the source is gone.

```
source   start_s ...A....B..C.......D......   hevc 4K, lying sideways, sound in Opus
proxy    start_s ...A....B..C.......D......   every picture at its time, of the size of the mp4s
```

It is on the source's own clock, so that all times of the record hold for it as well. A source that
is no larger than that is kept as its own proxy: nothing would be gained, and pictures would lose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, ClassVar

from annotated_types import Ge, Le, MultipleOf

from reelscript.pipeline.errors import DataError, StageError
from reelscript.pipeline.stage import Live, Stage
from reelscript.pipeline.store import sha256_of_file
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Seconds, Video
from reelscript.transforms.frame_clock import FrameClock
from reelscript.transforms.media import Undecodable, open_media
from reelscript.transforms.mp4_format import Format, output_fps, output_size
from reelscript.transforms.proxy_mp4 import write_proxy
from reelscript.transforms.proxy_sound import write_sound

# Encoded again with the defaults of `Encode`, a picture loses little more than without a proxy.
CRF = 18.0
PRESET = "veryfast"
KEYFRAME_EVERY = 250  # pictures at most; the first picture of every second is one anyway
MAX_FPS = 120.0  # that the encoder is told to plan for; what comes keeps its times
AUDIO_RATE_HZ = 48_000
AUDIO_MAX_CHANNELS = 2
AUDIO_BITS_PER_S = 192_000  # of sound that is no AAC: twice what the mp4s get


@dataclass(frozen=True)
class Proxy(Stage):
    """An mp4 with all pictures of the source at their own times, and its sound.

    Attributes:
        short_side_px: of the picture: as large as that of the mp4s which will be made of it.
    """

    short_side_px: Annotated[int, Ge(16), Le(2160), MultipleOf(2)] = 256

    name: ClassVar[str] = "proxy"
    reads: ClassVar[tuple[str, ...]] = (
        *("source_sha256", "video_stream", "audio_stream", "audio_codec", "audio_channels"),
        *("start_s", "duration_s", "fps", "width_px", "height_px", "rotation_deg"),
    )
    writes: ClassVar[tuple[str, ...]] = ("proxy",)
    artefacts: ClassVar[tuple[str, ...]] = ("proxy",)

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""
        yield self._make

    def _make(self, video: Video, workspace: Workspace) -> Video:
        if not is_let_go(video):
            return replace(video, proxy=None)
        path = workspace.media(video)
        with TemporaryDirectory(dir=workspace.scratch_of(video)) as folder:
            made = self._write(video, path, Path(folder))
            if worthwhile(made, path):
                proxy = sha256_of_file(made)
                workspace.put_file(made, proxy)
            else:
                proxy = str(video.source_sha256)
                workspace.put_file(path, proxy)
        return replace(video, proxy=proxy)

    def _write(self, video: Video, path: Path, folder: Path) -> Path:
        """Returns the proxy, written into a folder."""
        if video.video_stream is None or video.start_s is None:
            raise DataError(f"{video.video_id} is to have a proxy before it was probed")
        form, made, sound = self._form(video), folder / "proxy.mp4", None
        begin_s = _begin_s(video.start_s)
        try:
            with open_media(path) as container:
                clock = FrameClock(container, video.video_stream, video.start_s)
                if video.audio_stream is not None:
                    sound = folder / "sound.mp4"
                    write_sound(sound, path, video, begin_s, form)
                write_proxy(made, clock, form, video.rotation_deg or 0, begin_s, sound)
        except Undecodable as error:
            raise StageError("decode_failed", str(error)) from error
        return made

    def _form(self, video: Video) -> Format:
        """Returns what the proxy is to be. Raises StageError where its picture is too oblong."""
        if not (video.fps and video.width_px and video.height_px):
            raise DataError(f"{video.video_id} is to have a proxy before it was probed")
        width_px, height_px = output_size(video.width_px, video.height_px, self.short_side_px)
        return Format(
            width_px=width_px,
            height_px=height_px,
            fps=output_fps(video.fps, MAX_FPS),
            keyframe_every=KEYFRAME_EVERY,
            preset=PRESET,
            crf=CRF,
            audio_rate_hz=AUDIO_RATE_HZ,
            audio_channels=min(video.audio_channels or 1, AUDIO_MAX_CHANNELS),
            audio_bits_per_s=AUDIO_BITS_PER_S,
        )


def is_let_go(video: Video) -> bool:
    """Returns whether the source was fetched; one that is read in place stays where it is."""
    return video.media is not None


def worthwhile(proxy: Path, source: Path) -> bool:
    """Returns whether a proxy takes less room than its source."""
    return proxy.stat().st_size < source.stat().st_size


def has_own(video: Video) -> bool:
    """Returns whether passages are encoded from a proxy that is another file than the source."""
    return video.proxy not in (None, video.source_sha256)


def stand_in(video: Video) -> Video:
    """Returns the record as if its proxy, if it has one of its own, were its source."""
    if not has_own(video):
        return video
    return replace(
        video,
        media=video.proxy,
        start_s=None if video.start_s is None else _begin_s(video.start_s),
        video_stream=0,
        audio_stream=None if video.audio_stream is None else 1,
        rotation_deg=0,
    )


def _begin_s(start_s: Seconds) -> Seconds:
    """Returns where the timeline starts on the proxy's clock.

    As in the source, so that not even the last bit of a time changes; but an mp4 shows nothing
    before 0: a clock that begins before it is put forward by whole seconds.
    """
    return start_s - min(0, math.floor(start_s))
