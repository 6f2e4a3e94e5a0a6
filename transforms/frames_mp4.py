"""Frames for training: pictures of a passage's mp4 at a fixed rate, each coded by itself.

```
mp4          I p b p b p b I p b p b p b I p b p b p b      a keyframe a second
frames.mp4   I       I       I       I       I       I      frame i: what the mp4 shows at i/rate
```

A training window takes a dozen frames of half a minute: from here each costs one picture of
decoding, from the mp4 up to a second of them (docs/adr/0015-frames-members.md has the numbers).
Made from the mp4 as it is stored, so no mp4 is encoded anew to get them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from av.video.frame import VideoFrame

from reelscript.pipeline.attempts import storing
from reelscript.pipeline.errors import StageError
from reelscript.pipeline.store import sha256_of_file
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.sample import Encoding
from reelscript.schemas.text import digest
from reelscript.transforms.frame_clock import FrameClock
from reelscript.transforms.media import Undecodable, open_media
from reelscript.transforms.mp4_format import Format, exact_rate
from reelscript.transforms.passage_mp4 import Colours, write_mp4

VERSION = 1  # raise it when the same mp4 and rate give other bytes
RESULT = "frames_mp4"
PRESET, CRF, TUNE = "veryfast", 23.0, "fastdecode"  # compared with others in ADR 0015


def with_frames(
    encoding: Encoding, rate: Fraction, workspace: Workspace, scratch: Path
) -> Encoding:
    """Returns what is known of a passage with its frames.mp4, remembered or made now.

    Args:
        encoding: of the passage; its mp4 is in the store.
        rate: frames a second.
        workspace: where the mp4 lies and the frames.mp4 is put.
        scratch: a folder for files on their way.

    Raises:
        StageError: `decode_failed` or `encode_failed`.
        DamagedArtefact: the mp4 is gone or not what its name says.
        StorageError: the disk refuses.
    """
    key = digest([RESULT, VERSION, encoding.mp4, str(rate)])
    found = workspace.remembered(RESULT, key)
    if found is None or not workspace.has(found["frames_mp4"]):
        found = _made(encoding, rate, workspace, scratch)
        workspace.remember(RESULT, key, found)
    return replace(encoding, **found)


def frame_numbers(frames: int, fps: Fraction, rate: Fraction) -> list[int]:
    """Returns which frames of an mp4 are on display at 0, 1/rate, 2/rate, ... s, to its end.

    Args:
        frames: of the mp4, which is of constant rate and begins at 0 s.
        fps: of the mp4.
        rate: frames a second that are wanted.
    """
    return [math.floor(i * fps / rate) for i in range(math.ceil(frames * rate / fps))]


def _made(
    encoding: Encoding, rate: Fraction, workspace: Workspace, scratch: Path
) -> dict[str, str | int]:
    """Returns digest and size of a new frames.mp4, once it is in the store."""
    source, made = scratch / "source.mp4", scratch / "frames.mp4"
    data = workspace.get(encoding.mp4)
    try:
        with storing(f"write {source}", scratch):
            source.write_bytes(data)
        _write(made, source, encoding, rate)
        sha256 = sha256_of_file(made)
        workspace.put_file(made, sha256)
        return {"frames_mp4": sha256, "frames_mp4_bytes": made.stat().st_size}
    finally:
        source.unlink(missing_ok=True)
        made.unlink(missing_ok=True)


def _write(path: Path, mp4: Path, encoding: Encoding, rate: Fraction) -> None:
    form = Format(
        width_px=encoding.width_px,
        height_px=encoding.height_px,
        fps=rate,
        keyframe_every=1,
        preset=PRESET,
        crf=CRF,
        tune=TUNE,
        audio_rate_hz=0,
        audio_channels=0,
        audio_bits_per_s=0,
    )
    try:
        with open_media(mp4) as container:
            clock = FrameClock(container, container.streams.video[0].index, 0.0)
            colours = Colours.of(clock.stream.codec_context)
            write_mp4(path, form, _pictures(clock, encoding, rate), colours, sound=None)
    except Undecodable as error:
        raise StageError("decode_failed", f"the mp4 of {encoding.key}: {error}") from error


def _pictures(clock: FrameClock, encoding: Encoding, rate: Fraction) -> Iterator[VideoFrame]:
    fps = exact_rate(encoding.fps)
    for number in frame_numbers(encoding.frames, fps, rate):
        yield clock.at(float((number + Fraction(1, 2)) / fps))  # the middle: no rounding matters
