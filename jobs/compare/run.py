"""`reelscript audit A B`: two finished corpora, or releases, side by side, as numbers and a page.

Both are only read. What is written are `comparison.json` and `comparison.html`, elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelscript.jobs.compare.compare import compare
from reelscript.jobs.compare.page import comparison_page
from reelscript.jobs.compare.shapes import score_shapes
from reelscript.jobs.config import Config
from reelscript.jobs.provenance import reasons_and_thresholds
from reelscript.jobs.report.files import pretty_json
from reelscript.jobs.standing_config import config_or_why
from reelscript.jobs.statistics.rows import Rows
from reelscript.jobs.statistics.stats import statistics
from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.store import Store
from reelscript.reading.corpus import open_corpus
from reelscript.reading.releases import release_of
from reelscript.schemas.text import one_line

JSON, PAGE = "comparison.json", "comparison.html"
ITS_OWN = ("name", "sources", "work")
"""Of a config: what any two corpora have differently, and what tells of the machine alone."""


@dataclass(frozen=True)
class Compared:
    """What a comparison found and where it stands.

    Attributes:
        folder: where `comparison.json` and `comparison.html` were written.
        result: what stands in comparison.json.
    """

    folder: str
    result: dict[str, Any]


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        store: where it lies.
        info: its dataset.json.
        config: the settings that it was built with; None where they are not known.
        no_config: why they are not.
    """

    store: Store
    info: dict[str, Any]
    config: Config | None
    no_config: str | None


def compare_corpora(a: str, b: str, out: str) -> Compared:
    """Writes what differs from `a` to `b` as JSON and as a page, and returns it.

    It is what `compare` gives, without the settings where those of one side are not known, and

    ```
    thresholds    {a, b}: those of their stats.json
    histograms    [{of, name, whole, edges, a, b, limits}], see score_shapes
    no_config     {a, b}: why their settings are not known; null where they are
    ```

    Args:
        a: a corpus or a release folder of one, local or at any fsspec URL.
        b: another.
        out: the folder where it is written, which is neither a corpus nor in one of the two.

    Raises:
        UsageError: it may not be written there.
        DataError: there is no corpus, or its tables are damaged.
        StorageError: the files cannot be written.
    """
    one, other = sides = (_opened(a), _opened(b))
    target = Store(out)
    _refuse_corpora(target, [side.store for side in sides])
    with ExitStack() as stack:
        rows_a, rows_b = (stack.enter_context(Rows.of_corpus(side.store)) for side in sides)
        stats_a = statistics(rows_a, **reasons_and_thresholds(one.config))
        stats_b = statistics(rows_b, **reasons_and_thresholds(other.config))
        limits_a, limits_b = stats_a["thresholds"], stats_b["thresholds"]
        known = one.config is not None and other.config is not None
        result = compare(
            rows_a,
            rows_b,
            stats_a,
            stats_b,
            names=_names(one, other),
            configs=(_settings(one), _settings(other)) if known else ({}, {}),
            versions=(_versions(one), _versions(other)),
        )
        histograms = score_shapes(rows_a, rows_b, (limits_a, limits_b))
    result |= {
        "thresholds": {"a": limits_a, "b": limits_b},
        "histograms": histograms,
        "no_config": {"a": one.no_config, "b": other.no_config},
    }
    files = {JSON: pretty_json(result), PAGE: comparison_page(result).encode()}
    for name, data in files.items():
        target.put(name, data)
    return Compared(target.url, result)


def _opened(folder: str) -> Side:
    corpus = open_corpus(folder)
    return Side(corpus.store, corpus.info, *config_or_why(corpus.store, corpus.info))


def _refuse_corpora(target: Store, sides: Sequence[Store]) -> None:
    """Raises UsageError where a comparison would lie in a corpus, which it must not change."""
    where = one_line(target.url)
    if target.exists("dataset.json"):
        raise UsageError(f"{where} is a corpus: write the comparison to another folder with -o")
    for side in sides:
        if _lies_in(target, side):
            raise UsageError(
                f"{where} lies in the corpus {one_line(side.url)}: write the comparison to "
                "another folder with -o"
            )


def _lies_in(inner: Store, outer: Store) -> bool:
    if inner.local_root is not None and outer.local_root is not None:
        return inner.local_root.resolve().is_relative_to(outer.local_root.resolve())
    if inner.local_root is not None or outer.local_root is not None:
        return False
    return f"{inner.url.rstrip('/')}/".startswith(f"{outer.url.rstrip('/')}/")


def _settings(side: Side) -> dict[str, Any]:
    plain = side.config.to_dict() if side.config else {}
    return {name: value for name, value in plain.items() if name not in ITS_OWN}


def _versions(side: Side) -> dict[str, Any]:
    found = side.info.get("versions")
    return found if isinstance(found, dict) else {}


def _names(one: Side, other: Side) -> tuple[str, str]:
    """Returns what to call the two: their names, else with the release, else where they lie."""
    plain = [str(side.info.get("name") or Path(side.store.url).name) for side in (one, other)]
    if plain[0] == plain[1]:
        numbers = [release_of(side.info) for side in (one, other)]
        plain = [f"{name}, release {n}" for name, n in zip(plain, numbers, strict=True)]
    if plain[0] == plain[1]:
        plain = [side.store.url for side in (one, other)]
    return plain[0], plain[1]
