"""Where bytes lie: whole objects under names, on anything fsspec speaks to.

The store is shaped like an object store: put a whole object, get it, list names, delete. There is
no append and no lock, so that `file://`, `memory://` and `s3://` behave alike. On a local disk a
reader sees an object whole or not at all.

What the system refuses becomes a StorageError, one sentence, after errors that may pass were waited
out. An object that is not there is none of these: FileNotFoundError.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from reelscript.pipeline.attempts import is_taken, patiently, storage_error
from reelscript.pipeline.disk import PART, Disk, SourceUnreadable
from reelscript.pipeline.errors import DataError, ReelscriptError, UsageError
from reelscript.schemas.text import one_line

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")
MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
READ_AHEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class Store:
    """A folder of objects at an fsspec URL or local path.

    Cheap to pickle; connects on first use.

    Attributes:
        url: where.
        durable: on a local disk, what was stored outlives a power cut. Slower: for what is
            published, not for what is checked when it is read and can be made again.
    """

    url: str
    durable: bool = False

    @property
    def _place(self) -> tuple[Any, str]:
        return _connected(self.url, self.durable, os.getpid())

    @property
    def local_root(self) -> Path | None:
        """The folder on this machine's disk, or None where the store lies elsewhere."""
        fs, _ = self._place
        return fs.root if isinstance(fs, Disk) else None

    def _path(self, name: str) -> str:
        parts = name.split("/")
        if not all(parts) or any(p in (".", "..") for p in parts) or "\\" in name or "\0" in name:
            raise DataError(f"{name!r} is no name for an object: it would lie outside {self.url}")
        return f"{self._place[1]}/{name}"

    def put(self, name: str, data: bytes) -> None:
        """Stores an object whole, in place of one of that name."""
        path = self._path(name)
        self._do("write", name, lambda fs: fs.pipe_file(path, data))

    def put_file(self, name: str, source: Path) -> None:
        """Stores a copy of a local file, whole, in place of an object of that name.

        Raises:
            OSError: the file cannot be read.
        """
        path = self._path(name)
        source.open("rb").close()
        self._do("write", name, lambda fs: fs.put_file(str(source), path))

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Stores an object unless a whole one of that name is there; returns whether it did.

        Two writers of one name must write the same bytes: one of another size is damaged.
        """
        if self.size_or_none(name) == len(data):
            return False
        self.put(name, data)
        return True

    def create(self, name: str, data: bytes) -> bool:
        """Stores an object if none of that name is there, and returns whether it did.

        Of several who create one name at once, one succeeds. They should write different bytes:
        where an answer was lost, these tell whose the object is. (Elsewhere than on a local disk
        that is always looked at: clients of buckets ask again by themselves, and find their own.)
        """
        path = self._path(name)
        failed: OSError | None = None

        def attempt(fs: Any) -> bool:
            nonlocal failed
            try:
                fs.pipe_file(path, data, mode="create")
            except OSError as error:
                if not is_taken(error):
                    failed = error
                    raise
                if failed is None and isinstance(fs, Disk):
                    return False
                found = fs.cat_file(path)
                if failed is not None and found != data and data.startswith(found):
                    raise failed from None  # half of ours: nobody's
                return bool(found == data)
            return True

        return self._do("write", name, attempt)

    def copy(self, source: str, target: str) -> None:
        """Stores an object under another name too, in place of one of that name.

        On a local disk both names are of one file where the file system can do that: objects are
        replaced, never changed.
        """
        old, new = self._path(source), self._path(target)
        self._do("write", target, lambda fs: fs.cp_file(old, new), (FileNotFoundError,))

    def move(self, source: str, target: str) -> None:
        """Gives an object another name, in place of one of that name.

        Elsewhere than on a local disk it has both names for a moment.
        """
        old, new, again = self._path(source), self._path(target), False
        if self.local_root is None:
            self.copy(source, target)
            self.delete(source)
            return

        def attempt(fs: Any) -> None:
            nonlocal again
            first, again = not again, True
            try:
                fs.mv(old, new)
            except FileNotFoundError:
                if first or not Path(new).exists():  # else it was done, and the answer was lost
                    raise

        self._do("write", target, attempt, (FileNotFoundError,))

    def get(self, name: str) -> bytes:
        """Returns an object. Raises FileNotFoundError where there is none of that name."""
        path = self._path(name)
        data: bytes = self._do("read", name, lambda fs: fs.cat_file(path), MISSING)
        return data

    def get_range(self, name: str, offset: int, size: int) -> bytes:
        """Returns `size` bytes of an object from `offset` on, with one ranged read."""
        path, end = self._path(name), offset + size
        if not size:  # HTTP has no range of no bytes
            self.size(name)
            return b""

        def attempt(fs: Any) -> bytes:
            try:
                data: bytes = fs.cat_file(path, start=offset, end=end)
            except OSError:
                if not offset or offset < fs.info(path)["size"]:
                    raise
                return b""  # buckets refuse a range that begins behind the end
            return data

        return self._do("read", name, attempt, MISSING)

    def fetch(self, name: str, target: Path) -> None:
        """Copies an object to a file on this machine. Raises FileNotFoundError."""
        path = self._path(name)
        self._do("fetch", name, lambda fs: fs.get_file(path, str(target)), MISSING)

    def open_read(self, name: str) -> BinaryIO:
        """Returns an object as a readable binary file; what it reads fails as `get` does."""
        path = self._path(name)
        file = self._do("read", name, lambda fs: fs.open(path), MISSING)

        def piece(offset: int, size: int) -> bytes:
            def attempt(_: Any) -> bytes:
                file.seek(offset)
                data: bytes = file.read(size)
                return data

            return self._do("read", name, attempt, MISSING)

        return io.BufferedReader(_Read(file, piece), READ_AHEAD_BYTES)

    def exists(self, name: str) -> bool:
        """Returns whether there is an object of that name."""
        return self.size_or_none(name) is not None

    def size(self, name: str) -> int:
        """Returns the bytes of an object. Raises FileNotFoundError where there is none."""
        path = self._path(name)
        return int(self._do("read", name, lambda fs: fs.info(path)["size"] or 0, MISSING))

    def size_or_none(self, name: str) -> int | None:
        """Returns the bytes of an object; None where there is none of that name."""
        try:
            return self.size(name)
        except MISSING:
            return None

    def names(self, prefix: str) -> Iterator[str]:
        """Yields the names of all objects under the folder `prefix`, sorted."""
        root, path = self._place[1].lstrip("/"), self._path(prefix)
        for found in sorted(self._do("list", prefix, lambda fs: _listed(fs, path))):
            name = found.lstrip("/")[len(root) + 1 :] if root else found.lstrip("/")
            if not name.rpartition("/")[2].startswith(PART):
                yield name

    def total_bytes(self) -> int:
        """Returns the bytes of all objects: a listing of everything, slow where there is much."""
        found = self._do("list", "", lambda fs: _listed(fs, self._place[1] or "/", detail=True))
        return sum(int(info["size"] or 0) for info in found.values())

    def delete(self, name: str) -> None:
        """Removes an object; nothing happens where there is none."""
        path = self._path(name)
        try:
            self._do("remove", name, lambda fs: fs.rm_file(path), MISSING[:2])
        except MISSING[:2]:
            return

    def sweep(self) -> None:
        """Removes what killed writers of this machine left of half written objects."""
        fs, _ = self._place
        if isinstance(fs, Disk):
            fs.sweep()

    def _do(
        self,
        verb: str,
        name: str,
        attempt: Callable[[Any], T],
        passing: tuple[type[Exception], ...] = (),
    ) -> T:
        """Returns what an attempt with the file system gives, perhaps after some that failed.

        Raises:
            StorageError: the last one failed as well. What is in `passing` is raised as it is.
        """
        fs, _ = self._place
        untouched: tuple[type[Exception], ...] = (*passing, MemoryError, ReelscriptError)
        try:
            return patiently(lambda: attempt(fs))
        except SourceUnreadable as unreadable:
            raise unreadable.error from None
        except untouched:
            raise
        except Exception as error:  # clients of buckets raise what they like
            if isinstance(fs, Disk) and not isinstance(error, OSError):
                raise
            place = f"{name} in {self.url}" if name else self.url
            raise storage_error(f"{verb} {place}", error, self.local_root) from error


class _Read(io.RawIOBase):
    """A file that is read piece by piece.

    Args:
        file: says where its end is, and is closed at last.
        piece: returns at most so many bytes from an offset on.
    """

    def __init__(self, file: Any, piece: Callable[[int, int], bytes]) -> None:
        self._file = file
        self._piece = piece
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            offset += self._file.seek(0, os.SEEK_END)
        self._at = offset + self._at if whence == os.SEEK_CUR else offset
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        into = memoryview(buffer).cast("B")
        data = self._piece(self._at, len(into))
        into[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@lru_cache(maxsize=256)
def _connected(url: str, durable: bool, _pid: int) -> tuple[Any, str]:
    """Returns the file system of a URL and the path in it.

    By process: the client of a bucket is of no use in a process that is forked off. And without the
    listings that clients keep: what others store after a listing would not be there.

    Raises:
        UsageError: there is no such kind of place, or its library is not installed.
    """
    try:
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except Exception as error:  # whatever the library of a store raises
        said = one_line(str(error), 200)
        raise UsageError(f"{one_line(url)} cannot be reached: {said}") from error
    root = root.rstrip("/")
    if isinstance(fs, LocalFileSystem):
        fs = Disk(Path(root or "/"), durable)
    return fs, root


def _listed(fs: Any, path: str, detail: bool = False) -> Any:
    """Returns the paths below a folder, with `detail` their infos, as they are now."""
    fs.invalidate_cache()
    try:
        return fs.find(path, detail=detail)
    except FileNotFoundError:
        return {} if detail else []


def sha256_of_file(path: Path) -> str:
    """Returns the sha256 of a file as 64 hex digits, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
