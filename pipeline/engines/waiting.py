"""Videos that wait before groups of stages, and how many may."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from reelscript.pipeline.engines.groups import Group, Kind
from reelscript.pipeline.engines.suspects import Task
from reelscript.schemas.video import Video

ENOUGH_MEDIA_S = 600.0
"""Of video, for a batch (ours): 20 windows of Whisper. What is longer fills a GPU by itself, and
would only keep others from idle workers."""


class Waiting:
    """A queue before each group.

    Args:
        groups: in their order.
        counts: of the workers of each kind.
    """

    def __init__(self, groups: Sequence[Group], counts: Mapping[Kind, int]) -> None:
        self._groups = groups
        self._queues: list[deque[Task]] = [deque() for _ in groups]
        at_work = [counts[group.kind] * group.videos_at_once for group in groups]
        # As many as are at work wait for the next turn, or come out of the group before at once.
        self._most = [2 * max(at_work[max(0, n - 1) : n + 1]) for n in range(len(groups))]

    def __bool__(self) -> bool:
        return any(self._queues)

    def add(self, group: int, video: Video) -> None:
        """Puts a video last before a group; one that is through the last is not to be added."""
        self._queues[group].append(Task(group, video))

    def put_back(self, tasks: Sequence[Task]) -> None:
        """Puts videos first again that a worker has not begun on."""
        for task in reversed(tasks):
            self._queues[task.group].appendleft(task)

    def has_room(self, group: int) -> bool:
        """Returns whether more videos may be sent before a group.

        Else it does not keep up, and what earlier groups leave for it in scratch would pile up.
        """
        return len(self._queues[group]) < self._most[group]

    def open_groups(self) -> Iterator[tuple[int, Group]]:
        """Yields the groups where a video waits and from which it may go on: the last one first."""
        for number in reversed(range(len(self._groups))):
            following = number + 1
            if self._queues[number] and (
                following == len(self._groups) or self.has_room(following)
            ):
                yield number, self._groups[number]

    def batch(self, number: int, workers: int) -> list[Task]:
        """Takes what waits before a group, as one worker's part of it, if so many begin now."""
        queue, media_s = self._queues[number], 0.0
        taken: list[Task] = []
        part = min(math.ceil(len(queue) / workers), self._groups[number].videos_at_once)
        while len(taken) < part and media_s < ENOUGH_MEDIA_S:
            taken.append(queue.popleft())
            media_s += taken[-1].video.duration_s or 0.0
        return taken

    def full_batch(self, number: int) -> list[Task]:
        """Takes as many as a worker is given at once; none where fewer wait."""
        batch, most = self.batch(number, 1), self._groups[number].videos_at_once
        if len(batch) == most or sum(t.video.duration_s or 0.0 for t in batch) >= ENOUGH_MEDIA_S:
            return batch
        self.put_back(batch)
        return []
