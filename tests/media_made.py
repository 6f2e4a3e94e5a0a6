"""Media made on the spot: pictures that carry their number, beeps at known times, damage.

Every time is in seconds on the clock that picture and sound share when they are made. (A muxer may
move that clock: MPEG-TS starts at 1.4 s.)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

COUNTER_BITS = 12
BEEP_S = 0.05
SIZE = (192, 112)
CODECS = {  # by extension: picture, sound
    ".mp4": ("libx264", "aac"),
    ".mov": ("libx264", "aac"),
    ".mkv": ("libx264", "libopus"),
    ".webm": ("libvpx", "libopus"),
    ".avi": ("mpeg4", "libmp3lame"),
    ".mpg": ("mpeg2video", "mp2"),
    ".ts": ("libx264", "aac"),
    ".flv": ("libx264", "aac"),
}
FORMATS = {".mkv": "matroska", ".mpg": "mpeg", ".ts": "mpegts"}


def picture(number: int, kind: str = "moving", size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Returns an RGB picture (height, width, 3) with `number` burnt in.

    Bars along the top are its bits, white 1 and black 0, highest first.

    Args:
        number: from 0 to 4095.
        kind: "moving": another picture every time; "still": the counter is left out, all are equal.
        size: width and height.
    """
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width]
    shift = number * 7 if kind == "moving" else 0
    base = (((columns + shift) * 3 + rows * 2) % 256).astype(np.uint8)
    made = np.stack([base, base[::-1], 255 - base], axis=2)
    if kind == "moving":
        wide = width // COUNTER_BITS
        for bit in range(COUNTER_BITS):
            on = number >> (COUNTER_BITS - 1 - bit) & 1
            made[: height // 4, bit * wide : (bit + 1) * wide] = 255 * on
    return made


def number_in(frame: av.VideoFrame) -> int:
    """Returns the number that `picture` burnt in, read from an upright frame of any size."""
    gray = frame.to_ndarray(format="gray").astype(int)
    height, width = gray.shape
    wide = width / COUNTER_BITS
    number = 0
    for bit in range(COUNTER_BITS):
        middle = gray[height // 16 : height // 6, int((bit + 0.3) * wide) : int((bit + 0.7) * wide)]
        number = number * 2 + int(middle.mean() > 128)
    return number


def sound(
    duration_s: float, beeps_s: Iterable[float], rate_hz: int, hum: int = 0
) -> NDArray[np.int16]:
    """Returns mono sound: 1 kHz beeps of 50 ms that start at `beeps_s`, over a hum."""
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    made = hum * np.sin(2 * np.pi * 100 * t)
    for at in beeps_s:
        inside = (t >= at) & (t < at + BEEP_S)
        made[inside] += 16000 * np.sin(2 * np.pi * 1000 * (t[inside] - at))
    return made.astype(np.int16)


def beeps_in(samples: NDArray[np.int16], rate_hz: int) -> list[float]:
    """Returns when it grows loud after 20 ms of quiet, in seconds from sample 0."""
    loud = np.flatnonzero(np.abs(samples.astype(int)) > 4000)
    if not len(loud):
        return []
    starts = loud[np.r_[True, np.diff(loud) > 0.02 * rate_hz]]
    return [float(s) / rate_hz for s in starts]


def make_media(
    path: Path,
    *,
    duration_s: float = 2.0,
    fps: Fraction | int = 25,
    times_s: Sequence[float] | None = None,
    kind: str = "moving",
    size: tuple[int, int] = SIZE,
    numbers: Sequence[int] | None = None,
    video_start_s: float = 0.0,
    turn_deg: int = 0,
    video: bool = True,
    keyframe_every: int = 25,
    audio: bool = True,
    audio_start_s: float = 0.0,
    audio_duration_s: float | None = None,
    beeps_s: Sequence[float] = (),
    rate_hz: int | None = None,
    channels: int = 1,
    holes_s: Sequence[tuple[float, float]] = (),
    languages: Sequence[str] = ("",),
    codecs: tuple[str, str] | None = None,
    muxer: dict[str, str] | None = None,
) -> Path:
    """Writes a media file of the format that its extension names, and returns its path.

    Args:
        path: where to.
        duration_s: of the picture; of the sound too, unless `audio_duration_s` says otherwise.
        fps: pictures a second.
        times_s: when each picture is shown; default: at a constant rate.
        kind, size: as in `picture`.
        numbers: what each picture shows; default: 0, 1, 2, ...
        video_start_s, audio_start_s: when each starts.
        turn_deg: counter-clockwise turn of the stored picture.
        video, audio: whether there is any.
        keyframe_every: pictures.
        beeps_s: when a beep starts, on the shared clock.
        rate_hz, channels: of the sound; default: 44100, for Opus 48000.
        holes_s: stretches of which the sound's packets are left out.
        languages: one sound stream for each; stream k has its beeps k * 0.1 s later.
        codecs: of picture and sound; default: what is usual in that container.
        muxer: options of FFmpeg's muxer.
    """
    video_codec, audio_codec = codecs or CODECS[path.suffix]
    rate_hz = rate_hz or (48000 if audio_codec == "libopus" else 44100)
    if times_s is None:
        times_s = [k / fps for k in range(round(duration_s * fps))]  # type: ignore[misc]
    with av.open(str(path), "w", format=FORMATS.get(path.suffix), options=muxer or {}) as out:
        packets: list[Any] = []
        tracks = []
        if video:
            stored_size = size if turn_deg % 180 == 0 else size[::-1]
            pictures = _video_stream(out, video_codec, fps, stored_size, keyframe_every)
        for language in languages if audio else ():
            track = out.add_stream(audio_codec, rate=rate_hz)
            track.layout = "stereo" if channels == 2 else "mono"
            if language:
                track.metadata["language"] = language
            tracks.append(track)
        if video:
            shown = numbers if numbers is not None else range(len(times_s))
            for at, number in zip(times_s, shown, strict=True):
                stored = np.ascontiguousarray(np.rot90(picture(number, kind, size), turn_deg // 90))
                frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
                frame.pts = round((at + video_start_s) / pictures.codec_context.time_base)
                frame.time_base = pictures.codec_context.time_base
                packets += pictures.encode(frame)
            packets += pictures.encode(None)
        for k, track in enumerate(tracks):
            lasts = duration_s - audio_start_s if audio_duration_s is None else audio_duration_s
            heard = sound(lasts, [b + 0.1 * k - audio_start_s for b in beeps_s], rate_hz)
            made = _audio_packets(track, heard, rate_hz, channels, audio_start_s)
            packets += [p for p in made if not _within(p, holes_s)]
        packets.sort(key=lambda p: float((p.dts or 0) * p.time_base))
        for packet in packets:
            out.mux(packet)
    return path


def _video_stream(
    out: Any, codec: str, fps: Any, size: tuple[int, int], keyframe_every: int
) -> Any:
    stream = out.add_stream(codec, rate=Fraction(fps))
    stream.width, stream.height = size
    stream.pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    context = stream.codec_context
    # mpeg2video and mpeg4 know no finer clock than one tick a picture, or 1/65535 s
    context.time_base = (
        1 / Fraction(fps) if codec in ("mpeg2video", "mpeg4") else Fraction(1, 90000)
    )
    context.gop_size = keyframe_every
    context.thread_count = 1
    if codec == "libx264":
        context.options = {"preset": "ultrafast", "sc_threshold": "0"}
    if codec == "libvpx":
        context.options = {"deadline": "realtime", "cpu-used": "8"}
    return stream


def _audio_packets(
    track: Any, heard: NDArray[np.int16], rate_hz: int, channels: int, start_s: float
) -> list[Any]:
    made: list[Any] = []
    kind = av.AudioResampler(format=track.format.name, layout=track.layout.name, rate=rate_hz)
    fifo = av.AudioFifo()
    wide = np.repeat(heard[:, None], channels, axis=1).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(wide), format="s16", layout="stereo" if channels == 2 else "mono"
    )
    frame.sample_rate = rate_hz
    frame.pts = None
    for part in kind.resample(frame):
        part.pts = None
        fifo.write(part)
    at = round(start_s * rate_hz)
    track.codec_context.open()
    size = track.codec_context.frame_size or 1024
    while fifo.samples:
        piece = fifo.read(min(size, fifo.samples))
        piece.pts, piece.time_base = at, Fraction(1, rate_hz)
        at += piece.samples
        made += track.encode(piece)
    return made + track.encode(None)


def _within(packet: Any, holes_s: Sequence[tuple[float, float]]) -> bool:
    at = float(packet.pts * packet.time_base)
    return any(begin <= at < end for begin, end in holes_s)


def make_cover_first(path: Path) -> Path:
    """Writes an mp4 whose stream 0 is one big picture, like cover art, and stream 1 a video."""
    with av.open(str(path), "w") as out:
        cover = _video_stream(out, "mjpeg", 25, (640, 480), 1)
        rest = _video_stream(out, "libx264", 25, SIZE, 25)
        track = out.add_stream("aac", rate=16000)
        track.layout = "mono"
        frame = av.VideoFrame.from_ndarray(picture(1, size=(640, 480)), format="rgb24")
        frame.pts = 0
        packets = [*cover.encode(frame), *cover.encode(None)]
        for k in range(50):
            frame = av.VideoFrame.from_ndarray(picture(k), format="rgb24")
            frame.pts = k * 3600
            packets += rest.encode(frame)
        packets += rest.encode(None)
        packets += _audio_packets(track, sound(2, (), 16000, hum=500), 16000, 1, 0.0)
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            out.mux(packet)
    return path


def rotate(path: Path, counter_clockwise_deg: int) -> Path:
    """Writes into an mp4 how it is to be turned (ISO 14496-12, 8.3.2: matrix of tkhd)."""
    a, b, c, d = {0: (1, 0, 0, 1), 90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), 270: (0, 1, -1, 0)}[
        counter_clockwise_deg
    ]
    one = 1 << 16
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    plain = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd")  # of the first track
    begin = data.index(plain, at)
    data[begin : begin + 36] = matrix
    path.write_bytes(data)
    return path


def make_playlist(path: Path, target: Path) -> Path:
    """Writes an HLS playlist that names another file."""
    path.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target.absolute()}\n#EXT-X-ENDLIST\n"
    )
    return path


