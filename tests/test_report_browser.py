"""The page of a report in a real browser, from disk: from the funnel to a clip that plays."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

from reelscript.jobs.report.frame import page as framed
from reelscript.jobs.report.html import report_html
from reelscript.jobs.report.pictures import picture_of
from tests.audit_made import made_corpus, numbers_of
from tests.media_made import make_media
from tests.pages_made import a_piece, hostile_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    "--autoplay-policy=no-user-gesture-required",
)
FILM_S = 6.0
WORDS = [  # the third stands outside the only clip
    {"word": "One", "start_s": 1.0, "end_s": 1.5, "probability": 0.9},
    {"word": "two", "start_s": 2.0, "end_s": 2.5, "probability": 0.2},
    {"word": "three", "start_s": 5.0, "end_s": 5.5, "probability": None},
]
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api")
    with driver.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield found
        found.close()


class Seen:
    """A page, and everything about it that should not be."""

    def __init__(self, page: Any) -> None:
        self.page, self.faults, self.requests = page, list[str](), list[str]()
        page.on("console", lambda told: self.faults.append(told.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", lambda dialog: (self.faults.append("a dialog"), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Seen]]:
    """Opens a file; fails where the browser complained or asked for anything not beside it."""
    all_seen: list[tuple[Seen, Path]] = []

    def opening(file: Path, **kind: Any) -> Seen:
        seen = Seen(browser.new_context(**kind).new_page())
        all_seen.append((seen, file.parent))
        seen.page.goto(file.as_uri())
        return seen

    yield opening
    for seen, folder in all_seen:
        seen.page.context.close()
        assert seen.faults == []
        assert all(url.startswith(folder.as_uri()) for url in seen.requests)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with a film that can be played, kept and rejected."""
    folder = tmp_path_factory.mktemp("report")
    names = {kind: a_piece("film")[kind] for kind in ("mp4", "jpg")}
    (folder / "report_media").mkdir()
    film = make_media(folder / "report_media" / names["mp4"], duration_s=FILM_S).read_bytes()
    (folder / "report_media" / names["jpg"]).write_bytes(picture_of(film, FILM_S) or b"")
    stats = numbers_of(made_corpus(3, 80))
    [example, *_] = [e for r in stats["reasons"] for e in r["examples"] if e["kind"] == "clip"]
    shown = {"words": WORDS, "clips": [{"start_s": 0.5, "end_s": 3.0, "text": "One two"}]}
    kept = a_piece("film", title="A kept passage", text="One two three", link=None, **shown)
    kept |= {"reason": None, "stage": None}
    of = f"{example['video_id']}/{example['clip_index']}"
    media = {"kept": [kept], "rejected": {of: {**kept, "title": "Left out", "reason": "low_words"}}}
    made = report_html(stats, {"name": "A corpus"}, {"av": "18"}, None, media)
    (folder / "report.html").write_text(made, "utf-8")
    return folder / "report.html"


def until(page: Any, what: str) -> None:
    """Waits for an expression to be true; the page itself may not evaluate any."""
    for _ in range(200):
        if page.evaluate(what):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never came true: {what}")


def lit(page: Any) -> list[str]:
    return page.locator("#player .now").all_text_contents()


def at(page: Any, time_s: float) -> list[str]:
    """The words that are lit when the film stands at a time."""
    page.evaluate(
        "(at) => new Promise((done) => { const film = document.querySelector('video');"
        " film.pause(); film.addEventListener('seeked', done, {once: true});"
        " film.currentTime = at; })",
        time_s,
    )
    return lit(page)


def test_browser_goes_from_the_funnel_to_a_clip_that_plays(
    report: Path, opened: Callable[..., Seen]
) -> None:
    page = opened(report).page
    article = page.locator("article:has(a.play)").first
    reason = article.get_attribute("id")
    page.locator(f'#funnel a[href="#{reason}"]').click()
    assert page.url.endswith(f"#{reason}")
    article.locator("a.play").click()
    assert page.locator("#player-title").text_content() == "Left out"
    until(page, "document.querySelector('video').currentTime > 0.1")
    until(page, "document.querySelector('.now')?.textContent === 'One'")
    assert "Left out: low_words" in page.locator("#player .about").text_content()


def test_browser_lights_each_word_while_it_is_spoken(
    report: Path, opened: Callable[..., Seen]
) -> None:
    page = opened(report).page
    page.locator("#listen .is-kept a.play").click()
    until(page, "document.querySelector('video').readyState > 1")
    for word in WORDS:
        middle_s = (word["start_s"] + word["end_s"]) / 2
        assert at(page, middle_s) == [word["word"]]
        assert at(page, word["end_s"] + 0.2) == []
    assert page.locator("#player .clip span").all_text_contents() == ["One", "two"]
    assert page.locator("#player .outside span").all_text_contents() == ["three"]
    page.locator("#player span", has_text="two").click()
    until(page, "document.querySelector('.now')?.textContent === 'two'")


def test_browser_plays_by_keys_alone_and_gives_the_focus_back(
    report: Path, opened: Callable[..., Seen]
) -> None:
    page = opened(report).page
    link = page.locator("#listen .is-kept a.play")
    link.focus()
    page.keyboard.press("Enter")
    until(page, "!document.querySelector('video').paused")
    page.keyboard.press("Space")
    until(page, "document.querySelector('video').paused")
    for key, word in (("ArrowRight", None), ("ArrowRight", "two"), ("ArrowRight", "three")):
        page.keyboard.press(key)
        page.wait_for_timeout(100)
        assert word is None or lit(page) == [word]
    page.keyboard.press("ArrowLeft")
    until(page, "document.querySelector('.now')?.textContent === 'two'")
    page.keyboard.press("Escape")
    assert not page.locator("#player").is_visible()
    assert link.evaluate("(link) => link === document.activeElement")


