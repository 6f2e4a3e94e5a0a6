"""`reelscript audit A B`: what it writes, what it leaves alone, and the page that comes of it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from reelscript.jobs.cli import cli
from reelscript.jobs.compare.page import change, comparison_page, signed, threshold_settings
from reelscript.jobs.compare.run import compare_corpora
from reelscript.jobs.report.frame import csp_hash
from reelscript.pipeline.errors import DataError, UsageError
from reelscript.pipeline.store import Store
from tests.audit_made import CONFIG, Tables, made_corpus, put_corpus
from tests.built import EXAMPLES, built, needs_models
from tests.pages_made import HOSTILE
from tests.test_report_page import StrictPage

FILES = {"comparison.json", "comparison.html"}


def asked(*words: object) -> Result:
    """Runs the verb; an error becomes its exception, as the command line would tell it."""
    return CliRunner().invoke(cli, ["audit", *map(str, words)])


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def put(folder: Path, tables: Tables, config: dict[str, Any] | None = None, **info: Any) -> Path:
    """Stores a corpus with the settings CONFIG, some of its sections changed; None: without."""
    put_corpus(Store(str(folder)), tables, **info)
    if config is not None:
        plain = CONFIG.to_dict()
        for section, values in config.items():
            plain[section] = {**plain[section], **values}
        (folder / "config.yaml").write_text(yaml.safe_dump(plain))
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two random corpora with most videos in common, at other thresholds. Do not change them."""
    folder = tmp_path_factory.mktemp("two")
    other = {"quality": {"min_words": 7.0, "max_static_share": None}, "encode": {"crf": 30.0}}
    return (
        put(folder / "a", made_corpus(3, 60), {}, name="first", versions={"python": "3.11.1"}),
        put(folder / "b", made_corpus(4, 70), other, name="other", versions={"python": "3.12.1"}),
    )


