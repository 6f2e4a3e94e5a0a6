"""The sound of a proxy: copied packet by packet where an mp4 can hold it, else made AAC."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import av
import av.error
import numpy as np
from av.audio.stream import AudioStream

from reelscript.schemas.video import Seconds, Video
from reelscript.transforms.audio import SPEECH_RATE_HZ, read_audio
from reelscript.transforms.media import Undecodable, open_media, packets, stream_of
from reelscript.transforms.mp4_format import Format
from reelscript.transforms.passage_mp4 import MUXER, aac_stream, not_written, sound_frame

COPIED = ("aac", "opus", "vorbis", "mp3", "mp2", "ac3", "eac3")  # compact, and at home in mp4


def write_sound(path: Path, source: Path, video: Video, begin_s: Seconds, form: Format) -> None:
    """Writes an mp4 that holds the sound of a video alone.

    A copy loses nothing, but a damaged stream, one that changes its format, or one whose edit list
    is no plain one may not survive it: so what is heard of the copy is compared.

    Args:
        path: where to; the folder exists.
        source: the media file.
        video: what is known of it; it has sound.
        begin_s: where the video's timeline starts on the clock of what is written.
        form: what the sound is to be, where it cannot be copied.

    Raises:
        Undecodable: nothing of the sound decodes.
        StageError: `encode_failed`: an encoder refuses.
        StorageError: the disk refuses.
    """
    if video.audio_codec in COPIED and _copied(path, source, video, begin_s):
        return
    try:
        _encode(path, source, video, begin_s, form)
    except av.error.FFmpegError as error:
        raise not_written(path, error) from error


def _copied(path: Path, source: Path, video: Video, begin_s: Seconds) -> bool:
    """Copies the sound. Returns whether that went well and sounds the same, sample by sample."""
    stream, start_s = _known(video)
    ahead_s = round(begin_s - start_s)  # whole seconds
    try:
        with (
            open_media(source) as there,
            av.open(str(path), "w", format="mp4", options=MUXER) as here,
        ):
            wanted = stream_of(there, stream, AudioStream)
            track = here.add_stream_from_template(wanted)
            for packet in packets(there, [wanted]):
                if packet.pts is None or packet.dts is None:
                    return False
                packet.pts += int(ahead_s / packet.time_base)
                packet.dts += int(ahead_s / packet.time_base)
                packet.stream = track
                here.mux(packet)
        theirs = read_audio(source, stream, start_s, SPEECH_RATE_HZ, 1, video.duration_s)
        ours = read_audio(path, 0, begin_s, SPEECH_RATE_HZ, 1, video.duration_s)
        return all(
            a is not None and b is not None and np.array_equal(a, b)
            for a, b in zip_longest(theirs, ours)
        )
    except (Undecodable, ValueError):  # ValueError: what FFmpeg's muxer refuses, times among it
        return False


def _encode(path: Path, source: Path, video: Video, begin_s: Seconds, form: Format) -> None:
    """Writes the sound from the start of the timeline on, silence in its holes."""
    stream, start_s = _known(video)
    rate_hz, channels = form.audio_rate_hz, form.audio_channels
    begin = at = round(begin_s * rate_hz)
    with av.open(str(path), "w", format="mp4", options=MUXER) as out:
        track = aac_stream(out, form)
        for block in read_audio(source, stream, start_s, rate_hz, channels, video.duration_s):
            out.mux(track.encode(sound_frame(block, form, at)))
            at += len(block)
        if at == begin:  # an mp4 cannot be of nothing
            silence = np.zeros((rate_hz // 10, channels), np.int16)
            out.mux(track.encode(sound_frame(silence, form, at)))
        out.mux(track.encode(None))


def _known(video: Video) -> tuple[int, Seconds]:
    assert video.audio_stream is not None
    assert video.start_s is not None
    return video.audio_stream, video.start_s
