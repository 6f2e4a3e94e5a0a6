"""How long files play by their packets, and picture and sound put together."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from reelscript.pipeline.errors import StageError
from reelscript.transforms.sites.media_file import lengths, merge
from tests.media_made import beeps_in, make_media, number_in

FRONT = {"movflags": "+faststart"}


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.flv"])
def test_sites_media_file_lengths_are_those_of_what_was_made(name: str, tmp_path: Path) -> None:
    found = lengths(make_media(tmp_path / name, duration_s=3))
    assert found is not None
    assert found.played_s == pytest.approx(3.0, abs=0.1)


def test_sites_media_file_half_of_it_plays_half_and_states_all(tmp_path: Path) -> None:
    whole = make_media(tmp_path / "a.mp4", duration_s=8, muxer=FRONT).read_bytes()
    half = tmp_path / "half.mp4"
    half.write_bytes(whole[: len(whole) // 2])
    found = lengths(half)
    assert found is not None
    assert found.played_s < 5.0
    assert found.stated_s == pytest.approx(8.0, abs=0.1)


@pytest.mark.parametrize("data", [b"", b"no media", b"#EXTM3U\n#EXTINF:2,\na.ts\n"])
def test_sites_media_file_that_is_none_has_no_lengths(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    assert lengths(path) is None


@pytest.mark.parametrize(
    ("picture", "sound", "codecs"),
    [
        ("p.mp4", "s.mp4", None),  # as DASH sends H.264 and AAC
        ("p.webm", "s.webm", None),  # VP8 and Opus
        ("p.ts", "s.ts", None),  # as HLS: both 1.4 s later
        ("p.mp4", "s.webm", None),
        ("p.ts", "s.mp4", None),  # clocks with different zeros
    ],
)
def test_sites_media_file_merge_keeps_pictures_and_beeps_together(
    picture: str, sound: str, codecs: tuple[str, str] | None, tmp_path: Path
) -> None:
    make_media(tmp_path / picture, duration_s=3, fps=12, audio=False, keyframe_every=12)
    make_media(tmp_path / sound, duration_s=3, video=False, beeps_s=(0.5, 1.75))
    merged = tmp_path / "merged"
    merge(tmp_path / picture, tmp_path / sound, merged)
    with av.open(str(merged)) as there:
        pictures = list(there.decode(video=0))
    with av.open(str(merged)) as there:
        heard = list(there.decode(audio=0))
    assert [number_in(f) for f in pictures] == list(range(36))
    zero_s = float(pictures[0].time or 0.0)
    shown_s = [float(f.time or 0.0) - zero_s for f in pictures]
    assert shown_s == pytest.approx([k / 12 for k in range(36)], abs=0.002)
    samples = np.concatenate([f.to_ndarray()[0] for f in heard])
    loud_s = beeps_in((samples * 32767).astype(np.int16), heard[0].sample_rate)
    offset_s = float(heard[0].time or 0.0) - zero_s
    # where the zeros differ nobody can tell the few frames by which an encoder is ahead
    assert [at + offset_s for at in loud_s] == pytest.approx([0.5, 1.75], abs=0.1)


def test_sites_media_file_merge_gives_the_same_bytes_each_time(tmp_path: Path) -> None:
    picture = make_media(tmp_path / "p.mp4", audio=False)
    sound = make_media(tmp_path / "s.mp4", video=False)
    merge(picture, sound, tmp_path / "a")
    merge(picture, sound, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_sites_media_file_merge_of_segments_that_overlap_a_little(tmp_path: Path) -> None:
    parts = [
        make_media(
            tmp_path / f"{k}.ts",
            duration_s=2 * k + 2,
            audio_start_s=2.0 * k,  # an encoder is ahead by some samples: so each overlaps
            video=False,
        )
        for k in range(2)
    ]
    sound = tmp_path / "s.ts"
    sound.write_bytes(b"".join(p.read_bytes() for p in parts))
    picture = make_media(tmp_path / "p.ts", duration_s=4, audio=False)
    merge(picture, sound, tmp_path / "merged")
    found = lengths(tmp_path / "merged")
    assert found is not None
    assert found.played_s == pytest.approx(4.0, abs=0.2)


@pytest.mark.parametrize("swapped", [False, True])
def test_sites_media_file_merge_of_what_does_not_fit_has_a_reason(
    swapped: bool, tmp_path: Path
) -> None:
    picture = make_media(tmp_path / "p.mp4", audio=False)
    other = make_media(tmp_path / "s.mp4", video=False) if swapped else tmp_path / "x"
    if not swapped:
        other.write_bytes(b"no media")
    with pytest.raises(StageError) as raised:
        merge(*((other, picture) if swapped else (picture, other)), tmp_path / "merged")
    assert raised.value.kind == "merge_failed"


def test_sites_media_file_merge_of_time_that_runs_back_has_a_reason(tmp_path: Path) -> None:
    first = make_media(tmp_path / "a.ts", duration_s=3, video=False)
    sound = tmp_path / "s.ts"
    sound.write_bytes(first.read_bytes() * 2)
    picture = make_media(tmp_path / "p.ts", duration_s=6, audio=False)
    with pytest.raises(StageError, match="runs back"):
        merge(picture, sound, tmp_path / "merged")
