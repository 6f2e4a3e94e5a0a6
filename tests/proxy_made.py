"""What is encoded of a source and of its proxy, and how the two are compared."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from reelscript.pipeline.stage import apply
from reelscript.schemas.video import Video
from reelscript.transforms import proxy
from reelscript.transforms.encode import Encode
from reelscript.transforms.proxy import Proxy

from .encode_made import Bench, Output


def with_proxy(bench: Bench, video: Video) -> Video:
    """The record after the stage, which saw only what it declares to read.

    With a proxy of its own, however small its source is, and though it is read in place.
    """
    stage = Proxy()
    always = {"worthwhile": mock.DEFAULT, "is_let_go": mock.DEFAULT}
    with mock.patch.multiple(proxy, **always), stage.open() as live:
        after, _ = apply(stage, live, video, bench.workspace)
    assert after.pending, (after.reason, after.detail)
    return after


def failure(bench: Bench, stage: Proxy | Encode, video: Video) -> tuple[str | None, str | None]:
    with mock.patch.object(proxy, "is_let_go", return_value=True), stage.open() as live:
        after, _ = apply(stage, live, video, bench.workspace)
    assert after.outcome == "failed"
    return after.reason, after.detail


def proxy_of(bench: Bench, video: Video) -> Path:
    path = bench.folder / "proxy.mp4"
    path.write_bytes(bench.workspace.get(video.proxy or ""))
    return path


def check_same(before: Output, after: Output) -> None:
    """Same pictures at the same times, sound within 1 ms, and no visible loss."""
    assert after.times == before.times
    assert after.size == before.size
    assert after.codecs == before.codecs
    for k, (a, b) in enumerate(zip(before.grey, after.grey, strict=True)):
        loss = float(((a.astype(float) - b) ** 2).mean())
        assert 10 * np.log10(255**2 / max(loss, 1e-9)) > 30, k
    assert len(after.sound) == len(before.sound)
    if np.abs(before.sound).max(initial=0) > 0.1:
        assert abs(lag_samples(before, after)) <= 48


def lag_samples(before: Output, after: Output) -> int:
    """By how much the sound comes later, at 48 kHz: where the two sounds agree best."""
    size = 2 * len(before.sound)
    both = np.fft.rfft(after.sound, size) * np.conj(np.fft.rfft(before.sound, size))
    best = int(np.argmax(np.fft.irfft(both, size)))
    return best if best < size // 2 else best - size


def check_both(bench: Bench, video: Video) -> list[Output]:
    """Encodes from the source and, the source being gone, from its proxy; compares."""
    before = bench.encode(video)
    small = with_proxy(bench, video)
    Path(video.location).unlink()
    after = bench.encode(small)
    for a, b in zip(before, after, strict=True):
        check_same(a, b)
    return after


def noise(length_s: float) -> NDArray[np.int16]:
    """Loud noise in bursts: its place can be told to the sample."""
    t = np.arange(round(length_s * 16000)) / 16000
    made = np.random.default_rng(1).normal(0, 6000, len(t)).clip(-32000, 32000)
    bursts: NDArray[np.float64] = np.convolve(made, np.ones(4) / 4, "same") * (t % 0.5 < 0.2)
    return bursts.astype(np.int16)
