"""`reelscript demo`: what ships becomes a corpus, and what is said of it is true."""

from __future__ import annotations

import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis.strategies import floats, lists

from reelscript.jobs import cli
from reelscript.jobs.config import load_config
from reelscript.jobs.demo import demo, training
from reelscript.jobs.doctor.finding import Answer
from reelscript.reading.corpus import open_corpus
from tests.built import EXAMPLES, needs_models, outcomes, shard_bytes

ROOT = Path(__file__).parents[1]


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line."""
    code: Any = 0
    try:
        cli.main(list(arguments))
    except SystemExit as ended:
        code = ended.code or 0
    out, err = capsys.readouterr()
    return code, out, err


@needs_models
def test_demo_makes_the_corpus_and_says_what_to_look_at(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, demo_corpus: Path
) -> None:
    out = tmp_path / "my demo"
    code, said, _ = told(capsys, "demo", "-o", str(out))
    assert code == 0
    assert "2 of 5 videos kept, 3 rejected, 0 failed" in said
    assert "no fault found" in said
    assert shard_bytes(out) == shard_bytes(demo_corpus)
    assert outcomes(out) == outcomes(demo_corpus)

    curves = re.findall(
        r"^  (contrastive|sorting) +(\d+\.\d\d) [▁-█]{16} +(\d+\.\d\d) ", said, re.M
    )
    assert [name for name, _, _ in curves] == ["contrastive", "sorting"]
    assert float(curves[0][2]) < float(curves[0][1])  # it learns, if only by heart
    assert (tmp_path / "my demo.run" / "checkpoints" / "step-00000080").is_dir()

    address = re.search(r"file:\S+", said)
    assert address is not None
    assert Path(unquote(urlsplit(address[0]).path)) == out / "report.html"
    shows = re.findall(r"^ +reelscript (show .*?)   ", said, flags=re.MULTILINE)
    assert len(shows) == 2
    for line in shows:
        code, shown, _ = told(capsys, *shlex.split(line))
        assert (code, "harbour" in shown) == (0, "--video" in line)

    code, again, err = told(capsys, "demo", "-o", str(out))
    assert (code, "5 known" in err) == (0, True)  # nothing is done twice
    assert all(line in again for line in said.splitlines() if "▁" in line)
    assert shard_bytes(out) == shard_bytes(demo_corpus)


@needs_models
def test_demo_is_not_published_over_another_corpus(
    capsys: pytest.CaptureFixture[str], demo_corpus: Path
) -> None:
    before = open_corpus(demo_corpus).info
    code, said, err = told(capsys, "demo", "-o", str(demo_corpus))
    assert (code, said) == (2, "")
    assert "stands the corpus 'corpus', not the demo: name another folder" in err
    assert open_corpus(demo_corpus).info == before


@pytest.mark.parametrize("missing", ["asr", "demo"])
def test_demo_without_its_models_says_what_mends_it(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    missing: str,
) -> None:
    def extra(name: str) -> Answer:
        return Answer("missing" if name == missing else "ok", name)

    monkeypatch.setattr(demo, "extra", extra)
    code, said, err = told(capsys, "demo", "-o", str(tmp_path / "out"))
    assert (code, said) == (2, "")
    (line,) = err.splitlines()
    assert "needs its speech models" in line
    assert line.endswith("-m pip install 'reelscript[demo]'")
    assert list(tmp_path.iterdir()) == []


def test_demo_without_torch_leaves_training_out_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(training, "extra", lambda name: Answer("missing", name))
    (line,) = training.train_demo(str(tmp_path / "corpus"))
    assert line.startswith("Training is left out")
    assert line.endswith("-m pip install 'reelscript[train]'")
    assert list(tmp_path.iterdir()) == []


@given(values=lists(floats(0, 1e6), min_size=1, max_size=200))
def test_demo_curve_shows_first_and_last_between_its_extremes(values: list[float]) -> None:
    first, bars, last = training.curve(values).split()
    assert 1 <= len(bars) <= training.WIDTH
    assert set(bars) <= set(training.BARS)
    low, high = min(values) - 0.01, max(values) + 0.01
    assert low <= float(first) <= high
    assert low <= float(last) <= high


def test_demo_curve_goes_down_where_numbers_do() -> None:
    assert training.curve([8, 7, 6, 5, 4, 3, 2, 1]) == " 8.00 █▇▆▅▄▃▂▁  1.00"
    assert training.curve([2.0]) == " 2.00 ▁  2.00"


def test_demo_opens_the_report_if_asked_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []
    monkeypatch.setattr(demo.webbrowser, "open", lambda address: asked.append(address) or True)
    assert demo.open_report(str(tmp_path / "a b"))
    assert demo.open_report("memory://corpus")
    assert asked == [f"file://{tmp_path}/a%20b/report.html", "memory://corpus/report.html"]


def test_demo_ships_its_config_and_its_videos() -> None:
    config = load_config(Path(str(files("reelscript.examples"))) / "demo.yaml")
    assert config.name == demo.NAME
    shipped = files("reelscript.examples").joinpath(*config.sources)
    assert {p.name for p in shipped.iterdir()} == {p.name for p in EXAMPLES.iterdir()}


def test_demo_folder_that_holds_no_corpus_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "extra", lambda name: Answer("ok", name))
    demo.check_demo(str(tmp_path))
    demo.check_demo(str(tmp_path / "new"))
    (tmp_path / "dataset.json").write_text("{", "utf-8")
    demo.check_demo(str(tmp_path))  # what is there, the build tells


def test_make_demo_calls_the_verb() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    recipe = makefile.partition("\ndemo:")[2].partition("\n\n")[0]
    assert "reelscript demo" in recipe
