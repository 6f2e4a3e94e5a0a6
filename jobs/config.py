"""The config of a build: one section a stage or phase, and it *is* the dataclass of that name.

Unknown keys are refused with the nearest valid name; a wrong value is one sentence that says where.
`resolved` writes every "auto" out, so that `config.yaml` beside a corpus tells what really ran.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from reelscript.jobs.room import Work
from reelscript.pipeline.errors import UsageError, nearest
from reelscript.pipeline.rules import Dedup, PassageRules, Quality
from reelscript.pipeline.stage import Stage
from reelscript.pipeline.workspace import to_plain
from reelscript.schemas.text import one_line
from reelscript.transforms import whisper
from reelscript.transforms.acquire import Acquire, AcquireForNow
from reelscript.transforms.align import Align
from reelscript.transforms.captions import Captions
from reelscript.transforms.choose import Choose
from reelscript.transforms.encode import Encode
from reelscript.transforms.glance import Glance
from reelscript.transforms.hear_first import HearFirst
from reelscript.transforms.language import Language
from reelscript.transforms.probe import Probe
from reelscript.transforms.proxy import Proxy
from reelscript.transforms.score import Score
from reelscript.transforms.segment import SegmentWords
from reelscript.transforms.shard import Shard
from reelscript.transforms.speech import Speech
from reelscript.transforms.transcribe import Transcribe
from reelscript.transforms.whisper import MODEL_BY_DEVICE

T = TypeVar("T")
COMPUTE_TYPE_BY_DEVICE = {"cuda": "float16", "cpu": "int8"}
NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)  # ValueError: 2026-13-45 looks like a date
SIZES = re.compile(r"(^|_)bytes(_|$)")  # in the names of settings that may be written as 512MB
SHORT = {"work": "folder"}  # section -> the setting that a plain text stands for
PATHS = (("work", "folder"), ("acquire", "cookies_file"), ("acquire", "local_roots"))
LATER_KEYS = {"preset": "presets are not part of this version"}


@dataclass(frozen=True)
class Config:
    """All settings of a build. Every section has defaults; only `sources` has none."""

    sources: tuple[str, ...] = ()
    name: str | None = None
    work: Work = field(default_factory=Work)
    acquire: Acquire = field(default_factory=Acquire)
    probe: Probe = field(default_factory=Probe)
    glance: Glance = field(default_factory=Glance)
    speech: Speech = field(default_factory=Speech)
    transcribe: Transcribe = field(default_factory=Transcribe)
    language: Language = field(default_factory=Language)
    segment: SegmentWords = field(default_factory=SegmentWords)
    quality: Quality = field(default_factory=Quality)
    dedup: Dedup = field(default_factory=Dedup)
    passage: PassageRules = field(default_factory=PassageRules)
    encode: Encode = field(default_factory=Encode)
    shard: Shard = field(default_factory=Shard)

    def measuring(self) -> list[Stage]:
        """Returns the stages that measure a video: what rejects stands before what costs."""
        return [
            *self._hear_first(),
            self._acquire(),
            self.probe,
            self.glance,
            self.speech,
            *self._captions(),
            self.transcribe,
            self.language,
            Align(),
            self.segment,
            Score(),
        ]

    def encoding(self) -> list[Stage]:
        """Returns the stages that encode what was chosen of a video."""
        return [self._acquire(), *self._proxy(), self.encode]

    def at_once(self) -> tuple[Stage, ...]:
        """Returns the stages that follow measuring at once, where sources are not kept."""
        if not self.work.lets_go:
            return ()
        return (Choose(self.quality, self.passage, self.shard), *self._proxy(), self.encode)

    def _acquire(self) -> Acquire:
        return AcquireForNow(**vars(self.acquire)) if self.work.lets_go else self.acquire

    def _hear_first(self) -> list[Stage]:
        if not self.acquire.audio_first:
            return []
        on_cpu = COMPUTE_TYPE_BY_DEVICE["cpu"]
        speech = dataclasses.replace(self.speech, device="cpu", compute_type=on_cpu)
        return [HearFirst(self.acquire, speech)]

    def _captions(self) -> list[Stage]:
        if self.transcribe.captions == "ignore":
            return []
        asked = self.transcribe
        return [Captions(self.subtitle_languages, self.language, self.acquire, asked.device)]

    @property
    def subtitle_languages(self) -> tuple[str, ...] | None:
        """Languages in which subtitles are wanted; None: none are."""
        if self.transcribe.captions == "ignore":
            return None
        return self.transcribe.accept or self.language.accept

    def _proxy(self) -> list[Stage]:
        return [Proxy(self.encode.short_side_px)] if self.work.keep == "proxy" else []

    def to_dict(self) -> dict[str, Any]:
        """Returns the config as plain data, as it may stand in a YAML file."""
        plain: dict[str, Any] = to_plain(self)
        return {k: list(v) if isinstance(v, tuple) else _listed(v) for k, v in plain.items()}

    def to_yaml(self) -> str:
        """Returns the config as YAML text with all defaults written out."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}
    return value


