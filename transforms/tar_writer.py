"""Plain tar members that are the same whenever, wherever and by whomever they are written."""

from __future__ import annotations

import hashlib
import re
import tarfile
from typing import IO

from reelscript.pipeline.errors import DataError

MEMBER_NAME = re.compile(r"[A-Za-z0-9_-]+\.(mp4|json|txt|frames\.mp4)")
LONGEST_NAME = 100  # the name field of a ustar header
USTAR_MOST_BYTES = 8**11 - 1  # what eleven octal digits hold: 8 GiB less one


class TarWriter:
    """Writes POSIX ustar members that tell nothing of when, where and by whom they were written.

    Mode 0644; mtime, uid and gid 0; no owner names. A member above 8 GiB has its size in GNU tar's
    base-256, which tarfile, GNU tar and bsdtar read. The end is padded as tar pads it, to 10240
    bytes.

    Args:
        file: opened for writing; not closed here.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """Digest of all bytes written so far, 64 hex digits."""
        return self._digest.hexdigest()

    def add(self, name: str, data: bytes) -> int:
        """Adds a member and returns the offset of its data. Raises DataError for a bad name."""
        self._write(tar_header(name, len(data)))
        offset = self.bytes
        self._write(data)
        self._write(bytes(-len(data) % tarfile.BLOCKSIZE))
        return offset

    def close(self) -> None:
        """Writes the end of the archive."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._write(bytes(-self.bytes % tarfile.RECORDSIZE))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.bytes += len(data)


def tar_header(name: str, size_bytes: int) -> bytes:
    """Returns a member's header, 512 bytes. Raises DataError for a name that is not `KEY.kind`."""
    if not MEMBER_NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise DataError(
            f"{name!r} is no name for a member: "
            "[A-Za-z0-9_-]+ and .mp4, .json, .txt or .frames.mp4 is"
        )
    info = tarfile.TarInfo(name)  # mode 0644; mtime, uid and gid are 0
    info.size = size_bytes
    return info.tobuf(
        tarfile.USTAR_FORMAT if size_bytes <= USTAR_MOST_BYTES else tarfile.GNU_FORMAT
    )
