"""`reelscript audit`: what is in a corpus, what was left out and why, as numbers and as a page.

A build ends with the same page. An audit makes it again from the folder alone: of a corpus that
somebody else has built, that an older version has built, or that lies elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import UndefinedError

from reelscript.jobs.provenance import reasons_and_thresholds
from reelscript.jobs.releases import check_still
from reelscript.jobs.report.files import CARD, STATS, report_files
from reelscript.jobs.report.media import (
    FOLDER,
    LONGEST_S,
    MAX_FILE_BYTES,
    ReportMedia,
    forget_media,
    is_piece,
    kept_keys,
    kept_piece,
    media_in,
)
from reelscript.jobs.report.pictures import picture_of
from reelscript.jobs.standing_config import config_or_why
from reelscript.jobs.statistics.links import link_to
from reelscript.jobs.statistics.rows import Rows
from reelscript.jobs.statistics.stats import statistics
from reelscript.pipeline.errors import DataError, UsageError
from reelscript.pipeline.store import Store
from reelscript.reading.corpus import Corpus, open_corpus
from reelscript.reading.releases import release_folder, release_of
from reelscript.reading.tables import no_json
from reelscript.schemas.text import one_line

MOST_COST = 1e12  # CPU seconds or videos of a stage


@dataclass(frozen=True)
class Audited:
    """What an audit found and where it stands.

    Attributes:
        folder: where `report.html` and `stats.json` were written.
        stats: what stands in stats.json.
        card_kept: README.md was changed by hand, and stays as it is.
        no_config: why thresholds and reasons could not be read from config.yaml; None: they could.
    """

    folder: str
    stats: dict[str, Any]
    card_kept: bool
    no_config: str | None


def audit(folder: str, out: str | None = None) -> Audited:
    """Writes `report.html`, `stats.json` and what the page plays, and returns the numbers.

    Args:
        folder: a corpus, local or at any fsspec URL.
        out: where to write in place of the corpus folder, which then is only read.

    Raises:
        UsageError: `out` is a corpus, or no place at all.
        DataError: there is no corpus, its tables are damaged, or a build published meanwhile.
        StorageError: the files cannot be written.
    """
    if out == "":
        raise UsageError("-o names no folder: name one, or leave -o away")
    corpus = open_corpus(folder)
    target = Store(out, durable=True) if out else corpus.store
    if out and target.exists("dataset.json"):
        raise UsageError(
            f"-o {one_line(out)} is a corpus itself, whose own report would be lost: name another "
            "folder, or leave -o away"
        )
    config, no_config = config_or_why(corpus.store, corpus.info)
    with Rows.of_corpus(corpus.store) as rows:
        stats = statistics(rows, **reasons_and_thresholds(config), costs=_costs_of(corpus))
    media = _rejected_in(corpus.store, copy=out is not None)
    media.kept = []
    add_kept(media, corpus)
    plain = config.to_dict() if config else {}
    files = report_files(stats, plain, corpus.info, media)
    card_kept = not out and _changed_by_hand(corpus, plain)
    played = None if out else media_in(target).names()
    if not out:
        check_still(target, corpus.info)
    media.write(target)
    for name, data in files.items():
        if name == CARD and card_kept:
            continue
        if not out and (folder_of := _archived(corpus, name)):
            target.put(folder_of, data)
        target.put(name, data)
    forget_media(target, played)
    return Audited(target.url, stats, card_kept, no_config)


def add_kept(media: ReportMedia, corpus: Corpus) -> None:
    """Adds kept passages, copied out of the shards; of one that is damaged nothing is shown."""
    try:
        samples = corpus.columns("samples", ["key", "video_id"])
        keys = kept_keys(*(samples[name].to_pylist() for name in ("key", "video_id")))
    except (KeyError, AttributeError):  # of a damaged table
        return
    for key in keys:
        try:
            sample = corpus[key]
            if max(sample.row["json_size"], sample.row["mp4_size"]) > MAX_FILE_BYTES:
                continue
            meta = sample.meta
            piece = kept_piece(meta, link_to(meta["url"], meta["start_s"]))
            mp4 = sample.mp4
            picture = picture_of(mp4, min(meta["duration_s"], LONGEST_S))
        except (DataError, UsageError, ValueError, KeyError, TypeError, AttributeError):
            continue
        except OverflowError:  # JSON knows whole numbers of any size
            continue
        found = ReportMedia()
        if is_piece(named := found.add(piece, mp4, picture)):
            media.kept.append(named)
            media.files |= found.files


def _rejected_in(corpus: Store, copy: bool) -> ReportMedia:
    """Returns the pieces of rejects whose files are there; with their bytes, to be written anew."""
    media = media_in(corpus)
    for of, piece in list(media.rejected.items()):
        names = [name for name in (piece["mp4"], piece["jpg"]) if name]
        sizes = [corpus.size_or_none(f"{FOLDER}/{name}") for name in names]
        if not all(size is not None and size <= MAX_FILE_BYTES for size in sizes):
            del media.rejected[of]
        elif copy:
            media.files |= {name: corpus.get(f"{FOLDER}/{name}") for name in names}
    return media


def _costs_of(corpus: Corpus) -> Mapping[str, Mapping[str, Any]]:
    """Returns what the build said of its costs: tables do not tell what was remembered."""
    try:
        found = json.loads(corpus.store.get(STATS), parse_constant=no_json)["costs"]
        return {
            str(stage): {
                str(name): value
                for name, value in cost.items()
                if isinstance(value, int | float) and abs(value) < MOST_COST
            }
            for stage, cost in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _archived(corpus: Corpus, name: str) -> str | None:
    """Returns where the release keeps its own copy of a file, if it does."""
    place = f"{release_folder(release_of(corpus.info))}/{name}"
    return place if corpus.store.exists(place) else None


def _changed_by_hand(corpus: Corpus, config: Mapping[str, Any]) -> bool:
    """Returns whether README.md is neither the card of its release nor that of stats.json."""
    if not corpus.store.exists(CARD):
        return False
    card = corpus.store.get(CARD)
    place = _archived(corpus, CARD)
    if place is not None:
        return card != corpus.store.get(place)
    try:
        stats = json.loads(corpus.store.get(STATS), parse_constant=no_json)
        return card != report_files(stats, config, corpus.info, ReportMedia())[CARD]
    except (OSError, RecursionError, ValueError, LookupError, TypeError, AttributeError):
        return True
    except UndefinedError:  # stats.json is of another version
        return True
