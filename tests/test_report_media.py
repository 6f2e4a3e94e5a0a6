"""What a report plays: names of files, hostile indexes, pictures."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.jobs.report.media import (
    FOLDER,
    INDEX,
    NAME,
    ReportMedia,
    forget_media,
    kept_keys,
    media_in,
)
from reelscript.jobs.report.pictures import jpeg, picture_of
from reelscript.pipeline.errors import DataError
from reelscript.pipeline.store import Store
from reelscript.schemas.text import canonical_json
from tests.built import EXAMPLES

PIECE = {
    "video_id": "v",
    "start_s": 1.0,
    "end_s": 2.0,
    "mp4": "0123456789abcdef.mp4",
    "jpg": None,
    "clips": [{"start_s": 0.0, "end_s": 1.0, "text": "so"}],
    "words": [{"word": " so", "start_s": 0.1, "end_s": 0.4, "probability": 0.5}],
}


@pytest.fixture
def mp4() -> bytes:
    return min(EXAMPLES.glob("*.mp4"), key=lambda path: path.stat().st_size).read_bytes()


def put(index: Any) -> Store:
    corpus = Store(f"memory://media-{id(index)}")
    data = index if isinstance(index, bytes) else json.dumps(index).encode()
    corpus.put(INDEX, data)
    return corpus


def test_files_are_named_by_what_is_in_them_and_read_back(mp4: bytes) -> None:
    corpus, media = Store("memory://media-written"), ReportMedia()
    piece = media.add({**PIECE, "mp4": None}, mp4, picture_of(mp4, 4.0))
    media.kept.append(piece)
    media.rejected["v/3"] = piece
    media.write(corpus)
    corpus.put(INDEX, canonical_json(media.index()))

    assert piece["mp4"] == f"{hashlib.sha256(mp4).hexdigest()[:16]}.mp4"
    assert corpus.get(f"{FOLDER}/{piece['mp4']}") == mp4
    assert corpus.get(f"{FOLDER}/{piece['jpg']}")[:2] == b"\xff\xd8"
    found = media_in(corpus)
    assert (found.kept, found.rejected) == ([piece], {"v/3": piece})


@pytest.fixture
def shown(mp4: bytes) -> Store:
    """A corpus with two files that its page shows, and three others."""
    corpus, media = Store(f"memory://media-{uuid.uuid4().hex}"), ReportMedia()
    media.kept.append(media.add(PIECE, mp4, picture_of(mp4, 4.0)))
    media.write(corpus)
    corpus.put(INDEX, canonical_json(media.index()))
    for name in ("0000000000000000.mp4", "ffffffffffffffff.jpg", "mine.mp4"):
        corpus.put(f"{FOLDER}/{name}", b"x")
    return corpus


def test_files_that_no_page_shows_go_and_those_of_others_stay(shown: Store) -> None:
    [piece] = media_in(shown).kept
    forget_media(shown)
    held = {name.removeprefix(f"{FOLDER}/") for name in shown.names(FOLDER)}
    assert held == {"mine.mp4", piece["mp4"], piece["jpg"]}


def test_no_file_goes_where_it_is_not_known_what_the_page_shows(shown: Store) -> None:
    shown.put(INDEX, b"{")
    forget_media(shown)
    assert len(list(shown.names(FOLDER))) == 5
    shown.put(INDEX, canonical_json(ReportMedia().index()))
    forget_media(shown)
    assert list(shown.names(FOLDER)) == [f"{FOLDER}/mine.mp4"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"mp4": "../../etc/passwd"},
        {"mp4": "javascript:alert(1)"},
        {"mp4": "0123456789abcdef.mp4\n"},
        {"mp4": None},
        {"jpg": "x.svg"},
        {"start_s": "0"},
        {"words": [{"word": "a", "start_s": 0.0, "end_s": None}]},
        {"words": 3},
        {"clips": [{}]},
        {"video_id": ["v"]},
    ],
)
def test_a_piece_that_is_none_is_left_out(wrong: dict[str, Any]) -> None:
    index = {"kept": [PIECE | wrong, PIECE], "rejected": {"v/0": PIECE | wrong, "v/1": PIECE}}
    found = media_in(put(index))
    assert (found.kept, found.rejected) == ([PIECE], {"v/1": PIECE})


@given(
    st.one_of(
        st.binary(max_size=40),
        st.recursive(
            st.one_of(st.none(), st.integers(), st.text(max_size=3)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3),
                st.dictionaries(
                    st.sampled_from(["kept", "rejected", "mp4", "words"]), inner, max_size=3
                ),
            ),
        ),
    )
)
def test_an_index_may_hold_anything(index: Any) -> None:
    found = media_in(put(index))
    assert all(NAME.fullmatch(piece["mp4"]) for piece in (*found.kept, *found.rejected.values()))


def test_no_index_is_nothing() -> None:
    assert media_in(Store("memory://media-none")).index() == {"kept": [], "rejected": {}}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), unique=True, max_size=40))
def test_kept_keys_are_of_different_videos_and_do_not_depend_on_the_order(
    pairs: list[tuple[int, int]],
) -> None:
    keys, ids = [f"v{v}-{n}" for v, n in pairs], [f"v{v}" for v, _ in pairs]
    found = kept_keys(keys, ids, most=4)
    assert found == kept_keys(keys[::-1], ids[::-1], most=4)
    assert len({key.partition("-")[0] for key in found}) == len(found) == min(4, len(set(ids)))


def test_picture_is_the_middle_one_scaled_down(mp4: bytes) -> None:
    picture = picture_of(mp4, 4.0)
    assert picture is not None
    with av.open(io.BytesIO(picture), format="mjpeg") as container:
        frame = next(container.decode(video=0))
    assert max(frame.width, frame.height) <= 320


def test_picture_of_what_does_not_decode_is_none() -> None:
    assert picture_of(b"no mp4", 1.0) is None


def test_jpeg_shows_the_pixels() -> None:
    left = np.zeros((64, 96, 3), np.uint8)
    left[:, :48] = (200, 30, 30)
    with av.open(io.BytesIO(jpeg(left)), format="mjpeg") as container:
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert np.abs(shown[8:56, 8:40] - (200, 30, 30)).mean() < 8
    assert shown[8:56, 56:88].mean() < 8


def test_files_behind_a_link_are_neither_read_nor_written_nor_removed(
    tmp_path: Path, mp4: bytes
) -> None:
    corpus, theirs, media = Store(str(tmp_path / "corpus")), tmp_path / "theirs", ReportMedia()
    media.kept.append(media.add(PIECE, mp4, None))
    corpus.put(INDEX, canonical_json(media.index()))
    theirs.mkdir()
    (theirs / "0000000000000000.mp4").write_bytes(b"theirs")
    (tmp_path / "corpus" / FOLDER).symlink_to(theirs)

    forget_media(corpus)
    with pytest.raises(DataError, match="report_media is a link"):
        media.write(corpus)
    assert media_in(corpus).kept == []
    assert [path.name for path in theirs.iterdir()] == ["0000000000000000.mp4"]
