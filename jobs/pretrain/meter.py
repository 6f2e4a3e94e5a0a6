"""How fast the training is, and what it waits for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import torch

from reelscript.jobs.pretrain.config import PretrainConfig
from reelscript.models.tvts.flops import training_flops

# Dense bfloat16, as reached by large matrix products, which is less than the data sheets have.
KNOWN_PEAK_TFLOPS = {"H100": 790.0, "H200": 790.0}


def flops_of_window(config: PretrainConfig) -> int:
    """Returns the operations of a training pass over one window and its captioned clip, if any."""
    places = config.model.sorting.places
    total = training_flops(config.model, transcripts=places).total
    if config.data.captions is not None:
        total += training_flops(config.model, transcripts=1).total
    return total


def peak_flops(config: PretrainConfig, device: torch.device) -> float | None:
    """Returns the operations a second that a device could do; None: not known."""
    told = config.logging.peak_tflops
    if told is None and device.type == "cuda" and config.compute.precision == "bfloat16":
        name = torch.cuda.get_device_name(device)
        told = next((peak for kind, peak in KNOWN_PEAK_TFLOPS.items() if kind in name), None)
    return None if told is None else told * 1e12


class Meter:
    """Counts time from one look to the next.

    Args:
        flops: of a window.
        peak: operations a second of all devices together; None: not known.
        clock: seconds.
    """

    def __init__(
        self, flops: int, peak: float | None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.flops, self.peak, self.clock = flops, peak, clock
        self.restart()

    def restart(self) -> None:
        """Begins to count anew."""
        self.began, self.waited_s, self.windows = self.clock(), 0.0, 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time in it as waiting for data."""
        began = self.clock()
        yield
        self.waited_s += self.clock() - began

    def look(self) -> dict[str, float]:
        """Returns `windows_per_s`, `data_wait` and, if it can be known, `utilisation`; begins anew.

        `data_wait` is the share of the time in which this process waited for data; `utilisation`
        the share of the peak that the network's own operations reach (arXiv 2204.02311, appendix
        B).
        """
        seconds = max(self.clock() - self.began, 1e-9)
        found = {"windows_per_s": self.windows / seconds, "data_wait": self.waited_s / seconds}
        if self.peak is not None:
            found["utilisation"] = self.windows * self.flops / seconds / self.peak
        self.restart()
        return found
