"""A video's sound for recognition, decoded once and kept on the scratch disk while needed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reelscript.pipeline.attempts import storing
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.transforms.audio import whole_audio_16k


def scratch_audio(video: Video, workspace: Workspace) -> NDArray[np.int16]:
    """Returns the chosen audio stream as 16 kHz mono from the start of the video's timeline on.

    The first call for a video decodes it; later ones, of whatever stage or process on this machine,
    map the file that the first one left. It vanishes with the video's scratch folder and is decoded
    again if it must be.
    """
    path = workspace.scratch_of(video) / "audio-16k.npy"
    if not path.exists():
        if video.audio_stream is None or video.start_s is None or video.duration_s is None:
            raise DataError(f"{video.video_id}: its audio is asked for before it was probed")
        audio = whole_audio_16k(
            workspace.media(video), video.audio_stream, video.start_s, video.duration_s
        )
        part = path.with_name(f".part-{os.getpid()}.npy")
        with storing(f"write {part}", part.parent):
            _save(part, audio)
            part.replace(path)
    mapped: NDArray[np.int16] = np.load(path, mmap_mode="r")
    return mapped


def _save(path: Path, audio: NDArray[np.int16]) -> None:
    """Writes an array as `np.save` does, which however says of a full disk no error number."""
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(audio)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(audio).data)
