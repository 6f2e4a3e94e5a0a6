"""What may be wrong with the data that a reader meets, each with a name, a sample and a shard."""

from __future__ import annotations

from dataclasses import dataclass

from reelscript.pipeline.errors import DataError
from reelscript.schemas.text import one_line

KINDS = (
    "missing_shard",  # the tar is not there
    "truncated",  # it ends before the member does
    "wrong_sha256",  # the member has other bytes than the index says
    "not_a_sample",  # its json is no JSON, or not of this sample
    "no_caption",  # a captioned clip without words
    "undecodable",  # its frames cannot be had
)


class Damaged(DataError):
    """A sample, or the shard that it lies in, is not what the index says.

    Args:
        message: one sentence.
        kind: one of KINDS.
        key: of the sample.
        shard: the file name of its shard.
    """

    def __init__(self, message: str, kind: str = "", key: str = "", shard: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.key = key
        self.shard = shard


@dataclass(frozen=True, slots=True)
class Fault:
    """One damaged sample that a reader met and went past."""

    kind: str
    key: str
    shard: str
    detail: str


def fault_of(error: Damaged) -> Fault:
    """Returns what stays of an error that was not raised."""
    return Fault(error.kind, error.key, error.shard, one_line(str(error)))


class TooManyFaults(DataError):
    """More samples are damaged than the caller puts up with."""


def check_share(faults: int, expected: int, most: float, last: str) -> None:
    """Raises TooManyFaults where `faults` are more than the share `most` of `expected` windows."""
    if faults > most * expected:
        raise TooManyFaults(
            f"{faults} of {expected} windows of this epoch could not be read, more than "
            f"max_faults={most:g} of them; the last: {last}"
        )
