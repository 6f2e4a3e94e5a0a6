"""How fast a phase of a build goes, and when it will be through."""

from __future__ import annotations

import time
from collections import deque

RECENT_S = 300.0  # "the last minutes"
SAMPLE_S = 5.0
HOUR_S = 3600.0


class Pace:
    """Counts the videos that end, and how fast those do on which something was measured.

    What an earlier build measured goes by in no time and would make every forecast too good.

    Attributes:
        ended: videos that have ended.
        worked: of those, the ones on which something was measured now.
        media_s: how long those are.
    """

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.ended = 0
        self.worked = 0
        self.media_s = 0.0
        self._samples = deque([(self.since, 0, 0.0)])  # at most RECENT_S / SAMPLE_S and two

    def end(self, worked: bool, media_s: float) -> None:
        """Counts a video that has ended."""
        self.ended += 1
        if worked:
            self.worked += 1
            self.media_s += media_s
        now = time.monotonic()
        if now - self._samples[-1][0] >= SAMPLE_S:
            self._samples.append((now, self.worked, self.media_s))
            self._forget(now)

    def _forget(self, now: float) -> None:
        while len(self._samples) > 1 and self._samples[1][0] <= now - RECENT_S:
            self._samples.popleft()

    def rates(self) -> dict[str, float]:
        """Returns videos and hours of video an hour, since the start and of the last minutes."""
        now = time.monotonic()
        self._forget(now)
        since, worked, media_s = self._samples[0]
        for_s, recent_s = max(now - self.since, 1e-3), max(now - since, 1e-3)
        return {
            "videos_per_h": self.worked / for_s * HOUR_S,
            "media_h_per_h": self.media_s / for_s,
            "recent_s": recent_s,
            "recent_videos_per_h": (self.worked - worked) / recent_s * HOUR_S,
            "recent_media_h_per_h": (self.media_s - media_s) / recent_s,
        }

    def left_s(self, videos: int) -> float | None:
        """Returns in how many seconds so many videos will have ended; None while none has."""
        if videos <= 0:
            return 0.0
        return (time.monotonic() - self.since) / self.worked * videos if self.worked else None
