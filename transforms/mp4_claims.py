"""What the index of an MP4 or QuickTime file claims, looked at before FFmpeg believes it.

A table of equally long samples is a few bytes, whatever their number, and FFmpeg takes some 70
bytes of memory for each sample: a file of 4 kB can take 12 GB. So samples are counted first, by
walking the boxes (ISO 14496-12, 4.2).
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MAX_SAMPLES = 10_000_000  # that FFmpeg would list one by one: 0.7 GB; 4 h hold about 2 million
MAX_BOXES = 1_000_000
CONTAINERS = frozenset(  # boxes that FFmpeg looks for samples in
    b"moov trak mdia minf stbl moof traf mvex edts udta tref wave dinf ilst sinf schi".split()
)
Box = tuple[bytes, int, int]  # its type, where its content begins, where the box around it begins


def overclaim(path: Path) -> str | None:
    """Returns what is wrong with the claims of a file's index, or None (also: no MP4)."""
    size_bytes = path.stat().st_size
    samples = 0
    plain: defaultdict[int, bool] = defaultdict(bool)  # by the box around a table: a tick a sample
    constant: defaultdict[int, int] = defaultdict(int)  # samples of equal length
    with path.open("rb") as file:
        for seen, (kind, begin, around) in enumerate(_boxes(file, size_bytes)):
            if seen >= MAX_BOXES:
                return f"it has over {MAX_BOXES} boxes"
            if kind == b"cmov":
                return "its index is compressed (cmov)"
            if kind not in (b"stsz", b"stz2", b"trun", b"stts"):
                continue
            file.seek(begin)
            head = file.read(16)
            _, first, second, third = struct.unpack(">4I", head.ljust(16, b"\0"))
            if kind == b"stts":  # first: how many entries; then samples and ticks of the first one
                plain[around] = first == 1 and third == 1
            elif kind == b"stsz" and first:  # first: bytes of every sample
                constant[around] += second
            else:
                samples += first if kind == b"trun" else second
    # PCM, a tick a sample, is listed by chunks, not by samples: a long one is no bomb.
    listed = samples + sum(count for around, count in constant.items() if not plain[around])
    if samples + sum(constant.values()) > size_bytes or listed > MAX_SAMPLES:
        return f"its index claims {samples + sum(constant.values())} samples in {size_bytes} bytes"
    return None


def _boxes(file: BinaryIO, size_bytes: int) -> Iterator[Box]:
    """Yields all boxes, those inside others too, bounded as FFmpeg bounds them."""
    ranges = [(0, size_bytes, 0)]
    while ranges:
        at, end, around = ranges.pop()
        while at + 8 <= end:
            file.seek(at)
            length, kind, long = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
            header = 16 if length == 1 else 8
            length = long if length == 1 else length or end - at
            if length < header:
                break
            yield kind, at + header, around
            if kind in CONTAINERS or kind == b"meta":
                ranges.append((at + length, end, around))
                # meta is a box with a version, or (QuickTime) without: both are tried
                if kind == b"meta":
                    ranges.append((at + header + 4, min(at + length, end), at))
                ranges.append((at + header, min(at + length, end), at))
                break
            at += length
