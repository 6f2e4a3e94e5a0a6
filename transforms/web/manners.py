"""Manners: how often a site is asked, by all processes of this machine together.

Pacing is the virtual scheduling form of the generic cell rate algorithm (GCRA, ITU-T Rec. I.371,
Annex A): for each site there is one moment at which the next request is due. Who asks takes it and
moves it on by one interval, and waits until then: even spacing, no bursts, no central process.

```
due      |--- 60 / rate ---|                    asked at a later time than due: goes at once
      sent              sent              sent
```

All waiting is the caller's, but for a turn with a video: see `Manners.video`.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import Connection
from typing import TypeVar

from reelscript.pipeline.errors import BLOCKED, StageError
from reelscript.schemas.text import one_line
from reelscript.transforms.web import manners_state as state
from reelscript.transforms.web.manners_file import change
from reelscript.transforms.web.rates import (
    BLOCKED_AFTER,
    PRESETS,
    Rates,
    rates_at,
    site_of,
    site_of_url,
)

__all__ = ["PRESETS", "Manners", "Rates", "site_of", "site_of_url"]

T = TypeVar("T")
HELD = "hold"
SLACK_S = 0.1
"""So many seconds' worth of bytes may come before they are due, so that the pauses between reads
are not lost. Over 5 s that is 2 % above the rate, over a minute 0.2 %."""
LOOK_S = 0.5
"""How often who waits for a turn looks whether there is one, or the site is blocked meanwhile."""


def since_boot_s() -> float:
    """Returns the seconds since the machine started: one clock for all its processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Manners:
    """What all processes of this machine know together of when to ask a site. Can be pickled.

    Attributes:
        folder: on a disk of this machine; who shares it shares the rates.
        run: names the build; what is blocked is blocked for it.
        rates: what the user says; it comes before the preset.
        preset: `youtube-guest` or `youtube-token`: at YouTube, nothing elsewhere; `auto`:
            youtube-guest; `none`.
        clock: seconds, the same for all who share the folder.
        sleep: waits so many seconds.

    Methods raise StorageError where the state cannot be kept.

    Raises:
        ValueError: there is no such preset.
    """

    folder: Path
    run: str
    rates: Rates = field(default_factory=Rates)
    preset: str = "auto"
    clock: Callable[[], float] = field(default=since_boot_s, repr=False, compare=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False, compare=False)

    def __post_init__(self) -> None:
        rates_at("", self.rates, self.preset)

    def rates_at(self, site: str) -> Rates:
        """Returns the rates that hold at a site."""
        return rates_at(site, self.rates, self.preset)

    def request_s(self, site: str) -> float:
        """Returns how long to wait before sending the next request, whose moment is now taken."""
        rate = self.rates_at(site).requests_per_min
        spacing_s = 60 / rate if rate else 0.0

        def take(file: Connection, now_s: float) -> float:
            free_s = max(now_s, state.due(file, site, HELD))
            return state.take(file, site, "request", free_s, spacing_s) - now_s

        return self._now(take)

    def waits_s(self, site: str) -> Iterator[float]:
        """Yields waits: sleep each of them, then send one request.

        As `request_s`, and whoever is told to hold while it waits takes its place again after that.

        Raises:
            StageError: `blocked`: the site is, before or meanwhile.
        """
        self._raise_if_blocked(site)
        while (wait_s := self.request_s(site)) > 0:
            yield wait_s
            self._raise_if_blocked(site)
            if not self._is_held(site):
                return

    def received_s(self, site: str, size_bytes: int) -> float:
        """Counts bytes that came; returns how long to wait before more are read."""
        rate = self.rates_at(site).bytes_per_min
        if not rate:
            return 0.0
        spacing_s = size_bytes * 60 / rate

        def count(file: Connection, now_s: float) -> float:
            return state.take(file, site, "byte", now_s, spacing_s) + spacing_s - now_s

        return max(0.0, self._now(count) - SLACK_S)

    @contextmanager
    def video(self, site: str, deadline_s: float = math.inf) -> Iterator[None]:
        """Waits for the turn of one video: `concurrent`, `videos_per_hour`, `sleep_s` hold in it.

        Who waits because of `concurrent` waits in no order. Who dies has given the turn back.

        Args:
            site: as `site_of` says.
            deadline_s: longest wait, in seconds from now.

        Raises:
            StageError: `blocked`: the site is, before or meanwhile, or the deadline came first.
        """
        give_up_s = self.clock() + deadline_s
        while (turn := self._turn(site, give_up_s)) is None:
            if self.clock() >= give_up_s:
                raise _no_turn(site)
            self.sleep(LOOK_S)
        try:
            while (wait_s := turn.at_s - self.clock()) > 0:
                self.sleep(min(wait_s, LOOK_S))
                self._raise_if_blocked(site)
            yield
        finally:
            self._leave(site, turn)

    def hold(self, site: str, seconds: float) -> None:
        """Lets everybody wait so long before the next request."""
        self._now(lambda file, now_s: state.put_off(file, site, HELD, now_s + seconds))

    def refused(self, site: str, said: str) -> None:
        """Counts a blocked answer, and keeps what was said, as one line."""
        change(self.folder, lambda f: state.count_refusal(f, self.run, site, one_line(said)))

    def answered(self, site: str) -> None:
        """Forgets blocked answers after a good one, unless the site is blocked already."""
        times = self._blocked_after(site)
        change(self.folder, lambda f: state.forget_refusals(f, self.run, site, times))

    def blocked(self, site: str) -> str | None:
        """Returns what a site said that is blocked for this run, None if it is not."""
        times = self._blocked_after(site)
        return change(self.folder, lambda f: state.last_refusal(f, self.run, site, times))

    def _blocked_after(self, site: str) -> int:
        return self.rates_at(site).blocked_after or BLOCKED_AFTER

    def _raise_if_blocked(self, site: str) -> None:
        if said := self.blocked(site):
            raise StageError(BLOCKED, said)

    def _is_held(self, site: str) -> bool:
        return self._now(lambda file, now_s: state.due(file, site, HELD) > now_s)

    def _turn(self, site: str, give_up_s: float) -> _Turn | None:
        """Returns a turn, None if there is none now. Raises StageError("blocked")."""
        self._raise_if_blocked(site)
        rates = self.rates_at(site)
        pause_s = 3600 / rates.videos_per_hour if rates.videos_per_hour else 0.0
        spacing_s = max(pause_s, _drawn(rates.sleep_s))

        def claim(file: Connection, now_s: float) -> _Turn | None:
            slot = state.claim_slot(file, site, rates.concurrent) if rates.concurrent else 0
            if slot is None:
                return None
            at_s = state.take(file, site, "video", now_s, spacing_s)
            if at_s > max(now_s, give_up_s):
                raise _no_turn(site)  # which undoes both
            return _Turn(slot, at_s)

        return self._now(claim)

    def _leave(self, site: str, turn: _Turn) -> None:
        pause_s = _drawn(self.rates_at(site).sleep_s)

        def leave(file: Connection, now_s: float) -> None:
            if pause_s > 0:
                state.put_off(file, site, "video", now_s + pause_s)
            if turn.slot:
                state.free_slot(file, turn.slot)

        self._now(leave)

    def _now(self, work: Callable[[Connection, float], T]) -> T:
        """Returns what `work` returns of the tables and the time, while nobody changes them."""

        def timed(file: Connection) -> T:
            now_s = self.clock()
            state.forget_past(file, now_s)
            return work(file, now_s)

        return change(self.folder, timed)


@dataclass(frozen=True, slots=True)
class _Turn:
    """One video's: from when on; the number of its slot, 0 if it needs none."""

    slot: int
    at_s: float


def _drawn(sleep_s: tuple[float, float] | None) -> float:
    return random.uniform(*sleep_s) if sleep_s else 0.0


def _no_turn(site: str) -> StageError:
    return StageError(BLOCKED, f"{site}: others are before this video, and its time is up")
