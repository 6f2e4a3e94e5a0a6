"""The first decoding of several videos' windows at once, so that short videos fill a GPU.

The search for tokens finds one a step, and each step needs all weights of the decoder, for one
window or for eight: that is what a batch makes cheaper. So the search has the windows of all videos
side by side. What is before and after it, where one window is work enough for a GPU, runs for each
video in the batches that it would have alone.

```
            sound, encoder              search                       words, their times
video a     [= = =]     (3, T, D) -+    [= = = = = = = =]    +->     [= = =]
video b     [= =]       (2, T, D) -+->  [= = = = = ...       +->     [= =]
video c     [= = = =]   (4, T, D) -+    batch_size at once   +->     [= = = =]
```

T: 1500 positions, D: width of the encoder. So neighbours can only change which tokens are found,
and their log-probabilities; equal tokens get equal words, times and probabilities. In the search
windows do not see each other, and all have the same prompt: there is no padding. What is left is
how sums are rounded in a batch of another size. With int8 on a CPU, those whose shape changes with
the batch are of whole numbers, and so exact. With other numbers log-probabilities may differ in
their last bits, and with them the choice between two tokens that are as likely as each other.

faster-whisper does it all, as it does for one video; it only is interrupted before the search.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reelscript.transforms.recogniser import WINDOWS_A_CALL, Decoded, Recogniser

if TYPE_CHECKING:
    from ctranslate2 import StorageView
    from faster_whisper import WhisperModel


@dataclass(frozen=True)
class Ahead:
    """What was done for a video before its turn.

    Attributes:
        decoded: its windows, as `Recogniser.first_pass` gives them; None: that is still to do.
        cpu_s: what it took, its part by seconds of windows of what was done for several.
    """

    decoded: list[Decoded] | None = None
    cpu_s: float = 0.0


NOTHING = Ahead()
_AHEAD: dict[str, Ahead] = {}  # of this process, within `decoded_ahead`


@contextmanager
def decoded_ahead(recognisers: Mapping[str, Callable[[], Recogniser]]) -> Iterator[None]:
    """Yields when all that fills batches only together has been decoded, for `ahead_of`.

    Args:
        recognisers: give each video's, all with the same model and settings, by the digest of all
            that the words depend on. One that raises is passed over.
    """
    ready: dict[str, Recogniser] = {}
    spent_s: dict[str, float] = {}
    for key, recogniser in recognisers.items():
        cpu = time.process_time()
        with suppress(Exception):  # raised again in the video's own turn, where it gets its name
            ready[key] = recogniser()
        spent_s[key] = time.process_time() - cpu
    found = decode_together(ready)
    for key, cpu_s in spent_s.items():
        of_all = found.get(key, NOTHING)
        _AHEAD[key] = Ahead(of_all.decoded, of_all.cpu_s + cpu_s)
    try:
        yield
    finally:
        for key in spent_s:
            _AHEAD.pop(key, None)


def ahead_of(key: str) -> Ahead:
    """Returns what has been done ahead for the video with this digest."""
    return _AHEAD.get(key, NOTHING)


def decode_together(recognisers: Mapping[str, Recogniser]) -> dict[str, Ahead]:
    """Returns what could be decoded together, by the names that were given.

    Videos with more windows than fit into a call are left out: they fill their own batches. So are
    those without windows, and those that nobody shares a language with. Memory does not grow with
    the number of videos.
    """
    found: dict[str, Ahead] = {}
    for pack in _packs(recognisers):
        cpu = time.process_time()
        decoded = _decoded([recognisers[name] for name in pack])
        cpu_s = time.process_time() - cpu
        seconds = [sum(w.duration_s for w in recognisers[name].voice.windows) for name in pack]
        for name, windows, window_s in zip(pack, decoded, seconds, strict=True):
            found[name] = Ahead(windows, cpu_s * window_s / sum(seconds))
    return found


def _packs(recognisers: Mapping[str, Recogniser]) -> Iterator[list[str]]:
    """Yields names of two or more of one language with at most a call's windows between them."""
    by_language: defaultdict[str, list[str]] = defaultdict(list)
    for name, recogniser in recognisers.items():
        if 0 < len(recogniser.voice.windows) <= WINDOWS_A_CALL:
            by_language[recogniser.language].append(name)
    for names in by_language.values():
        pack: list[str] = []
        room = 0
        for name in names:
            windows = len(recognisers[name].voice.windows)
            if windows > room:
                if len(pack) > 1:
                    yield pack
                pack, room = [], max(WINDOWS_A_CALL, recognisers[name].settings.batch_size)
            pack.append(name)
            room -= windows
        if len(pack) > 1:
            yield pack


