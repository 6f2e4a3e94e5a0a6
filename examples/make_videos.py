"""Makes the demo videos: `python examples/make_videos.py FOLDER` (needs the extra `make-videos`).

What ships was made by this script; it is needed only to make more. Where the program `espeak-ng` is
missing, the Spanish video is left out and the script says so.

```
time     0 -- LEAD_S --|-- sentence --|-- pause --|-- sentence --|-- ... --|-- TAIL_S --|
picture                | its event    |           | its event    |
```

Beside each narrated video lies a JSON file with what really happens when: `start_s` and `end_s` of
every sentence (its event happens in just that time) and of every word, in seconds from the start of
the video.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from drawing import HEIGHT_PX, WIDTH_PX, Canvas
from numpy.typing import NDArray
from scenes import GARDEN, HARBOUR, TABLE, Story
from voices import RATE_HZ, EnglishVoice, Sound, SpanishVoice, SpokenWord

FPS = 20
LEAD_S, TAIL_S = 0.8, 1.2
PAUSES_S = (0.7, 1.0, 0.85, 1.2)  # between sentences, in turn: what a calm speaker leaves
BROKEN_BYTES = 150_000
AAC_FRAME = 1024  # samples that the encoder takes at once


@dataclass(frozen=True)
class Told:
    """A sentence, the event that it tells, and when both happen.

    `words` is empty where the voice does not tell when it says them.
    """

    event: str
    text: str
    start_s: float
    end_s: float
    words: list[SpokenWord]


def tell(story: Story, voice: EnglishVoice | SpanishVoice) -> tuple[Sound, list[Told]]:
    """Returns the narration of a story and what is told when."""
    sounds: list[Sound] = [np.zeros(round(LEAD_S * RATE_HZ), np.float32)]
    told: list[Told] = []
    for n, event in enumerate(story.events):
        start_s = sum(map(len, sounds)) / RATE_HZ
        sound, words = voice.say(event.text)
        moved = [
            SpokenWord(w.word, round(start_s + w.start_s, 3), round(start_s + w.end_s, 3))
            for w in words
        ]
        told.append(
            Told(
                event.name,
                event.text,
                round(start_s, 3),
                round(start_s + len(sound) / RATE_HZ, 3),
                moved,
            )
        )
        pause_s = PAUSES_S[n % len(PAUSES_S)] if n + 1 < len(story.events) else TAIL_S
        sounds += [
            0.8 * sound / np.abs(sound).max(),
            np.zeros(round(pause_s * RATE_HZ), np.float32),
        ]
    return np.concatenate(sounds), told


def pictures(story: Story, told: list[Told], duration_s: float) -> Iterator[NDArray[np.uint8]]:
    """Yields the frames of a story, (height, width, 3)."""
    for n in range(round(duration_s * FPS)):
        t_s = n / FPS
        done = {
            t.event: min(max((t_s - t.start_s) / (t.end_s - t.start_s), 0.0), 1.0) for t in told
        }
        canvas = Canvas()
        story.draw(canvas, done, t_s)
        yield np.clip(canvas.pixels + 0.5, 0, 255).astype(np.uint8)


def write_video(
    target: Any, story: Story, told: list[Told], sound: Sound | None, duration_s: float
) -> None:
    """Writes H.264, and AAC where there is sound, to a path or a binary file.

    One encoder thread, because the bytes depend on how many there are; and no AVX-512, because with
    it x264 gives other bytes for the same pictures from run to run.
    """
    with av.open(target, "w", format="mp4") as container:
        options = {"crf": "24", "preset": "medium", "threads": "1", "x264-params": "asm=SSE4"}
        video = container.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        video.codec_context.gop_size = 2 * FPS
        audio = None
        if sound is not None:
            audio = container.add_stream("aac", rate=RATE_HZ, layout="mono")
            audio.bit_rate = 48_000
        heard = 0
        for n, picture in enumerate(pictures(story, told, duration_s)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            shown = round((n + 1) * RATE_HZ / FPS)
            while audio is not None and sound is not None and heard < min(len(sound), shown):
                samples = sound[None, heard : heard + AAC_FRAME]
                frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, heard, Fraction(1, RATE_HZ)
                container.mux(audio.encode(frame))
                heard += AAC_FRAME
        container.mux(video.encode())
        if audio is not None:
            container.mux(audio.encode())


def make(
    story: Story, voice: EnglishVoice | SpanishVoice, folder: Path
) -> tuple[Sound, list[Told]]:
    """Makes a narrated video and the JSON file beside it; returns what is heard and told."""
    sound, told = tell(story, voice)
    duration_s = len(sound) / RATE_HZ
    write_video(str(folder / f"{story.name}.mp4"), story, told, sound, duration_s)
    truth = {
        "video": f"{story.name}.mp4",
        "language": story.language,
        "license": "CC0-1.0",
        "duration_s": round(duration_s, 3),
        "sentences": [asdict(t) for t in told],
    }
    (folder / f"{story.name}.json").write_text(
        json.dumps(truth, indent=1, ensure_ascii=False) + "\n", "utf-8"
    )
    return sound, told


def main() -> int:
    """Makes all the videos of the demo in the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Make the demo videos.")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)

    english = EnglishVoice()
    sound, told = make(GARDEN, english, folder)
    make(TABLE, english, folder)

    whole = io.BytesIO()  # its index stands at its end, so the beginning alone cannot be read
    write_video(whole, GARDEN, told, sound, len(sound) / RATE_HZ)
    (folder / "broken.mp4").write_bytes(whole.getvalue()[:BROKEN_BYTES])

    shown = [Told(e.name, e.text, 3.0 * n, 3.0 * n + 3.0, []) for n, e in enumerate(HARBOUR.events)]
    write_video(str(folder / "silent.mp4"), HARBOUR, shown, None, 3.0 * len(shown))

    if shutil.which("espeak-ng") is None:
        print("espeak-ng (Debian: apt-get install espeak-ng) is missing: no Spanish video made")
    else:
        make(HARBOUR, SpanishVoice(), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
