"""What became of a video in a group of stages, as it travels back to where the build runs."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from reelscript.pipeline.engines.protocols import Listener
from reelscript.pipeline.stage import Timing
from reelscript.schemas.video import Video


@dataclass(frozen=True, slots=True)
class Ended:
    """A video after a group of stages, and what a listener is to be told of it.

    Attributes:
        video: the record.
        timings: what its stages cost, in the order in which they ended; again where it was tried
            again.
        suspected: (stage, how its worker died), each time that one died over it.
    """

    video: Video
    timings: tuple[Timing, ...] = ()
    suspected: tuple[tuple[str, str], ...] = ()

    def after(self, earlier: Ended) -> Ended:
        """Returns this with what the groups before it have told of the same video."""
        return Ended(self.video, earlier.timings + self.timings, earlier.suspected + self.suspected)

    def tell(self, listener: Listener) -> None:
        """Tells a listener what it would have heard had it been there."""
        for stage, died in self.suspected:
            listener.suspected(self.video, stage, died)
        for timing in self.timings:
            listener.started(self.video, timing.stage)
            listener.measured(timing)

    def to_json(self) -> str:
        """Returns it as one line of JSON; the record of the video is most of it."""
        timings = [dataclasses.astuple(timing)[1:] for timing in self.timings]
        told = json.dumps([timings, self.suspected], separators=(",", ":"))
        return f'{{"video":{self.video.to_json()},"told":{told}}}'

    @classmethod
    def from_json(cls, text: str) -> Ended:
        """Returns what `to_json` wrote."""
        found: dict[str, Any] = json.loads(text)
        video = Video.from_json(json.dumps(found["video"]))
        timings, suspected = found["told"]
        return cls(
            video,
            tuple(Timing(video.video_id, *values) for values in timings),
            tuple((stage, died) for stage, died in suspected),
        )
