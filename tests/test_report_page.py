"""The page of a report, read by a strict HTML parser: what it may load, what it shows, its size."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.jobs.report.drawings import drawings, score_id, unit_of
from reelscript.jobs.report.examples import judged_scores
from reelscript.jobs.report.frame import PLOT_STYLE, csp_hash, environment, json_in_html, page
from reelscript.jobs.report.html import reasons_of, report_html
from reelscript.jobs.report.playlist import Playlist, web_link
from reelscript.jobs.report.wording import clock, hours_text, number, percent, printable
from tests.audit_made import TITLES, URLS, made_corpus, numbers_of
from tests.pages_made import HOSTILE, a_page, a_piece, hostile_page

REPORT = Path(__file__).parents[1] / "jobs" / "report"
VOID = {"meta", "br", "img"}
SELF_CLOSED = {"rect", "path"}


class StrictPage(HTMLParser):
    """Fails where tags do not nest; collects what stands on the page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SELF_CLOSED
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag]
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text.append(data)


@pytest.fixture(scope="module", params=["empty", "random", "hostile"])
def made(request: pytest.FixtureRequest) -> str:
    if request.param == "hostile":
        return hostile_page()
    return a_page(3, 0 if request.param == "empty" else 80)


def test_page_loads_nothing_but_what_lies_beside_it(made: str) -> None:
    made.encode()  # no lone surrogates
    for tag, name, value in StrictPage(made).attributes:
        assert not name.startswith("on")
        assert name not in ("style", "srcset", "action", "formaction", "data", "background")
        if name == "src":
            assert re.fullmatch(r"report_media/[0-9a-f]{16}\.jpg", value)
        if name == "href":
            assert tag == "a"
            assert re.match(r"#|https?://|report_media/[0-9a-f]{16}\.mp4$", value, re.I)
    style = made.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_page_opens_links_into_the_web_without_telling_where_from(made: str) -> None:
    parsed = StrictPage(made)
    web = [v for t, n, v in parsed.attributes if n == "href" and v.lower().startswith("http")]
    assert [v for _, n, v in parsed.attributes if n == "rel"] == ["noopener noreferrer"] * len(web)
    assert ("meta", "name", "referrer") in parsed.attributes


