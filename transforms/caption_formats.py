"""Subtitle files as cues: WebVTT, SubRip, and YouTube's json3.

webvtt-py splits WebVTT and SubRip into cues; what stands inside of a cue, and json3, is read here.
The file comes from outside: its size, the number of its cues and the length of a video bound it.
"""

from __future__ import annotations

import html
import io
import json
import re
from dataclasses import dataclass
from typing import Any

from reelscript.pipeline.errors import StageError
from reelscript.schemas.video import Seconds

MAX_BYTES = 8 << 20  # four hours of YouTube's WebVTT, the most verbose, take 2 MiB
MAX_CUES = 100_000  # one each 0.15 s over four hours
MAX_CUE_CHARS = 4000  # tags included; also fewer digits than Python would make a number of
MAX_TIME_S = 1e6
_TAG = re.compile(r"<(?:([\d:.]+)|/?[A-Za-z][^<>]*|/)?>|\{\\[^{}]*\}")  # the last: of SubStation
_READING = re.compile(r"<rt[^<>]*>[^<]*")  # how a word is pronounced, which the word says already
_TIME = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})")


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown from `start_s` to `end_s`, which may lie before it, as seconds of the video.

    Attributes:
        text: without tags and escapes, its lines kept.
        times: (position in `text`, second): from when on what stands there is said.
    """

    start_s: Seconds
    end_s: Seconds
    text: str
    times: tuple[tuple[int, Seconds], ...] = ()


def cues_of(data: bytes) -> tuple[str, list[Cue]]:
    """Returns the format of a subtitle file, "vtt", "srt" or "json3", and its cues as they stand.

    Raises:
        StageError: `bad_captions`: it is too large, or none of these.
    """
    if len(data) > MAX_BYTES:
        raise _bad(f"{len(data)} bytes, at most {MAX_BYTES}")
    marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = data.decode("utf-16" if marked else "utf-8")
    except UnicodeDecodeError:
        raise _bad("neither UTF-8 nor UTF-16") from None
    text = text.lstrip("\ufeff \t\r\n")
    if text.startswith("{"):
        return "json3", _json3(text)
    kind = "vtt" if text.startswith("WEBVTT") else "srt"
    if text.count("-->") > MAX_CUES:
        raise _bad(f"more than {MAX_CUES} cues")
    return kind, _blocks(text, kind)


def _bad(said: str) -> StageError:
    return StageError("bad_captions", said)


def _no_longer(text: str) -> str:
    if len(text) > MAX_CUE_CHARS:
        raise _bad(f"{len(text)} characters in one cue, at most {MAX_CUE_CHARS}")
    return text


def _blocks(text: str, kind: str) -> list[Cue]:
    """Returns the cues of WebVTT or SubRip."""
    import webvtt

    try:
        found = webvtt.WebVTT.from_buffer(io.StringIO(text), format=kind)
    except (webvtt.errors.MalformedFileError, webvtt.errors.MalformedCaptionError) as error:
        raise _bad("neither WebVTT nor SubRip nor json3") from error
    cues = []
    for caption in found.captions:
        start_s, end_s = _seconds(caption.start), _seconds(caption.end)
        if start_s is not None and end_s is not None:
            cues.append(Cue(start_s, end_s, *_plain(caption.raw_text, start_s, end_s)))
    return cues


def _plain(
    marked: str, start_s: Seconds, end_s: Seconds
) -> tuple[str, tuple[tuple[int, float], ...]]:
    """Returns the text of a cue without its tags, and the times that stood among them.

    Where a line has times, YouTube gives none for its first word: it is said when the cue begins.
    """
    marked = _READING.sub("", _no_longer(marked))
    text, at = "", 0
    times: list[tuple[int, float]] = []
    for tag in _TAG.finditer(marked):
        text += html.unescape(marked[at : tag.start()])
        at = tag.end()
        said_s = _seconds(tag[1]) if tag[1] else None
        if said_s is not None and (times[-1][1] if times else start_s) < said_s <= end_s:
            times = times or [(text.rfind("\n") + 1, start_s)]
            times.append((len(text), said_s))
    return text + html.unescape(marked[at:]), tuple(times)


def _seconds(written: str) -> Seconds | None:
    """Returns the time that `[h:]mm:ss.fff` stands for; None where it is none."""
    found = _TIME.fullmatch(written)
    if found is None:
        return None
    hours, minutes, seconds, fraction = found.groups(default="0")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def _json3(text: str) -> list[Cue]:
    """Returns the cues of YouTube's json3: events with segments, in automatic captions words."""
    try:
        events = json.loads(text)["events"]
        if len(events) > MAX_CUES:
            raise _bad(f"more than {MAX_CUES} cues")
        return [cue for event in events if (cue := _event(event)) is not None]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _bad("JSON, but not YouTube's json3") from error


def _event(event: dict[str, Any]) -> Cue | None:
    """Returns an event as a cue; None where it holds no text or lies outside of any video."""
    start_s = _from_ms(event.get("tStartMs"))
    if start_s is None or not event.get("segs"):
        return None
    end_s = start_s + (_from_ms(event.get("dDurationMs")) or 0.0)
    text = ""
    times: list[tuple[int, float]] = []
    segments = [s for s in event["segs"] if isinstance(s.get("utf8"), str)]
    by_word = any(s.get("tOffsetMs") for s in segments)
    for segment in segments:
        said_s = start_s + (_from_ms(segment.get("tOffsetMs", 0)) or 0.0)
        if by_word and (not times or said_s > times[-1][1]):
            times.append((len(text), said_s))
        text += segment["utf8"]
    return Cue(start_s, end_s, _no_longer(text), tuple(times))


def _from_ms(value: Any) -> Seconds | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value / 1000 if is_number and 0 <= value <= MAX_TIME_S * 1000 else None
