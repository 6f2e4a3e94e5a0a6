"""A video's sound for recognition, decoded once and kept on the scratch disk while needed.

```
scratch      a file that is mapped            of this group of stages, on this machine
passing      FLAC, sample for sample          left by an earlier group, perhaps on another machine
media        decoded                          whatever happens to the others
```
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import av.error
import numpy as np
from numpy.typing import NDArray

from reelscript.pipeline.attempts import storing
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.store import sha256_of_file
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.text import digest
from reelscript.schemas.video import Video
from reelscript.transforms.audio import SPEECH_RATE_HZ, whole_audio_16k
from reelscript.transforms.flac import read_flac, write_flac

SOUND_OF = ("source_sha256", "audio_stream", "start_s", "duration_s")
"""The fields of a video that its sound depends on."""


def scratch_audio(video: Video, workspace: Workspace) -> NDArray[np.int16]:
    """Returns the chosen audio stream as 16 kHz mono from the start of the video's timeline on.

    The first call for a video takes it from an earlier group of stages, or decodes it; later ones,
    of whatever stage or process on this machine, map the file that the first one left. It vanishes
    with the video's scratch folder and is made again if it must be.
    """
    path = workspace.scratch_of(video) / "audio-16k.npy"
    if not path.exists():
        if video.audio_stream is None or video.start_s is None or video.duration_s is None:
            raise DataError(f"{video.video_id}: its audio is asked for before it was probed")
        part = path.with_name(f".part-{os.getpid()}.npy")
        if not _passed(video, workspace, part):
            audio = whole_audio_16k(
                workspace.media(video), video.audio_stream, video.start_s, video.duration_s
            )
            with storing(f"write {part}", part.parent):
                _save(part, len(audio), [audio])
        with storing(f"move {part}", part.parent):
            part.replace(path)
    mapped: NDArray[np.int16] = np.load(path, mmap_mode="r")
    return mapped


def leave_audio(video: Video, workspace: Workspace) -> None:
    """Leaves a video's sound for groups of stages that follow, so that none fetches the video."""
    part = workspace.scratch_of(video) / f".part-{os.getpid()}.flac"
    audio = scratch_audio(video, workspace)
    try:
        with storing(f"write {part}", part.parent):
            write_flac(part, audio, SPEECH_RATE_HZ)
        workspace.pass_on(video, _kind(video), part, sha256_of_file(part))
    finally:
        part.unlink(missing_ok=True)


def _kind(video: Video) -> str:
    """Returns what the sound is passed on as: no other source, stream or stretch is taken for it.

    The digest is cut, for names of files; the whole one of the bytes is checked beside it.
    """
    return f"sound-{digest([getattr(video, name) for name in SOUND_OF])[:16]}"


def _passed(video: Video, workspace: Workspace, part: Path) -> bool:
    """Writes the sound that an earlier group left to `part`; returns whether there was one."""
    flac = workspace.passed(video, _kind(video))
    if flac is None:
        return False
    samples = round((video.duration_s or 0.0) * SPEECH_RATE_HZ)
    try:
        with storing(f"write {part}", part.parent):
            return _save(part, samples, read_flac(flac)) == samples
    except av.error.FFmpegError:
        return False


def _save(path: Path, samples: int, blocks: Iterable[NDArray[np.int16]]) -> int:
    """Writes an array as `np.save` does, block by block. Returns how many samples came.

    (np.save says of a full disk no error number, and wants the whole array.)

    Args:
        path: of the file.
        samples: that will come.
        blocks: of samples, (n,).
    """
    came = 0
    with path.open("wb") as file:
        header = {"descr": "<i2", "fortran_order": False, "shape": (samples,)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, "<i2").data)
            came += len(block)
    return came
