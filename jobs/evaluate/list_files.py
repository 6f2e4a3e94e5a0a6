"""Files that stand in every list of an evaluation set: tables, JSON, a pickle of numbers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from reelscript.jobs.sources.places import is_media
from reelscript.pipeline.errors import UsageError
from reelscript.schemas.text import one_line

MOST_BYTES = 1 << 28  # of a list: the largest known ones have some MB


def read_bytes(path: Path) -> bytes:
    """Returns what a file holds. Raises UsageError: it is not there, is huge, or cannot be read."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"{shown(path)} has over {MOST_BYTES >> 20} MiB: it is no list")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{shown(path)} cannot be read: {error.strerror}") from error


def read_text(path: Path) -> str:
    """Returns the text of a UTF-8 file. Raises UsageError."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown(path)} is not UTF-8 text") from error


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds; an object keeps the order of its keys. Raises UsageError."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{shown(path)} is not JSON") from error


def read_table(path: Path) -> list[tuple[str, str]]:
    """Returns the first two columns of a table with tabs, without its first row, the header.

    Raises:
        UsageError: it cannot be read, has no header, a row has fewer columns, or there is no row.
    """
    rows = []
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter="\t", strict=True)
    try:
        for cells in reader:
            if not cells:
                continue
            if len(cells) < 2:
                raise UsageError(
                    f"{shown(path)}, line {reader.line_num}: expected 2 columns with a tab between"
                )
            rows.append((cells[0].strip(), cells[1].strip()))
    except csv.Error as error:
        raise UsageError(f"{shown(path)}, line {reader.line_num}: {error}") from error
    if len(rows) < 2:
        raise UsageError(f"{shown(path)} holds no rows below its header")
    if any(cell.isdigit() or is_media(cell) for cell in rows[0]):
        raise UsageError(f"{shown(path)} begins with a video: its first row has to be a header")
    return rows[1:]


def shown(path: Path) -> str:
    """Returns a path as it may stand in a message."""
    return one_line(str(path), 200)