SECTIONS: dict[str, type] = {
    f.name: f.default_factory  # type: ignore[misc]
    for f in dataclasses.fields(Config)
    if f.default_factory is not dataclasses.MISSING
}


def load_config(
    path: Path | None, sources: Sequence[str] = (), overrides: Sequence[str] = ()
) -> Config:
    """Returns the config of a YAML file, or of defaults, changed by what the command line says.

    Args:
        path: the YAML file; None: defaults.
        sources: sources from the command line.
        overrides: `a.b=value`, from the command line.

    Raises:
        UsageError: what is wrong and where, in one sentence.
    """
    data = _beside(path, read_yaml(path)) if path is not None else {}
    where = str(path) if path is not None else "the command line"
    for text in overrides:
        _override(data, text)
    if sources:
        data["sources"] = list(sources)
    return config_from(data, where)


def config_from(data: Mapping[str, Any], where: str) -> Config:
    """Returns the config that plain data describes. Raises UsageError as `load_config`."""
    known = {f.name for f in dataclasses.fields(Config)}
    for key in data:
        if key in LATER_KEYS:
            raise UsageError(f"{where}: {key}: {LATER_KEYS[key]}")
        if key not in known:
            raise UsageError(f"{where}: there is no section {key!r}; {nearest(str(key), known)}")
    values: dict[str, Any] = {
        k: _section(k, data[k], where) for k in SECTIONS if data.get(k) is not None
    }
    given = [] if data.get("sources") is None else data["sources"]
    listed = [given] if isinstance(given, str) else given
    if not (isinstance(listed, list) and all(isinstance(source, str) for source in listed)):
        raise UsageError(
            f"{where}: sources: expected one or a list of paths and URLs, in quotes where they "
            f"look like something else, found {one_line(repr(given), 100)}"
        )
    values["sources"] = tuple(listed)
    if data.get("name") is not None and not isinstance(data["name"], str):
        raise UsageError(f"{where}: name: expected text, found {data['name']!r}")
    values["name"] = data.get("name")
    return Config(**values)


def _beside(path: Path, data: dict[str, Any]) -> dict[str, Any]:
    """Returns the data of a config file with its relative paths beside that file."""
    if path.parent == Path():
        return data
    moved = dict(data)
    for section, key in PATHS:
        values = _spelled_out(section, moved.get(section))
        if isinstance(values, dict) and key in values:
            moved[section] = {**values, key: _moved(values[key], path.parent)}
    return moved


def _moved(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_moved(one, folder) for one in value]
    local = isinstance(value, str) and "://" not in value and not value.startswith("~")
    return str(folder / value) if local else value


