"""The streams of a file as their packets show them, and which of several is meant."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray

from reelscript.pipeline.errors import Reject
from reelscript.schemas.video import Seconds
from reelscript.transforms.media import MAX_JUMP_S, has_decoder, packets

NO_MOVING_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails
NOT_THE_SPEECH = Disposition.comment | Disposition.visual_impaired | Disposition.karaoke
WHOLE_FPS = (5, 10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 100, 120)
NTSC_FPS = (12, 15, 24, 30, 48, 60, 120)  # times 1000/1001 (SMPTE ST 12-1)
WELL_KNOWN_FPS = (*map(float, WHOLE_FPS), *(n * 1000 / 1001 for n in NTSC_FPS))
SNAP = 0.005  # of a rate, within which it is taken for a well-known one
UNEVEN = 0.2  # of the usual interval, from which on another one clearly differs
UNEVEN_SHARE = 0.05  # of all intervals; a few dropped pictures are not yet a variable rate
LONG_SOUND = 10  # a last sound packet of more times the usual length lies

# ISO 639-1 and the codes of ISO 639-2 for the same language, as containers carry them.
_CODES = """
ar/ara bg/bul bn/ben ca/cat cs/ces/cze cy/cym/wel da/dan de/deu/ger el/ell/gre en/eng es/spa
et/est eu/eus/baq fa/fas/per fi/fin fr/fra/fre ga/gle gl/glg gu/guj he/heb hi/hin hr/hrv hu/hun
hy/hye/arm id/ind is/isl/ice it/ita ja/jpn ka/kat/geo kn/kan ko/kor lt/lit lv/lav mk/mkd/mac
ml/mal mr/mar ms/msa/may my/mya/bur nl/nld/dut no/nor/nob/nno/nb/nn pa/pan pl/pol pt/por
ro/ron/rum ru/rus sk/slk/slo sl/slv sq/sqi/alb sr/srp sv/swe sw/swa ta/tam te/tel th/tha
tl/tgl/fil tr/tur uk/ukr ur/urd vi/vie yue zh/zho/chi/cmn
"""
LANGUAGE_OF = {c: group.split("/")[0] for group in _CODES.split() for c in group.split("/")}


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One stream of picture or sound; what the header merely claims is only for choosing.

    `starts` and `lasts`: of each packet that is presented, in ticks of `time_base`, in order of
    presentation.
    """

    index: int
    codec: str | None  # None: no decoder
    disposition: Disposition
    language: str | None  # ISO 639-1 where known, else as tagged
    width_px: int
    height_px: int
    rate_hz: int
    bits_per_s: int
    time_base: Fraction
    starts: NDArray[np.int64]
    lasts: NDArray[np.int64]

    @property
    def packets(self) -> int:
        """How many of them are presented."""
        return len(self.starts)

    def end_s(self, first_s: Seconds, sound: bool) -> Seconds:
        """Returns when the last packet ends, in seconds on the container's clock.

        Args:
            first_s: when the stream starts. What lies more than `MAX_JUMP_S` behind what came
                before does not count.
            sound: a packet of sound is not believed to be much longer than the others.
        """
        starts = self.starts[self.starts >= int(first_s / self.time_base)]
        if not len(starts):
            return first_s
        jumps = np.flatnonzero(np.diff(starts) > MAX_JUMP_S / self.time_base)
        last = starts[jumps[0]] if len(jumps) else starts[-1]
        usual = _usual(starts)
        lasts = int(self.lasts[np.searchsorted(self.starts, last)])
        if lasts <= 0 or (sound and usual and lasts > LONG_SOUND * usual):
            lasts = round(usual)
        return float((int(last) + lasts) * self.time_base)

    def fps(self) -> tuple[float | None, bool]:
        """Returns pictures a second, nominally, and whether the rate is variable.

        The nominal rate comes from those intervals that are near the median one: their mean,
        because a container that rounds to milliseconds makes 33 and 34 of one thirtieth. One within
        0.5 % of a well-known rate is that. None with fewer than two pictures.
        """
        steps = np.diff(np.unique(self.starts)).astype(float)
        usual = _usual(self.starts)
        if not len(steps) or usual <= 0:
            return None, False
        rounding = 1.0 if usual > 2 else 0.0  # a clock that ticks once a picture rounds nothing
        near = np.abs(steps - usual) <= max(UNEVEN * usual, rounding)
        fps = float(1 / (steps[near].mean() * float(self.time_base)))
        known = min(WELL_KNOWN_FPS, key=lambda f: abs(f - fps))
        if abs(known - fps) <= SNAP * fps:
            fps = known
        return fps, bool(np.mean(~near) > UNEVEN_SHARE)


