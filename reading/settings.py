"""What may be set about a stream of training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from reelscript.pipeline.errors import UsageError, nearest
from reelscript.reading.crops import CROPS
from reelscript.schemas.text import one_line


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """How a stream is read.

    Attributes:
        frames: T, of each window.
        px: side of the square that frames are cut to.
        crop: "clean" or "official" (`crops.py`).
        random: frames, crops and places are drawn; else they are the middle ones, always the same.
        shuffle: the order is drawn anew for each epoch; else it is that of the index.
        seed: of all that is drawn, 0 or more.
        batch_size: windows of this rank in a step. None: a step is one window, not a batch.
        rank: of this process, 0 to world - 1.
        world: how many processes read side by side.
        equal: what becomes of the last windows, which do not fill a step of all ranks: "drop" drops
            them, "pad" fills the step up with the first ones of the epoch.
        block_shards: of how many shards windows are mixed; so many are read from at a time.
        on_fault: what is done about a damaged sample: "raise", or "skip": another window takes its
            place, and both are told.
        max_faults: above this share of a rank's windows of an epoch, skipping raises.
        read_ahead: how many samples are fetched ahead; None: 4, but none from a local folder.
    """

    frames: int = 12
    px: int = 224
    crop: str = "clean"
    random: bool = True
    shuffle: bool = True
    seed: int = 0
    batch_size: int | None = None
    rank: int = 0
    world: int = 1
    equal: Literal["drop", "pad"] = "drop"
    block_shards: int = 8
    on_fault: Literal["raise", "skip"] = "raise"
    max_faults: float = 0.01
    read_ahead: int | None = None

    def __post_init__(self) -> None:
        least = {"frames": 1, "px": 1, "seed": 0, "batch_size": 1, "world": 1, "block_shards": 1}
        for name, bound in (least | {"read_ahead": 0}).items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise UsageError(f"{name} is {value}: expected {bound} or more")
        if not 0 <= self.rank < self.world:
            raise UsageError(f"rank is {self.rank}: expected 0 to {self.world - 1}")
        if not 0 <= self.max_faults < 1:
            raise UsageError(f"max_faults is {self.max_faults}: expected a share, 0 to below 1")
        allowed = {"crop": [*CROPS], "equal": ["drop", "pad"], "on_fault": ["raise", "skip"]}
        for name, known in allowed.items():
            if getattr(self, name) not in known:
                raise UsageError(
                    f"{name} is {getattr(self, name)!r}: expected {' or '.join(known)}"
                )


S = TypeVar("S", bound=StreamSettings)


def settings_of(kind: type[S], values: Mapping[str, Any]) -> S:
    """Returns settings of a kind. Raises UsageError for a name or a value that it does not have."""
    known = [field.name for field in fields(kind)]
    for name in values:
        if name not in known:
            raise UsageError(f"there is no setting {one_line(name, 60)!r}: {nearest(name, known)}")
    return kind(**values)
