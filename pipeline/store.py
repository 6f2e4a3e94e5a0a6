"""Where bytes lie: whole objects under names, on anything fsspec speaks to.

The store is shaped like an object store: put a whole object, get it, list names, delete. There is
no append, no rename that a caller sees and no lock, so that `file://`, `memory://` and `s3://`
behave alike. A reader sees an object whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from reelscript.pipeline.errors import DataError

COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Store:
    """A folder of objects at an fsspec URL or local path.

    Cheap to pickle; connects on first use.
    """

    url: str

    @cached_property
    def _place(self) -> tuple[Any, str]:
        fs, root = fsspec.core.url_to_fs(self.url)
        return fs, root.rstrip("/")

    @property
    def local_root(self) -> Path | None:
        """The folder on this machine's disk, or None where the store lies elsewhere."""
        fs, root = self._place
        return Path(root) if isinstance(fs, LocalFileSystem) else None

    def _path(self, name: str) -> str:
        parts = name.split("/")
        if not all(parts) or any(p in (".", "..") for p in parts) or "\\" in name or "\0" in name:
            raise DataError(f"{name!r} is no name for an object: it would lie outside {self.url}")
        return f"{self._place[1]}/{name}"

    def put(self, name: str, data: bytes) -> None:
        """Stores an object whole, in place of one of that name."""
        path, folder = self._path(name), self.local_root
        if folder is None:
            self._place[0].pipe_file(path, data)
            return
        with _whole_file(Path(path)) as part:
            part.write_bytes(data)

    def put_file(self, name: str, source: Path) -> None:
        """Stores a copy of a local file, whole, in place of an object of that name."""
        path = self._path(name)
        if self.local_root is None:
            self._place[0].put_file(str(source), path)
            return
        with _whole_file(Path(path)) as part:
            shutil.copyfile(source, part)

    def put_if_absent(self, name: str, data: bytes) -> None:
        """Stores an object unless one of that name is there.

        Two writers of one name must write the same bytes.
        """
        if not self.exists(name):
            self.put(name, data)

    def create(self, name: str, data: bytes) -> bool:
        """Stores an object if none of that name is there, and returns whether it did.

        Of several who create one name at once, one succeeds.
        """
        path = self._path(name)
        if self.local_root is None:
            try:
                self._place[0].pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            return True
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".part-{uuid.uuid4().hex}")
        try:
            part.write_bytes(data)
            os.link(part, target)
        except FileExistsError:
            return False
        finally:
            part.unlink(missing_ok=True)
        return True

    def copy(self, source: str, target: str) -> None:
        """Stores an object under another name too, in place of one of that name.

        On a local disk both names are of one file where the file system can do that: objects are
        replaced, never changed.
        """
        old, new = self._path(source), self._path(target)
        if self.local_root is None:
            self._place[0].cp_file(old, new)
            return
        with _whole_file(Path(new)) as part:
            try:
                os.link(old, part)
            except FileNotFoundError:
                raise
            except OSError:  # a file system without links
                shutil.copyfile(old, part)

    def move(self, source: str, target: str) -> None:
        """Gives an object another name, in place of one of that name."""
        if self.local_root is None:
            self.copy(source, target)
            self.delete(source)
            return
        new = Path(self._path(target))
        new.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self._path(source), new)

    def get(self, name: str) -> bytes:
        """Returns an object. Raises FileNotFoundError where there is none of that name."""
        data: bytes = self._place[0].cat_file(self._path(name))
        return data

    def get_range(self, name: str, offset: int, size: int) -> bytes:
        """Returns `size` bytes of an object from `offset` on, with one ranged read."""
        data: bytes = self._place[0].cat_file(self._path(name), start=offset, end=offset + size)
        return data

    def open_read(self, name: str) -> Any:
        """Returns an object as a readable binary file."""
        return self._place[0].open(self._path(name), "rb")

    def exists(self, name: str) -> bool:
        """Returns whether there is an object of that name."""
        return bool(self._place[0].exists(self._path(name)))

    def size(self, name: str) -> int:
        """Returns the bytes of an object."""
        return int(self._place[0].size(self._path(name)))

    def names(self, prefix: str) -> Iterator[str]:
        """Yields the names of all objects under the folder `prefix`, sorted."""
        fs, root = self._place
        try:
            found = fs.find(self._path(prefix))
        except FileNotFoundError:
            return
        for path in sorted(found):
            name = (
                path[len(root) + 1 :]
                if path.startswith(root + "/")
                else path.lstrip("/")[len(root.lstrip("/")) + 1 :]
            )
            if not name.rpartition("/")[2].startswith(".part-"):
                yield name

    def delete(self, name: str) -> None:
        """Removes an object; nothing happens where there is none."""
        try:
            self._place[0].rm_file(self._path(name))
        except FileNotFoundError:
            return


@contextmanager
def _whole_file(target: Path) -> Iterator[Path]:
    """Yields a part file and, if all went well, puts it in place of `target` in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".part-{uuid.uuid4().hex}")
    try:
        yield part
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(target)


def sha256_of_file(path: Path) -> str:
    """Returns the sha256 of a file as 64 hex digits, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
