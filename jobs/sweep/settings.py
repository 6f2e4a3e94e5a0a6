"""Which settings can be swept, which cannot and why, and the config of each point of a sweep.

What the scores of clips decide (`quality`, `passage`, `dedup`) is decided anew, whichever way a
threshold goes. Of an earlier stage the facts of those that it let pass are stored, so a stricter
threshold is decided too; what it had rejected was never measured further, so of what a looser one
lets in nobody knows the clips: it is counted as unknown.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from reelscript.jobs.config import SECTIONS, Config, config_from
from reelscript.jobs.sweep.values import MOST_POINTS, OFF, Value, said, values_of
from reelscript.pipeline.errors import UsageError, nearest
from reelscript.schemas.text import one_line

MOST_SETTINGS = 2
LONGER_THAN_ANY_S = 1e9
MORE_THAN_ANY = 1_000_000
SHORTER_THAN_ANY_S = 1e-6

EARLY: dict[str, tuple[str, ...]] = {
    "probe": ("min_s", "max_s"),
    "glance": ("max_static_share",),
    "speech": (
        *("min_share", "enough_s", "min_voice_probability"),
        *("certain_probability", "min_probability", "min_agreement"),
    ),
    "language": ("min_text_probability", "certain_probability"),
}
"""By stage, in their order: thresholds that act before there are clips, over facts that are
stored."""

DECIDED = ("quality", "dedup", "passage")
SWEEPABLE = (
    *(f"{stage}.{key}" for stage, keys in EARLY.items() for key in keys),
    *(f"{name}.{f.name}" for name in DECIDED for f in dataclasses.fields(SECTIONS[name])),
)

NO_LIMIT: dict[str, Any] = {
    "probe.min_s": SHORTER_THAN_ANY_S,
    "probe.max_s": LONGER_THAN_ANY_S,
    "glance.max_static_share": None,
    "speech.min_share": 0.0,
    "speech.min_voice_probability": 0.0,
    "speech.min_probability": 0.0,
    "speech.min_agreement": 0.0,
    "language.certain_probability": 0.0,
    **{name: None for name in SWEEPABLE if name.startswith("quality.")},
    "dedup.same_bytes": False,
    "passage.min_clips": 1,
    "passage.max_clips": MORE_THAN_ANY,
    "passage.max_s": LONGER_THAN_ANY_S,
    "passage.max_gap_s": LONGER_THAN_ANY_S,
}
"""What `off` stands for: the value at which a threshold rejects nothing. `speech.enough_s` is the
way around another threshold; `speech.certain_probability` and `language.min_text_probability`
reject some videos when they are low, and others when they are high."""

WHY_NOT = {
    "acquire.max_bytes": "the tables do not say which sources were fetched",
    "acquire.local_roots": "the tables do not say where a source lies",
    "speech.accept": "it is a list of languages, not a number",
    "transcribe.accept": "words in another language are heard anew",
    "transcribe.captions": "it changes where words come from",
    "language.accept": "it is a list of languages, not a number",
}


@dataclass(frozen=True)
class Axis:
    """A setting and the values that it is given, one after the other."""

    setting: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Point:
    """The thresholds of one decision: by setting the value, and how it is written."""

    config: Config
    values: dict[str, Any]
    texts: dict[str, str]


def axes_of(asked: Sequence[str], config: Config) -> list[Axis]:
    """Returns the settings that a command line asks for, with their values.

    Args:
        asked: `section.key=values`, at most MOST_SETTINGS of them.
        config: of the corpus; some thresholds can be swept in some corpora only.

    Raises:
        UsageError: what is wrong, in one sentence.
    """
    if len(asked) > MOST_SETTINGS:
        raise UsageError(f"{len(asked)} settings are too many: a sweep has one or two")
    axes = []
    for text in asked:
        name, equals, values = text.partition("=")
        if not equals:
            raise UsageError(
                f"{one_line(text, 60)}: expected setting=values, such as "
                "quality.max_words_per_s=2:6:0.5"
            )
        check_sweepable(name.strip(), config)
        axes.append(Axis(name.strip(), tuple(values_of(values, name.strip()))))
    if len({axis.setting for axis in axes}) < len(axes):
        raise UsageError(f"{axes[0].setting} is named twice")
    return axes


def points_of(axes: Sequence[Axis], config: Config) -> list[Point]:
    """Returns a point for each combination of values, the last setting running fastest.

    Raises:
        UsageError: there are more than MOST_POINTS, or a setting cannot have a value.
    """
    combinations = list(itertools.product(*(axis.values for axis in axes)))
    if len(combinations) > MOST_POINTS:
        raise UsageError(
            f"{len(combinations)} points are too many: a sweep has at most {MOST_POINTS}"
        )
    names = [axis.setting for axis in axes]
    return [point_at(config, dict(zip(names, found, strict=True))) for found in combinations]


def point_at(config: Config, asked: Mapping[str, Value]) -> Point:
    """Returns the point at which some settings have other values.

    Raises:
        UsageError: a setting cannot have its value.
    """
    changed = config
    for section in dict.fromkeys(name.partition(".")[0] for name in asked):
        own = {name: value for name, value in asked.items() if name.startswith(f"{section}.")}
        plain = dict(config.to_dict()[section])
        plain |= {name.partition(".")[2]: _plain(name, value) for name, value in own.items()}
        made = getattr(config_from({section: plain}, "sweep"), section)
        changed = dataclasses.replace(changed, **{section: made})
    values = {name: value_in(changed, name) for name in asked}
    return Point(changed, values, {name: said(value) for name, value in asked.items()})


def turned_off(config: Config) -> list[Point]:
    """Returns a point for each threshold that a corpus has and can do without: that one off."""
    points = []
    for name, no_limit in NO_LIMIT.items():
        if value_in(config, name) != no_limit and _hindrance(name, config) is None:
            points.append(point_at(config, {name: OFF}))
    return points


def value_in(config: Config, name: str) -> Any:
    """Returns the value that a config gives a setting such as "quality.max_words_per_s"."""
    section, _, key = name.partition(".")
    return getattr(getattr(config, section), key)


def text_in(config: Config, name: str) -> str:
    """Returns that value as it is written."""
    value = value_in(config, name)
    if value is None or isinstance(value, bool):
        return said(bool(value))
    return OFF if value == NO_LIMIT.get(name, OFF) else said(Decimal(repr(value)))


def check_sweepable(name: str, config: Config) -> None:
    """Raises UsageError where a setting is unknown or cannot be swept, with the reason."""
    why = _hindrance(name, config) if name in SWEEPABLE else _why_never(name)
    if why is not None:
        raise UsageError(f"{name} cannot be swept: {why}")


def _why_never(name: str) -> str:
    """Returns why a setting can be swept in no corpus. Raises UsageError where there is none."""
    section, _, key = name.partition(".")
    fields = dataclasses.fields(SECTIONS[section]) if section in SECTIONS else ()
    roles = {f.name: f.metadata.get("role") for f in fields}
    if key not in roles:
        raise UsageError(f"there is no setting {one_line(name, 60)!r}; {nearest(name, SWEEPABLE)}")
    if section in ("work", "encode", "shard") or roles[key] == "tuning":
        return "it does not change what is kept"
    return WHY_NOT.get(name, "with another value a build measures other facts")


def _hindrance(name: str, config: Config) -> str | None:
    """Returns why a setting cannot be swept in this corpus, None where it can."""
    if name.startswith("speech.") and config.acquire.audio_first:
        return (
            "with acquire.audio_first it judges the sound alone first, of which no facts are stored"
        )
    if name == "language.min_text_probability" and config.transcribe.captions != "ignore":
        return "it also chooses which subtitles are taken, and so the words"
    return None


def _plain(name: str, value: Value) -> Any:
    """Returns a value as it may stand in a config file."""
    if value == OFF:
        if name not in NO_LIMIT:
            raise UsageError(f"{name} has no {OFF}: no value of it lets everything pass")
        return NO_LIMIT[name]
    if isinstance(value, bool) and name != "dedup.same_bytes":
        raise UsageError(f"{name}: expected a number or {OFF}, found {said(value)}")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value
