"""What docs/training.md says of the trainer's settings against the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from reelscript.jobs.pretrain.config import PretrainConfig
from reelscript.jobs.pretrain.settings import to_yaml

PAGE = (Path(__file__).parents[1] / "docs/training.md").read_text("utf-8")


def test_docs_training_has_every_setting_of_the_trainer_with_its_default() -> None:
    section = PAGE.partition("### Settings\n")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `([\w.]+)` \| (.+?) \|", section, flags=re.MULTILINE))
    config: dict[str, Any] = yaml.safe_load(to_yaml(PretrainConfig()))
    del config["model"]
    flat: dict[str, Any] = {}
    for name, value in config.items():
        inner = {f"{name}.{key}": y for key, y in value.items()} if isinstance(value, dict) else {}
        flat |= inner or {name: value}
    words = {None: "null", True: "true", False: "false"}
    expected = {
        name: words[value] if value is None or isinstance(value, bool) else str(value)
        for name, value in flat.items()
    }
    assert told == expected
