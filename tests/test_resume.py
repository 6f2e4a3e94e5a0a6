"""What need not be measured again, against a loop that looks at one source after the other."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.pipeline.ledger import Ledger, Row
from reelscript.pipeline.resume import NEEDED, SAME, standing, to_do_again, with_facts
from reelscript.pipeline.store import Store
from reelscript.schemas.video import Video
from reelscript.schemas.videos import IDENTITY, LISTED, Videos, VideosBuilder

IDS = [f"v{n}" for n in range(4)]


def listed_as(videos: list[Video]) -> Videos:
    builder = VideosBuilder(LISTED)
    for video in videos:
        builder.add(video)
    return builder.videos()


@st.composite
def a_video(draw: st.DrawFn, video_id: str) -> Video:
    return Video(
        video_id=video_id,
        url=draw(st.sampled_from(["u", "w"])),
        location="l",
        stated_language=draw(st.sampled_from([None, "en"])),
        signature=draw(st.sampled_from([None, "1:2"])),
        title=draw(st.sampled_from([None, "t"])),
    )


@st.composite
def a_listing(draw: st.DrawFn) -> list[Video]:
    ids = draw(st.lists(st.sampled_from(IDS), unique=True))
    found = [draw(a_video(i)) for i in ids]
    ended = [v.ended("rejected", "acquire", "duplicate_source") for v in found]
    return [draw(st.sampled_from(pair)) for pair in zip(found, ended, strict=True)]


@st.composite
def a_row(draw: st.DrawFn) -> Row:
    video = dataclasses.replace(
        draw(a_video(draw(st.sampled_from(IDS)))),
        words=draw(st.integers(0, 9)),
        transcript=draw(st.sampled_from([None, "said"])),
        transcript_source=draw(st.sampled_from([None, "captions"])),
        captions_fault=draw(st.sampled_from([None, "http_503: busy: again", "no_captions: none"])),
    )
    ended = video.ended(
        "failed", "probe", draw(st.sampled_from(["http_503", "crashed", "changed"]))
    )
    return Row(draw(st.sampled_from(["now", "before"])), draw(st.sampled_from([video, ended])), {})


def stands(video: Video, row: Row | None, retry: str | None) -> bool:
    """The definition, in plain words."""
    if not video.pending:
        return True
    if row is None or row.chain != "now":
        return False
    if row.video.outcome == "failed" and (
        retry in ("all", row.video.reason) or row.video.reason == "changed"
    ):
        return False
    fault = row.video.captions_fault
    if fault is not None and retry in ("all", fault.split(":")[0]):
        return False
    return all(getattr(video, name) == getattr(row.video, name) for name in SAME)


@given(a_listing(), st.lists(a_row(), max_size=6), st.sampled_from([None, "all", "http_503"]))
@settings(max_examples=150, deadline=None)
def test_resume_is_what_a_loop_finds(
    listing: list[Video], rows: list[Row], retry: str | None
) -> None:
    store = Store(f"memory://{uuid.uuid4().hex}")
    with Ledger(store) as ledger:
        for row in rows:
            ledger.add(row)
    latest = {row.video.video_id: row for row in rows}
    listed = listed_as(listing)
    rows_known = Ledger(store).latest((*NEEDED, "captions_fault"))
    mask = standing(listed.table, "now", rows_known, to_do_again(retry))
    expected = [stands(video, latest.get(video.video_id), retry) for video in listing]
    assert mask.to_pylist() == expected
    videos, _ = with_facts(listed, Ledger(store).latest(), mask)
    for before, after, known in zip(listing, videos, expected, strict=True):
        assert [getattr(after, n) for n in IDENTITY] == [getattr(before, n) for n in IDENTITY]
        row = latest.get(before.video_id)
        if not before.pending or not known or row is None:
            assert after == before
        else:
            older = row.video.transcript is not None and row.video.transcript_source is None
            assert after.transcript_source == ("asr" if older else row.video.transcript_source)
            assert (after.words, after.outcome, after.reason) == (
                row.video.words,
                row.video.outcome,
                row.video.reason,
            )


@pytest.mark.parametrize("rows", [0, 3])
def test_resume_of_nothing_is_nothing(rows: int) -> None:
    store = Store(f"memory://{uuid.uuid4().hex}")
    known: Any = Ledger(store).latest()
    listed = listed_as([Video(video_id=i, url="u", location="l") for i in IDS[:rows]])
    mask = standing(listed.table, "now", known)
    assert mask.to_pylist() == [False] * rows
    videos, cpu_s = with_facts(listed, known, mask)
    assert list(videos) == list(listed)
    assert cpu_s.to_pylist() == [None] * rows
