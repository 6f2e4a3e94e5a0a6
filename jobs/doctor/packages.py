"""Python packages against what reelscript's own metadata asks for; none of them is imported."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import platform
import shlex
import shutil
import sys
from concurrent.futures import Future

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from reelscript.jobs.doctor.asking import Said, said_by_python
from reelscript.jobs.doctor.finding import Answer

LOOK = """
import json
from reelscript.jobs.config import MODEL_BY_DEVICE
print(json.dumps(MODEL_BY_DEVICE))
"""


def python() -> Answer:
    """Returns whether this Python is new enough."""
    wanted = importlib.metadata.metadata("reelscript")["Requires-Python"]
    found = f"{platform.python_version()} ({sys.executable}), {wanted} is asked for"
    if SpecifierSet(wanted).contains(platform.python_version(), prereleases=True):
        return Answer("ok", found)
    return Answer("missing", found)


def ask_reelscript(within_s: float) -> Said:
    """Returns the models that a build uses by default; for that its own modules are imported."""
    return said_by_python(LOOK, within_s)


def core(own: Future[Said]) -> Answer:
    """Returns whether the packages that every verb needs are there, fit and load."""
    if version("reelscript") is None:
        found = "reelscript runs from its folder and is not installed: run this there"
        return Answer("missing", found, pip_install("--editable", "."))
    wanted = required()
    if lacking := unmet(wanted):
        return _lacking(lacking, pip_install(*map(str, lacking)))
    told = own.result()
    if told.facts() is None:
        again = pip_install("--force-reinstall", *map(str, wanted))
        return told.broken("importing reelscript", again)
    return Answer("ok", f"reelscript {version('reelscript')}, and all {len(wanted)} that it needs")


def extra(name: str) -> Answer:
    """Returns whether all packages of an extra of reelscript are there, in versions that fit."""
    wanted = required(name)
    if not wanted:  # an editable installation that is older than the extra
        found = f"reelscript was installed before it had [{name}]: run this in its folder"
        return Answer("missing", found, pip_install("--editable", f".[{name}]"))
    if lacking := unmet(wanted):
        return _lacking(lacking, pip_install(f"reelscript[{name}]"))
    return Answer("ok", ", ".join(f"{r.name} {version(r.name)}" for r in wanted))


def engine(name: str, module: str) -> Answer:
    """Returns whether a package that can run stages elsewhere can be imported."""
    brought_by = extra_with(name)
    unused = "" if brought_by else "; this version does not use it"
    if importlib.util.find_spec(module) is not None:
        return Answer("ok", f"{name} {version(name)}{unused}")
    mend = pip_install(f"reelscript[{brought_by}]") if brought_by else None
    return Answer("missing", f"not installed{unused}", mend)


def _lacking(lacking: list[Requirement], mend: str) -> Answer:
    said = (f"{r.name} {version(r.name) or 'is not there'} ({r.specifier} needed)" for r in lacking)
    return Answer("missing", ", ".join(said), mend)


# What is asked for, and what is there.


@functools.cache
def _requirements() -> tuple[Requirement, ...]:
    found = [Requirement(text) for text in importlib.metadata.requires("reelscript") or ()]
    return tuple(r for r in found if canonicalize_name(r.name) != "reelscript")


def required(extra: str = "") -> list[Requirement]:
    """Returns what an extra of reelscript asks for; without one, what every installation needs."""
    core = [r for r in _requirements() if r.marker is None or r.marker.evaluate({"extra": ""})]
    if not extra:
        return core
    asked = [r for r in _requirements() if r.marker and r.marker.evaluate({"extra": extra})]
    return [r for r in asked if r not in core]


def extra_with(name: str) -> str | None:
    """Returns the first extra of reelscript that brings a package; None where none does."""
    extras = importlib.metadata.metadata("reelscript").get_all("Provides-Extra") or []
    wanted = canonicalize_name(name)
    return next(
        (e for e in extras if wanted in {canonicalize_name(r.name) for r in required(e)}), None
    )


def version(name: str) -> str | None:
    """Returns the version of an installed package; None where there is none."""
    try:
        return importlib.metadata.version(name) or "without a version"
    except (importlib.metadata.PackageNotFoundError, KeyError):
        return None


def unmet(wanted: list[Requirement]) -> list[Requirement]:
    """Returns the requirements that what is installed does not meet."""
    return [r for r in wanted if not _met(r)]


def _met(requirement: Requirement) -> bool:
    found = version(requirement.name)
    try:
        return found is not None and requirement.specifier.contains(found, prereleases=True)
    except InvalidVersion:
        return False


def pip_install(*what: str) -> str:
    """Returns a command line that installs packages into the environment that runs us."""
    python = sys.executable
    if importlib.util.find_spec("pip") is None and shutil.which("uv") is not None:
        return shlex.join(["uv", "pip", "install", "--python", python, *what])
    return shlex.join([python, "-m", "pip", "install", *what])
