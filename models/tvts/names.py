"""Finds names in the tables of `name_tables`: a tensor's place, and a state dict's layout."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from reelscript.models.tvts.archives import WeightsError
from reelscript.models.tvts.name_tables import DROPPED, TABLES, Form, Layout

_DROPPED = re.compile("|".join(f"(?:{name})" for name in DROPPED))
_STARTS = re.compile(r"^(?:module\.|_orig_mod\.|distilbert\.)+")  # of wrapped models
_NUMBER = re.compile(r"\.(0|[1-9]\d{0,3})\.")
_MAY_START = {"clip": "text."}  # OpenCLIP's models whose text tower is a module of its own
# Of OpenCLIP and OpenAI: image towers of timm or convolutions, text towers of transformers.
_OTHER_CLIP = re.compile(
    r"visual\.(trunk|blocks|layer\d|attnpool)\..*|text\.transformer\.(?!resblocks\.).*"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor in two layouts; `{i}` stands for the number of a block.

    Attributes:
        ours: our name.
        theirs: the other layout's names, of several tensors if they are one here.
        form: how a tensor's shape differs there.
    """

    ours: str
    theirs: tuple[str, ...]
    form: Form


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor of another layout goes: which part of which row, in which block."""

    row: Row
    part: int
    block: str

    @property
    def ours(self) -> str:
        """Our name of the tensor."""
        return self.row.ours.replace("{i}", self.block)


def _rows(tables: Iterable[str]) -> dict[Layout, dict[str, Row]]:
    """Returns the rows of all tables: by layout, then by our name."""
    rows: dict[Layout, dict[str, Row]] = {}
    starts: dict[str, str] = {}
    for line in "".join(tables).splitlines():
        if line.startswith("@"):
            layout, _, start = line[1:].partition(" ")
            starts = {} if layout == "ours" else starts
            starts[layout] = start.strip()
        elif line:
            cells = line.split()
            for at, cell in enumerate(cells):
                cells[at] = cells[at - 1] if cell == "=" else cell
            for suffix in ("weight", "bias") if "*" in line else ("",):
                filled = [cell.replace("*", suffix) for cell in cells]
                ours = starts["ours"] + filled[0]
                for (layout, start), cell in zip(starts.items(), filled, strict=True):
                    if cell != "-":
                        row = _row(ours, start, cell)
                        rows.setdefault(cast(Layout, layout), {})[ours] = row
    return rows


def _row(ours: str, start: str, cell: str) -> Row:
    name, _, form = cell.partition("^")
    name = name[1:] if name.startswith("/") else start + name
    before, _, several = name.partition("[")
    parts, _, behind = several.partition("]")
    theirs = tuple(before + part + behind for part in parts.split(","))
    return Row(ours, theirs, cast(Form, form))


_ROWS = _rows(TABLES)
_PLACES = {
    layout: {name: (row, part) for row in rows.values() for part, name in enumerate(row.theirs)}
    for layout, rows in _ROWS.items()
}


def plain(name: str) -> str:
    """Returns a tensor's name without what wrapped models put before it, such as `module.`."""
    return _STARTS.sub("", name)


def is_dropped(name: str) -> bool:
    """Returns whether a tensor of another layout is left out on purpose."""
    return _DROPPED.fullmatch(plain(name)) is not None


def place_of(name: str, layout: Layout) -> Place | None:
    """Returns where a tensor of a layout goes, or None if that layout has no such tensor."""
    name, places = plain(name).removeprefix(_MAY_START.get(layout, "")), _PLACES[layout]
    if name in places:
        return Place(*places[name], block="")
    block = _NUMBER.search(name)
    found = places.get(_NUMBER.sub(".{i}.", name, count=1)) if block else None
    return Place(*found, block=block[1]) if block and found else None


def row_of(ours: str, layout: Layout) -> Row | None:
    """Returns what a layout has for a tensor of ours, block numbers filled in, or None."""
    block = _NUMBER.search(ours)
    row = _ROWS[layout].get(_NUMBER.sub(".{i}.", ours, count=1))
    if row is None or block is None:
        return row
    theirs = tuple(name.replace("{i}", block[1]) for name in row.theirs)
    return Row(ours, theirs, row.form)


def layout_of(names: Iterable[str]) -> Layout:
    """Returns the layout that most of the names are of.

    Raises:
        WeightsError: none of them is of any layout, or they are of a CLIP with other towers.
    """
    known = list(names)
    counts = {layout: sum(place_of(name, layout) is not None for name in known) for layout in _ROWS}
    best = max(counts, key=lambda layout: counts[layout])
    if other := next((name for name in known if _OTHER_CLIP.fullmatch(plain(name))), None):
        raise WeightsError(
            f"these are weights of a CLIP whose towers are no vision and text transformers of "
            f"OpenAI's kind: they have {other}"
        )
    if not counts[best]:
        some = ", ".join(known[:3]) or "none"
        raise WeightsError(
            f"these are no weights of TVTSv2, TVTS, CLIP, MAE or DistilBERT; their names: {some}"
        )
    return best
