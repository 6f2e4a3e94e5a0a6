"""The windows of a corpus' held-out videos, each once, as they are cut without chance.

Nothing is drawn: frames are the middle ones, crops are centred, the order is that of the index, and
no clip is in two windows. A window that cannot be read is left out and counted; another one in its
place would count twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from reelscript.jobs.evaluate.listed_videos import Reading
from reelscript.models.tvts.configs import TVTSConfig
from reelscript.pipeline.errors import DataError
from reelscript.reading.corpus import open_corpus
from reelscript.reading.releases import release_of

if TYPE_CHECKING:
    from reelscript.reading.corpus import Corpus

SPLIT = "val"


@dataclass
class HeldOut:
    """Passes over the held-out windows of a corpus.

    Attributes:
        corpus: that is read.
        settings: of `Corpus.windows`.
        batch: windows at a time.
        workers: processes that decode; 1: this one does.
        unreadable: of the last pass, by the key of a sample, what was wrong with it.
        refused: windows that the reader did not take, by reason.
    """

    corpus: Corpus
    settings: Mapping[str, Any]
    batch: int
    workers: int
    unreadable: dict[str, str] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    def __call__(self) -> Iterator[dict[str, Any]]:
        """Yields all windows in batches, of which the last may be smaller."""
        from reelscript.jobs.pretrain.reader import Steps

        stream = self.corpus.windows(**self.settings)
        self.refused, self.unreadable = stream.refused, {}
        if not len(stream):
            raise DataError(f"there is no window of held-out videos; refused: {self.refused}")
        held: list[Mapping[str, Any]] = []
        for window in Steps(stream, self.workers if self.workers > 1 else 0).epoch():
            if window["faults"]:  # it stands in the place of one that cannot be read
                self.unreadable |= {fault.key: fault.detail for fault in window["faults"]}
                continue
            held.append(window)
            if len(held) == self.batch:
                yield _together(held)
                held = []
        if held:
            yield _together(held)

    def to_dict(self) -> dict[str, Any]:
        """Returns what was read, and what was not, as plain JSON values."""
        return {
            "corpus": self.corpus.info.get("name"),
            "fingerprint": self.corpus.info.get("fingerprint"),
            "release": release_of(self.corpus.info),
            "split": SPLIT,
            "rule": self.settings["rule"],
            "refused": self.refused,
            "unreadable": self.unreadable,
        }


def held_out(data: str, config: TVTSConfig, preprocess: str, rule: str, read: Reading) -> HeldOut:
    """Returns the held-out windows of a corpus, as a network takes them.

    Args:
        data: the folder of the corpus, or an fsspec URL.
        config: of the network.
        preprocess: `official` or `clean`.
        rule: how windows are cut: `clips` or `official`.
        read: how much at a time, and how many may be unreadable.
    """
    settings = {
        "k": config.sorting.places,
        "rule": rule,
        "split": SPLIT,
        "frames": config.video.frames,
        "px": config.video.image_px,
        "crop": preprocess,
        "random": False,
        "shuffle": False,
        "on_fault": "skip",
        "max_faults": read.max_missing,
    }
    return HeldOut(open_corpus(data), settings, read.batch, read.workers)


def _together(windows: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "frames": np.stack([window["frames"] for window in windows]),
        "texts": [list(window["text"]) for window in windows],
        "keys": [f"{window['key']}+{window['window']}" for window in windows],
    }
