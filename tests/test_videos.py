"""Many records as columns: each comes back as it was, whatever its texts hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.pipeline.testing import videos
from reelscript.schemas import videos as module
from reelscript.schemas.video import FIELD_NAMES, Video
from reelscript.schemas.videos import IDENTITY, LISTED, RECORD, Videos, VideosBuilder

TEXT = st.text(st.sampled_from('a"\\\n\0\x1b\u2028\ud800\udcff\udfffé語😀j:son'), max_size=12)
ANY: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "int64": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False),
    "bool": st.booleans(),
}


@st.composite
def records(draw: st.DrawFn) -> Video:
    """A record with any values in any of its fields."""
    values = {"video_id": draw(TEXT), "url": draw(TEXT), "location": draw(TEXT)}
    for name in draw(st.sets(st.sampled_from(FIELD_NAMES), max_size=12)):
        if name not in values and name != "outcome":
            values[name] = draw(ANY[str(RECORD.field(name).type)])
    return Video(**values)


@given(st.lists(records(), max_size=9), st.integers(1, 4))
@settings(max_examples=80, deadline=None)
def test_videos_are_what_was_put_in(given_videos: list[Video], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_ROWS", chunk)
        held = Videos.of(given_videos)
        assert len(held) == len(given_videos)
        assert list(held) == given_videos
        assert held == given_videos
        assert [held[i] for i in range(len(held))] == given_videos


def test_videos_text_that_looks_like_a_mark_stays_as_it_is() -> None:
    (video,) = videos(1)
    strange = [dataclasses.replace(video, title=t) for t in ("\0hex:", "\0hex:61", "hex:61", "\0")]
    assert list(Videos.of(strange)) == strange


def test_videos_text_stands_in_one_form_whatever_is_beside_it() -> None:
    """So a column of the list and one of the ledger can be compared as they are."""
    accented, broken, plain = (
        dataclasses.replace(v, location=name)
        for v, name in zip(videos(3), ("é.mp4", "\udcff.mp4", "a.mp4"), strict=True)
    )
    together = Videos.of([accented, broken, plain]).column("location").to_pylist()
    assert together == [
        Videos.of([v]).column("location")[0].as_py() for v in (accented, broken, plain)
    ]


def test_videos_of_some_columns_have_defaults_for_the_others() -> None:
    builder = VideosBuilder(LISTED)
    for video in videos(5):
        builder.add(dataclasses.replace(video, words=7))
    held = builder.videos()
    assert list(held) == videos(5)
    assert held.column("words").null_count == 5
    assert (
        Videos(held.table.select(["video_id", "url", "location"])).column("outcome").to_pylist()
        == ["pending"] * 5
    )


def test_videos_are_filtered_and_counted_from_the_end() -> None:
    held = Videos.of(videos(6))
    odd = held.where(pa.array([n % 2 == 1 for n in range(6)]))
    assert [v.position for v in odd] == [1, 3, 5]
    assert odd[-1].position == 5
    with pytest.raises(IndexError):
        odd[3]
    assert pc.sum(held.column("position")).as_py() == 15


def test_videos_identity_is_what_stands_before_the_outcome() -> None:
    assert FIELD_NAMES[len(IDENTITY)] == "outcome"
    assert LISTED[: len(IDENTITY)] == IDENTITY
    assert {"video_id", "url", "location", "signature", "metadata"} <= set(IDENTITY)
    assert not {"source_sha256", "clips"} & set(LISTED)
