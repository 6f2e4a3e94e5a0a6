"""Real videos with speech, music, silence and damage: what becomes of each is as expected."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reelscript.jobs.verify.corpus import verify
from tests.built import SHARED, built, needs_models, needs_shared, outcomes, rows

pytestmark = [needs_models, needs_shared]

MEDIA = SHARED / "media"
EXPECTED = {
    "action/armwrestling_k400.mp4": ("rejected", "probe", "no_audio"),
    "action/flipping_pancake_k400.mkv": ("rejected", "speech", "no_speech"),
    "composite/public_azure_de.mp4": ("rejected", "speech", "language"),
    "composite/public_azure_es.mp4": ("rejected", "speech", "language"),
    "composite/public_late_speech_en.mp4": ("kept", None, None),
    "composite/public_libri_orchard_a_en.mp4": ("kept", None, None),
    "derived/rotated90_speech_jordi.mp4": ("rejected", "passage", "passage_too_short"),
    "derived/silent_audio.mp4": ("rejected", "speech", "no_speech"),
    "derived/text_not_video.mp4": ("rejected", "probe", "undecodable"),
    "derived/truncated_faststart_de.mp4": ("rejected", "speech", "language"),
    "derived/vfr_speech_autoeditor.mp4": ("kept", None, None),
    "derived/zero_bytes.mp4": ("rejected", "probe", "undecodable"),
    "no_speech/bbb_30s.webm": ("rejected", "speech", "no_speech"),
    "no_speech/chrome_ad_music_30s.mp4": ("rejected", "speech", "no_speech"),
    "no_speech/flower_5s.mp4": ("rejected", "speech", "no_speech"),
    "no_speech/noaudio_dog_14s.mp4": ("rejected", "probe", "no_audio"),
    "no_speech/noaudio_water_4s.webm": ("rejected", "speech", "no_speech"),
    "robust/audio_only.mp4": ("rejected", "probe", "no_video"),
    "robust/av1_15s.mp4": ("rejected", "speech", "no_speech"),
    "robust/corrupted_decord.mp4": ("rejected", "probe", "no_audio"),
    "robust/coverart_two_video_streams.mp4": ("rejected", "speech", "no_speech"),
    "robust/insane_duration_fragmented.mp4": ("rejected", "speech", "no_speech"),
    "robust/no_streams.webm": ("rejected", "probe", "undecodable"),
    "robust/subtitles_inside.mkv": ("rejected", "speech", "no_speech"),
    "speech_en/autoeditor_example_42s.mp4": ("kept", None, None),
    "speech_en/grid_bbaf2n_3s.mpg": ("rejected", "quality", "clip_out_of_bounds"),
    "speech_en/laion400m_talk_123s.mp4": ("kept", None, None),
    "speech_en/manifesto_librivox_88s.mp4": ("kept", None, None),
    "speech_en/mdn_friday_his_girl_6s.mp4": ("rejected", "passage", "passage_too_short"),
    "speech_en/nasa_webb_13s_multistream.mp4": ("rejected", "passage", "passage_too_short"),
    "speech_xx/datajuicer_office_zh_50s_portrait.mp4": ("rejected", "speech", "language"),
    "speech_xx/mdn_chroma_fr_24s.mp4": ("rejected", "speech", "language"),
    "tts/load_piper_0_00001.mp4": ("kept", None, None),
}
SHORT = (
    "derived/rotated90_speech_jordi.mp4",
    "speech_en/grid_bbaf2n_3s.mpg",
    "speech_en/grid_lwbsza_3s.mpg",
    "speech_en/mdn_friday_his_girl_6s.mp4",
    "speech_en/nasa_webb_13s_multistream.mp4",
    "speech_en/opendubbing_jordi_9s.mp4",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the corpus of all shared media under the defaults, in `corpus`."""
    place = tmp_path_factory.mktemp("shared")
    built(MEDIA, place / "corpus", f"work={place / 'work'}", workers=2)
    return place


def test_shared_media_end_as_expected_under_the_defaults(folder: Path) -> None:
    found = outcomes(folder / "corpus")
    assert {name: found[name] for name in EXPECTED} == EXPECTED
    assert not [name for name, (outcome, _, _) in found.items() if outcome == "failed"]
    assert verify(str(folder / "corpus")) == []


def test_shared_media_stand_up_to_the_check_from_outside(folder: Path) -> None:
    checker = str(SHARED / "tools" / "check_dataset.py")
    command = [sys.executable, checker, str(folder / "corpus")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_shared_media_name_the_language_that_is_spoken(folder: Path) -> None:
    heard = {r["url"].rpartition("/")[2]: r["language"] for r in rows(folder / "corpus", "videos")}
    assert heard["public_azure_de.mp4"] == "de"
    assert heard["public_azure_es.mp4"] == "es"
    assert heard["mdn_chroma_fr_24s.mp4"] == "fr"
    assert heard["datajuicer_office_zh_50s_portrait.mp4"] == "zh"


def test_shared_media_of_short_speech_are_kept_where_one_short_clip_is_enough(
    folder: Path,
) -> None:
    settings = ("passage.min_clips=1", "segment.min_s=1", f"work={folder / 'work'}")
    built(MEDIA, folder / "short", *settings, workers=2)
    found = outcomes(folder / "short")
    assert {name: found[name][0] for name in SHORT} == dict.fromkeys(SHORT, "kept")
    assert verify(str(folder / "short"), media=False) == []


def test_shared_media_of_one_still_picture_go_by_a_threshold(folder: Path) -> None:
    settings = ("glance.max_static_share=0.9", f"work={folder / 'work'}")
    built(MEDIA, folder / "moving", *settings, workers=2)
    found = outcomes(folder / "moving")
    name = "speech_en/manifesto_librivox_88s.mp4"
    assert found[name] == ("rejected", "glance", "static")


def test_shared_media_in_other_languages_are_kept_where_they_are_accepted(folder: Path) -> None:
    settings = ("transcribe.model=base", "language.accept=[de,es,fr,zh]", "passage.min_clips=2")
    foreign = [name for name in EXPECTED if "azure" in name or name.startswith("speech_xx")]
    listed = folder / "foreign.txt"
    listed.write_text("".join(f"{MEDIA / name}\n" for name in foreign))
    built(listed, folder / "foreign-corpus", *settings, f"work={folder / 'work'}", workers=2)
    videos = rows(folder / "foreign-corpus", "videos")
    kept = {row["language"] for row in videos if row["outcome"] == "kept"}
    assert {"de", "es"} <= kept
    assert verify(str(folder / "foreign-corpus"), media=False) == []
