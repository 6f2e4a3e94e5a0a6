"""Lists of videos with a class, as the released evaluation of TVTSv2 (arXiv 2305.14173) has them.

A table with tabs and a header: path, label. Beside it `label2id.json`, whose keys, in their order,
are the names of the classes. Labels count from 1 (HMDB-51, UCF-101) or from 0 (Kinetics-400): the
list itself tells which, by holding the first or the last of all labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reelscript.jobs.evaluate.list_files import read_json, read_table, shown
from reelscript.pipeline.errors import UsageError
from reelscript.schemas.text import one_line

NAMES = "label2id.json"


@dataclass(frozen=True)
class Labelled:
    """Videos and their classes.

    Attributes:
        names: of the C classes.
        paths: of the videos, as the list has them.
        labels: for each video the number of its class, from 0.
    """

    names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[int, ...]


def read_classes(path: Path) -> Labelled:
    """Returns the videos of a list with their classes, in its order.

    Raises:
        UsageError: it is damaged, names a video twice, or leaves open what its labels mean.
    """
    rows = read_table(path)
    names = _names(path.parent / NAMES)
    try:
        labels = [int(label) for _, label in rows]
    except ValueError as error:
        raise UsageError(
            f"{shown(path)}: expected whole numbers as labels, in the second column"
        ) from error
    first = _first(labels, len(names), path)
    paths = tuple(video for video, _ in rows)
    if len(set(paths)) < len(paths):
        raise UsageError(f"{shown(path)} names a video twice")
    return Labelled(names, paths, tuple(label - first for label in labels))


def _first(labels: list[int], classes: int, path: Path) -> int:
    """Returns the label of the first class, 0 or 1."""
    fitting = [first for first in (0, 1) if first <= min(labels) and max(labels) < first + classes]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(
            f"{shown(path)} holds neither label 0 nor label {classes}: whether its {classes} "
            "classes count from 0 or from 1 cannot be told"
        )
    raise UsageError(
        f"{shown(path)} has labels from {min(labels)} to {max(labels)}, which are not those of the "
        f"{classes} classes in {NAMES}"
    )


def _names(path: Path) -> tuple[str, ...]:
    told = read_json(path)
    if not isinstance(told, dict) or len(told) < 2:
        raise UsageError(f"{shown(path)}: expected an object with the names of 2 or more classes")
    ids = list(told.values())
    if any(type(number) is not int for number in ids) or ids != list(
        range(ids[0], ids[0] + len(ids))
    ):
        raise UsageError(
            f"{shown(path)}: its keys are the classes in their order, so that its numbers have to "
            "rise by 1"
        )
    names = tuple(told)
    if empty := [name for name in names if not name.strip()]:
        raise UsageError(f"{shown(path)}: a class has the name {one_line(repr(empty[0]), 40)}")
    return names