def test_browser_draws_every_chart_for_eye_and_ear(
    report: Path, opened: Callable[..., Seen]
) -> None:
    page = opened(report).page
    figures = page.locator("[data-chart]").count()
    assert figures > 20
    drawn = page.locator('[data-chart] svg[role="img"][aria-label]')
    assert drawn.count() == figures
    limits = page.locator('[data-chart="clip-words"] [stroke-dasharray] line')
    assert limits.count() == 1
    assert page.locator("#listen img").first.evaluate("(image) => image.naturalWidth") > 0


def test_browser_follows_the_scheme_and_fits_a_phone(
    report: Path, opened: Callable[..., Seen]
) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        phone = {"width": 360, "height": 700}
        page = opened(report, color_scheme=scheme, viewport=phone).page
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert len(grounds) == 2


def test_browser_without_scripts_shows_the_whole_page(
    report: Path, opened: Callable[..., Seen]
) -> None:
    page = opened(report, java_script_enabled=False).page
    assert page.locator("[data-chart] svg").count() == 0
    assert page.locator("[data-chart] table").count() >= page.locator("[data-chart]").count()
    numbers = page.locator('[data-chart="clip-words"] details')
    numbers.locator("summary").click()
    assert numbers.locator("table").first.is_visible()
    assert page.locator("#listen a.play").first.get_attribute("href").endswith(".mp4")


@pytest.mark.parametrize("scripts", [True, False])
def test_browser_prints_drawings_or_else_tables(
    report: Path, opened: Callable[..., Seen], scripts: bool
) -> None:
    page = opened(report, java_script_enabled=scripts).page
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    table = page.locator('[data-chart="clip-words"] table').first
    assert table.is_visible() is not scripts
    assert page.pdf()[:5] == b"%PDF-"


def test_browser_takes_hostile_text_as_text(tmp_path: Path, opened: Callable[..., Seen]) -> None:
    file = tmp_path / "report.html"
    file.write_text(hostile_page(), "utf-8")
    seen = opened(file)
    page = seen.page
    assert page.locator("img[onerror], [onmouseover], [srcset]").count() == 0
    assert page.locator("script").count() == 4
    for summary in page.locator("#reasons summary").all()[:5]:
        summary.click()
    for place in range(3):
        page.locator("#listen a.play").nth(place).click()
        assert page.locator("#player-title").text_content().strip()
        assert page.locator("#player img, #player script").count() == 0
        page.keyboard.press("Escape")
    page.mouse.wheel(0, 9000)
    page.wait_for_timeout(300)
    seen.faults = [f for f in seen.faults if "ERR_FILE_NOT_FOUND" not in f]  # its films are none


def test_browser_draws_the_kinds_that_other_pages_use(
    tmp_path: Path, opened: Callable[..., Seen]
) -> None:
    bad = "<b onclick=alert(1)>a name that is far too long for the room beside a bar</b>"
    cells = [
        {"x": x, "y": y, "value": None if x == y else x * y, "text": "?" if x == y else f"{x * y}"}
        for x in (1, 2, 3)
        for y in (1, 2)
    ]
    dots = [{"label": bad, "value": 0.2, "low": 0.1, "high": 0.4}]
    dots += [{"label": "b", "value": -0.3, "low": None, "high": None}]
    series = [{"name": bad, "tone": "kept", "points": [[1, 5], [10, 50], [900, 800]]}]
    bars = [{"label": bad, "value": 3, "tone": "kept", "of": 4}]
    charts: dict[str, Any] = {
        "heat": {"kind": "heat", "x": "min_words", "y": "max_s", "cells": cells},
        "dots": {"kind": "dots", "x": "effect size", "rows": dots, "marks": [0]},
        "lines": {"kind": "lines", "x": "x", "y": "y", "log": "xy", "series": series}
        | {"marks": [{"x": 10, "label": bad}]},
        "bars": {"kind": "bars", "x": "hours", "rows": bars},
        "stand": {"kind": "bars", "x": "hours", "rows": bars, "upright": True},
        "histogram": {"kind": "histogram", "x": "s", "edges": [0, 1, 2], "limits": []}
        | {"sides": [{"name": bad, "tone": "kept", "counts": [1, 0]}]},
    }
    data = {"charts": {name: {"label": f"{bad}.", **spec} for name, spec in charts.items()}}
    body = figures(list(charts))
    file = tmp_path / "page.html"
    file.write_text(framed("All kinds", body, data), "utf-8")
    page = opened(file).page
    assert page.locator("figure svg[role=img]").count() == len(charts)
    assert page.locator("b").count() == 0
    page.set_viewport_size({"width": 500, "height": 700})
    until(page, "document.querySelector('figure svg').getAttribute('width') < 500")


def figures(ids: list[str]) -> Markup:
    figure = '<figure class="chart" data-chart="{}"><div class="drawing"></div></figure>'
    return Markup("<main><section>{}</section></main>").format(
        Markup("").join(Markup(figure).format(name) for name in ids)
    )
