"""The passages of one video by itself, so that they can be encoded before all others are measured.

`pipeline.decide` decides over all videos at once. But for duplicates it looks at one after another,
so what it will choose of a video can be told as soon as that video is measured. A build that cannot
keep its sources encodes these passages at once. Nothing depends on the guess being right: what is
decided in the end and was not encoded here is encoded then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar

from reelscript.pipeline.clips import clips_of
from reelscript.pipeline.decide import decide
from reelscript.pipeline.rules import Dedup, PassageRules, Quality
from reelscript.pipeline.stage import Live, Stage
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import FIELD_NAMES, Video
from reelscript.schemas.videos import Videos
from reelscript.transforms.shard import Shard


@dataclass(frozen=True)
class Choose(Stage):
    """The passages that this video will have if nothing of it is another's duplicate."""

    quality: Quality = field(default_factory=Quality)
    passage: PassageRules = field(default_factory=PassageRules)
    shard: Shard = field(default_factory=Shard)

    name: ClassVar[str] = "choose"
    reads: ClassVar[tuple[str, ...]] = FIELD_NAMES  # whatever a rule may look at
    writes: ClassVar[tuple[str, ...]] = ("passages",)
    remembers: ClassVar[bool] = False

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""
        yield self._choose

    def _choose(self, video: Video, workspace: Workspace) -> Video:
        one = Videos.of([video])
        clips = clips_of(one, workspace)
        found = decide(one, clips, self.quality, Dedup(), self.passage, self.shard.split_of)
        passages = found.passages.get(video.video_id, [])
        return replace(video, passages=workspace.put_record(passages))