def read_yaml(path: Path) -> dict[str, Any]:
    """Returns the mapping in a YAML file. Raises UsageError where there is none."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"there is no config file {path}") from error
    except (*NOT_YAML, OSError) as error:
        said = " ".join(str(error).split())
        raise UsageError(f"{path} is not a YAML config: {said}") from error
    if not isinstance(data, dict):
        raise UsageError(
            f"{path} is not a config: expected sections such as 'sources:', "
            f"found {type(data).__name__}"
        )
    return data


def parts_of_override(
    text: str, example: str, most_parts: int | None = None
) -> tuple[list[str], Any]:
    """Returns the names and the value of one `section.key=value`; the value is read as YAML.

    Args:
        text: as on the command line, behind `--set`.
        example: of what is expected.
        most_parts: how many names there may be; None: any number.

    Raises:
        UsageError: it is no such text, or the value no YAML.
    """
    name, equals, value = text.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts) or (most_parts is not None and len(parts) > most_parts):
        raise UsageError(f"--set {one_line(text)}: expected section.key=value, such as {example}")
    try:
        return parts, yaml.safe_load(value)
    except NOT_YAML as error:
        raise UsageError(f"--set {one_line(text)}: the value is not YAML") from error


def _override(data: dict[str, Any], text: str) -> None:
    """Puts one `section.key=value` into the data; the value is read as YAML."""
    parts, parsed = parts_of_override(text, "quality.max_words_per_s=6", most_parts=2)
    if len(parts) == 1:
        data[parts[0]] = parsed
        return
    if parts[0] not in SECTIONS:
        raise UsageError(
            f"--set {text}: there is no section {parts[0]!r}; {nearest(parts[0], SECTIONS)}"
        )
    section = _spelled_out(parts[0], data.get(parts[0]) or {})
    if isinstance(section, dict):  # where it is not, `_section` says so
        data[parts[0]] = {**section, parts[1]: parsed}


def _spelled_out(name: str, values: Any) -> Any:
    """Returns a section as settings, where it is written as a text that stands for one of them."""
    return {SHORT[name]: values} if name in SHORT and isinstance(values, str) else values


def _section(name: str, values: Any, where: str) -> Any:
    """Returns the dataclass of a section, its values checked by their types and bounds."""
    from pydantic import TypeAdapter, ValidationError

    values = _spelled_out(name, values)
    if not isinstance(values, dict):
        raise UsageError(f"{where}: {name}: expected settings as 'key: value', found {values!r}")
    kind = SECTIONS[name]
    known = [f.name for f in dataclasses.fields(kind)]
    for key in values:
        if key not in known:
            raise UsageError(
                f"{where}: there is no setting {name}.{key}; {nearest(str(key), known)}"
            )
    sized = {k: _size(name, k, v, where) for k, v in values.items()}
    try:
        section: Any = TypeAdapter(kind).validate_python(sized)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([name, *(str(part) for part in first["loc"][:1])])
        said = re.sub(r"^(Value error, |Input )", "", first["msg"])
        if first["type"] == "tuple_type":
            said = "expected a list, such as [a, b]"
        found = f", found {first['input']!r}" if first["loc"] else ""  # all of it may hold secrets
        raise UsageError(f"{where}: {key}: {said}{found}"[:400]) from error
    for key in known:
        value = getattr(section, key)
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{where}: {name}.{key}: expected a finite number, found {value}")
    return section


def _size(section: str, key: str, value: Any, where: str) -> Any:
    """Returns a number of bytes for a setting in bytes that is written as text, such as 512MB."""
    default = getattr(SECTIONS[section], key)
    number = default is None or type(default) is int
    if not (SIZES.search(key) and number and isinstance(value, str)):
        return value
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        return int(TypeAdapter(ByteSize).validate_python(value))
    except ValidationError as error:
        raise UsageError(
            f"{where}: {section}.{key}: expected bytes such as 512MB, found {value!r}"
        ) from error


def resolved(config: Config, all_stated: bool = False, fetch: bool = True) -> Config:
    """Returns the config with everything that is "auto" or follows another setting written out.

    Args:
        config: as the user wrote it.
        all_stated: whether the source list states the language of every source, so that no model is
            asked.
        fetch: whether models that are not on this machine are fetched; otherwise they are not
            checked either.

    Raises:
        UsageError: a model is not to be had, or an English-only model would have to judge
            languages.
    """
    device = (
        whisper.best_device() if config.transcribe.device == "auto" else config.transcribe.device
    )
    kind = "cuda" if device.startswith("cuda") else "cpu"
    transcribe = dataclasses.replace(
        config.transcribe,
        device=device,
        model=MODEL_BY_DEVICE[kind]
        if config.transcribe.model == "auto"
        else config.transcribe.model,
        compute_type=_auto(config.transcribe.compute_type, COMPUTE_TYPE_BY_DEVICE[kind]),
        accept=config.transcribe.accept or config.language.accept,
    )
    accept = transcribe.accept or config.language.accept
    acquire = dataclasses.replace(
        config.acquire, subtitle_languages=config.acquire.subtitle_languages or accept
    )
    speech = dataclasses.replace(
        config.speech,
        device=_auto(config.speech.device, device),
        compute_type=_auto(config.speech.compute_type, transcribe.compute_type),
        accept=config.speech.accept or config.language.accept,
        language_model=config.speech.language_model or transcribe.model,
    )
    if acquire.cookies_file is not None and not Path(acquire.cookies_file).is_file():
        raise UsageError(f"acquire.cookies_file: there is no file {acquire.cookies_file}")
    names = (transcribe.model, speech.language_model or transcribe.model)
    if fetch or all(whisper.folder_here(name) is not None for name in names):
        _check_models(speech, transcribe, all_stated)
    if speech.language is not None or all_stated:
        speech = dataclasses.replace(speech, language_model=None)
    return dataclasses.replace(config, acquire=acquire, transcribe=transcribe, speech=speech)


def _auto(value: str, default: str) -> str:
    return default if value == "auto" else value


def _check_models(speech: Speech, transcribe: Transcribe, all_stated: bool) -> None:
    whisper.model_folder(transcribe.model)
    if speech.language is not None:
        if whisper.is_english_only(transcribe.model) and speech.language != "en":
            raise UsageError(
                f"speech.language is {speech.language!r}, but transcribe.model "
                f"{transcribe.model!r} knows only English: "
                "set transcribe.model to a multilingual one, such as small"
            )
        return
    if not all_stated and whisper.is_english_only(speech.language_model or transcribe.model):
        raise UsageError(
            f"{speech.language_model!r} knows only English and writes fluent English whatever it "
            "hears, so it cannot judge which language is spoken: set speech.language_model to a "
            "multilingual one (such as base), or state what is spoken with speech.language=en"
        )
    others = [a for a in speech.accept or () if a != "en"]
    if whisper.is_english_only(transcribe.model) and others:
        raise UsageError(
            f"language.accept names {', '.join(others)}, but transcribe.model "
            f"{transcribe.model!r} knows only English"
        )
