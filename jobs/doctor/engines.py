"""The engines beside the local one, which a build may ask for; none of them is imported."""

from __future__ import annotations

import importlib.util

from reelscript.jobs.doctor.finding import Answer
from reelscript.jobs.doctor.packages import version

MODULES = {"ray": "ray", "apache-beam": "apache_beam"}


def others() -> Answer:
    """Returns which of them could be imported, in which version."""
    there = {name: version(name) for name, m in MODULES.items() if importlib.util.find_spec(m)}
    said = (f"{name} {there.get(name) or 'not there'}" for name in MODULES)
    found = f"{', '.join(said)}; needed for --engine ray or beam only"
    return Answer("ok" if there else "absent", found)
