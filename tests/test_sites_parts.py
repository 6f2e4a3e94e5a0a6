"""What of a video lies on disk between two attempts, and when an attempt has gone on with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reelscript.transforms.sites.parts import PROGRESS_BYTES, grew, keep_only, part_of, sizes

PICTURE = {"format_id": "137", "protocol": "https", "filesize": 900, "url": "https://a.example/1"}
SOUND = {"format_id": "140", "protocol": "https", "filesize": 90}
M = PROGRESS_BYTES


def test_parts_of_a_format_are_found_again_at_another_address(tmp_path: Path) -> None:
    again = PICTURE | {"url": "https://a.example/2"}
    assert part_of(tmp_path, again) == part_of(tmp_path, PICTURE)
    others = [SOUND, PICTURE | {"filesize": 901}, PICTURE | {"protocol": "m3u8_native"}]
    assert len({part_of(tmp_path, f) for f in [PICTURE, *others]}) == 4


def test_parts_are_kept_with_all_that_is_beside_them_and_others_removed(tmp_path: Path) -> None:
    picture, sound = part_of(tmp_path, PICTURE), part_of(tmp_path, SOUND)
    beside = [picture, Path(f"{sound}.part"), Path(f"{sound}.ytdl"), Path(f"{sound}.part-Frag3")]
    other = Path(f"{part_of(tmp_path, SOUND | {'format_id': '141'})}.part")
    foreign = tmp_path / "dep_analysis_cache_v2"
    for size, file in enumerate([*beside, other, foreign], 1):
        file.write_bytes(bytes(size))
    assert sizes(tmp_path)[sound.name] == 2 + 3 + 4
    keep_only(tmp_path, [picture, sound])
    assert set(tmp_path.iterdir()) == {*beside, foreign}
    assert sizes(tmp_path) == {picture.name: 1, sound.name: 2 + 3 + 4}


@pytest.mark.parametrize(
    ("before", "after", "went_on"),
    [
        ({}, {"a": M}, True),
        ({}, {"a": M - 1}, False),
        ({"a": 5 * M}, {"a": 6 * M}, True),
        ({"a": 5 * M}, {"a": 5 * M, "b": M}, True),  # the picture was whole, the sound began
        ({"a": 5 * M}, {"b": 7 * M}, False),  # something else each time
        ({"a": 5 * M}, {"a": 4 * M, "b": 7 * M}, False),
        ({"a": 5 * M, "b": M}, {"a": 7 * M}, False),
    ],
)
def test_parts_that_an_attempt_went_on_with(
    before: dict[str, int], after: dict[str, int], went_on: bool
) -> None:
    assert grew(before, after) is went_on
