"""Many generated videos in a folder, made by several processes, and the files to build them with.

```
FOLDER/recipe.json     what it was made by; the same folder takes no other videos
FOLDER/videos/         the videos and the files beside each
FOLDER/sources.jsonl   their list, in order: path, id, language, license, subtitles
FOLDER/corpus.yaml     `reelscript build FOLDER/corpus.yaml -o corpus`
```
"""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from importlib.resources import files
from pathlib import Path

from reelscript.examples.generate.story import Recipe, video_id
from reelscript.examples.generate.video import LANGUAGE, make_video
from reelscript.pipeline.errors import UsageError
from reelscript.schemas.text import one_line

CONFIG = "generated.yaml"
VERSION = 1  # of what a recipe gives: raised where it gives other videos
SIDE = "short_side_px: 112"  # in CONFIG; the videos' own size takes its place


def generate(
    folder: str | Path,
    videos: int,
    recipe: Recipe | None = None,
    workers: int = 1,
    voices: Path | None = None,
    made: Callable[[str], None] = lambda _: None,
) -> Path:
    """Makes the first `videos` videos of a recipe and returns the list of them, `sources.jsonl`.

    Those that are there already stay; so the same call goes on where one ended, and a larger number
    makes the rest.

    Args:
        folder: where to.
        videos: how many.
        recipe: what they are made by; by default babble at 112x112, for training.
        workers: processes; with more than one, a script that calls this needs
            `if __name__ == "__main__":`.
        voices: where sentences of the voice are kept; None: in the user's cache.
        made: is told the id of each new video, in order.

    Raises:
        UsageError: the folder holds something else, or the voice is not installed.
    """
    if videos < 1 or workers < 1:
        raise UsageError(f"videos and workers: expected 1 or more, found {videos} and {workers}")
    recipe, folder = recipe or Recipe(), Path(folder)
    _claim(folder, recipe)
    media = folder / "videos"
    media.mkdir(exist_ok=True)
    ids = [video_id(recipe, index) for index in range(videos)]
    missing = [n for n, name in enumerate(ids) if not (media / f"{name}.json").is_file()]
    for name in _made(partial(make_video, media, recipe, voices=voices), missing, workers):
        made(name)
    (folder / "corpus.yaml").write_text(_config(recipe), "utf-8")
    sources = folder / "sources.jsonl"
    sources.write_text("".join(json.dumps(_row(name)) + "\n" for name in ids), "utf-8")
    return sources


def _made(make: Callable[[int], str], indices: Iterable[int], workers: int) -> Iterator[str]:
    if workers == 1:
        yield from map(make, indices)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _leave_interrupts_to_the_parent)
    try:
        yield from pool.map(make, indices, chunksize=8)
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _claim(folder: Path, recipe: Recipe) -> None:
    """Writes the recipe into a new folder. Raises UsageError where another one stands, or files."""
    path = folder / "recipe.json"
    wanted = json.loads(json.dumps(asdict(recipe) | {"version": VERSION}))
    folder.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        found = _recipe(path)
        differs = [k for k in wanted if found.get(k) != wanted[k]]
        if differs and any((folder / "videos").glob("*.json")):
            said = ", ".join(f"{k} {found.get(k)} there, {wanted[k]} asked for" for k in differs)
            raise UsageError(f"{folder} holds videos of another recipe: {one_line(said)}")
    elif any(folder.iterdir()):
        raise UsageError(f"{folder} holds something else: name a new folder")
    path.write_text(json.dumps(wanted) + "\n", "utf-8")


def _recipe(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{path} is not a recipe: name a new folder")
    return found


def _config(recipe: Recipe) -> str:
    shipped = files("reelscript.examples").joinpath(CONFIG).read_text("utf-8")
    return shipped.replace(SIDE, f"short_side_px: {min(recipe.size)}")


def _row(name: str) -> dict[str, str]:
    return {
        "path": f"videos/{name}.mp4",
        "id": name,
        "language": LANGUAGE,
        "license": "CC0-1.0",
        "subtitles": f"videos/{name}.vtt",
    }
