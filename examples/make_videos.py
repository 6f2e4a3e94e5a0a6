"""Makes the demo videos: `python examples/make_videos.py FOLDER` (needs the extra `make-videos`).

What ships was made by this script; it is needed only to make more. Where the program `espeak-ng` is
missing, the Spanish video is left out and the script says so.

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
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelscript.examples.drawing import HEIGHT_PX, WIDTH_PX, Canvas
from reelscript.examples.mp4 import write_mp4
from reelscript.examples.narration import Speaker, Told, narrate, truth
from reelscript.examples.scenes import GARDEN, HARBOUR, TABLE, Story
from reelscript.examples.voices import RATE_HZ, EnglishVoice, Sound, SpanishVoice

FPS = 20
TAIL_S = 1.2
PAUSES_S = (0.7, 1.0, 0.85, 1.2)  # between sentences, in turn: what a calm speaker leaves
BROKEN_BYTES = 150_000


def narrated(story: Story, voice: Speaker) -> tuple[Sound, list[Told]]:
    """Returns the narration of a story and what is told when."""
    pauses = [PAUSES_S[n % len(PAUSES_S)] for n in range(len(story.events) - 1)]
    pairs = zip(story.events, [*pauses, TAIL_S], strict=True)
    return narrate(((event.name, event.text, pause_s) for event, pause_s in pairs), voice)


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
    """Writes a story to a path or a binary file."""
    write_mp4(target, pictures(story, told, duration_s), (WIDTH_PX, HEIGHT_PX), FPS, sound)


def make(story: Story, voice: Speaker, folder: Path) -> tuple[Sound, list[Told]]:
    """Makes a narrated video and the JSON file beside it; returns what is heard and told."""
    sound, told = narrated(story, voice)
    duration_s = len(sound) / RATE_HZ
    write_video(str(folder / f"{story.name}.mp4"), story, told, sound, duration_s)
    facts = truth(f"{story.name}.mp4", story.language, duration_s, told)
    (folder / f"{story.name}.json").write_text(
        json.dumps(facts, indent=1, ensure_ascii=False) + "\n", "utf-8"
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
