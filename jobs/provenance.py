"""What a corpus says of how it was made: packages, machine, every reason, every threshold."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

from reelscript.jobs.config import Config
from reelscript.pipeline.rules import (
    DUPLICATE_CONTENT,
    PASSAGE_TOO_SHORT,
    quality_reasons,
    rules_of,
)

PACKAGES = (
    "reelscript",
    "faster-whisper",
    "ctranslate2",
    "av",
    "langdetect",
    "yt-dlp",
    "pyarrow",
    "numpy",
)


def versions(config: Config) -> dict[str, Any]:
    """Returns what the corpus was made with: packages and the kind of machine."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    device = {"machine": platform.machine(), "cpu": _cpu_name(), "device": config.transcribe.device}
    return {"python": platform.python_version(), "packages": packages, "hardware": device}


def reasons_and_thresholds(config: Config | None) -> dict[str, Any]:
    """Returns both as arguments of `statistics`; none where the config is not known."""
    return {
        "reasons": all_reasons(config) if config else {},
        "thresholds": all_thresholds(config) if config else {},
    }


def all_reasons(config: Config) -> dict[str, list[str]]:
    """Returns every reason that every stage may give, in the order of the pipeline."""
    reasons = {stage.name: list(stage.rejects) for stage in config.measuring()}
    return reasons | {
        "dedup": [DUPLICATE_CONTENT],
        "quality": quality_reasons(config.quality),
        "passage": [PASSAGE_TOO_SHORT],
        "encode": list(config.encode.rejects),
    }


def all_thresholds(config: Config) -> dict[str, list[dict[str, Any]]]:
    """Returns the thresholds on each score, with where their numbers come from."""
    found: dict[str, list[dict[str, Any]]] = {}
    for rule in rules_of(config.quality):
        if rule.limit is not None:
            name = f"{'video' if rule.of_video else 'clip'}.{rule.score}"
            said = {
                "setting": f"quality.{rule.setting}",
                "value": rule.limit,
                "side": rule.side,
                "origin": rule.origin,
            }
            found.setdefault(name, []).append(said)
    early = [
        ("duration_s", "probe.min_s", config.probe.min_s, "min"),
        ("duration_s", "probe.max_s", config.probe.max_s, "max"),
        ("static_share", "glance.max_static_share", config.glance.max_static_share, "max"),
        ("speech_share", "speech.min_share", config.speech.min_share, "min"),
        (
            "voice_probability",
            "speech.min_voice_probability",
            config.speech.min_voice_probability,
            "min",
        ),
        (
            "language_probability",
            "speech.certain_probability",
            config.speech.certain_probability,
            "min",
        ),
        ("language_agreement", "speech.min_agreement", config.speech.min_agreement, "min"),
        (
            "text_language_probability",
            "language.min_text_probability",
            config.language.min_text_probability,
            "min",
        ),
    ]
    for score, setting, value, side in early:
        if value is not None:
            said = {
                "setting": setting,
                "value": value,
                "side": side,
                "origin": "see docs/settings.md",
            }
            found.setdefault(f"video.{score}", []).append(said)
    return found


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        return next(names, "unknown")
    except OSError:
        return platform.processor() or "unknown"
