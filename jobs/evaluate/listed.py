"""Evaluation sets that are lists: their videos embedded, and judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reelscript.jobs.evaluate.class_list import Labelled, read_classes
from reelscript.jobs.evaluate.figures import Figure
from reelscript.jobs.evaluate.listed_videos import ListedVideos, Reading, embed_listed, found_in
from reelscript.jobs.evaluate.probe import Probe, probe
from reelscript.jobs.evaluate.retrieval import Pairs, Retrieval, retrieve
from reelscript.jobs.evaluate.retrieval_list import read_retrieval
from reelscript.jobs.evaluate.towers import Towers
from reelscript.jobs.evaluate.zero_shot import class_vectors, classify
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.store import sha256_of_file
from reelscript.schemas.text import one_line


@dataclass(frozen=True)
class Found:
    """Retrieval on a list.

    Attributes:
        about: the list, and which of its videos there are.
        retrieval: the figures.
    """

    about: dict[str, Any]
    retrieval: Retrieval

    def to_dict(self) -> dict[str, Any]:
        """Returns the same as plain JSON values."""
        return self.about | self.retrieval.to_dict()


@dataclass(frozen=True)
class Classified:
    """Classes of a list's videos.

    Attributes:
        about: the list, and which of its videos there are.
        prompts: with which classes were named.
        zero_shot: `top1` and `top5`.
        majority: the share of the most frequent class, which a constant guess has.
        linear_probe: None: there is no list to train it on.
        trained_on: that list.
    """

    about: dict[str, Any]
    prompts: Sequence[str]
    zero_shot: dict[str, Figure]
    majority: float
    linear_probe: Probe | None
    trained_on: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Returns the same as plain JSON values."""
        return self.about | {
            "prompts": list(self.prompts),
            "majority_share": self.majority,
            "zero_shot": {name: figure.to_dict() for name, figure in self.zero_shot.items()},
            "linear_probe": self.linear_probe and self.linear_probe.to_dict(),
            "train_list": self.trained_on,
        }


def found(
    towers: Towers, path: Path, reading: Reading, seed: int, dual_softmax: bool = False
) -> Found:
    """Returns retrieval between the captions and the videos of a list."""
    pairs = read_retrieval(path)
    videos = embed_listed(towers, [pair.path for pair in pairs], reading)
    kept = [pair for pair in pairs if pair.path in videos.rows]
    texts = [pair.caption for pair in kept]
    vectors, _ = towers.texts(texts)
    figures = retrieve(
        Pairs(
            texts=texts,
            text_vectors=vectors,
            video_of=[videos.rows[pair.path] for pair in kept],
            video_vectors=videos.vectors,
            sources=list(videos.rows),
        ),
        seed,
        dual_softmax,
    )
    return Found(_about(path, videos), figures)


def classified(
    towers: Towers,
    path: Path,
    train_list: Path | None,
    reading: Reading,
    prompts: Sequence[str],
    seed: int,
) -> Classified:
    """Returns zero-shot classification of a list, and with one to train on a linear probe.

    Args:
        towers: the network.
        path: of the list.
        train_list: of videos of the same classes; None: no probe.
        reading: where the videos lie.
        prompts: with which classes are named.
        seed: of all that is drawn.

    Raises:
        DataError: the lists share videos, or do not have the same classes.
    """
    tested = read_classes(path)
    trained = None if train_list is None else read_classes(train_list)
    if trained is not None:
        _check_apart(trained, tested, reading.folder)
    vectors = class_vectors(towers, tested.names, prompts)
    videos = embed_listed(towers, tested.paths, reading)
    labels, classes = _labels(tested, videos), len(tested.names)
    probed = told = None
    if trained is not None and train_list is not None:
        seen = embed_listed(towers, trained.paths, reading)
        probed = probe(seen.vectors, _labels(trained, seen), videos.vectors, labels, classes, seed)
        told = _about(train_list, seen)
    return Classified(
        about=_about(path, videos) | {"classes": classes},
        prompts=prompts,
        zero_shot=classify(videos.vectors, vectors, labels.tolist(), seed),
        majority=max(Counter(labels.tolist()).values()) / len(labels),
        linear_probe=probed,
        trained_on=told,
    )


def _check_apart(trained: Labelled, tested: Labelled, folder: Path) -> None:
    """Raises DataError where classes differ, or a video is both trained on and tested on."""
    if trained.names != tested.names:
        raise DataError("the list to train on and that to test on have not the same classes")
    both = set.intersection(
        *(set(found_in(folder, listed.paths).values()) for listed in (trained, tested))
    )
    if both:
        raise DataError(
            f"{len(both)} videos stand in the list to train on and in that to test on, such as "
            f"{one_line(min(both).name, 80)}"
        )


def _labels(labelled: Labelled, videos: ListedVideos) -> np.ndarray[Any, np.dtype[np.int64]]:
    label_of = dict(zip(labelled.paths, labelled.labels, strict=True))
    return np.array([label_of[path] for path in videos.rows], np.int64)


def _about(path: Path, videos: ListedVideos) -> dict[str, Any]:
    return {
        "list": {"name": path.name, "sha256": sha256_of_file(path)},
        "listed_videos": videos.to_dict(),
    }
