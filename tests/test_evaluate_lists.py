"""Lists of evaluation sets: their formats, their faults, and where their videos lie."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from reelscript.jobs.evaluate.class_list import read_classes
from reelscript.jobs.evaluate.listed_videos import find
from reelscript.jobs.evaluate.retrieval_list import Captioned, read_retrieval
from reelscript.pipeline.errors import UsageError


def msr_vtt(
    folder: Path,
    captions: Sequence[tuple[str, str]],
    chosen: Any,
    split: Sequence[str],
    below: str = "high-quality/structured-symlinks",
) -> Path:
    """Writes the three files of MSR-VTT as the released evaluation has them."""
    notes = [
        {"image_id": video, "caption": text, "id": n} for n, (video, text) in enumerate(captions)
    ]
    (folder / below).mkdir(parents=True, exist_ok=True)
    (folder / "MSR_VTT.json").write_text(json.dumps({"annotations": notes, "images": []}))
    (folder / below / "val_list_jsfusion.txt").write_text("".join(f"{v}\n" for v in split))
    (folder / below / "jsfusion_val_caption_idx.pkl").write_bytes(pickle.dumps(chosen))
    return folder / "MSR_VTT.json"


CAPTIONS = [("video1", "a"), ("video2", "b"), ("video1", "c"), ("video3", "d"), ("video1", "e")]


@pytest.mark.parametrize("below", [".", "high-quality/structured-symlinks"])
def test_evaluate_msr_vtt_takes_the_one_caption_that_the_split_names(
    tmp_path: Path, below: str
) -> None:
    path = msr_vtt(tmp_path, CAPTIONS, {"video1": 2, "video3": 0}, ["video3", "video1"], below)
    assert read_retrieval(path) == [Captioned("d", "video3.mp4"), Captioned("e", "video1.mp4")]


def test_evaluate_a_table_of_captions_begins_below_its_header(tmp_path: Path) -> None:
    path = tmp_path / "DiDeMo_test.tsv"
    path.write_bytes(b'caption\tpath\r\na dog\tx/1.mp4\tmore\r\n"two ""words"""\t2.mp4\r\n\r\n')
    assert read_retrieval(path) == [
        Captioned("a dog", "x/1.mp4"),
        Captioned('two "words"', "2.mp4"),
    ]


