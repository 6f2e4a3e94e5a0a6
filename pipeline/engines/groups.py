"""Stages that run fused: neighbours that need the same kind of worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, TypeAlias

from reelscript.pipeline.stage import Stage

Kind: TypeAlias = Literal["cpu", "gpu"]
MOST_AT_ONCE = 32
"""Records of videos (4 kB at most) that a pipe surely takes while nobody reads it: one that is
given its next batch ahead of time does not."""


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbouring stages that one worker runs on a video, one after the other.

    Attributes:
        number: of this group, from 0.
        of: how many groups there are.
        kind: of the worker that it needs.
        stages: in their order.
        fetching: the stage, of whichever group, that brings back a source that was let go.
    """

    number: int
    of: int
    kind: Kind
    stages: tuple[Stage, ...]
    fetching: Stage | None = None

    @property
    def videos_at_once(self) -> int:
        """How many videos a worker is given together, at most: what one of its stages asks for."""
        return min(MOST_AT_ONCE, max(1, *(stage.videos_at_once for stage in self.stages)))


def groups_of(stages: Sequence[Stage]) -> list[Group]:
    """Returns the stages as groups, in their order."""
    runs = [(kind, tuple(group)) for kind, group in groupby(stages, key=_kind_of)]
    fetching = next((s for s in stages if type(s).restore is not Stage.restore), None)
    return [
        Group(number, len(runs), kind, own, fetching) for number, (kind, own) in enumerate(runs)
    ]


def _kind_of(stage: Stage) -> Kind:
    return "gpu" if stage.resources.gpus else "cpu"
