"""An audit of a corpus that a stranger made, or that is damaged: numbers or one sentence."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from reelscript.jobs import audit as audit_job
from reelscript.jobs.audit import audit
from reelscript.jobs.cli import cli
from reelscript.jobs.compare.clips import clip_differences
from reelscript.jobs.report.files import report_files
from reelscript.jobs.report.html import report_html
from reelscript.jobs.report.media import media_in
from reelscript.jobs.statistics.rows import Rows
from reelscript.pipeline.errors import DataError, UsageError
from reelscript.pipeline.store import Store
from tests.audit_made import Tables, made_corpus, numbers_of, put_corpus
from tests.corpus_made import edit_json, make_corpus

MP4 = "0" * 16 + ".mp4"
PIECE: dict[str, Any] = {
    "mp4": MP4,
    "jpg": None,
    "start_s": 0.0,
    "end_s": 1.0,
    "clips": [],
    "words": [],
    "video_id": "x_0001",
    "title": "t",
    "text": "t",
    "stage": "quality",
    "reason": "r",
}


def everywhere(table: pa.Table, name: str, value: Any) -> pa.Table:
    """The table with one value in all rows of a column, null too."""
    kind = table.schema.field(name).type
    column = pa.array([value] * len(table), kind)
    return table.set_column(table.column_names.index(name), pa.field(name, kind), column)


def stored(folder: Path, tables: Tables, **info: Any) -> str:
    put_corpus(Store(str(folder)), tables, 0, **info)
    return str(folder)


@pytest.mark.parametrize("name", ["a*", "a?", "[ab]x", "language=de", "outcome=kept", "{a,b}"])
def test_a_folder_of_any_name_is_counted_by_itself(tmp_path: Path, name: str) -> None:
    tables = made_corpus(3, 12)
    stored(tmp_path / "ab", made_corpus(4, 30))
    stored(tmp_path / "ax", made_corpus(5, 30))
    folder = stored(tmp_path / name, tables)
    with Rows.of_corpus(Store(folder)) as rows, Rows.of_tables(*tables) as straight:
        for view, table in tables._asdict().items():
            names = ", ".join(table.column_names[:3])
            asked = f"SELECT {names} FROM {view} ORDER BY ALL"
            assert rows.sql(asked).equals(straight.sql(asked))
        asked = "SELECT outcome, language FROM videos ORDER BY ALL"
        assert rows.sql(asked).equals(straight.sql(asked))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("start_s", value) for value in (None, float("nan"), 1e300)),
        *(("end_s", float("-inf")), ("text", None), ("clip_index", None), ("outcome", None)),
        *(("video_id", None), ("words_per_s", 1.7e308), ("reason", "")),
    ],
)
def test_clips_without_what_each_must_have_are_shown_as_far_as_they_go(
    name: str, value: Any
) -> None:
    tables = made_corpus(3, 12)
    tables = tables._replace(clips=everywhere(tables.clips, name, value))
    stats = numbers_of(tables)
    assert stats["counts"]["sources"] == 12
    assert "12" in report_html(json.loads(json.dumps(stats, allow_nan=False)), {})
    with Rows.of_tables(*tables) as one, Rows.of_tables(*made_corpus(4, 12)) as other:
        json.dumps([clip_differences(one, other), clip_differences(other, one)], allow_nan=False)


def test_scores_as_far_apart_as_numbers_go_have_a_histogram(tmp_path: Path) -> None:
    tables = made_corpus(3, 12)
    far = pa.array([1.7e308 if row % 2 else -1.7e308 for row in range(12)])
    at = tables.videos.column_names.index("static_share")
    stats = numbers_of(tables._replace(videos=tables.videos.set_column(at, "static_share", far)))
    [found] = [s for s in stats["scores"] if (s["of"], s["name"]) == ("video", "static_share")]
    sides = (found["kept"], found["rejected"])
    assert sum(s["n"] for s in sides) == 12
    assert sum(sum(s["counts"]) + s["below"] + s["above"] for s in sides) == 12


def test_stages_and_reasons_of_a_stranger_are_text_on_the_terminal(tmp_path: Path) -> None:
    tables = made_corpus(3, 12)
    videos = everywhere(tables.videos, "stage", "[/x] \x1b[31m")
    videos = everywhere(videos, "reason", "[link=http://evil.example]\x1b]0;x\x07")
    folder = stored(tmp_path, tables._replace(videos=videos))
    result = CliRunner().invoke(cli, ["audit", folder])
    assert result.exit_code == 0, result.exception
    assert "[/x]" in result.output
    assert not set(result.output) & {"\x1b", "\x07"}


WRONG: list[dict[str, Any]] = [
    *({"start_s": value} for value in (float("nan"), float("inf"), 10**400, None)),
    {"words": [{"word": "a", "start_s": 0, "end_s": 1, "probability": 10**400}]},
    *({"more": float("nan")}, {"reason": ["x"]}, {"stage": {}}, {"title": 5}),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_piece_that_cannot_be_shown_is_left_out(wrong: dict[str, Any]) -> None:
    store = Store(f"memory://{uuid.uuid4().hex}")
    for text in (json.dumps(PIECE | wrong), json.dumps(PIECE).replace("1.0", "1e999")):
        store.put("report_media.json", f'{{"kept": [], "rejected": {{"x/0": {text}}}}}'.encode())
        assert media_in(store).rejected == {}


def test_what_is_no_number_among_the_costs_is_left_out(tmp_path: Path) -> None:
    folder = Path(stored(tmp_path, made_corpus(3, 12), versions=[1], name=["a list"]))
    costs = '{"probe": {"remembered": "x", "videos": 3}, "speech": {"cpu_s": 1e999}}'
    (folder / "stats.json").write_text(f'{{"costs": {costs}}}')
    assert audit(str(folder)).stats["costs"] == {"probe": {"videos": 3}, "speech": {}}
    (folder / "stats.json").write_text('{"costs": {"probe": {"remembered": NaN}}}')
    assert audit(str(folder)).stats["costs"] == {}


@pytest.mark.parametrize("name", ["key", "text", "shard"])
def test_samples_without_a_column_are_not_played(tmp_path: Path, name: str) -> None:
    tables = made_corpus(3, 12)
    audit(stored(tmp_path, tables._replace(samples=tables.samples.drop_columns([name]))))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of which three passages can be played. Do not change it."""
    return make_corpus(tmp_path_factory.mktemp("hostile") / "corpus")


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta.update(url=5),
        lambda meta: meta.update(title=["<b>"], duration_s=-5),
        lambda meta: meta.update(start_s=10**400),
        lambda meta: meta["clips"][0]["words"][0].update(probability=10**400),
    ],
)
def test_a_passage_with_damaged_facts_is_left_out(
    played: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    folder = Path(shutil.copytree(played, tmp_path / "corpus"))
    edit_json(folder, change)
    audit(str(folder), str(tmp_path / "page"))
    index = json.loads((tmp_path / "page" / "report_media.json").read_text())
    assert len(index["kept"]) == 2


def test_a_large_mp4_is_not_copied(
    played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_job, "MAX_FILE_BYTES", 100)
    audit(str(played), str(tmp_path))
    assert json.loads((tmp_path / "report_media.json").read_text())["kept"] == []


def test_code_on_the_card_holds_no_name_of_a_split(tmp_path: Path) -> None:
    tables = made_corpus(3, 12)
    evil = everywhere(tables.samples, "split", 'x")); __import__("os").system("id")#')
    folder = Path(stored(tmp_path, tables._replace(samples=evil)))
    audit(str(folder))
    code = (folder / "README.md").read_text().split("```")[1::2]
    assert code
    assert not [block for block in code if "system" in block]


def test_audit_beside_a_build_keeps_the_page_and_the_media_of_the_release(
    played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(played, tmp_path / "corpus"))
    audit(str(folder))
    new = folder / "report_media" / MP4
    new.write_bytes(b"of a release that is about to be published")
    audit(str(folder))
    assert new.exists()

    def published(*given: Any) -> Any:
        info = json.loads((folder / "dataset.json").read_text())
        (folder / "dataset.json").write_text(json.dumps(info | {"release": 1}))
        (folder / "report.html").write_text("its page")
        return report_files(*given)

    monkeypatch.setattr(audit_job, "report_files", published)
    with pytest.raises(DataError, match="another build has published"):
        audit(str(folder))
    assert (folder / "report.html").read_text() == "its page"


def test_no_name_is_no_folder_to_write_to(played: Path) -> None:
    with pytest.raises(UsageError, match="-o names no folder"):
        audit(str(played), "")
