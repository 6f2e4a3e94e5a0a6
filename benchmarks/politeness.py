"""Do several processes together hold the rates that they are asked to?

    python benchmarks/politeness.py [SECONDS [TIMES]]        default: 20 3

Four processes ask one site as often as `Manners` lets them, by requests and by bytes (read in
pieces of 64 KiB), without a network. Prints for each rate, medians of so many times: the rate that
came of it, the rate of the fullest window of 10 s, both as shares of what was asked for; and the
99th percentile of what one call costs a process.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from reelscript.transforms.web.manners import Manners, Rates, since_boot_s

PROCESSES = 4
START_S = 2.0  # so long the processes take to begin
WINDOW_S = 10.0
PIECE_BYTES = 1 << 16
ASKED = (
    Rates(requests_per_min=60),
    Rates(requests_per_min=600),
    Rates(requests_per_min=6000),
    Rates(bytes_per_min=60e6),
    Rates(bytes_per_min=750e6),  # 100 Mbit/s
)
SITE = "a.example"


@dataclass(frozen=True)
class Held:
    """How a rate was held: shares of it, and seconds."""

    share: float
    fullest_share: float
    call_s: float


def ask(manners: Manners, begin_s: float, end_s: float, pipe: Connection) -> None:
    """Asks until the end; sends when, how much, and what the calls cost."""
    done: list[tuple[float, float]] = []
    calls: list[float] = []
    by_bytes = manners.rates.bytes_per_min is not None
    time.sleep(max(0.0, begin_s - since_boot_s()))
    while since_boot_s() < end_s:
        called_s = time.perf_counter()
        if by_bytes:
            done.append((since_boot_s(), PIECE_BYTES))
            wait_s = manners.received_s(SITE, PIECE_BYTES)
        else:
            wait_s = manners.request_s(SITE)
        calls.append(time.perf_counter() - called_s)
        time.sleep(wait_s)
        if not by_bytes:
            done.append((since_boot_s(), 1))
    pipe.send((done, calls))


def measured(rates: Rates, seconds: float) -> Held:
    """Returns how processes of their own held a rate."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        manners = Manners(Path(folder), "run", rates)
        begin_s = since_boot_s() + START_S
        pipes = [spawn.Pipe(duplex=False) for _ in range(PROCESSES)]
        processes = [
            spawn.Process(target=ask, args=(manners, begin_s, begin_s + seconds, sender))
            for _, sender in pipes
        ]
        for process in processes:
            process.start()
        found = [receiver.recv() for receiver, _ in pipes]
        for process in processes:
            process.join()
    done = sorted(moment for of_one, _ in found for moment in of_one)
    calls = sorted(cost for _, of_one in found for cost in of_one)
    per_s = (rates.requests_per_min or rates.bytes_per_min or 0.0) / 60
    whole_s = done[-1][0] - done[0][0]
    rate = sum(size for _, size in done[:-1]) / whole_s  # what begins with the last lies outside
    return Held(rate / per_s, fullest(done) / per_s, calls[int(len(calls) * 0.99)])


def fullest(done: list[tuple[float, float]]) -> float:
    """Returns the rate in the fullest window, over the time from its first to its last."""
    most, first, inside = 0.0, 0, 0.0
    for at_s, size in done:
        while at_s - done[first][0] > WINDOW_S:
            inside -= done[first][1]
            first += 1
        if at_s - done[first][0] > WINDOW_S * 0.9:
            most = max(most, inside / (at_s - done[first][0]))
        inside += size
    return most


def main(seconds: float = 20.0, times: int = 3) -> None:
    """Prints the table."""
    print(f"{'asked for':>24} {'held':>8} {'fullest 10 s':>13} {'call (p99)':>12}")
    for rates in ASKED:
        what = "requests" if rates.requests_per_min else "bytes"
        rate = rates.requests_per_min or rates.bytes_per_min
        runs = [measured(rates, seconds) for _ in range(times)]
        share, most, call_s = (
            statistics.median(getattr(run, name) for run in runs)
            for name in ("share", "fullest_share", "call_s")
        )
        print(
            f"{rate:>10g} {what + '/min':>13} {share:>8.3f} {most:>13.3f} {call_s * 1e3:>9.2f} ms"
        )


if __name__ == "__main__":
    main(*(kind(word) for kind, word in zip((float, int), sys.argv[1:], strict=False)))
