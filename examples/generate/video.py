"""One generated video, and the files beside it.

```
videos/train-1-000000.mp4    what is seen and heard
videos/train-1-000000.vtt    its words with their times, as subtitles
videos/train-1-000000.json   its sentences: event, text, times, words
```
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

from reelscript.examples.generate.babble import Babble
from reelscript.examples.generate.backgrounds import background
from reelscript.examples.generate.picture import Pixels, draw
from reelscript.examples.generate.stored_voice import StoredVoice, voice_folder
from reelscript.examples.generate.story import Recipe, SoundKind, Story, story
from reelscript.examples.mp4 import write_mp4
from reelscript.examples.narration import Speaker, Told, narrate, truth
from reelscript.examples.voices import RATE_HZ, Sound

LANGUAGE = "en"


def narration(told: Story, speaker: Speaker | None = None) -> tuple[Sound, list[Told]]:
    """Returns what is heard in a video, by default babble, and what is told when."""
    events = ((e.name, e.text, e.pause_s) for e in told.events)
    return narrate(events, speaker or Babble())


def frames(what: Story, told: list[Told], recipe: Recipe, duration_s: float) -> Iterator[Pixels]:
    """Yields the pictures of a video: an event is seen from the begin of its sentence to the end.

    Args:
        what: happens.
        told: as `narration` gives it.
        recipe: gives their size and how many there are a second.
        duration_s: of the video.
    """
    still = background(what.place, *recipe.size)
    spans = list(zip(what.events, told, strict=True))
    for n in range(round(duration_s * recipe.fps)):
        t_s = n / recipe.fps
        while spans and spans[0][1].end_s <= t_s:
            spans.pop(0)
        if not spans or t_s < spans[0][1].start_s:
            yield still
            continue
        event, span = spans[0]
        pixels = still.copy()
        draw(pixels, event, (t_s - span.start_s) / (span.end_s - span.start_s))
        yield pixels


@functools.cache
def _speaker(kind: SoundKind, voices: Path | None) -> Speaker:
    return StoredVoice(voices or voice_folder()) if kind == "voice" else Babble()


def make_video(folder: Path, recipe: Recipe, index: int, voices: Path | None = None) -> str:
    """Makes video `index` and the files beside it, and returns its id; the JSON comes last."""
    what = story(recipe, index)
    sound, told = narration(what, _speaker(recipe.sound, voices))
    duration_s = len(sound) / RATE_HZ
    pictures = frames(what, told, recipe, duration_s)
    heard = None if recipe.sound == "none" else sound
    path = folder / f"{what.video_id}.mp4"
    part = path.with_name(f".part-{path.name}")
    lossless = recipe.sound == "babble"
    write_mp4(str(part), pictures, recipe.size, recipe.fps, heard, 24, "veryfast", lossless)
    part.replace(path)
    path.with_suffix(".vtt").write_text(subtitles(told), "utf-8")
    facts = truth(path.name, LANGUAGE, duration_s, told) | {"place": what.place}
    part.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    part.replace(path.with_suffix(".json"))
    return what.video_id


def subtitles(told: list[Told]) -> str:
    """Returns the sentences as WebVTT, one a cue, with the time of each word."""
    cues = []
    for sentence in told:
        first, *others = sentence.words
        timed = "".join(f" <{_clock(w.start_s)}>{w.word}" for w in others)
        span = f"{_clock(sentence.start_s)} --> {_clock(sentence.end_s)}"
        cues.append(f"{span}\n{first.word}{timed}\n")
    return "\n".join(["WEBVTT\n", *cues])


def _clock(seconds: float) -> str:
    minutes, ms = divmod(round(1000 * seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{ms // 1000:02d}.{ms % 1000:03d}"