def test_page_policy_allows_its_own_scripts_and_styles_and_no_others(made: str) -> None:
    parsed = StrictPage(made)
    [policy] = [v for t, n, v in parsed.attributes if t == "meta" and "default-src" in v]
    style = made.split("<style>")[1].split("</style>")[0]
    _, *scripts = parsed.scripts
    assert len(scripts) == 3
    assert policy == (
        "default-src 'none'; img-src 'self'; media-src 'self'; "
        f"script-src {' '.join(repr(csp_hash(code)) for code in scripts)}; "
        f"style-src '{csp_hash(style)}' '{csp_hash(PLOT_STYLE)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert made.index("Content-Security-Policy") < made.index("<style>")


def test_page_has_data_of_which_nothing_is_markup(made: str) -> None:
    data = StrictPage(made).scripts[0]
    assert not set("<>&") & set(data)
    assert set(json.loads(data)) == {"charts", "pieces"}


def test_page_says_in_words_what_it_draws(made: str) -> None:
    parsed = StrictPage(made)
    charts = json.loads(parsed.scripts[0])["charts"]
    drawn = [v for t, n, v in parsed.attributes if n == "data-chart"]
    assert sorted(drawn) == sorted(charts)
    assert all(chart["label"].endswith(".") for chart in charts.values())
    figures = [piece.split("</figure>")[0] for piece in made.split("<figure")[1:]]
    assert all("<table" in figure and "<details" in figure for figure in figures)
    labels = [v for t, n, v in parsed.attributes if n == "aria-label"]
    assert all(labels)
    ids = [v for t, n, v in parsed.attributes if n == "id"]
    assert len(ids) == len(set(ids))


def test_page_has_headings_in_order_and_a_caption_for_every_table(made: str) -> None:
    parsed = StrictPage(made)
    assert parsed.tags.count("caption") == parsed.tags.count("table")
    levels = [int(tag[1]) for tag in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise([0, *levels]))


def test_page_leads_from_every_link_to_a_place_on_it(made: str) -> None:
    parsed = StrictPage(made)
    ids = {v for t, n, v in parsed.attributes if n == "id"}
    inner = {v[1:] for t, n, v in parsed.attributes if n == "href" and v.startswith("#")}
    assert inner <= ids


def test_page_shows_hostile_text_as_text_and_drops_what_turns_it_around() -> None:
    made = hostile_page()
    shown = "".join(StrictPage(made).text)
    for bad in HOSTILE[:5]:
        assert bad in shown
    for sign in "\u202e\u202c\u2066\x00\x1b":
        assert sign not in made
    assert "/secret/place" not in made


def test_page_is_the_same_for_the_same_rows() -> None:
    assert a_page(2, 30) == a_page(2, 30)


def test_page_says_first_of_all_which_law_is_broken() -> None:
    videos, clips, samples = made_corpus(2, 40)
    broken = numbers_of((pa.concat_tables([videos, videos.slice(0, 1)]), clips, samples))
    made = report_html(broken, {"name": "broken"})
    assert "The books do not balance" in made.split("<nav")[0]
    assert "Every source is one row: 41 against 40." in made
    assert "The books balance" in a_page(2, 40)


def test_page_without_media_says_why_there_is_nothing_to_play() -> None:
    made = a_page(2, 30)
    assert "There is nothing to play here" in made
    assert "<video" not in made
    assert "There is nothing to play here" not in a_page(2, 30, {"kept": [a_piece("a")]})


def test_page_of_a_hundred_thousand_clips_stays_small() -> None:
    videos, clips, samples = made_corpus(3, 400)
    many = pa.concat_tables([clips] * (100_000 // len(clips) + 1))
    page = report_html(numbers_of((videos, many, samples)), {})
    assert len(many) >= 100_000
    assert len(page.encode()) < 2_000_000


def test_page_shows_an_example_with_the_limit_that_it_breaks() -> None:
    example = {"kind": "clip", "scores": {"words": 2, "words_per_s": 3.0, "speech_share": None}}
    limits = [
        {"of": "clip", "score": "words", "side": "min", "value": 3, "setting": "quality.min_words"},
        {"of": "video", "score": "words_per_s", "side": "max", "value": 1, "setting": "other"},
        {"of": "clip", "score": "words_per_s", "side": "max", "value": 3, "setting": "on it"},
        {"of": "clip", "score": "words_per_s", "side": "min", "value": None, "setting": "off"},
        {"of": "clip", "score": "speech_share", "side": "min", "value": 1, "setting": "unknown"},
    ]
    judged = judged_scores(example, limits)
    assert [(row["name"], len(row["limits"]), len(row["broken"])) for row in judged] == [
        ("words", 1, 1),
        ("words_per_s", 1, 0),
        ("speech_share", 1, 0),
    ]


def test_page_names_what_a_stage_let_go_most_first() -> None:
    row = {
        "videos": {"rejected_by": {"a": 1, "b": 2}, "failed_by": {"c": 9}},
        "clips": {"rejected_by": {"a": 10}},
    }
    assert reasons_of(row) == {"a": "1 video and 10 clips", "c": "9 videos", "b": "2 videos"}
    assert reasons_of({"videos": row["videos"], "clips": None})["a"] == "1 video"


def test_drawings_hold_the_numbers_of_the_histograms() -> None:
    stats = numbers_of(made_corpus(3, 80))
    specs = drawings(stats)
    for score in stats["scores"]:
        if not score["edges"]:
            assert score_id(score) not in specs
            continue
        spec = specs[score_id(score)]
        assert spec["edges"] == score["edges"]
        assert [side["counts"] for side in spec["sides"]] == [
            score[side]["counts"]
            for side in ("kept", "rejected")[: 1 if score["of"] == "passage" else 2]
        ]
        drawn = [t for t in score["thresholds"] if t["value"] is not None]
        assert [limit["at"] for limit in spec["limits"]] == [
            t["value"] + (score["whole"] and t["side"] == "max") for t in drawn
        ]


@given(st.lists(st.floats(0, 1e6), max_size=5))
def test_drawings_choose_the_unit_by_the_most(hours: list[float]) -> None:
    per_hour, unit = unit_of(hours)
    assert {"hours": 1, "minutes": 60, "seconds": 3600}[unit] == per_hour
    most = max(hours, default=0.0)
    assert unit == "hours" if most >= 0.5 else most * per_hour < 60 or unit == "minutes"


def test_playlist_plays_only_files_that_are_named_as_ours() -> None:
    good, bad = a_piece("a"), a_piece("b", mp4="../../etc/passwd")
    found = Playlist.of_media(
        {"kept": [bad, good], "rejected": {"v/1": a_piece("c", jpg="x.svg"), "v/2": bad}}
    )
    assert [piece["mp4"] for piece in found.pieces] == [good["mp4"], a_piece("c")["mp4"]]
    assert (found.kept, found.rejected, found.of) == ([0], [1], {"v/1": 1})
    assert found.pieces[1]["jpg"] is None
    assert Playlist.of_media(None) == Playlist()


def test_playlist_leaves_out_times_that_are_none() -> None:
    words = [{"word": "a", "start_s": float("nan"), "end_s": 1.0}, {"word": "b"}]
    words += [{"word": "c", "start_s": 1, "end_s": 2.0, "probability": 7}]
    [piece] = Playlist.of_media({"kept": [a_piece("a", words=words)]}).pieces
    assert piece["words"] == [{"word": "c", "start_s": 1, "end_s": 2.0, "probability": 1.0}]


@pytest.mark.parametrize("url", [*HOSTILE, *URLS, *TITLES])
def test_links_lead_to_the_web_or_nowhere(url: str | None) -> None:
    link = web_link(url)
    assert link is None or (link == url and re.match(r"https?://", link, re.I))


def test_plain_text_as_the_body_of_a_page_is_text() -> None:
    assert "&lt;b&gt;" in page("<i>", "<b>", {"charts": {}})
    assert "<title>&lt;i&gt;</title>" in page("<i>", "<b>", {"charts": {}})


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_in_a_page_is_the_data_that_prints(data: Any) -> None:
    text = json_in_html(data)
    assert not set("<>&") & set(text)
    text.encode()
    if isinstance(data, str):
        assert json.loads(text) == printable(data)


def test_json_in_a_page_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_in_html({"x": [float("nan")]})


def test_plot_is_what_its_readme_says() -> None:
    readme = (REPORT / "vendor" / "README.md").read_text("utf-8")
    code = (REPORT / "vendor" / "plot.min.js").read_bytes()
    assert hashlib.sha256(code).hexdigest() in readme
    assert len(code) < 300_000
    for word in (b"</script", b"<!--", b"eval(", b"new Function", b"fetch(", b"XMLHttpRequest"):
        assert word not in code
    licences = (REPORT / "vendor" / "LICENSES.txt").read_text("utf-8")
    packages = re.findall(r"^\| (\S*(?:plot|d3-\S+|isoformat)) \| (\S+) \|", readme, re.M)
    assert len(packages) == len(re.findall(r"^\S+ \d\S* \([A-Z]", licences, re.M)) == 15
    for name, version in packages:
        assert f"{name} {version} (ISC)" in licences


def colours(scheme: str) -> dict[str, str]:
    css = (REPORT / "page.css").read_text("utf-8")
    light, dark = (part.split("}")[0] for part in css.split(":root {")[1:3])
    found = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", light))
    return found | (
        dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", dark)) if scheme == "dark" else {}
    )


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, #rrggbb (WCAG 2.2, definition of contrast ratio)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_colours_can_be_told_apart(scheme: str) -> None:
    found = colours(scheme)
    for text in ("ink", "soft", "accent", "good", "bad"):
        for ground in ("page", "card", "quiet"):
            assert contrast(found[text], found[ground]) >= 4.5, (text, ground)
    assert contrast(found["card"], found["accent"]) >= 4.5  # the word that is spoken
    for shape in ("kept", "rejected", "failed", "unused"):
        assert contrast(found[shape], found["card"]) >= 3, shape


def test_templates_of_other_folders_share_the_parts() -> None:
    made = environment("reelscript.jobs").from_string(
        '{% import "parts.html.jinja" as parts %}{{ parts.bar([("kept", 1)], 2, "<half>") }}'
    )
    assert 'aria-label="&lt;half&gt;"' in made.render()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (1234567, "1,234,567"),
        (0.25, "0.25"),
        (3.14159, "3.142"),
        (12345.6, "12,346"),
        (2.0, "2"),
    ],
)
def test_number_is_written_for_people(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (None, "–"),
        (0.0, "0 s"),
        (0.02 / 3600, "<0.1 s"),
        (1.0, "1.0 h"),
        (0.5, "30.0 min"),
        (10 / 3600, "10.0 s"),
        (1234.4, "1,234 h"),
    ],
)
def test_hours_are_written_in_the_unit_that_fits(hours: float | None, text: str) -> None:
    assert hours_text(hours) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.9, "0:00"), (61.5, "1:01"), (3723.0, "1:02:03")]
)
def test_clock_is_that_of_a_player(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text


def test_percent_never_rounds_something_to_nothing_or_nearly_all_to_all() -> None:
    assert percent(0, 0) == "–"
    assert percent(0, 5) == "0.0 %"
    assert percent(5, 5) == "100.0 %"
    assert percent(1, 1_000_000) == "<0.1 %"
    assert percent(999_999, 1_000_000) == ">99.9 %"