class Harm:
    """What a hostile pickle holds."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_evaluate_a_pickle_is_read_and_not_run(tmp_path: Path) -> None:
    chosen = {"video1": Harm(tmp_path / "harmed")}
    path = msr_vtt(tmp_path, CAPTIONS, chosen, ["video1"])
    with pytest.raises(UsageError, match="lists 'video1', of which"):
        read_retrieval(path)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("chosen", "split", "said"),
    [
        ({"video1": 3}, ["video1"], "lists 'video1', of which"),
        ({"video1": -1}, ["video1"], "lists 'video1', of which"),
        ({"video1": True}, ["video1"], "lists 'video1', of which"),
        ({}, ["video1"], "lists 'video1', of which"),
        ({"video9": 0}, ["video9"], "lists 'video9', of which"),
        ([1], ["video1"], "expected a dictionary"),
        ({"video1": 0}, [], "is empty"),
    ],
)
def test_evaluate_msr_vtt_that_does_not_fit_together_is_refused(
    tmp_path: Path, chosen: Any, split: list[str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        read_retrieval(msr_vtt(tmp_path, CAPTIONS, chosen, split))


def test_evaluate_msr_vtt_without_its_split_names_the_file(tmp_path: Path) -> None:
    path = msr_vtt(tmp_path, CAPTIONS, {"video1": 0}, ["video1"], "elsewhere")
    with pytest.raises(
        UsageError, match=r"stands in jsfusion_val_caption_idx.pkl, which is neither"
    ):
        read_retrieval(path)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.json", b"{", "is not JSON"),
        ("a.json", b"[" * 100_000, "is not JSON"),
        ("a.json", b'{"annotations": [1]}', "expected 'annotations'"),
        ("a.tsv", b"\xff\xfe", "is not UTF-8"),
        ("a.tsv", b"", "holds no rows"),
        ("a.tsv", b"caption\tpath\n", "holds no rows"),
        ("a.tsv", b"caption\tpath\nno tab\n", "line 2: expected 2 columns"),
        ("a.tsv", b'caption\tpath\n"open\tx.mp4\ny\tz.mp4\n', "line"),
        ("a.tsv", b"a dog\tx.mp4\na cat\ty.mp4\n", "its first row has to be a header"),
        ("a.tsv", b"caption\tpath\n \tx.mp4\n", "x.mp4 has an empty caption"),
    ],
)
def test_evaluate_broken_lists_are_one_sentence(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=said) as error:
        read_retrieval(tmp_path / name)
    assert "\n" not in str(error.value)


def test_evaluate_a_list_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.tsv cannot be read: No such file"):
        read_retrieval(tmp_path / "x.tsv")


# Classes.


def classes(
    folder: Path, labels: Sequence[object], names: Any = None, header: str = "path\tlabel"
) -> Path:
    named = {"wave": 0, "run": 1, "clap": 2} if names is None else names
    (folder / "label2id.json").write_text(json.dumps(named))
    rows = [f"v/{n}.avi\t{label}" for n, label in enumerate(labels)]
    (folder / "list.tsv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "list.tsv"


@pytest.mark.parametrize(
    ("labels", "found"), [([0, 1, 1], (0, 1, 1)), ([3, 1, 2], (2, 0, 1)), ([3, 2], (2, 1))]
)
def test_evaluate_labels_count_from_what_the_list_holds(
    tmp_path: Path, labels: list[int], found: tuple[int, ...]
) -> None:
    listed = read_classes(classes(tmp_path, labels))
    assert listed.labels == found
    assert listed.names == ("wave", "run", "clap")  # the order of the keys
    assert listed.paths == tuple(f"v/{n}.avi" for n in range(len(labels)))


@pytest.mark.parametrize("names", [{"b": 1, "a": 2, "c": 3}, {"b": 7, "a": 8, "c": 9}])
def test_evaluate_the_order_of_keys_is_that_of_the_classes(tmp_path: Path, names: Any) -> None:
    assert read_classes(classes(tmp_path, [0], names)).names == ("b", "a", "c")


@pytest.mark.parametrize(
    ("labels", "names", "said"),
    [
        ([1, 2], None, "holds neither label 0 nor label 3"),
        ([0, 3], None, "has labels from 0 to 3, which are not those of the 3 classes"),
        ([-1], None, "has labels from -1 to -1"),
        (["run"], None, "expected whole numbers as labels"),
        ([0], {"a": 1, "b": 0}, "its numbers have to rise by 1"),
        ([0], {"a": "x", "b": "y"}, "its numbers have to rise by 1"),
        ([0], {"a": 0}, "2 or more classes"),
        ([0], ["a", "b"], "2 or more classes"),
        ([0], {" ": 0, "b": 1}, "a class has the name"),
    ],
)
def test_evaluate_classes_that_could_be_misread_are_refused(
    tmp_path: Path, labels: list[object], names: Any, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        read_classes(classes(tmp_path, labels, names))


def test_evaluate_a_list_without_a_header_is_refused(tmp_path: Path) -> None:
    """Read as the released code reads it, the first video would be lost without a word."""
    with pytest.raises(UsageError, match="its first row has to be a header"):
        read_classes(classes(tmp_path, [0, 1], header="v/first.avi\t2"))


def test_evaluate_a_video_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    path = classes(tmp_path, [0, 1])
    path.write_text(path.read_text() + "v/0.avi\t2\n")
    with pytest.raises(UsageError, match="names a video twice"):
        read_classes(path)


# Videos.


def test_evaluate_videos_are_found_below_roots_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/x.mp4", "y.avi", "b/[1] {}.mp4", "secret.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    inside = tmp_path / "b"
    assert find(tmp_path, "b/x.mp4") == tmp_path / "b/x.mp4"
    assert find(tmp_path, "a/videos/b/x.mp4") == tmp_path / "b/x.mp4"
    assert find(tmp_path, "/root/data/y.avi") == tmp_path / "y.avi"
    assert find(tmp_path, "b/[1] {}.mp4") == tmp_path / "b/[1] {}.mp4"
    for gone in ("x.mp4", "", "/", "secret.txt", "folder.mp4", "a\0.mp4", "n" * 5000 + ".mp4"):
        assert find(tmp_path, gone) is None
    assert find(inside, "../y.avi") is None
