"""The files of a sweep: its JSON, or a folder with its JSON and its page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reelscript.jobs.report.files import pretty_json
from reelscript.jobs.sweep.page import sweep_page
from reelscript.pipeline.store import Store
from reelscript.schemas.text import one_line

JSON, PAGE = "sweep.json", "sweep.html"


def write_sweep(found: Mapping[str, Any], out: str) -> list[str]:
    """Writes a sweep and returns the names of the files.

    Args:
        found: what `sweep` gives.
        out: a file whose name ends in .json, else a folder, which gets the page too; paths or
            fsspec URLs.

    Raises:
        StorageError: something cannot be written.
    """
    data = pretty_json(found)
    folder, _, name = out.rpartition("/")
    if name.endswith(".json"):
        files = {name: data}
        folder = folder or ("/" if out.startswith("/") else ".")
    else:
        files = {JSON: data, PAGE: sweep_page(found).encode()}
        folder = out
    for name, content in files.items():
        Store(folder).put(name, content)
    return [one_line(f"{folder.rstrip('/')}/{name}") for name in files]
