"""A sample's mp4 and frames.mp4 against its json: container, codecs, size, frames, keyframes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import av
from av.video.frame import VideoFrame

from reelscript.transforms.mp4_format import exact_rate

KEYFRAME_S = 1.0  # the furthest that any frame lies behind its keyframe ...
ROUNDING_S = 0.0015  # ... but for the ticks of the container
MEDIA_S = 0.25  # between a stated and a decoded duration: the last frame, audio padding


def media_faults(mp4: bytes, meta: Mapping[str, Any]) -> Iterator[str]:
    """Yields what is wrong with an mp4; `meta` is the json of its sample."""
    key = meta["key"]
    yield from _container_faults(f"{key}.mp4", mp4)
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


def _container_faults(at: str, mp4: bytes) -> Iterator[str]:
    boxes = list(top_boxes(mp4))
    if "moov" not in boxes or "mdat" not in boxes[boxes.index("moov") :]:
        yield f"{at} is not faststart: its parts are {', '.join(boxes[:6])}"


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


def frames_faults(mp4: bytes, meta: Mapping[str, Any]) -> Iterator[str]:
    """Yields what is wrong with a frames.mp4; `meta` is the json of its sample."""
    at = f"{meta['key']}.frames.mp4"
    yield from _container_faults(at, mp4)
    with av.open(io.BytesIO(mp4), "r") as container:
        video, codecs = container.streams.video[0], [s.type for s in container.streams]
        if video.codec_context.name != "h264" or codecs != ["video"]:
            yield f"{at} is {video.codec_context.name} in {', '.join(codecs)}, not H.264 alone"
        rate = Fraction(video.average_rate or 0)
        frames = [(f.time, f.key_frame, (f.width, f.height)) for f in container.decode(video)]
    if not all(is_key for _, is_key, _ in frames):
        yield f"{at} holds frames that are not keyframes"
    sizes = {size for _, _, size in frames}
    if sizes != {(meta["width_px"], meta["height_px"])}:
        yield f"{at} shows {sorted(sizes)} px, json says {meta['width_px']}x{meta['height_px']}"
    places_s = [float(i / rate) for i in range(len(frames))]
    times_s = [time_s for time_s, _, _ in frames]
    if any(
        t is None or abs(t - due) > ROUNDING_S for t, due in zip(times_s, places_s, strict=True)
    ):
        yield f"{at}: its frames are not at 0, 1/{float(rate):g}, 2/{float(rate):g}, ... s"
    due = math.ceil(meta["frames"] * rate / exact_rate(meta["fps"]))
    if len(frames) != due:
        yield f"{at} has {len(frames)} frames at {float(rate):g} a second, {due} are due"


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