def _usual(starts: NDArray[np.int64]) -> float:
    """Returns the lower median of the intervals, in ticks; 0.0 with fewer than two times."""
    steps = np.sort(np.diff(np.unique(starts)))
    return float(steps[(len(steps) - 1) // 2]) if len(steps) else 0.0


def tracks_of(container: InputContainer, max_packets: int) -> tuple[list[Track], list[Track]]:
    """Returns the tracks of moving picture and those of sound that hold packets.

    Raises:
        Reject: `too_long`: there are more than `max_packets`.
    """
    streams = [s for s in container.streams if _may_matter(s)]
    times = {s.index: (array("q"), array("q")) for s in streams}
    for count, packet in enumerate(packets(container, streams)):
        if count >= max_packets:
            raise Reject("too_long", packets=f"over {max_packets}")
        if packet.pts is not None and not packet.is_discard:
            starts, lasts = times[packet.stream_index]
            starts.append(packet.pts)
            lasts.append(packet.duration or 0)
    tracks = {s.index: _track(s, *times[s.index]) for s in streams if times[s.index][0]}
    return (
        [tracks[s.index] for s in streams if isinstance(s, VideoStream) and s.index in tracks],
        [tracks[s.index] for s in streams if isinstance(s, AudioStream) and s.index in tracks],
    )


def _may_matter(stream: Stream) -> bool:
    if isinstance(stream, VideoStream):
        return not stream.disposition & NO_MOVING_PICTURE
    return isinstance(stream, AudioStream)


def _track(stream: Stream, starts: array[int], lasts: array[int]) -> Track:
    when, long = np.frombuffer(starts, np.int64), np.frombuffer(lasts, np.int64)
    order = np.argsort(when, kind="stable")
    decoder = stream.codec_context if has_decoder(stream) else None
    tag = (stream.language or "").lower().split("-")[0]
    return Track(
        index=stream.index,
        codec=decoder.codec.canonical_name if decoder else None,
        disposition=Disposition(stream.disposition),
        language=LANGUAGE_OF.get(tag, tag) or None,
        width_px=decoder.width if isinstance(decoder, VideoCodecContext) else 0,
        height_px=decoder.height if isinstance(decoder, VideoCodecContext) else 0,
        rate_hz=decoder.sample_rate if isinstance(decoder, AudioCodecContext) else 0,
        bits_per_s=(decoder.bit_rate if decoder else None) or 0,
        time_base=Fraction(stream.time_base or 1),
        starts=when[order],
        lasts=long[order],
    )


def chosen_picture(tracks: Iterable[Track]) -> Track:
    """Returns the track that is meant: one that moves, the default, the largest, the longest.

    Raises:
        Reject: `no_video`: there is none.
    """
    if not (of := list(tracks)):
        raise Reject("no_video")
    return max(of, key=_picture_rank)


def _picture_rank(track: Track) -> tuple[float, ...]:
    default = bool(track.disposition & Disposition.default)
    area_px = track.width_px * track.height_px
    return (track.codec is not None, track.packets > 1, default, area_px, track.packets)


def chosen_sound(tracks: Iterable[Track], language: str | None) -> Track:
    """Returns the track that is meant: in the stated language, no commentary, default, finest.

    Raises:
        Reject: `no_audio`: there is none.
    """
    if not (of := list(tracks)):
        raise Reject("no_audio")
    wanted = language and LANGUAGE_OF.get(language.lower(), language.lower())
    return max(of, key=lambda track: _sound_rank(track, wanted))


def _sound_rank(track: Track, language: str | None) -> tuple[float, ...]:
    aside = bool(track.disposition & NOT_THE_SPEECH)
    default = bool(track.disposition & Disposition.default)
    return (
        *(track.codec is not None, bool(language) and track.language == language, not aside),
        *(default, track.rate_hz, track.bits_per_s, track.packets),
    )
