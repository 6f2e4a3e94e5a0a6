"""What docs/training.md says against the network's code."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from reelscript.models.tvts import configs
from reelscript.models.tvts.configs import TVTSConfig, official

PAGE = (Path(__file__).parents[1] / "docs/training.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
SETTINGS = dict(re.findall(r"^\| `(\w+(?:\.\w+)?)`[^|]*\| `(\w+)`", PAGE, flags=re.MULTILINE))


def setting(config: TVTSConfig, name: str) -> object:
    value: object = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def settings(config: TVTSConfig) -> dict[str, object]:
    parts = {part: getattr(config, part) for part in ("video", "text", "sorting", "losses")}
    found: dict[str, object] = {"preprocess": config.preprocess}
    for part, value in parts.items():
        for field in dataclasses.fields(value):
            found[f"{part}.{field.name}"] = getattr(value, field.name)
    return found


def test_docs_training_first_example_runs() -> None:
    ran: dict[str, object] = {}
    exec(compile(EXAMPLES[0], "docs/training.md", "exec"), ran)
    assert ran["output"].order_logits.shape == (2, 4, 4)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", SETTINGS)
def test_docs_training_names_settings_with_their_defaults(name: str) -> None:
    config = configs.v1() if name == "video.mask" else configs.b16()
    assert setting(config, name) == SETTINGS[name]


def test_docs_training_names_every_setting_that_official_changes() -> None:
    changed = set()
    for made in configs.NAMED.values():
        before, after = settings(made()), settings(official(made()))
        changed |= {name for name in before if before[name] != after[name]}
    assert changed == set(SETTINGS) - {"video.mask"}  # of which a choice is told, not a fault


def test_docs_training_sizes_are_those_of_the_configurations() -> None:
    rows = dict(re.findall(r"^\| (\w[^|]*?) \| (.*) \|$", PAGE, flags=re.MULTILINE))
    names = re.findall(r"`(\w+)`", re.search(r"^\| \| (`b32`.*)$", PAGE, flags=re.MULTILINE)[1])  # type: ignore[index]
    made = [configs.named(name) for name in names]

    def cells(row: str) -> list[str]:
        return [cell.strip() for cell in rows[row].split("|")]

    assert cells("video tower: width, blocks, heads") == [
        f"{c.video.width}, {c.video.blocks}, {c.video.heads}" for c in made
    ]
    assert cells("share of patches masked in training") == [f"{c.video.mask_ratio:g}" for c in made]
    assert cells("embedding") == [str(c.embed_dim) for c in made]
