"""The dataset card: YAML that reads back, Markdown that shows hostile text as text."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from reelscript.jobs.report.card import dataset_card, license_id, markdown, models
from reelscript.jobs.statistics.rows import Rows
from reelscript.jobs.statistics.stats import statistics
from reelscript.schemas.tables import CLIPS, SAMPLES, VIDEOS
from reelscript.schemas.text import one_line

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "${{ secrets.TOKEN }} {% include 'x' %}",
    "]]> --> <!-- x",
    "a | b || `code` ```",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png) <http://evil.example>",
    "http://evil.example www.evil.example a@evil.example @somebody #12 :tada:",
    "---\nlicense: mit\n---\n# heading",
    "\u202egnp.exe\u202c",
    "*a* **b** _c_ __d__ ~~e~~ $x$ \\ &lt; &#124; *",
    "null",
    "yes: [1, {",
    "'\"!!python/object:os.system",
]
REASONS = {"acquire": ["pending"], "segment": ["no_clips"], "quality": ["low_words"]}
THRESHOLDS = {
    "words": [{"setting": "quality.min_words", "value": 3, "side": "min", "origin": HOSTILE[4]}],
    "static_share": [
        {"setting": "quality.max_static_share", "value": None, "side": "max", "origin": "off"}
    ],
}


def zero(field: pa.Field) -> Any:
    if field.nullable:
        return None
    return {"string": "x", "bool": True}.get(str(field.type), 0)


def corpus(
    sources: int, licenses: list[str | None], languages: list[str | None], splits: list[str]
) -> dict[str, Any]:
    """Returns statistics of a small corpus; lists are used in turn. Every third source fails."""
    videos, clips, samples = [], [], []
    for i in range(sources):
        video_id, kept = f"x_{i}", i % 3 != 2
        own = {"video_id": video_id, "license": licenses[i % len(licenses)]}
        own |= {"language": languages[i % len(languages)], "duration_s": 60.0, "url": f"{i}.mp4"}
        own |= {"outcome": "kept"} if kept else {}
        if not kept:
            own |= {"outcome": "failed", "stage": "acquire", "reason": HOSTILE[i % len(HOSTILE)]}
        videos.append({f.name: zero(f) for f in VIDEOS} | own)
        if kept:
            split, key = splits[i % len(splits)], f"{video_id}-000000000"
            times = {"video_id": video_id, "start_s": 0.0, "end_s": 5.0}
            clip = times | {"outcome": "kept", "sample_key": key, "words": 2, "text": "Hello you"}
            clips.append({f.name: zero(f) for f in CLIPS} | clip)
            sample = times | {"key": key, "shard": f"{split}-000000.tar", "split": split}
            sample |= {"duration_s": 5.0, "clips": 1, "language": own["language"]}
            samples.append({f.name: zero(f) for f in SAMPLES} | sample)
    tables = (
        pa.Table.from_pylist(videos, schema=VIDEOS),
        pa.Table.from_pylist(clips, schema=CLIPS),
        pa.Table.from_pylist(samples, schema=SAMPLES),
    )
    with Rows.of_tables(*tables) as rows:
        return statistics(rows, reasons=REASONS, thresholds=THRESHOLDS)


def parted(card: str) -> tuple[dict[str, Any], str]:
    """Returns front matter and body, parted at the first line after the first that is `---`."""
    lines = card.split("\n")
    assert lines[0] == "---"
    end = lines.index("---", 1)
    return yaml.safe_load("\n".join(lines[1:end])), "\n".join(lines[end + 1 :])


def tokens(body: str) -> list[Any]:
    flat = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body):
        flat += [token, *(token.children or [])]
    return flat


def cells(body: str) -> list[str]:
    """Returns the text of every table cell and heading as a reader sees it."""
    parsed = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body)
    inline = [t for t in parsed if t.type == "inline"]
    return [
        "".join(c.content for c in t.children or [] if c.type in ("text", "code_inline"))
        for t in inline
    ]


def hostile_card() -> str:
    stats = corpus(39, HOSTILE, HOSTILE, ["train", "val"])
    config = {"name": "x", "transcribe": {"model": HOSTILE[5]}}
    return dataset_card(stats, config, {bad: bad for bad in HOSTILE}, HOSTILE[5])


def test_card_front_matter_says_what_the_rows_say() -> None:
    stats = corpus(9, ["CC-BY-4.0", "cc by sa 4.0"], ["en", "no", None], ["train", "val"])
    fields, _ = parted(dataset_card(stats, {"name": "a corpus"}))
    assert fields["pretty_name"] == "a corpus"
    assert fields["license"] == ["cc-by-4.0", "cc-by-sa-4.0"]
    assert fields["language"] == ["en", "no"]
    assert fields["task_categories"] == ["video-text-to-text"]
    assert fields["size_categories"] == ["n<1K"]
    assert fields["configs"] == [
        {
            "config_name": "default",
            "data_files": [
                {"split": "train", "path": "shards/train-*.tar"},
                {"split": "val", "path": "shards/val-*.tar"},
            ],
        }
    ]


def test_card_names_only_splits_that_have_shards() -> None:
    fields, body = parted(dataset_card(corpus(5, ["mit"], ["en"], ["val"]), {}))
    assert [f["split"] for f in fields["configs"][0]["data_files"]] == ["val"]
    assert "shards/train-" not in body
    assert fields["license"] == "mit"


def test_card_of_an_empty_corpus_stands() -> None:
    fields, body = parted(dataset_card(corpus(0, [None], [None], ["train"]), {}))
    assert "configs" not in fields
    assert "language" not in fields
    assert fields["license"] == "unknown"
    assert fields["size_categories"] == ["n<1K"]
    assert "webdataset.WebDataset" not in body
    assert "0 samples" in body


@pytest.mark.parametrize(
    ("samples", "size"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**6, "1M<n<10M")],
)
def test_card_size_category_holds_the_samples(samples: int, size: str) -> None:
    stats = corpus(1, ["mit"], ["en"], ["train"])
    stats["counts"]["samples"] = samples
    assert parted(dataset_card(stats, {}))[0]["size_categories"] == [size]


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        *[
            (None, "unknown"),
            ("  ", "unknown"),
            ("CC-BY-4.0", "cc-by-4.0"),
            ("CC BY-NC 4.0", "cc-by-nc-4.0"),
        ],
        *[
            ("CC0", "cc0-1.0"),
            ("MIT", "mit"),
            ("Standard YouTube License", "other"),
            ("cc-by-4.0\n- x", "other"),
        ],
    ],
)
def test_license_id_is_one_that_the_hub_knows(stated: str | None, expected: str) -> None:
    assert license_id(stated) == expected


@pytest.mark.parametrize("name", HOSTILE)
def test_card_front_matter_holds_a_hostile_name_as_text(name: str) -> None:
    fields, body = parted(dataset_card(corpus(3, [name], [name], ["train"]), {}, {}, name))
    assert fields["pretty_name"] == one_line(name, 120)
    assert set(fields) <= {
        *("pretty_name", "license", "license_details", "language", "task_categories", "tags"),
        *("size_categories", "configs"),
    }
    assert (fields["license"] == "other" and "language" not in fields) or name == "null"
    headings = [t for t in tokens(body) if t.type == "heading_open" and t.tag == "h1"]
    assert len(headings) == 1
    assert cells(body)[0] == one_line(name, 120)


def test_card_shows_hostile_text_as_text_and_makes_no_markup_of_it() -> None:
    body = parted(hostile_card())[1]
    kinds = {t.type for t in tokens(body)}
    assert not kinds & {
        "html_block",
        "html_inline",
        "link_open",
        "image",
        "em_open",
        "strong_open",
        "s_open",
    }
    shown = cells(body)
    for bad in HOSTILE:
        assert one_line(bad) in shown, bad
    for sign in "\u202e\u202c":
        assert sign not in body


def test_card_tables_keep_their_columns() -> None:
    parsed = tokens(parted(hostile_card())[1])
    width, row = None, 0
    for token in parsed:
        if token.type == "table_open":
            width = None
        elif token.type == "tr_open":
            row = 0
        elif token.type in ("th_open", "td_open"):
            row += 1
        elif token.type == "tr_close":
            width = width or row
            assert row == width
    lines = [line for line in hostile_card().split("\n") if line.startswith("|")]
    assert len(lines) > 40  # no row has fallen out of its table
    assert sum(t.type == "tr_open" for t in parsed) == len(
        [x for x in lines if not set(x) <= set("|-: ")]
    )


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_markdown_shows_any_text_as_itself(text: str) -> None:
    line = f"| a |\n|---|\n| {markdown(text)} |\n"
    assert cells(line)[1] == one_line(text, 1000)
    assert not {t.type for t in tokens(line)} & {
        "html_inline",
        "link_open",
        "image",
        "code_inline",
        "em_open",
    }


@pytest.mark.parametrize(
    "bare", ["https://evil.example", "www.evil.example", "WWW.evil.example", "a@evil.example"]
)
def test_markdown_leaves_nothing_that_renderers_make_a_link(bare: str) -> None:
    escaped = str(markdown(f"see {bare} there"))
    assert bare not in escaped
    assert escaped.replace("\\", "") == f"see {bare} there"


def test_card_carries_the_funnel_and_the_thresholds_with_their_origins() -> None:
    body = parted(dataset_card(corpus(9, ["mit"], ["en"], ["train"]), {}))[1]
    shown = cells(body)
    at = shown.index("quality.min_words")
    assert shown[at : at + 4] == ["quality.min_words", "min 3", "clip: words in a clip", HOSTILE[4]]
    at = shown.index("quality.max_static_share")
    assert shown[at + 1] == "off"
    assert "| acquire | 9 | 0 | 3 | 6 |" in body


def test_card_names_models_but_no_folder_of_the_machine() -> None:
    config = {
        "name": "n",
        "sources": ["/home/somebody/list.txt"],
        "speech": {"language_model": "C:\\models\\base", "min_share": 0.2},
        "transcribe": {"model": "/home/somebody/models/small", "device": "cpu"},
    }
    assert models(config) == {"speech.language_model": "base", "transcribe.model": "small"}
    card = dataset_card(
        corpus(3, ["mit"], ["en"], ["train"]), config, {"packages": {"av": "18.1.0"}, "gpu": None}
    )
    assert "somebody" not in card
    assert "packages.av | 18.1.0" in card


def test_card_is_the_same_for_the_same_corpus_whatever_it_cost() -> None:
    stats = corpus(9, ["mit"], ["en"], ["train"])
    other = json.loads(json.dumps(stats)) | {"costs": {"probe": {"cpu_s": 1.0}}}
    assert dataset_card(stats, {"name": "n"}) == dataset_card(other, {"name": "n"})


@pytest.mark.parametrize(
    ("sources", "said", "unsaid"),
    [
        (["asr"], ["The words were recognised"], ["subtitles, which nobody"]),
        (["captions"], ["The words are those of subtitles"], ["were recognised by a machine"]),
        (
            ["asr", "captions"],
            ["Some of the words are those of subtitles", "The other words were recognised"],
            [],
        ),
    ],
)
def test_card_limits_tell_where_words_come_from(
    sources: list[str], said: list[str], unsaid: list[str]
) -> None:
    stats = corpus(6, ["mit"], ["en"], ["train"])
    row = stats["transcripts"]["rows"][0]
    stats["transcripts"]["rows"] = [row | {"name": name} for name in sources]
    body = parted(dataset_card(stats, {}))[1]
    assert all(text in body for text in said)
    assert not any(text in body for text in unsaid)
