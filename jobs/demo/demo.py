"""`reelscript demo`: the videos that ship become a corpus, with real speech models."""

from __future__ import annotations

import shlex
import webbrowser
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

import pyarrow.compute as pc

from reelscript.jobs.build import Built, build
from reelscript.jobs.doctor.packages import extra, pip_install
from reelscript.jobs.progress import Progress
from reelscript.pipeline.errors import DataError, UsageError
from reelscript.reading.corpus import Corpus, open_corpus
from reelscript.schemas.text import one_line

NAME = "reelscript-demo"  # as demo.yaml has it
WHAT_SHIPS = (
    "Five short videos become a corpus: two are told in English, one is told in Spanish, one is "
    "silent, and one is broken."
)


def check_demo(out: str) -> None:
    """Raises UsageError where the models are not installed, or another corpus stands in a folder.

    The demo would be the next release of that corpus.
    """
    if any(extra(name).state != "ok" for name in ("asr", "demo")):
        raise UsageError(
            "the demo needs its speech models, which are not installed: "
            + pip_install("reelscript[demo]")
        )
    try:
        found = str(open_corpus(out).info["name"])
    except DataError:
        return
    if found != NAME:
        raise UsageError(
            f"in {one_line(out)} stands the corpus {one_line(found)!r}, not the demo: "
            "name another folder with -o"
        )


def build_demo(out: str, progress: Progress, command: str) -> Built:
    """Builds the corpus of the demo; the same call again does nothing twice.

    Args:
        out: the corpus folder.
        progress: shows how it goes.
        command: what goes on after a crash, as `reelscript status` shows it.
    """
    with as_file(files("reelscript.examples")) as examples:
        return build(config=examples / "demo.yaml", out=out, progress=progress, command=command)


def look_further(out: str) -> Iterator[str]:
    """Yields what to look at in the corpus, and what to do next, line by line."""
    corpus, named = open_corpus(out), shlex.quote(out)
    yield "\nWhat to look at:"
    yield f"  {_report(out)}   why each second is in or out"
    yield f"  {out}/README.md   the dataset card"
    for key in corpus.samples["key"].to_pylist()[:1]:
        yield f"  reelscript show {named} {key}   one sample: words, scores, provenance"
    for video_id in _rejected(corpus)[:1]:
        yield f"  reelscript show {named} --video {video_id}   why one source is out"
    yield f"  reelscript sweep {named} quality.max_words_per_s=2:5:0.5   what if"
    yield "A corpus of your own:  reelscript build my-videos/ -o my-corpus"


def _rejected(corpus: Corpus) -> list[str]:
    out = pc.equal(corpus.videos["reason"], "language")
    return [str(i) for i in corpus.videos.filter(out)["video_id"].to_pylist()]


def open_report(out: str) -> bool:
    """Returns whether a browser was found that shows the report."""
    return webbrowser.open(_report(out))


def _report(out: str) -> str:
    """Returns the address of the report."""
    return f"{out}/report.html" if "://" in out else Path(out, "report.html").resolve().as_uri()
