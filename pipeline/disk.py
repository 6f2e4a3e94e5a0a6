"""A folder on this machine's disk, where a file is seen whole or not at all.

What is written goes into a part file first, which then takes its place in one step. All part files
lie in the root of the folder and name the process that writes them, so that those of killed writers
are found with one listing. The methods are named as in fsspec, the other way to a store.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from reelscript.pipeline.processes import exists, this_process

COPY_BYTES = 1 << 20
PART = ".part-"
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


class SourceUnreadable(Exception):
    """The file that is to be stored cannot be read, which is not the store's fault.

    Args:
        error: what the system said.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class Disk:
    """Files below a folder.

    Args:
        root: the folder.
        durable: what was written is on the disk, and not only on its way there, when a method
            returns: a power cut does not undo it.
    """

    root: Path
    durable: bool = False

    def pipe_file(self, path: str, data: bytes, mode: str = "overwrite") -> None:
        """Writes a file. Raises FileExistsError where `mode` is "create" and there is one."""
        take = _take if mode == "create" else Path.replace
        self._place(Path(path), lambda part: self.write(part, [data]), take)

    def put_file(self, source: str, path: str) -> None:
        """Writes a copy of a file that lies elsewhere. Raises SourceUnreadable."""
        self._place(Path(path), lambda part: self.write(part, _from_elsewhere(Path(source))))

    def get_file(self, path: str, target: str) -> None:
        """Copies a file to one that lies elsewhere."""
        with self.open(path) as file, Path(target).open("wb") as copy:
            shutil.copyfileobj(file, copy)

    def cp_file(self, source: str, path: str) -> None:
        """Gives a file another name too: as a hard link, or a copy where the disk has no links."""

        def fill(part: Path) -> None:
            try:
                part.hardlink_to(source)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                self.write(part, _pieces(Path(source)))

        self._place(Path(path), fill)

    def mv(self, source: str, path: str) -> None:
        """Gives a file another name."""
        self._make_folder(Path(path).parent)
        Path(source).replace(path)
        self._sync(Path(path).parent)
        self._sync(Path(source).parent)

    def rm_file(self, path: str) -> None:
        """Removes a file."""
        Path(path).unlink()

    def cat_file(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """Returns the bytes of a file from `start` up to `end`."""
        with Path(path).open("rb") as file:
            file.seek(start)
            return file.read(-1 if end is None else max(0, end - start))

    def open(self, path: str) -> BinaryIO:
        """Returns a file, open for reading."""
        return Path(path).open("rb")

    def info(self, path: str) -> dict[str, Any]:
        """Returns the size of a file. Raises FileNotFoundError."""
        return {"size": Path(path).stat().st_size}

    def find(self, path: str, detail: bool = False) -> Any:
        """Returns the paths of all files below a folder, or of the file; with `detail` their infos.

        Raises:
            OSError: a folder cannot be listed: half a list would be a wrong one.
        """

        def stop(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise error

        if Path(path).is_file():
            paths = [path]
        else:
            walk = os.walk(path, onerror=stop)
            paths = [f"{folder}/{name}" for folder, _, names in walk for name in names]
        return {p: self.info(p) for p in paths if Path(p).exists()} if detail else paths

    def invalidate_cache(self) -> None:
        """Does nothing: a disk is asked anew each time."""

    def sweep(self) -> None:
        """Removes the part files of writers on this machine that are dead.

        Those of other machines stay: from here nobody can tell.
        """
        machine, _ = _writer(os.getpid())
        for left in self.root.glob(f"{PART}{machine}-*-*-*"):
            pid, born, *rest = left.name.removeprefix(f"{PART}{machine}-").split("-")
            if len(rest) == 1 and born and pid.isdecimal() and not exists(int(pid), born):
                self.discard(left)

    def write(self, part: Path, pieces: Iterable[bytes]) -> None:
        """Writes a part file: the one place where bytes of a local store come to be."""
        with part.open("wb") as file:
            for piece in pieces:
                file.write(piece)

    def discard(self, part: Path) -> None:
        """Removes a part file, if it is there and can be removed."""
        with suppress(OSError):
            part.unlink()

    def _place(
        self,
        target: Path,
        fill: Callable[[Path], None],
        take: Callable[[Path, Path], object] = Path.replace,
    ) -> None:
        """Fills a part file and gives it the name of `target` in one step."""
        self._make_folder(target.parent)
        for folder in (self.root, target.parent):  # the latter where it is another file system
            part = folder / f"{PART}{'-'.join(_writer(os.getpid()))}-{uuid.uuid4().hex}"
            try:
                fill(part)
                self._sync(part)
                take(part, target)
                break
            except OSError as error:
                if error.errno != errno.EXDEV or folder == target.parent:
                    raise
            finally:
                self.discard(part)
        self._sync(target.parent)

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make_folder(folder.parent)
            try:
                folder.mkdir(exist_ok=True)
            except FileExistsError:  # which says of a name to create that somebody was first
                raise NotADirectoryError(errno.ENOTDIR, "a file is in its way", folder) from None
            self._sync(folder.parent)

    def _sync(self, path: Path) -> None:
        """Waits until a file, or the list of names in a folder, is on the disk."""
        if self.durable:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _pieces(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while piece := file.read(COPY_BYTES):
            yield piece


def _from_elsewhere(source: Path) -> Iterator[bytes]:
    try:
        yield from _pieces(source)
    except OSError as error:
        raise SourceUnreadable(error) from error


@cache  # by pid: a process that is forked off is another writer
def _writer(pid: int) -> tuple[str, str]:
    """Returns a digest of where pids and births mean something, and "<pid>-<born>" of this process.

    The name of a host would not do: another one's may begin with it, and containers may share one.
    """
    me = this_process()
    return hashlib.sha256(me["machine"].encode()).hexdigest()[:8], f"{pid}-{me['born']}"


def _take(part: Path, target: Path) -> None:
    """Gives a part file the name of `target`. Raises FileExistsError where that is taken."""
    try:
        target.hardlink_to(part)
    except FileExistsError:
        if not target.samefile(part):  # else NFS made the link, lost the answer and asked again
            raise
    except OSError as error:
        if error.errno not in NO_LINKS or error.errno == errno.EXDEV:
            raise
        target.touch(exist_ok=False)  # now the name is ours
        try:
            part.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