@pytest.fixture(scope="module")
def found(two: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compare_corpora(*map(str, two), str(tmp_path_factory.mktemp("out"))).result


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of which every text is an attack."""
    folder = tmp_path_factory.mktemp("hostile")
    sides = []
    for seed in (7, 8):
        tables = []
        for table in made_corpus(seed, 40):
            rows = table.to_pylist()
            for i, row in enumerate(rows):
                bad = HOSTILE[(i + seed) % len(HOSTILE)].replace("\ud800", "")
                texts = ("title", "url", "license", "language", "channel", "text", "container")
                row |= {name: bad for name in texts if name in row}
                row |= {"reason": bad} if row.get("outcome") == "rejected" else {}
            tables.append(type(table).from_pylist(rows, schema=table.schema))
        bad = {"contact": HOSTILE[seed - 7], "user_agent": HOSTILE[seed - 6]}
        versions = {text.replace("\ud800", ""): HOSTILE[seed - 7] for text in HOSTILE}
        name = HOSTILE[seed - 7] + HOSTILE[5]
        side = put(folder / str(seed), Tables(*tables), {"acquire": bad}, name=name)
        told = json.loads((side / "dataset.json").read_text())
        (side / "dataset.json").write_text(json.dumps(told | {"versions": versions}))
        sides.append(str(side))
    compare_corpora(*sides, str(folder / "out"))
    return (folder / "out" / "comparison.html").read_text("utf-8")


# From end to end, of corpora that were built.


@needs_models
@pytest.mark.slow
def test_comparison_of_a_rebuilt_corpus_tells_what_was_changed(
    demo_corpus: Path, tmp_path: Path
) -> None:
    work = shutil.copytree(f"{demo_corpus}.work", tmp_path / "work")
    other = tmp_path / "other"
    changed = ("quality.max_words_per_s=2.5", "passage.min_clips=1")
    built(EXAMPLES, other, *changed, f"work.folder={work}", max_failed=1.0)
    before = digests(demo_corpus), digests(other)
    result = asked(demo_corpus, other, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert (digests(demo_corpus), digests(other)) == before
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    told = json.loads((tmp_path / "out" / "comparison.json").read_text("utf-8"))
    assert [row["name"] for row in told["settings"]] == ["passage.min_clips", changed[0][:23]]
    assert told["versions"] == []
    for row in told["counts"]:
        for side, folder in (("a", demo_corpus), ("b", other)):
            stats = json.loads((folder / "stats.json").read_text("utf-8"))
            assert row[side] == stats["counts"][row["name"]]
    assert told["clips"]["only_a"]["fates"][0]["reason"] == "high_words_per_s"
    assert "quality.max_words_per_s" in result.output
    assert result.output.endswith("comparison.json has the numbers.\n")
    page = (tmp_path / "out" / "comparison.html").read_text("utf-8")
    assert "2 of them thresholds" in page


@needs_models
@pytest.mark.slow
def test_comparison_with_its_own_release_has_no_drift(demo_corpus: Path, tmp_path: Path) -> None:
    result = asked(demo_corpus, demo_corpus / "releases" / "r000", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "no drift" in result.output
    assert "No drift." in (tmp_path / "comparison.html").read_text("utf-8")


# What is written, and what is refused.


def test_comparison_as_json_is_the_json_alone(two: tuple[Path, Path], tmp_path: Path) -> None:
    result = asked(*two, "--json", "-o", tmp_path)
    assert json.loads(result.stdout) == json.loads((tmp_path / "comparison.json").read_text())


def test_comparison_lies_in_a_folder_of_its_own_by_default(
    two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert asked(*two).exit_code == 0
    assert {path.name for path in (tmp_path / "comparison").iterdir()} == FILES


@pytest.mark.parametrize("where", ["a", "b", "a/comparison", "elsewhere"])
def test_comparison_is_never_written_into_a_corpus(tmp_path: Path, where: str) -> None:
    a = put(tmp_path / "a", made_corpus(1, 5), {})
    b = put(tmp_path / "b", made_corpus(2, 5), {})
    put(tmp_path / "elsewhere", made_corpus(3, 5))
    before = digests(tmp_path)
    with pytest.raises(UsageError, match="write the comparison to another folder") as refused:
        compare_corpora(str(a), str(b), str(tmp_path / where))
    assert "\n" not in str(refused.value)
    assert digests(tmp_path) == before


@pytest.mark.parametrize("side", [0, 1])
def test_comparison_with_what_is_no_corpus_is_one_sentence(
    two: tuple[Path, Path], tmp_path: Path, side: int
) -> None:
    folders = [str(folder) for folder in two]
    folders[side] = str(tmp_path)
    with pytest.raises(DataError, match=r"there is no corpus in .*: it holds no dataset\.json"):
        compare_corpora(*folders, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_comparison_reads_and_writes_anywhere(two: tuple[Path, Path], found: Any) -> None:
    for folder in two:
        for path in folder.iterdir():
            Store(f"memory://compared/{folder.name}").put(path.name, path.read_bytes())
    made = compare_corpora("memory://compared/a", "memory://compared/b", "memory://compared/out")
    assert made.result == found
    assert all(Store("memory://compared/out").exists(name) for name in FILES)
    with pytest.raises(UsageError, match="lies in the corpus"):
        compare_corpora("memory://compared/a", "memory://compared/b", "memory://compared/a/out")


def test_comparison_of_equal_corpora_says_that_nothing_drifts(tmp_path: Path) -> None:
    tables = made_corpus(5, 30)
    a, b = (put(tmp_path / name, tables, {}, name="one") for name in "ab")
    result = asked(a, b, "-o", tmp_path / "out")
    assert "no drift: counts, distributions, words and clips" in result.output
    page = (tmp_path / "out" / "comparison.html").read_text("utf-8")
    assert "No drift." in page
    assert "Each kept clip is kept in both." in page
    assert "Each word is as frequent in B as in A." in page


def test_comparison_of_empty_corpora_has_a_page(tmp_path: Path) -> None:
    a, b = (put(tmp_path / name, made_corpus(1, 0), {}) for name in "ab")
    compare_corpora(str(a), str(b), str(tmp_path / "out"))
    assert "Neither keeps a clip." in (tmp_path / "out" / "comparison.html").read_text()


# What stands in it.


def test_comparison_without_settings_says_so_and_compares_none(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    bare = put(tmp_path / "bare", made_corpus(4, 20))
    result = asked(two[0], bare, "-o", tmp_path / "out")
    assert "config.yaml is missing: the settings of the corpus are not known" in result.output
    told = json.loads((tmp_path / "out" / "comparison.json").read_text("utf-8"))
    assert told["settings"] == []
    assert told["no_config"]["a"] is None
    page = (tmp_path / "out" / "comparison.html").read_text("utf-8")
    assert "The settings of B are not known" in page
    assert "Whether a threshold was changed is not known." in page


def test_comparison_names_what_differs_thresholds_first(found: dict[str, Any]) -> None:
    names = [row["name"] for row in found["settings"]]
    assert names == ["encode.crf", "quality.max_static_share", "quality.min_words"]
    assert found["versions"] == [{"name": "python", "a": "3.11.1", "b": "3.12.1"}]
    page = comparison_page(found)
    rows = re.findall(r'<th scope="row" class="wide"><code>([^<]*)', page)
    assert rows == ["quality.max_static_share", "quality.min_words", "encode.crf", "python"]
    assert "2 of them thresholds" in page
    assert "Least words in a clip (clip)" in page


@pytest.mark.parametrize(
    ("info", "names"),
    [
        (({"name": "x"}, {"name": "y"}), ["x", "y"]),
        (
            ({"name": "x", "release": 0}, {"name": "x", "release": 2}),
            ["x, release 0", "x, release 2"],
        ),
        (({}, {}), ["a", "b"]),
        (({"name": "x"}, {"name": "x"}), None),
    ],
)
def test_comparison_calls_the_two_by_names_that_tell_them_apart(
    tmp_path: Path, info: Any, names: list[str] | None
) -> None:
    tables = made_corpus(5, 12)
    a, b = (put(tmp_path / n, tables, {}, **own) for n, own in zip("ab", info, strict=True))
    told = compare_corpora(str(a), str(b), str(tmp_path / "out")).result
    assert told["names"] == (names or [str(a), str(b)])


def test_comparison_counts_each_kept_value_once_over_shared_edges(found: dict[str, Any]) -> None:
    sides = {(row["of"], row["name"]): row for row in found["scores"]}
    assert found["histograms"]
    for shape in found["histograms"]:
        for side in "ab":
            counted = shape[side]
            assert counted["n"] == sides[shape["of"], shape["name"]][side]["n"]
            inside = counted["n"] - counted["below"] - counted["above"]
            assert sum(counted["counts"]) == (inside if counted["n"] else 0)


def test_comparison_tells_whose_a_limit_is(found: dict[str, Any]) -> None:
    of = {(shape["of"], shape["name"]): shape["limits"] for shape in found["histograms"]}
    words = {(row["in"], row["value"]) for row in of["clip", "words"]}
    assert words == {("a", CONFIG.quality.min_words), ("b", 7.0)}
    assert [row["in"] for row in of["clip", "static_share"]] == ["a"]
    assert {row["in"] for row in of["clip", "avg_logprob"]} == {"both"}


# The page.


def test_page_of_a_comparison_loads_nothing(hostile: str) -> None:
    parsed = StrictPage(hostile)
    for tag, name, value in parsed.attributes:
        assert not name.startswith("on")
        assert name not in ("style", "src", "srcset", "action", "formaction")
        if name == "href":
            assert tag == "a"
            assert re.match(r"#|https?://", value, re.I)
    [policy] = [v for t, n, v in parsed.attributes if t == "meta" and "default-src" in v]
    assert all(csp_hash(code) in policy for code in parsed.scripts[1:])
    assert "img" not in parsed.tags


def test_page_of_a_comparison_shows_hostile_texts_as_text(hostile: str) -> None:
    text = " ".join(" ".join(StrictPage(hostile).text).split())
    assert "<script>alert(1)</script>" in text
    assert "${{ 7 * 7 }} {% raw %}{{ config }}" in text
    assert not set("\u202e\u2066\x00\x1b") & set(hostile)
    assert not set("<>&") & set(StrictPage(hostile).scripts[0])


def test_page_of_a_comparison_has_a_table_behind_each_chart(found: dict[str, Any]) -> None:
    page = comparison_page(found)
    charts = json.loads(StrictPage(page).scripts[0])["charts"]
    figures = re.findall(r'<figure class="chart" data-chart="([^"]*)">(.*?)</figure>', page, re.S)
    measured = [row for row in found["scores"] if row["size"] is not None]
    assert len(figures) == len(measured) + len({"drift", "facts", "words"})
    for name, inside in figures:
        assert charts[name]["label"]
        assert "<table" in inside
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links <= set(re.findall(r' id="([^"]+)"', page))


def test_page_of_a_comparison_sorts_effects_by_size(found: dict[str, Any]) -> None:
    drift = json.loads(StrictPage(comparison_page(found)).scripts[0])["charts"]["drift"]
    away = [abs(row["value"] - 0.5) for row in drift["rows"]]
    assert away == sorted(away, reverse=True)
    words = [row["label"].rpartition(": ")[2] for row in drift["rows"]]
    assert set(words) <= {"negligible", "small", "medium", "large"}


def test_page_of_a_comparison_is_equal_for_equal_numbers(found: dict[str, Any]) -> None:
    assert comparison_page(found) == comparison_page(json.loads(json.dumps(found)))


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        *((1, 1, "the same"), (0, 0, "the same"), (0, 3, "new"), (4, 0, "−100.0 %")),
        *((80, 49, "−38.8 %"), (2, 3.5, "+75.0 %"), (10_000, 10_001, "+<0.1 %")),
    ],
)
def test_change_is_told_in_per_cent_of_the_first(a: float, b: float, said: str) -> None:
    assert change({"a": a, "b": b}) == said


def test_signed_numbers_have_a_sign_unless_they_are_nothing() -> None:
    assert [signed(value) for value in (-31, 5, 0, None, 12_345)] == [
        *("−31", "+5", "–", "–", "+12,345"),
    ]


def test_threshold_settings_are_those_that_only_judge() -> None:
    names = threshold_settings()
    assert {"quality.min_words", "passage.min_clips", "speech.min_share"} <= names
    assert {"dedup.same_bytes", "probe.min_s"} <= names
    assert not names & {"transcribe.model", "encode.crf", "segment.max_s", "shard.val_fraction"}
