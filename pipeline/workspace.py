"""What a stage has at hand: the artefacts in the store, the media file and a scratch folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from reelscript.pipeline.attempts import storage_error, storing
from reelscript.pipeline.errors import DamagedArtefact, DataError, SourceGone
from reelscript.pipeline.store import Store, sha256_of_file
from reelscript.schemas.text import canonical_json
from reelscript.schemas.video import Video

Record = TypeVar("Record")
OF_NOTHING = hashlib.sha256().hexdigest()
PASSING = "passing"
MEDIA = "media"


class Workspace:
    """The store of a build, and node-local scratch.

    Args:
        store: the `work` folder of the build, shared by all workers.
        scratch: a folder on this machine's disk; what lies there may vanish at any time and is made
            again.
        passing: stages run in groups, each perhaps on another machine: what one leaves in scratch
            the next does not find, so some of it passes through the store.

    Attributes:
        stored_bytes: of artefacts: put less removed, by this process through this workspace.
        restore: brings back the stored copy of a source that is gone; None: nobody can.
    """

    def __init__(self, store: Store, scratch: Path, passing: bool = False) -> None:
        self.store = store
        self.scratch = scratch
        self.passing = passing
        self.stored_bytes = 0
        self.restore: Callable[[Video], None] | None = None
        self._sound: str | None = None  # the stored source that was checked last

    # Artefacts: named by their content.

    def put(self, data: bytes) -> str:
        """Stores bytes and returns their sha256, which is their name."""
        name = hashlib.sha256(data).hexdigest()
        held = self.store.size_or_none(_object_name(name))
        if held != len(data):  # one of another size is damaged
            self.store.put(_object_name(name), data)
            self.stored_bytes += len(data) - (held or 0)
        return name

    def put_file(self, path: Path, sha256: str) -> None:
        """Stores a local file of which the sha256 is known."""
        held, size = self.store.size_or_none(_object_name(sha256)), path.stat().st_size
        if held != size:
            self.store.put_file(_object_name(sha256), path)
            self.stored_bytes += size - (held or 0)

    def get(self, sha256: str) -> bytes:
        """Returns an artefact, checked against its name.

        Raises:
            DamagedArtefact: it is gone, or not what its name says (a power cut, a bad disk). It is
                removed, so that it is made again.
        """
        try:
            data = self.store.get(_object_name(sha256))
        except FileNotFoundError:
            raise self._damaged(sha256) from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise self._damaged(sha256)
        return data

    def has(self, sha256: str) -> bool:
        """Returns whether the artefact is in the store; an empty one is what a power cut leaves."""
        held = self.store.size_or_none(_object_name(sha256))
        return held is not None and (held > 0 or sha256 == OF_NOTHING)

    def forget(self, sha256: str) -> None:
        """Removes an artefact; nothing happens where there is none."""
        held = self.store.size_or_none(_object_name(sha256))
        if held is not None:
            self.store.delete(_object_name(sha256))
            self.stored_bytes -= held

    def _damaged(self, sha256: str) -> DamagedArtefact:
        """Removes an artefact and returns the error that says so."""
        self.forget(sha256)
        return DamagedArtefact(
            f"the artefact {sha256} in {self.store.url} is damaged or gone: "
            "the same command makes it again"
        )

    def put_record(self, record: Any) -> str:
        """Stores a dataclass, or a list of them, as canonical JSON and returns its digest."""
        return self.put(canonical_json(to_plain(record)))

    def get_record(self, kind: type[Record], sha256: str | None) -> Record:
        """Returns the dataclass of type `kind` that `put_record` stored."""
        return from_plain(kind, json.loads(self.get(_known(sha256))))

    def get_records(self, kind: type[Record], sha256: str | None) -> list[Record]:
        """Returns the list of dataclasses of type `kind` that `put_record` stored."""
        return [from_plain(kind, item) for item in json.loads(self.get(_known(sha256)))]

    # Results: named by what went in.

    def remembered(self, kind: str, key: str) -> dict[str, Any] | None:
        """Returns what `remember` stored under (kind, key); None where it is not or is damaged."""
        try:
            found = json.loads(self.store.get(f"results/{kind}/{key[:2]}/{key}.json"))
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def remember(self, kind: str, key: str, result: dict[str, Any]) -> None:
        """Stores a small result under what it was computed from."""
        self.store.put(f"results/{kind}/{key[:2]}/{key}.json", canonical_json(result))

    def unremember(self, kind: str, key: str) -> None:
        """Removes what `remember` stored; nothing happens where there is nothing."""
        self.store.delete(f"results/{kind}/{key[:2]}/{key}.json")

    # The media file.

    def hold(self, video: Video, path: Path, sha256: str) -> None:
        """Moves a file from scratch to where `media` finds it as long as the video is in work."""
        if self.passing:
            self.pass_on(video, MEDIA, path, sha256)
        with storing(f"move {path}", self.scratch):
            path.replace(self.scratch_of(video) / sha256)

    def media(self, video: Video) -> Path:
        """Returns the source as a local file: where it lies, in scratch, or a copy in the store.

        A copy that was let go, or is damaged, is brought back by `restore`, if there is one.

        Raises:
            SourceGone: there is none.
            DamagedArtefact: what is gone is no copy of the source but a proxy made from it.
        """
        if video.media is None:
            return Path(video.location)
        try:
            return self._copy(video, video.media)
        except SourceGone as error:
            if video.source_sha256 not in (None, video.media):
                raise DamagedArtefact(str(error)) from None
            if self.restore is None:
                raise
        self.restore(video)
        return self._copy(video, video.media)

    def _copy(self, video: Video, media: str) -> Path:
        """Returns a copy of the source as a local file. Raises SourceGone."""
        path = self._found(video, media)
        if self._sound != media:
            if _digest_of(path) != media:
                self.forget(media)
                if self.passing:
                    self.store.delete(_passing_name(video, MEDIA, media))
                path.unlink(missing_ok=True)  # the copy of it in scratch
                raise SourceGone(f"the copy of {video.url} in {self.store.url} was damaged")
            self._sound = media
        return path

    def _found(self, video: Video, media: str) -> Path:
        """Returns where a copy of the source lies on this machine. Raises SourceGone."""
        here, name = self.scratch / video.video_id / media, _object_name(media)
        if here.exists():
            return here
        if not self.has(media):
            name = _passing_name(video, MEDIA, media)
            if not (self.passing and self.store.exists(name)):
                raise SourceGone(f"the copy of {video.url} is no longer in {self.store.url}")
        try:
            return self._on_this_machine(name, here)
        except FileNotFoundError:
            raise SourceGone(f"the copy of {video.url} has gone from {self.store.url}") from None

    def _on_this_machine(self, name: str, here: Path) -> Path:
        """Returns an object as a file: where it lies, or copied to `here`. Unchecked.

        Raises:
            FileNotFoundError: there is none of that name.
        """
        if self.store.local_root is not None:
            return self.store.local_root / name
        part = here.with_name(f"{here.name}.part-{os.getpid()}")
        with storing(f"make the folder {here.parent}", self.scratch):
            here.parent.mkdir(parents=True, exist_ok=True)
        self.store.fetch(name, part)
        with storing(f"move {part}", self.scratch):
            part.replace(here)
        return here

    # What passes from one group of stages to the next, perhaps on another machine.

    def pass_on(self, video: Video, kind: str, path: Path, sha256: str) -> None:
        """Stores a copy of a file for the groups of stages that follow.

        Args:
            video: whose it is.
            kind: under which `passed` finds it.
            path: the file.
            sha256: of its bytes.
        """
        name, size = _passing_name(video, kind, sha256), path.stat().st_size
        if self.store.size_or_none(name) != size:
            self.store.put_file(name, path)

    def passed(self, video: Video, kind: str) -> Path | None:
        """Returns what an earlier group of stages left, as a file; None where nothing whole is."""
        if not self.passing:
            return None
        here = self.scratch_of(video) / kind
        for name in self.store.names(f"{_passing_folder(video)}/{kind}"):
            try:
                path = self._on_this_machine(name, here)
            except FileNotFoundError:  # the video has ended in other hands
                continue
            if _digest_of(path) == name.rpartition("/")[2]:
                return path
            self.store.delete(name)
        return None

    def forget_passing(self, video: Video) -> None:
        """Removes what passed between the groups of stages of a video that has ended."""
        if self.passing:
            for name in self.store.names(_passing_folder(video)):
                self.store.delete(name)

    # Scratch.

    def scratch_of(self, video: Video) -> Path:
        """Returns a folder on this machine for what one video needs between its stages."""
        folder = self.scratch / video.video_id
        with storing(f"make the folder {folder}", self.scratch):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def forget_scratch(self, video: Video) -> None:
        """Removes the scratch folder of a video."""
        shutil.rmtree(self.scratch / video.video_id, ignore_errors=True)


def _digest_of(path: Path) -> str | None:
    """Returns the sha256 of a file of ours; None where it is gone."""
    try:
        return sha256_of_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(f"read {path}", error, path.parent) from error


def _passing_folder(video: Video) -> str:
    return f"{PASSING}/videos/{video.video_id}"


def _passing_name(video: Video, kind: str, sha256: str) -> str:
    return f"{_passing_folder(video)}/{kind}/{sha256}"


def _object_name(sha256: str) -> str:
    return f"objects/{sha256[:2]}/{sha256}"


def _known(sha256: str | None) -> str:
    if sha256 is None:
        raise DataError("an artefact is asked for that no stage has made yet")
    return sha256


def to_plain(record: Any) -> Any:
    """Returns dataclasses, and lists of them, as dicts and lists that JSON can hold."""
    if isinstance(record, list | tuple):
        return [to_plain(item) for item in record]
    return (
        dataclasses.asdict(record)
        if dataclasses.is_dataclass(record) and not isinstance(record, type)
        else record
    )


_CONVERTERS: dict[Any, Callable[[Any], Any]] = {}


def from_plain(kind: type[Record], value: dict[str, Any]) -> Record:
    """Returns the dataclass `kind` from what `to_plain` made of it, nested dataclasses included."""
    if kind not in _CONVERTERS:
        hints = typing.get_type_hints(kind)
        nested = {
            name: found for name, hint in hints.items() if (found := _nested(hint)) is not None
        }
        _CONVERTERS[kind] = lambda v: kind(
            **{k: nested[k](x) if k in nested and x is not None else x for k, x in v.items()}
        )
    converted: Record = _CONVERTERS[kind](value)
    return converted


def _nested(hint: Any) -> Callable[[Any], Any] | None:
    """Returns how to make a value of type `hint` from JSON, or None where JSON already gives it."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return lambda value: from_plain(hint, value)
    if typing.get_origin(hint) is list:
        inner = _nested(typing.get_args(hint)[0])
        return None if inner is None else (lambda items: [inner(item) for item in items])
    if isinstance(hint, types.UnionType):
        return next(
            (found for arg in typing.get_args(hint) if (found := _nested(arg)) is not None), None
        )
    return None