def _decoded(recognisers: Sequence[Recogniser]) -> list[list[Decoded]]:
    """Returns each one's windows as decoded first, in the order given."""
    calls = [_Call(recogniser) for recogniser in recognisers]
    batches = [batch for call in calls for batch in call.batches]
    _search(recognisers[0].model, batches, recognisers[0].settings.batch_size)
    return [call.finished() for call in calls]


@dataclass
class _Batch:
    """Windows of one video that go through the encoder together."""

    encoded: StorageView  # (windows, T, D)
    tokenizer: Any  # faster-whisper's, of the language
    options: Any  # faster-whisper's
    found: list[dict[str, Any]] = field(default_factory=list)  # by the search, one a window


class _Call:
    """One video's call of faster-whisper, begun, and held before its first search."""

    def __init__(self, recogniser: Recogniser) -> None:
        from faster_whisper import BatchedInferencePipeline

        self.batches: list[_Batch] = []
        self._recogniser = recogniser
        self._windows = recogniser.voice.windows
        self._pipeline = BatchedInferencePipeline(recogniser.model)
        hold = partial(self._hold, self._pipeline._batched_segments_generator)
        self._pipeline._batched_segments_generator = hold
        self._pipeline.generate_segment_batched = self._answer
        beam_size = recogniser.settings.beam_size
        self._segments = recogniser.begun(self._pipeline, self._windows, beam_size)

    def _hold(
        self,
        segments: Callable[..., Iterable[Any]],
        features: NDArray[np.float32],  # (windows, mel bands, frames)
        tokenizer: Any,
        metadata: Any,
        batch_size: int,
        options: Any,
        log_progress: bool,
    ) -> Iterable[Any]:
        """Encodes the batches that faster-whisper is about to search. It goes on when asked to."""
        for start in range(0, len(features), batch_size):
            encoded = self._pipeline.model.encode(features[start : start + batch_size])
            self.batches.append(_Batch(encoded, tokenizer, options))
        return segments(features, tokenizer, metadata, batch_size, options, log_progress)

    def _answer(self, features: Any, *_: Any) -> tuple[StorageView, list[dict[str, Any]]]:
        """Gives faster-whisper the next batch as encoded, and what the search found in it."""
        batch = self.batches.pop(0)
        assert len(features) == len(batch.found), "a batch that was not searched"
        return batch.encoded, batch.found

    def finished(self) -> list[Decoded]:
        """Returns the windows as decoded, once all batches have been searched."""
        return self._recogniser.finished(self._windows, self._segments, "batched")


def _search(model: WhisperModel, batches: Sequence[_Batch], batch_size: int) -> None:
    """Fills in what is found in each batch, searching `batch_size` windows of them at once."""
    import ctranslate2
    from faster_whisper import BatchedInferencePipeline

    rows = [(batch, row) for batch in batches for row in _rows(batch.encoded)]
    for start in range(0, len(rows), batch_size):
        some = rows[start : start + batch_size]
        encoded = np.stack([row for _, row in some])
        encoder = _Encoded(model, ctranslate2.StorageView.from_array(encoded))
        first = some[0][0]
        _, found = BatchedInferencePipeline(encoder).generate_segment_batched(
            encoded, first.tokenizer, first.options
        )
        for (batch, _), result in zip(some, found, strict=True):
            batch.found.append(result)


def _rows(encoded: StorageView) -> NDArray[Any]:
    """Returns encoded windows as an array in this machine's memory, (windows, T, D)."""
    import ctranslate2

    here = encoded.to_device(ctranslate2.Device.cpu)
    if here.dtype == ctranslate2.DataType.bfloat16:  # numpy has no such numbers
        here = here.to(ctranslate2.DataType.float32)
    return np.asarray(here)


class _Encoded:
    """A model that has encoded already."""

    def __init__(self, model: WhisperModel, encoded: StorageView) -> None:
        self._model = model
        self._encoded = encoded

    def encode(self, _features: Any) -> StorageView:
        """Returns what is encoded."""
        return self._encoded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)
