"""What fetching from video sites and pages needs: yt-dlp and JavaScript."""

from __future__ import annotations

import datetime
import shutil

from reelscript.jobs.doctor.asking import said_by_python
from reelscript.jobs.doctor.finding import Answer, State
from reelscript.jobs.doctor.packages import asked_by, extra, pip_install, said_of, unmet, version

# yt-dlp's own limit (`_get_outdated_warning` in its update.py): a release at least every 90 days is
# promised, so that a newer one is sure to be there.
OLD_DAYS = 90
RUNTIMES = ("deno",)  # the one that yt-dlp takes unless told otherwise: it keeps code in a sandbox
LOOK = "import yt_dlp; print({})"
LOOK_FOR_RUNTIMES = """
import json, sys, yt_dlp
from yt_dlp.globals import supported_js_runtimes
found = []
for name in sys.argv[1:]:
    kind = supported_js_runtimes.value[name]
    info, needed = kind().info, ".".join(map(str, kind.MIN_SUPPORTED_VERSION))
    if info:
        found.append([name, info.version, info.path, needed, info.supported])
print(json.dumps({"runtimes": found}))
"""


def yt_dlp(within_s: float) -> Answer:
    """Returns whether yt-dlp is there and loads, and whether it is too old for today's sites."""
    there = extra("sites", "yt-dlp")
    if there.state != "ok":
        return Answer(there.state, f"{there.found}; for video sites and pages only", there.mend)
    told = said_by_python(LOOK, within_s)
    if told.facts() is None:
        return told.broken("importing yt-dlp", pip_install("--force-reinstall", "yt-dlp"))
    age = _age_days(version("yt-dlp") or "")
    if age is None:
        return there
    found = f"{there.found}, {age} days old"
    if age <= OLD_DAYS:
        return Answer("ok", found)
    newest = "yt-dlp[default]" if version("yt-dlp-ejs") else "yt-dlp"
    return Answer("warning", f"{found}: sites have changed since", pip_install("--upgrade", newest))


def javascript(within_s: float) -> Answer:
    """Returns whether yt-dlp finds what runs the JavaScript of YouTube, in versions that it takes.

    Without, yt-dlp leaves out the clients that need it (its README, youtube's `player_client`).
    """
    if version("yt-dlp") is None:
        found = "YouTube needs Deno and yt-dlp-ejs, beside yt-dlp"
        return Answer("missing", found, pip_install("reelscript[youtube]"))
    told = said_by_python(LOOK_FOR_RUNTIMES, within_s, *RUNTIMES)
    facts = told.facts()
    if facts is None:
        return Answer("unknown", f"asking yt-dlp for JavaScript runtimes {told.why}")
    runtimes, scripts = facts["runtimes"], asked_by("yt-dlp", "yt-dlp-ejs")
    fits = any(supported for *_, supported in runtimes)
    said = [_runtime(*runtime) for runtime in runtimes] or [f"no {' or '.join(RUNTIMES)} that runs"]
    found = ", ".join([*said, *map(said_of, scripts)])
    lacking = unmet(scripts)
    if fits and not lacking:
        return Answer("ok", found)
    state: State = "missing" if lacking and not fits else "warning"  # half of it is of no use
    again = ["--force-reinstall", "deno"] if version("deno") and not fits else []
    mend = pip_install(*(again or ["reelscript[youtube]"]))
    return Answer(state, f"{found}: YouTube gives few formats or none", mend)


def _runtime(name: str, number: str, path: str, needed: str, supported: bool) -> str:
    lacking = "" if supported else f"; {needed} needed"
    return f"{name} {number} ({shutil.which(path) or path}{lacking})"


def _age_days(number: str) -> int | None:
    """Returns the days since a version that is a date; None where it is none."""
    try:
        released = datetime.date(*map(int, number.split(".")[:3]))
    except (ValueError, TypeError):
        return None
    return max(0, (_today() - released).days)


def _today() -> datetime.date:
    """Returns the date in UTC, by which yt-dlp's versions go."""
    return datetime.datetime.now(datetime.UTC).date()
