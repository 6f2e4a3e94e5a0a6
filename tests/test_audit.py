"""`reelscript audit` of a finished folder: the same page as the build's, from the tables alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from reelscript.jobs.audit import audit
from reelscript.jobs.cli import cli
from reelscript.pipeline.errors import DataError, UsageError
from reelscript.pipeline.store import Store
from tests.built import needs_models

pytestmark = [needs_models, pytest.mark.slow]


@pytest.fixture
def corpus(demo_corpus: Path, tmp_path: Path) -> Path:
    """A copy of the demo corpus."""
    return Path(shutil.copytree(demo_corpus, tmp_path / "corpus"))


def asked(*words: str) -> Result:
    return CliRunner().invoke(cli, ["audit", *words], catch_exceptions=True)


def of_rows(stats: dict[str, Any]) -> dict[str, Any]:
    """The numbers that do not tell of one run."""
    health = {k: v for k, v in stats["health"].items() if k != "stages"}
    return {k: v for k, v in stats.items() if k != "costs"} | {"health": health}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_audit_gives_the_numbers_and_the_media_of_the_build(corpus: Path) -> None:
    before, stats = digests(corpus), json.loads((corpus / "stats.json").read_text())
    for name in ("stats.json", "report.html"):
        (corpus / name).unlink()
    found = audit(str(corpus))
    assert of_rows(found.stats) == of_rows(stats)
    assert json.loads((corpus / "stats.json").read_text()) == found.stats
    after = digests(corpus)
    told = {"stats.json", "report.html"}
    same = {name for name in before if name.rpartition("/")[2] not in told}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after.keys() == before.keys()
    assert (found.card_kept, found.no_config) == (False, None)


def test_audit_elsewhere_only_reads_the_corpus(corpus: Path, tmp_path: Path) -> None:
    before = digests(corpus)
    assert asked(str(corpus), "-o", str(tmp_path / "page")).exit_code == 0
    assert digests(corpus) == before
    page = digests(tmp_path / "page")
    media = {name: sha for name, sha in before.items() if name.startswith("report_media/")}
    assert media.items() <= page.items()
    assert {"report.html", "stats.json", "README.md"} <= page.keys()


def test_audit_of_what_lies_elsewhere(corpus: Path, tmp_path: Path) -> None:
    remote = Store("memory://audited/corpus")
    for path in corpus.rglob("*"):
        if path.is_file():
            remote.put(str(path.relative_to(corpus)), path.read_bytes())
    found = audit(remote.url, str(tmp_path / "page"))
    assert of_rows(found.stats) == of_rows(json.loads((corpus / "stats.json").read_text()))


def test_audit_leaves_a_card_that_was_changed_by_hand(corpus: Path) -> None:
    (corpus / "README.md").write_text("# Mine\n")
    result = asked(str(corpus))
    assert result.exit_code == 0
    assert "README.md was changed by hand and stays as it is" in result.output
    assert (corpus / "README.md").read_text() == "# Mine\n"


def test_audit_knows_its_own_card_where_no_release_keeps_one(corpus: Path) -> None:
    shutil.rmtree(corpus / "releases")
    (corpus / "README.md").unlink()
    for _ in range(2):
        assert not audit(str(corpus)).card_kept
    (corpus / "README.md").write_text("# Mine\n")
    assert audit(str(corpus)).card_kept


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quality: {max_wrods: 3}", "max_wrods"),
        ("a: [", "config.yaml"),
        ("3", "config.yaml"),
        (None, "config.yaml"),
    ],
)
def test_audit_without_a_config_says_so_and_shows_the_rest(
    corpus: Path, text: str | None, said: str
) -> None:
    for path in corpus.rglob("config.yaml"):
        path.unlink()
        if text is not None:
            path.write_text(text)
    result = asked(str(corpus))
    assert result.exit_code == 0, result.output
    assert said in result.output
    stats = json.loads((corpus / "stats.json").read_text())
    assert stats["thresholds"] == []
    assert stats["counts"]["kept"] == 2


def test_audit_without_shards_or_media_shows_text(corpus: Path) -> None:
    for name in ("shards", "report_media"):
        shutil.rmtree(corpus / name)
    result = asked(str(corpus))
    assert result.exit_code == 0, result.output
    assert json.loads((corpus / "report_media.json").read_text()) == {
        "kept": [],
        "rejected": {},
    }


def test_audit_of_a_damaged_or_missing_corpus_is_one_sentence(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.json"):
        audit(str(tmp_path / "nothing"))
    for path in corpus.rglob("clips.parquet"):
        path.write_bytes(b"PAR1 no more")
    result = CliRunner().invoke(cli, ["audit", str(corpus)])
    assert isinstance(result.exception, DataError)
    assert "clips.parquet" in str(result.exception)


def test_audit_does_not_write_over_the_report_of_another_corpus(
    corpus: Path, demo_corpus: Path
) -> None:
    before = digests(corpus)
    with pytest.raises(UsageError, match=r"-o .*corpus is a corpus itself"):
        audit(str(demo_corpus), str(corpus))
    assert digests(corpus) == before


def test_audit_prints_json_alone(corpus: Path) -> None:
    result = asked(str(corpus), "--json")
    assert json.loads(result.output)["counts"]["sources"] == 5
