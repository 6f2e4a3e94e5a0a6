"""Generated corpora: files agree, whoever makes them; a build of them has just the known words."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from reelscript.examples.generate import Recipe, frames, generate, narration, story
from reelscript.examples.generate.backgrounds import background
from reelscript.examples.generate.video import make_video
from reelscript.examples.voices import RATE_HZ
from reelscript.jobs.build import build
from reelscript.pipeline.errors import UsageError
from reelscript.reading.corpus import open_corpus
from reelscript.transforms.caption_cleaning import cleaned
from reelscript.transforms.caption_formats import cues_of
from reelscript.transforms.caption_timing import timed_words
from tests.built import needs_models

SMALL = Recipe(size=(64, 48), fps=8, events=(2, 3))


def everything_in(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_generated_files_agree(tmp_path: Path) -> None:
    told = story(SMALL, 3)
    assert make_video(tmp_path, SMALL, 3) == told.video_id
    assert {p.name for p in tmp_path.iterdir()} == {
        f"{told.video_id}.{suffix}" for suffix in ("mp4", "vtt", "json")
    }
    truth = json.loads((tmp_path / f"{told.video_id}.json").read_text("utf-8"))
    sentences = truth["sentences"]
    assert [s["text"] for s in sentences] == [e.text for e in told.events]
    assert truth["place"] == told.place

    kind, cues = cues_of((tmp_path / f"{told.video_id}.vtt").read_bytes())
    words = timed_words(cleaned(cues).lines)
    wanted = [w for s in sentences for w in s["words"]]
    assert kind == "vtt"
    assert [w.word.strip() for w in words] == [w["word"] for w in wanted]
    assert [w.start_s for w in words] == [w["start_s"] for w in wanted]
    assert not any(w.interpolated for w in words)

    with av.open(str(tmp_path / f"{told.video_id}.mp4")) as container:
        shown = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    with av.open(str(tmp_path / f"{told.video_id}.mp4")) as container:
        sound = np.concatenate([f.to_ndarray().reshape(-1) for f in container.decode(audio=0)])
    assert len(sound) / RATE_HZ == pytest.approx(truth["duration_s"], abs=0.001)
    still = background(told.place, *SMALL.size).astype(int)
    for n, pixels in enumerate(shown):
        away = np.abs(pixels.astype(int) - still).max(-1)
        speaking = any(s["start_s"] <= n / SMALL.fps < s["end_s"] for s in sentences)
        assert ((away > 60).sum() > 5) == speaking, n
    drawn = frames(told, narration(told)[1], SMALL, truth["duration_s"])
    off = [np.abs(a.astype(int) - b).mean() for a, b in zip(shown, drawn, strict=True)]
    assert max(off) < 6  # of 255: what x264 loses


def test_generated_corpus_is_the_same_by_two_processes_and_in_two_calls(tmp_path: Path) -> None:
    made: list[str] = []
    generate(tmp_path / "one", 5, SMALL, made=made.append)
    generate(tmp_path / "two", 5, SMALL, workers=2)
    generate(tmp_path / "more", 2, SMALL)
    listed = generate(tmp_path / "more", 5, SMALL, made=made.append)
    found = everything_in(tmp_path / "one")
    assert len(found) == 3 * 5 + 3
    assert found == everything_in(tmp_path / "two") == everything_in(tmp_path / "more")
    ids = [f"train-1-{n:06d}" for n in range(5)]
    assert made == [*ids, *ids[2:]]  # what is there is not made again
    assert [json.loads(line)["id"] for line in listed.read_text("utf-8").splitlines()] == ids


def test_generated_corpus_without_sound_has_no_sound_stream(tmp_path: Path) -> None:
    generate(tmp_path / "out", 1, Recipe(sound="none", size=(32, 32), events=(1, 1)))
    with av.open(str(next(tmp_path.glob("out/videos/*.mp4")))) as container:
        assert [s.type for s in container.streams] == ["video"]


def test_generated_folder_of_another_recipe_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate(out, 1, SMALL)
    before = everything_in(out)
    with pytest.raises(UsageError, match="another recipe: seed 1 there, 2 asked for"):
        generate(out, 1, Recipe(seed=2, size=(64, 48), fps=8, events=(2, 3)))
    assert everything_in(out) == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").touch()
    with pytest.raises(UsageError, match="holds something else"):
        generate(tmp_path / "full", 1, SMALL)
    for path in (out / "videos").glob("*.json"):
        path.unlink()
    generate(out, 1, Recipe(seed=2, size=(64, 48), fps=8, events=(2, 3)))  # nothing is finished
    (out / "recipe.json").write_text("[", "utf-8")
    with pytest.raises(UsageError, match="is not a recipe"):
        generate(out, 1, SMALL)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"split": "val"}, "expected train or test, found 'val'"),
        ({"sound": "beeps"}, "expected babble, voice or none, found 'beeps'"),
        ({"size": (111, 112)}, "found 111x112"),
        ({"size": (112, 4000)}, "found 112x4000"),
        ({"fps": 0}, "fps: expected 1 to 60"),
        ({"seed": -1}, "seed: expected 0 to"),
        ({"events": (5, 4)}, "found 5 and 4"),
        ({"events": (1, 21)}, "events: expected"),
    ],
)
def test_generated_recipe_says_what_is_wrong(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        Recipe(**wrong)
    with pytest.raises(UsageError, match="1 or more, found 0 and 1"):
        generate("nowhere", 0)


@needs_models
def test_generated_corpus_is_built_with_just_the_known_words(tmp_path: Path) -> None:
    recipe = Recipe(split="test", seed=5, events=(4, 6), size=(64, 48))
    generate(tmp_path / "made", 3, recipe)
    built = build(config=tmp_path / "made" / "corpus.yaml", out=tmp_path / "corpus", workers=2)
    assert (built.dataset["counts"]["kept"], built.dataset["counts"]["samples"]) == (3, 3)
    corpus = open_corpus(tmp_path / "corpus")
    for sample in corpus:
        name = sample.meta["video_id"]
        truth = json.loads((tmp_path / "made" / "videos" / f"{name}.json").read_text("utf-8"))
        assert sample.meta["transcript"]["source"] == "captions"
        assert (sample.meta["width_px"], sample.meta["height_px"]) == (64, 48)
        clips, sentences = sample.clips, truth["sentences"]
        assert [c["text"] for c in clips] == [s["text"] for s in sentences]  # a clip is a sentence
        for clip, sentence in zip(clips, sentences, strict=True):
            start_s = [w["start_s"] + sample.meta["start_s"] for w in clip["words"]]
            off_s = np.subtract(start_s, [w["start_s"] for w in sentence["words"]])
            assert np.abs(off_s).max() < 0.12
            assert clip["start_s"] + sample.meta["start_s"] <= sentence["start_s"] + 0.12
            assert clip["end_s"] + sample.meta["start_s"] >= sentence["end_s"] - 0.12


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reelscript.examples.generate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_generate_makes_videos_from_the_command_line(tmp_path: Path) -> None:
    asked = ["--size", "64x48", "--fps", "8", "--events", "2", "3", "--workers", "2"]
    done = run(str(tmp_path / "out"), "--videos", "3", *asked)
    assert done.returncode == 0, done.stderr
    assert f"reelscript build {tmp_path / 'out'}/corpus.yaml" in done.stdout
    assert "3 videos made" in done.stderr
    generate(tmp_path / "same", 3, SMALL)
    assert everything_in(tmp_path / "out") == everything_in(tmp_path / "same")


def test_generate_help_shows_an_example() -> None:
    assert "Example: python -m reelscript.examples.generate" in run("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{out}"], "--videos"),
        (["{out}", "--videos", "0"], "--videos"),
        (["{out}", "--videos", "1", "--size", "112"], "expected WIDTHxHEIGHT such as 112x112"),
        (["{out}", "--videos", "1", "--size", "111x112"], "expected even sides"),
        (["{out}", "--videos", "1", "--split", "val"], "--split"),
        (["{out}", "--videos", "1", "--events", "9", "4"], "found 9 and 4"),
        (["{file}", "--videos", "1"], "is a file"),
    ],
)
def test_generate_that_is_asked_wrongly_says_so(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "file").touch()
    places = {"{out}": str(tmp_path / "out"), "{file}": str(tmp_path / "file")}
    done = run(*(places.get(a, a) for a in arguments))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
