"""What no verb uses yet: programs to fetch from video sites, and engines beside the local one."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import sysconfig
from functools import partial

from packaging.version import Version

from reelscript.jobs.doctor.asking import Said, said, started
from reelscript.jobs.doctor.finding import Answer
from reelscript.jobs.doctor.packages import version

RUNTIMES = {"deno": "2.3.0", "node": "22.0.0", "bun": "1.2.11"}  # from which yt-dlp 2026.10 takes


def unused(today: datetime.date, within_s: float) -> Answer:
    """Returns which of them are there, in which version."""
    engines = [f"{name} {version(name) or 'not there'}" for name in ("ray", "apache-beam")]
    runtimes = _javascript(within_s) or ["no JavaScript runtime"]
    return Answer("absent", ", ".join([_yt_dlp(today), *runtimes, *engines]))


def _yt_dlp(today: datetime.date) -> str:
    there = version("yt-dlp")
    if there is None:
        return "yt-dlp not there"
    try:
        age = today - datetime.date(*map(int, there.split(".")[:3]))
    except (ValueError, TypeError):
        return f"yt-dlp {there}"
    return f"yt-dlp {there} ({age.days} days old)"


def _javascript(within_s: float) -> list[str]:
    """Returns the JavaScript runtimes beside this Python and on PATH: yt-dlp needs one."""
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    found = {name: path for name in RUNTIMES if (path := shutil.which(name, path=places))}
    asked = {n: started(partial(said, [path, "--version"], within_s)) for n, path in found.items()}
    return [_runtime(name, told.result()) for name, told in asked.items()]


def _runtime(name: str, told: Said) -> str:
    number = re.search(r"\d+\.\d+\.\d+", told.text)
    if told.fault is not None or number is None:
        return f"{name} {told.why}"
    older = Version(number[0]) < Version(RUNTIMES[name])
    return f"{name} {number[0]}{f' ({RUNTIMES[name]} needed)' if older else ''}"
