"""One mp4 against what its json says of it: container, codecs, size, frames, keyframes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import av
from av.video.frame import VideoFrame

KEYFRAME_S = 1.0  # the furthest that any frame lies behind its keyframe ...
ROUNDING_S = 0.0015  # ... but for the ticks of the container
MEDIA_S = 0.25  # between a stated and a decoded duration: the last frame, audio padding


def media_faults(mp4: bytes, meta: Mapping[str, Any]) -> Iterator[str]:
    """Yields what is wrong with an mp4; `meta` is the json of its sample."""
    key = meta["key"]
    boxes = list(top_boxes(mp4))
    if "moov" not in boxes or "mdat" not in boxes[boxes.index("moov") :]:
        yield f"{key}.mp4 is not faststart: its parts are {', '.join(boxes[:6])}"
    with av.open(io.BytesIO(mp4), "r") as container:
        video, sound = container.streams.video[0], list(container.streams.audio)
        codecs = {stream.codec_context.name for stream in sound}
        if video.codec_context.name != "h264" or not codecs <= {"aac"}:
            yield f"{key}.mp4 is {video.codec_context.name} with {', '.join(codecs) or 'no sound'}"
        if not sound and meta["transcript"]["source"] == "asr":
            yield f"{key}.mp4 has no sound, but its words were heard"
        frames = [
            (float(frame.time or 0.0), frame.key_frame, (frame.width, frame.height))
            for frame in container.decode([video, *sound])
            if isinstance(frame, VideoFrame)
        ]
    yield from _frame_faults(f"{key}.mp4", frames, meta)


def _frame_faults(
    at: str, frames: list[tuple[float, bool, tuple[int, int]]], meta: Mapping[str, Any]
) -> Iterator[str]:
    sizes = {size for _, _, size in frames}
    if sizes != {(meta["width_px"], meta["height_px"])}:
        yield f"{at} shows {sorted(sizes)} px, json says {meta['width_px']}x{meta['height_px']}"
    if len(frames) != meta["frames"]:
        yield f"{at} has {len(frames)} frames, json says {meta['frames']}"
    if not frames:
        return
    period_s = 1 / meta["fps"]
    shown_s = frames[-1][0] - frames[0][0] + period_s
    if abs(shown_s - meta["duration_s"]) > MEDIA_S:
        yield f"{at} shows pictures for {shown_s:.3f} s, json says {meta['duration_s']} s"
    if abs(shown_s - len(frames) * period_s) > MEDIA_S:
        yield f"{at} has {len(frames)} frames in {shown_s:.3f} s, json says {meta['fps']} a second"
    if not frames[0][1] or not -ROUNDING_S <= frames[0][0] <= ROUNDING_S:
        yield f"{at}: the first frame is no keyframe at 0 s"
    furthest_s, key_s = 0.0, frames[0][0]
    for time_s, is_key, _ in frames:
        key_s = time_s if is_key else key_s
        furthest_s = max(furthest_s, time_s - key_s)
    if furthest_s > KEYFRAME_S + ROUNDING_S:
        yield f"{at}: a frame lies {furthest_s:.2f} s behind its keyframe"


def intra_faults(mp4: bytes, key: str) -> Iterator[str]:
    """Yields a fault if a frame of a `frames.mp4` is not coded by itself."""
    with av.open(io.BytesIO(mp4), "r") as container:
        if not all(frame.key_frame for frame in container.decode(video=0)):
            yield f"{key}.frames.mp4 holds frames that are not keyframes"


def top_boxes(mp4: bytes) -> Iterator[str]:
    """Yields the types of the top-level boxes of an mp4 in their order (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at + 8 <= len(mp4):
        size, kind = int.from_bytes(mp4[at : at + 4]), mp4[at + 4 : at + 8]
        yield kind.decode("latin-1")
        if size == 1:
            size = int.from_bytes(mp4[at + 8 : at + 16])
        if size < 8:  # 0: to the end of the file; 2 to 7: no box
            return
        at += size
