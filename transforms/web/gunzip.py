"""Undoing gzip of unknown size in bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PIECE_BYTES = 1 << 20


class Gunzip:
    """Undoes gzip in pieces of at most 1 MiB, because a few bytes may stand for a thousandfold."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=31)

    @property
    def complete(self) -> bool:
        """Whether the last gzip member ended."""
        return self._stream.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields what more bytes of the stream decode to. Raises zlib.error if they are no gzip."""
        while True:
            if self._stream.eof and data:  # gzip files may be joined: RFC 1952 section 2.2
                self._stream = zlib.decompressobj(wbits=31)
            piece = self._stream.decompress(data, PIECE_BYTES)
            if piece:
                yield piece
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            if not data and (self._stream.eof or len(piece) < PIECE_BYTES):
                return
