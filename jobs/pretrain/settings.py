"""Reads and writes the config of a training run.

Unknown keys are refused with the nearest valid name; a wrong value is one sentence that says where.
`model` names a network and overrides single settings of it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from reelscript.jobs.config import parts_of_override, read_yaml
from reelscript.jobs.pretrain.config import PretrainConfig
from reelscript.models.tvts import configs
from reelscript.pipeline.errors import UsageError, nearest
from reelscript.schemas.text import one_line

VOCABULARY = 49_408  # of `models.tvts.tokenizer`, which loads torch
PATHS = (("weights",), ("data", "captions"))  # relative ones are relative to the config's folder
FORMS = (
    "sound",
    "official",
)  # of `model.form`: which of the doubtful choices a network begins with
MAY_CHANGE = (  # in a run that goes on: none of them changes what is computed, but by rounding
    *("checkpoints", "logging", "validation", "data.workers", "data.max_failed"),
    *("compute.device", "compute.compile", "compute.recompute"),
)


def load_config(path: Path, settings: Sequence[str] = ()) -> PretrainConfig:
    """Returns the config of a YAML file, changed by what the command line says.

    Args:
        path: the YAML file.
        settings: `a.b=value`, from the command line.

    Raises:
        UsageError: what is wrong and where, in one sentence.
    """
    data = read_yaml(path)
    for names in PATHS:
        *sections, key = names
        part = _inner(data, sections)
        if part is not None and isinstance(part.get(key), str):
            part[key] = beside(path.parent, part[key])
    for text in settings:
        _override(data, text)
    return config_from(data, str(path))


def config_from(data: Mapping[str, Any], where: str) -> PretrainConfig:
    """Returns the config that plain data describes. Raises UsageError as `load_config`."""
    from pydantic import TypeAdapter, ValidationError

    given = {key: value for key, value in data.items() if value is not None}
    told = given | {"model": _model(given.get("model", {}), where)}
    _check_names(PretrainConfig, told, where, "")
    try:
        config: PretrainConfig = TypeAdapter(PretrainConfig).validate_python(told)
    except ValidationError as error:
        first = error.errors()[0]
        said = re.sub(r"^(Value error, |Input )", "", first["msg"])
        at = ".".join(part for part in first["loc"] if isinstance(part, str))
        found = f", found {first['input']!r}" if at != "model" else ""
        raise UsageError(one_line(f"{where}: {at}: {said}{found}", 400)) from error
    _check_values(config, where)
    return config


def to_yaml(config: PretrainConfig) -> str:
    """Returns the config as YAML text with all defaults written out; `load_config` reads it."""
    return yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True)


def first_difference(before: PretrainConfig, now: PretrainConfig) -> str | None:
    """Returns a clause about the first setting that a run which goes on may not change, or None."""
    old, new = _flat(_plain(before)), _flat(_plain(now))
    for name in sorted(old.keys() | new.keys()):
        free = any(name == fixed or name.startswith(f"{fixed}.") for fixed in MAY_CHANGE)
        if not free and old.get(name) != new.get(name):
            return f"{name} was {old.get(name)!r} and is {new.get(name)!r}"
    return None


def _model(values: Any, where: str) -> dict[str, Any]:
    """Returns all settings of the network that is named, with those that are overridden."""
    if not isinstance(values, dict):
        raise UsageError(f"{where}: model: expected settings such as 'name: b16', found {values!r}")
    name, form = values.get("name", "b16"), values.get("form", "sound")
    if name not in configs.NAMED:
        raise UsageError(f"{where}: model.name: {nearest(str(name), configs.NAMED)}")
    if form not in FORMS:
        raise UsageError(f"{where}: model.form: {nearest(str(form), FORMS)}")
    base = configs.named(name)
    made = (configs.official(base) if form == "official" else base).to_dict()
    for key, value in values.items():
        if isinstance(made.get(key), dict) and isinstance(value, dict):
            made[key] = made[key] | value
        elif key != "form" and value is not None:
            made[key] = value
    return made


def _check_names(kind: type, values: Any, where: str, at: str) -> None:
    """Raises UsageError for the first key that is no setting."""
    if not isinstance(values, dict):
        raise UsageError(
            f"{where}: {at.rstrip('.')}: expected settings as 'key: value', found {values!r}"
        )
    kinds = get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]
    for key, value in values.items():
        if key not in known:
            what = f"{at}{key}" if at else f"section {key!r}"
            raise UsageError(
                f"{where}: there is no {'setting ' if at else ''}{one_line(what, 100)}; "
                f"{nearest(str(key), known)}"
            )
        if isinstance(kinds[key], type) and dataclasses.is_dataclass(kinds[key]):
            _check_names(kinds[key], value, where, f"{at}{key}.")


def _check_values(config: PretrainConfig, where: str) -> None:
    """Raises UsageError for values that are right alone and wrong together."""
    for name, value in _flat(_plain(config)).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{where}: {name}: expected a finite number, found {value}")
    optimisation, model = config.optimisation, config.model
    if optimisation.batch % optimisation.accumulation:
        raise UsageError(
            f"{where}: optimisation.batch is {optimisation.batch}: "
            f"optimisation.accumulation, {optimisation.accumulation}, has to divide it"
        )
    if list(optimisation.milestones) != sorted(optimisation.milestones):
        raise UsageError(f"{where}: optimisation.milestones: expected shares in rising order")
    if optimisation.streams == "official" and config.data.captions is None:
        raise UsageError(f"{where}: optimisation.streams is 'official' without data.captions")
    if config.checkpoints.best is not None and config.validation.every_steps is None:
        raise UsageError(
            f"{where}: checkpoints.best is {config.checkpoints.best!r}, which validation measures: "
            "set validation.every_steps"
        )
    if model.text.vocabulary != VOCABULARY and model.text.kind == "clip":
        raise UsageError(
            f"{where}: model.text.vocabulary is {model.text.vocabulary}: CLIP's tokens, which "
            f"texts are read as, have {VOCABULARY}"
        )
    if model.text.kind != "clip":
        raise UsageError(
            f"{where}: model.name is {model.name!r}, whose text tower needs the vocabulary of "
            "DistilBERT, which reelscript does not have: train one of b32, b16, h14, debug"
        )


def _override(data: dict[str, Any], text: str) -> None:
    """Puts one `section.key=value` into the data; the value is read as YAML."""
    (*sections, key), parsed = parts_of_override(text, "optimisation.steps=100")
    part = data
    for section in sections:
        if part.get(section) is None:
            part[section] = {}
        part = part[section]
        if not isinstance(part, dict):
            raise UsageError(f"--set {one_line(text)}: {section} has no settings of its own")
    part[key] = parsed


def _inner(data: dict[str, Any], sections: Sequence[str]) -> dict[str, Any] | None:
    part: Any = data
    for section in sections:
        part = part.get(section) if isinstance(part, dict) else None
    return part if isinstance(part, dict) else None


def beside(folder: Path, path: str) -> str:
    """Returns a path that was meant relative to a folder as an absolute one; URLs as they are."""
    return path if "://" in path else str((folder / Path(path).expanduser()).absolute())


def _plain(config: PretrainConfig) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def _flat(plain: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        flat |= _flat(value, f"{at}{key}.") if isinstance(value, dict) else {f"{at}{key}": value}
    return flat
