"""Lists of sources (.txt, .csv, .tsv, .jsonl, .parquet), read row by row; a fault names its row."""

from __future__ import annotations

import csv
import difflib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from reelscript.jobs.sources.language_codes import language_code
from reelscript.jobs.sources.metadata import metadata_text
from reelscript.pipeline.errors import UsageError
from reelscript.schemas.text import one_line
from reelscript.transforms.urls import published_url, scheme_of

ADDRESS_COLUMNS = ("url", "path")
OTHER_COLUMNS = ("id", "title", "channel", "license", "language", "subtitles", "metadata")
MAX_LINE_BYTES = 1 << 16
MAX_CELL_CHARS = 300
SIGNATURES = {b"PAR1": "Parquet", b"PK\x03\x04": "a ZIP archive", b"\x1f\x8b": "gzip"}


class Row(NamedTuple):
    """One line of a list: where a source lies, and what the list says of it, made harmless."""

    number: int  # of the line, from 1, the header counted; in Parquet of the row
    address: str
    id: str | None = None  # as written: whether it fits is for the listing to judge
    title: str | None = None
    channel: str | None = None
    license: str | None = None
    language: str | None = None  # ISO 639-1
    subtitles: str | None = None
    metadata: str | None = None  # JSON text
    subtitles_at: str | None = None  # the address of `subtitles` as written


def read_list(file: BinaryIO, name: str, suffix: str) -> Iterator[Row]:
    """Yields the rows of a list.

    Args:
        file: its bytes.
        name: what messages call it.
        suffix: one of READERS, in lower case.

    Raises:
        UsageError: it is no such list: what, in which row, what was expected.
    """
    return READERS[suffix](file, name)


def _text_rows(file: BinaryIO, name: str) -> Iterator[Row]:
    for number, line in _lines(file, name):
        address = line.strip()
        if address and not address.startswith("#"):
            yield Row(number, address)


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Yields number and text of each line of UTF-8, line ends kept, a byte order mark dropped."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES:
            raise UsageError(
                f"{name}, row {number}: longer than 64 KiB: is this a list of sources?"
            )
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
            for start, kind in SIGNATURES.items():
                if line.startswith(start):
                    raise UsageError(f"{name}: expected UTF-8 text, found {kind}")
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            at = f"byte {line[error.start]:#04x} at position {error.start}"
            raise UsageError(f"{name}, row {number}: expected UTF-8, found {at}") from None


def _comma_rows(file: BinaryIO, name: str) -> Iterator[Row]:
    return _separated(file, name, ",")


def _tab_rows(file: BinaryIO, name: str) -> Iterator[Row]:
    return _separated(file, name, "\t")


def _separated(file: BinaryIO, name: str, separator: str) -> Iterator[Row]:
    reader = csv.reader((line for _, line in _lines(file, name)), delimiter=separator, strict=True)
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        _check_columns(header, name)
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) > len(header):
                raise UsageError(
                    f"{name}, row {reader.line_num}: {len(cells)} cells under {len(header)} "
                    f"columns: a cell that holds {separator!r} must stand in double quotes"
                )
            yield _row(reader.line_num, dict(zip(header, cells, strict=False)), name)
    except csv.Error as error:
        raise UsageError(f"{name}, row {reader.line_num}: {error}") from None


def _json_rows(file: BinaryIO, name: str) -> Iterator[Row]:
    for number, line in _lines(file, name):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            said = one_line(str(error), 100)
            raise UsageError(
                f"{name}, row {number}: expected a JSON object, found {said}"
            ) from None
        if not isinstance(cells, dict):
            found = type(cells).__name__
            raise UsageError(f"{name}, row {number}: expected a JSON object, found {found}")
        _check_columns(cells, f"{name}, row {number}")
        yield _row(number, cells, name)


def _parquet_rows(file: BinaryIO, name: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        table = pq.ParquetFile(file)
        _check_columns(table.schema_arrow.names, name)
        wanted = [c for c in (*ADDRESS_COLUMNS, *OTHER_COLUMNS) if c in table.schema_arrow.names]
        for batch in table.iter_batches(batch_size=4096, columns=wanted):
            for cells in batch.to_pylist():
                number += 1
                yield _row(number, cells, name)
    except (pa.ArrowException, OSError, ValueError) as error:
        said = one_line(str(error), 200)
        raise UsageError(f"{name}: cannot be read as Parquet after row {number}: {said}") from None


READERS = {
    ".txt": _text_rows,
    ".csv": _comma_rows,
    ".tsv": _tab_rows,
    ".jsonl": _json_rows,
    ".parquet": _parquet_rows,
}


def _check_columns(found: Iterable[str], where: str) -> None:
    names = list(found)
    if any(column in names for column in ADDRESS_COLUMNS):
        return
    near = [n for n in names for c in ADDRESS_COLUMNS if c in n.lower()]
    near += difflib.get_close_matches("url", names, n=1, cutoff=0.5)
    hint = f"; is it {near[0]!r}?" if near else ""
    listed = one_line(", ".join(names), 200) or "none"
    raise UsageError(f"{where}: expected a column 'url' or 'path', found: {listed}{one_line(hint)}")


def _row(number: int, cells: Mapping[str, Any], name: str) -> Row:
    """Returns what the cells of one line say."""
    where = f"{name}, row {number}"
    text = {c: _text(cells.get(c), c, where) for c in (*ADDRESS_COLUMNS, *OTHER_COLUMNS[:-1])}
    address = text["url"] or text["path"]
    if address is None:
        raise UsageError(f"{where}: expected a URL or a path, found an empty cell")
    try:
        language = language_code(text["language"] or "")
    except ValueError as error:
        said = one_line(str(error), 100)
        raise UsageError(f"{where}: {said}: expected ISO 639-1, such as 'en'") from None
    title, channel, license_ = (
        one_line(text[c] or "", MAX_CELL_CHARS) or None for c in ("title", "channel", "license")
    )
    subtitles = _published(text["subtitles"] or "")
    metadata = metadata_text(cells.get("metadata"))
    known = (title, channel, license_, language, subtitles, metadata, text["subtitles"])
    return Row(number, address, text["id"], *known)


def _published(address: str) -> str | None:
    """Returns what of an address may be seen: no password or signature, no folder of ours."""
    address = address.strip()
    if scheme_of(address) is None and os.path.isabs(address):
        address = os.path.basename(address)
    return one_line(published_url(address), MAX_CELL_CHARS) or None


def _text(value: Any, column: str, where: str) -> str | None:
    """Returns a cell as text, or None where it is empty (a NaN, in tables that pandas wrote)."""
    if isinstance(value, str):
        return value if value.strip() else None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UsageError(f"{where}: column {column!r}: expected text, found {type(value).__name__}")