def make_concat_script(path: Path, target: Path) -> Path:
    """Writes a script of FFmpeg's concat demuxer that names another file."""
    path.write_text(f"ffconcat version 1.0\nfile '{target.name}'\n")
    return path


def png_bytes(width: int, height: int) -> bytes:
    """Returns a PNG of so many black pixels; a gigapixel takes about a megabyte."""
    squeeze = zlib.compressobj(9)
    row = b"\0" * ((width + 7) // 8 + 1)
    body = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def make_bomb(path: Path, claimed: tuple[int, int], real: tuple[int, int]) -> Path:
    """Writes an mp4 with sound; its pictures are PNGs of size `real`, its header says `claimed`."""
    data = png_bytes(*real)
    with av.open(str(path), "w") as out:
        stream = _video_stream(out, "png", 25, (64, 64), 1)
        track = out.add_stream("aac", rate=16000)
        track.layout = "mono"
        packets = []
        for k in range(50):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = k
            packet.is_keyframe = True
            packets.append(packet)
        stream.codec_context.open()
        packets += _audio_packets(track, sound(2, (), 16000, hum=500), 16000, 1, 0.0)
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            out.mux(packet)
    written = bytearray(path.read_bytes())
    at = written.index(b"mp4v", written.index(b"stsd")) + 28  # ISO 14496-12, 12.1.3
    written[at : at + 4] = struct.pack(">HH", *claimed)
    path.write_bytes(written)
    return path


def make_raw_sound(
    path: Path, pieces: Iterable[tuple[float, NDArray[Any]]], rate_hz: int = 8000
) -> Path:
    """Writes a Matroska file of mono PCM by hand: each piece stands at its time, in any order.

    FFmpeg's own muxers refuse times that run backwards; files in the wild have them (RFC 9559).
    """

    def element(name: str, data: bytes) -> bytes:
        return bytes.fromhex(name) + (1 << 56 | len(data)).to_bytes(8, "big") + data

    def number(name: str, value: int) -> bytes:
        return element(name, value.to_bytes(8, "big"))

    sound = element("B5", struct.pack(">d", rate_hz)) + number("9F", 1) + number("6264", 16)
    track = number("D7", 1) + number("73C5", 1) + number("83", 2)
    track += element("86", b"A_PCM/INT/LIT") + element("E1", sound)
    body = element("1549A966", number("2AD7B1", 1_000_000))  # times in ms
    body += element("1654AE6B", element("AE", track))
    for at_s, samples in pieces:
        block = b"\x81\x00\x00\x80" + samples.astype("<i2").tobytes()
        body += element("1F43B675", number("E7", round(at_s * 1000)) + element("A3", block))
    head = element("1A45DFA3", element("4282", b"matroska"))
    path.write_bytes(head + element("18538067", body))
    return path
