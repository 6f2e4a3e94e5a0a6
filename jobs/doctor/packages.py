"""Python packages against what reelscript's own metadata asks for; none of them is imported."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import platform
import shlex
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from reelscript.jobs.doctor.asking import said_by_python
from reelscript.jobs.doctor.finding import Answer

LOOK = "import reelscript.jobs.config; print({})"


def python() -> Answer:
    """Returns whether this Python is new enough."""
    wanted = importlib.metadata.metadata("reelscript")["Requires-Python"]
    found = f"{platform.python_version()} ({sys.executable}), {wanted} is asked for"
    if SpecifierSet(wanted).contains(platform.python_version(), prereleases=True):
        return Answer("ok", found)
    return Answer("missing", found)


def core(within_s: float) -> Answer:
    """Returns whether the packages that every verb needs are there, fit and load."""
    wanted = required()
    if lacking := unmet(wanted):
        return _lacking(lacking, pip_install(*map(str, lacking)))
    told = said_by_python(LOOK, within_s)
    if told.facts() is None:
        again = pip_install("--force-reinstall", *map(str, wanted))
        return told.broken("importing reelscript", again)
    return Answer("ok", f"reelscript {version('reelscript')}, and all {len(wanted)} that it needs")


def extra(name: str, only: str | None = None) -> Answer:
    """Returns whether all packages of an extra of reelscript are there, in versions that fit.

    Args:
        name: of the extra.
        only: the one package to look at; None for all.
    """
    wanted = [r for r in required(name) if only in (None, r.name)]
    mend = pip_install(f"reelscript[{name}]")
    if not wanted:
        return Answer("missing", f"the reelscript that is installed has no extra {name}", mend)
    if lacking := unmet(wanted):
        return _lacking(lacking, mend)
    return Answer("ok", ", ".join(map(said_of, wanted)))


def _lacking(lacking: list[Requirement], mend: str) -> Answer:
    return Answer("missing", ", ".join(map(said_of, lacking)), mend)


def said_of(wanted: Requirement) -> str:
    """Returns which version of a package is there, and which is needed if that does not fit."""
    there = f"{wanted.name} {version(wanted.name) or 'is not there'}"
    return there if _met(wanted) else f"{there} ({wanted.specifier} needed)"


# What is asked for, and what is there.


def asked_by(package: str, name: str) -> list[Requirement]:
    """Returns what an installed package, with any of its extras, asks of another; mostly once."""
    found = map(Requirement, importlib.metadata.requires(package) or ())
    return list({str(r.specifier): r for r in found if canonicalize_name(r.name) == name}.values())


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


def version(name: str) -> str | None:
    """Returns the version of an installed package; None where there is none."""
    try:
        return importlib.metadata.version(name) or "without a version"
    except (importlib.metadata.PackageNotFoundError, KeyError):
        return None


def module_file(module: str, path: str) -> Path | None:
    """Returns a file of a module, which is not imported; None where there is none."""
    spec = importlib.util.find_spec(module)
    folders = (spec.submodule_search_locations if spec is not None else None) or ()
    return next((file for f in folders if (file := Path(f, path)).is_file()), None)


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
    return shlex.join([sys.executable, "-m", "pip", "install", *what])
