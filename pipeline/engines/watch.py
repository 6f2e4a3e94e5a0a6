"""Looks at workers from time to time, and stops those that use more than a stage may."""

from __future__ import annotations

import time
from collections.abc import Sequence

from reelscript.pipeline.engines.limits import Limits, used_by
from reelscript.pipeline.engines.watched import STARTING, Worker

START_S = 600.0  # for a worker to start, on whatever disk its packages lie: no video's time
MOST_POLLS = 10  # a longer pause was ours (Ctrl-Z, a machine asleep), not that of a worker


class Watch:
    """When workers are looked at, and by which limits.

    Args:
        limits: of what a stage may use for a video.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._looked_at = time.monotonic()

    @property
    def due_in_s(self) -> float:
        """Seconds until the next look; 0 where it is due."""
        return max(0.0, self._looked_at + self._limits.poll_s - time.monotonic())

    def look(self, busy: Sequence[Worker]) -> None:
        """Kills those of the workers that use more than they may."""
        now = time.monotonic()
        step_s = min(now - self._looked_at, MOST_POLLS * self._limits.poll_s)
        self._looked_at = now
        found = used_by([w.pid for w in busy]) if busy else {}
        for w in busy:
            if w.pid not in found:
                continue
            used = w.look(found[w.pid], step_s)
            if w.opening == STARTING and w.wall_s < START_S:
                continue
            wall_s = w.wall_s - self._limits.patience_s.get(w.stage or "", 0.0)
            stop = self._limits.exceeded(used, wall_s, w.memory_bytes, w.media_s)
            if stop is not None:
                w.stop(*stop)
