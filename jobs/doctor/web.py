"""What fetching from video sites needs: a young yt-dlp, and a program that runs JavaScript."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import sysconfig
from functools import partial

from reelscript.jobs.doctor.asking import Said, said, started
from reelscript.jobs.doctor.finding import Answer
from reelscript.jobs.doctor.packages import extra_with, pip_install, version

OLD_DAYS = 90  # sites change; what worked three months ago often fails
RUNTIMES = {  # what yt-dlp 2026.10 takes: program, how it tells its version, from which one on
    "deno": ("--version", r"^deno (\d[\d.]*)", "2.3.0"),
    "node": ("--version", r"^v(\d[\d.]*)", "22.0.0"),
    "bun": ("--version", r"^(\d[\d.]*)", "1.2.11"),
    "qjs": ("--help", r"^QuickJS version (\d[\d-]*)", "2023-12-9"),
}


def yt_dlp(today: datetime.date) -> Answer:
    """Returns whether yt-dlp is there with the scripts that it needs, and how old it is."""
    brought_by, there = extra_with("yt-dlp"), version("yt-dlp")
    if brought_by is None:
        found = f"{there or 'not installed'}; this version does not use it"
        return Answer("missing" if there is None else "ok", found)
    if there is None:
        return Answer("missing", "not installed", pip_install(f"reelscript[{brought_by}]"))
    newest = pip_install("--upgrade", "yt-dlp[default]")
    if version("yt-dlp-ejs") is None:
        return Answer("warning", f"{there} without yt-dlp-ejs, which YouTube needs", newest)
    age_days = _age_days(there, today)
    if age_days is None:
        return Answer("warning", f"its version {there} is no date, so its age is unknown", newest)
    if age_days > OLD_DAYS:
        return Answer("warning", f"{there} is {age_days} days old, and sites change", newest)
    return Answer("ok", there)


def javascript(within_s: float) -> Answer:
    """Returns whether there is a JavaScript runtime that yt-dlp takes: YouTube needs one.

    As yt-dlp does, it looks beside this Python, then on PATH.
    """
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    found = {name: path for name in RUNTIMES if (path := shutil.which(name, path=places))}
    asked = {
        name: started(partial(said, [path, RUNTIMES[name][0]], within_s))
        for name, path in found.items()
    }
    unused = "" if extra_with("yt-dlp") else "; only yt-dlp needs it"
    unfit = []
    for name, later in asked.items():
        fits, text = _runtime(name, later.result())
        if fits:
            return Answer("ok", f"{text}{unused}")
        unfit.append(text)
    mend = pip_install("deno") if extra_with("yt-dlp") else None
    return Answer("missing", f"{', '.join(unfit) or 'none on PATH'}{unused}", mend)


def _runtime(name: str, told: Said) -> tuple[bool, str]:
    """Returns whether yt-dlp takes a runtime, and what is to be said of it."""
    _, pattern, least = RUNTIMES[name]
    if told.late:
        return False, f"{name} {told.fault}"
    if "QuickJS-ng" in told.text:
        return True, "qjs (QuickJS-ng)"
    found = re.search(pattern, told.text, re.MULTILINE)  # qjs ends with exit code 1
    if found is None:
        return False, f"{name} {told.fault or 'tells no version'}"
    if _numbers(found[1]) >= _numbers(least):
        return True, f"{name} {found[1]}"
    return False, f"{name} {found[1]} is older than {least}"


def _numbers(text: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d{1,9}", text)]


def _age_days(version: str, today: datetime.date) -> int | None:
    try:
        return (today - datetime.date(*_numbers(version)[:3])).days
    except (ValueError, TypeError):
        return None
