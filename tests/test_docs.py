"""What the pages say against the program: settings, links, command lines, example configs."""

from __future__ import annotations

import dataclasses
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from reelscript.jobs.cli import cli
from reelscript.jobs.config import (
    COMPUTE_TYPE_BY_DEVICE,
    MODEL_BY_DEVICE,
    SECTIONS,
    Config,
    config_from,
    load_config,
)
from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.rules import Quality
from reelscript.pipeline.stage import Stage
from tests.poison import REASONS

ROOT = Path(__file__).parents[1]
SETTINGS = ROOT / "docs/settings.md"
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)
OF_TRAINING = (  # their tests load them
    *("demo-pretrain.yaml", "pretrain-debug.yaml", "pretrain-generated.yaml"),
    *("tvtsv2-b16.yaml", "tvtsv2-h14.yaml"),
)
EXAMPLES = sorted(p for p in (ROOT / "examples").glob("*.yaml") if p.name not in OF_TRAINING)
CONFIG_ROOT = {f.name: f.default for f in dataclasses.fields(Config) if f.name not in SECTIONS}


def page_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_and_code(page: Path) -> tuple[str, list[str]]:
    """A page without its fenced blocks, and all code on it: inline spans and lines of blocks."""
    text = page.read_text("utf-8")
    block = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
    code = [line.strip() for found in block.findall(text) for line in found.splitlines()]
    prose = block.sub("", text)
    spans = [span.replace("\\|", "|") for span in re.findall(r"`([^`\n]+)`", prose)]
    return prose, [*spans, *code]


