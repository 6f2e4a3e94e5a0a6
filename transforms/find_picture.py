"""Which stream of a file is its picture, and how long it lasts: by its packets, sound or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Ge

from reelscript.pipeline.errors import Reject, StageError
from reelscript.pipeline.stage import Live, Stage
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.transforms.media import Undecodable, open_media
from reelscript.transforms.tracks import chosen_picture, tracks_of


@dataclass(frozen=True)
class FindPicture(Stage):
    """The little that sampling frames needs to know; unlike probe it asks for no sound.

    Attributes:
        max_packets: of all streams together; more is `too_long`.
    """

    max_packets: Annotated[int, Ge(1)] = 10_000_000

    name: ClassVar[str] = "find_picture"
    remembers: ClassVar[bool] = False
    reads: ClassVar[tuple[str, ...]] = ("source_sha256",)
    writes: ClassVar[tuple[str, ...]] = (
        *("duration_s", "container", "video_stream", "video_codec", "frames"),
    )

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""
        yield self._find

    def _find(self, video: Video, workspace: Workspace) -> Video:
        try:
            with open_media(workspace.media(video)) as container:
                name = container.format.name.split(",")[0]
                pictures, _ = tracks_of(container, self.max_packets)
            track = chosen_picture(pictures)
        except Undecodable as error:
            raise StageError("undecodable", str(error)) from error
        except Reject as no:  # here nobody chooses: what gives no frames has failed
            raise StageError(no.reason, no.detail or "it holds no moving picture") from no
        begin_s = float(int(track.starts[0]) * track.time_base)
        return replace(
            video,
            duration_s=round(max(0.0, track.end_s(begin_s, sound=False) - begin_s), 6),
            container=name,
            video_stream=track.index,
            video_codec=track.codec,
            frames=track.packets,
        )
