"""Which format is chosen, by hand-written offers and by what must hold for any offer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.pipeline.errors import StageError
from reelscript.transforms.sites.formats import chosen

H264, VP9, AV1, AAC, OPUS = "avc1.4d401e", "vp09.00.21.08", "av01.0.04M.08", "mp4a.40.2", "opus"


def offer(name: str, side: int | None, picture: str | None, sound: str | None, **more: Any) -> Any:
    """Returns a format as yt-dlp would give it; `side` is the height of a wide picture."""
    size = {"height": side, "width": side * 16 // 9} if side else {}
    return (
        {"format_id": name, "vcodec": picture, "acodec": sound, "protocol": "https"} | size | more
    )


LADDER = [  # as YouTube offers it, the best last
    offer("599", None, "none", AAC, abr=31, filesize=900),
    offer("139", None, "none", AAC, abr=49, filesize=1300),
    offer("251", None, "none", OPUS, abr=130, filesize=3000),
    offer("140", None, "none", AAC, abr=129, filesize=3100),
    offer("160", 144, H264, "none"),
    offer("18", 360, H264, AAC),
    offer("134", 360, H264, "none"),
    offer("244", 480, VP9, "none"),
    offer("397", 480, AV1, "none"),
    offer("135", 480, H264, "none"),
    offer("136", 720, H264, "none"),
    offer("399", 1080, AV1, "none"),
    offer("571", 4320, AV1, "none"),
]


def names(formats: list[Any], max_px: int | None = None, sound_only: bool = False) -> list[str]:
    """Returns the names of what is chosen."""
    return [f["format_id"] for f in chosen(formats, max_px, sound_only)]


@pytest.mark.parametrize(
    ("max_px", "expected"),
    [
        (480, ["135", "140"]),  # H.264 among those of 480, with AAC
        (720, ["136", "140"]),
        (360, ["18"]),  # picture and sound in one: nothing to put together
        (100, ["160", "140"]),  # all are larger: the smallest
        (1080, ["399", "140"]),  # 720 is much less than 1080, whatever its codec
        (None, ["571", "140"]),
    ],
)
def test_sites_formats_largest_up_to_the_limit_in_h264(
    max_px: int | None, expected: list[str]
) -> None:
    assert names(LADDER, max_px) == expected


def test_sites_formats_h264_a_little_smaller_comes_before_others() -> None:
    offers = [offer("a", 468, H264, AAC), offer("b", 480, AV1, OPUS)]
    assert names(offers, 480) == ["a"]


def test_sites_formats_upright_video_is_measured_by_its_shorter_side() -> None:
    offers = [
        offer("low", None, H264, AAC, width=270, height=480),
        offer("wanted", None, H264, AAC, width=480, height=854),
        offer("high", None, H264, AAC, width=1080, height=1920),
    ]
    assert names(offers, 480) == ["wanted"]


def test_sites_formats_of_unknown_size_are_taken_where_there_are_no_others() -> None:
    direct = {"format_id": "mp4", "protocol": "http"}
    assert names([direct], 480) == ["mp4"]
    assert names([direct, offer("known", 360, H264, AAC)], 480) == ["known"]


def test_sites_formats_smallest_sound_alone() -> None:
    assert names(LADDER, sound_only=True) == ["599"]
    with pytest.raises(StageError) as raised:
        chosen([offer("18", 360, H264, AAC)], None, sound_only=True)
    assert raised.value.kind == "no_sound_alone"


def test_sites_formats_dubs_and_descriptions_are_left_out() -> None:
    offers = [
        offer("original", None, "none", OPUS, abr=100, language_preference=10),
        offer("dub", None, "none", AAC, abr=50, language_preference=-1),
        offer("described", None, "none", AAC, abr=50, language_preference=-10),
        offer("dubbed whole", 480, H264, AAC, language_preference=-1),
        offer("picture", 480, H264, "none"),
    ]
    assert names(offers, 480) == ["picture", "original"]
    assert names(offers, sound_only=True) == ["original"]


def test_sites_formats_silent_video_is_given_alone() -> None:
    assert names([offer("silent", 480, H264, "none")], 480) == ["silent"]


@pytest.mark.parametrize(
    ("offers", "kind"),
    [
        ([], "no_format"),
        ([offer("rtmp", 480, H264, AAC, protocol="rtmp")], "no_format"),
        ([offer("live", 480, H264, AAC, protocol="websocket_frag")], "no_format"),
        ([offer("pictures", 90, "none", "none", protocol="mhtml")], "no_format"),
        ([offer("podcast", None, "none", "mp3")], "no_picture"),
    ],
)
def test_sites_formats_nothing_of_use_has_a_reason(offers: list[Any], kind: str) -> None:
    with pytest.raises(StageError) as raised:
        chosen(offers, 480, sound_only=False)
    assert raised.value.kind == kind


@st.composite
def offers(draw: st.DrawFn) -> Any:
    return offer(
        str(draw(st.integers(0, 10**6))),
        draw(st.none() | st.integers(1, 5000)),
        draw(st.sampled_from([None, "none", H264, VP9, AV1])),
        draw(st.sampled_from([None, "none", AAC, OPUS])),
        protocol=draw(st.sampled_from(["https", "m3u8_native", "rtmp"])),
        language_preference=draw(st.sampled_from([None, -10, -1, 5, 10])),
    )


@given(offers=st.lists(offers(), max_size=8), max_px=st.none() | st.integers(1, 5000))
def test_sites_formats_picture_with_sound_whenever_there_are_both(
    offers: list[Any], max_px: int | None
) -> None:
    usable = [f for f in offers if f["protocol"] != "rtmp"]
    pictures = [f for f in usable if f["vcodec"] != "none"]
    if not pictures:
        with pytest.raises(StageError):
            chosen(offers, max_px, sound_only=False)
        return
    found = chosen(offers, max_px, sound_only=False)
    assert sum(f["vcodec"] != "none" for f in found) == 1
    assert len(found) <= 2
    assert all(f in usable for f in found)
    if any(f["acodec"] != "none" for f in usable):
        assert any(f["acodec"] != "none" for f in found)