def documented() -> dict[str, dict[str, list[str]]]:
    """Section -> setting -> the other cells of its row, as docs/settings.md has them."""
    found: dict[str, dict[str, list[str]]] = {}
    for part in re.split(r"^## ", SETTINGS.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        section = title.split("`")[1] if "`" in title else "top"
        rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", body, flags=re.MULTILINE)
        assert len({name for name, _ in rows}) == len(rows), f"{section}: a setting stands twice"
        found[section] = {name: rest.split(" | ") for name, rest in rows}
    return found


def kind_of(section: str, field: dataclasses.Field[Any]) -> str:
    if section == "work":  # only a proxy changes what passages are made from
        return "writing" if field.name == "keep" else "tuning"
    if section in ("encode", "shard"):
        return str(field.metadata.get("role", "writing"))
    if not issubclass(SECTIONS[section], Stage):
        return "threshold"
    return str(field.metadata.get("role", "measuring"))


def test_docs_settings_have_the_sections_of_the_config_in_order() -> None:
    assert list(documented()) == ["top", *SECTIONS]


@pytest.mark.parametrize("section", SECTIONS)
def test_docs_settings_name_every_setting_with_default_and_kind(section: str) -> None:
    fields = {f.name: f for f in dataclasses.fields(SECTIONS[section])}
    rows = documented()[section]
    assert list(rows) == list(fields)
    for name, (default, kind, *rest) in rows.items():
        assert len(rest) == 3, f"{section}.{name} has too few or too many cells"
        assert kind == kind_of(section, fields[name]), name
        value = yaml.safe_load(default.strip("`"))
        loaded = getattr(config_from({section: {name: value}}, "docs/settings.md"), section)
        assert getattr(loaded, name) == fields[name].default, name


def test_docs_settings_name_what_stands_beside_the_sections() -> None:
    rows = documented()["top"]
    defaults = {name: yaml.safe_load(cells[0].strip("`")) for name, cells in rows.items()}
    assert defaults == {k: list(v) if isinstance(v, tuple) else v for k, v in CONFIG_ROOT.items()}


def test_docs_settings_give_the_origin_of_every_quality_threshold() -> None:
    rows = documented()["quality"]
    origins = {f.name: f.metadata["origin"] for f in dataclasses.fields(Quality)}
    assert {name: cells[-1] for name, cells in rows.items()} == origins


def test_docs_settings_give_what_auto_stands_for() -> None:
    text = SETTINGS.read_text("utf-8")
    rows = re.findall(r"\(`(cuda|cpu)`\) \| `([^`]+)` \| `([^`]+)`", text)
    assert {device: model for device, model, _ in rows} == MODEL_BY_DEVICE
    assert {device: numbers for device, _, numbers in rows} == COMPUTE_TYPE_BY_DEVICE


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_docs_settings_that_are_named_exist(page: Path) -> None:
    _, code = text_and_code(page)
    sections = "|".join(SECTIONS)
    named = [m for c in code if (m := re.fullmatch(rf"({sections})\.([a-z]\w*)(=.*)?", c))]
    wrong = [
        m[0] for m in named if m[2] not in {f.name for f in dataclasses.fields(SECTIONS[m[1]])}
    ]
    assert wrong == []


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ +(.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_docs_links_lead_somewhere(page: Path) -> None:
    prose, _ = text_and_code(page)
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"(https?|mailto):", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        inside = target.exists() and target.is_relative_to(ROOT)
        if not inside or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_docs_paths_that_are_named_exist(page: Path) -> None:
    _, code = text_and_code(page)
    floors = "jobs|transforms|reading|models|pipeline|schemas|tests|examples|docs|src|benchmarks"
    named = [c for c in code if re.fullmatch(rf"({floors})/[\w./*-]*", c)]
    assert [n for n in named if not list(ROOT.glob(n))] == []


def command_lines(page: Path) -> list[list[str]]:
    """The reelscript command lines on a page, as the arguments after the program's name."""
    _, code = text_and_code(page)
    lines = [m[1] for c in code if (m := re.match(r"(?:\S*/)?reelscript +(.*)", c))]
    return [shlex.split(line, comments=True) for line in lines]


def fault_of(arguments: list[str]) -> str | None:
    """Parses the arguments as click does, and runs nothing."""
    group = click.Context(cli, info_name="reelscript")
    known = {o for p in cli.get_params(group) for o in p.opts}
    options = [a for a in arguments if a.startswith("-")]
    if arguments and all(a.startswith("-") for a in arguments):
        return next((f"no option {o}" for o in options if o not in known), None)
    try:
        name, command, rest = cli.resolve_command(group, arguments)
        assert command is not None
        if not rest:  # a verb that is merely named
            return None
        command.make_context(name, list(rest), parent=group)
        load_config(None, (), [v for o, v in pairwise(rest) if o == "--set"])
    except (click.ClickException, UsageError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_docs_command_lines_parse(page: Path) -> None:
    faults = {shlex.join(line): fault_of(line) for line in command_lines(page)}
    assert {line: fault for line, fault in faults.items() if fault is not None} == {}


def test_docs_command_lines_are_found_and_wrong_ones_seen() -> None:
    readme = {line[0] for line in command_lines(ROOT / "README.md")}
    assert readme == set(cli.commands)
    assert "no verb" in (fault_of(["bild", "videos"]) or "")
    assert "--wurkers" in (fault_of(["build", "videos", "-o", "corpus", "--wurkers", "2"]) or "")
    assert "no setting quality.max_word" in (
        fault_of(["build", "v", "-o", "c", "--set", "quality.max_word=2"]) or ""
    )
    assert fault_of(["show", "--video", "x_1"]) is not None


def test_docs_options_that_are_named_exist() -> None:
    known = {o for command in cli.commands.values() for p in command.params for o in p.opts}
    known |= {"--help", *(o for p in cli.params for o in p.opts)}
    for page in PAGES:
        spans = [c for c in text_and_code(page)[1] if re.match(r"--[a-z]", c)]
        assert {s.split()[0].split("=")[0] for s in spans} <= known, page_name(page)


def test_docs_readme_names_every_verb_and_every_exit_code() -> None:
    prose, code = text_and_code(ROOT / "README.md")
    assert {verb for verb in cli.commands if not any(f"reelscript {verb} " in c for c in code)} == (
        set()
    )
    assert re.findall(r"\*\*(\d+)\*\*", prose) == re.findall(r"(\d+) (?=[a-z])", exit_codes())


def test_docs_readme_names_every_way_in_which_a_worker_is_lost() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    _, _, table = readme.partition("| failed for | what was seen |\n|---|---|\n")
    rows = re.findall(r"^\| `(\w+)` \| .* \|$", table.partition("\n\n")[0], flags=re.MULTILINE)
    assert sorted(rows) == sorted([*REASONS.values(), "damaged_artefact"])


def exit_codes() -> str:
    return " ".join((cli.help or "").partition("Exit codes:")[2].split())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_docs_example_configs_load(path: Path) -> None:
    written = yaml.safe_load(path.read_text("utf-8"))
    loaded = load_config(path).to_dict()
    for section, value in written.items():
        found = loaded[section]
        if section == "sources":
            assert found == [value] if isinstance(value, str) else value
        elif isinstance(value, dict):
            assert value.items() <= found.items()
        else:
            assert found == value


def test_docs_decisions_are_short_and_numbered_in_a_row() -> None:
    pages = sorted((ROOT / "docs/adr").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(len(pages)))
    for page in pages:
        lines = page.read_text("utf-8").splitlines()
        assert lines[0].startswith(f"# {page.name[:4]} ")
        assert len(lines) <= 40, page.name
