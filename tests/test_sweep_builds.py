"""What a sweep says is what a build then makes: on the demo, and on real media."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from reelscript.jobs.sweep.decided import Decider
from reelscript.jobs.sweep.measured import read_corpus
from reelscript.jobs.sweep.settings import axes_of, points_of
from reelscript.jobs.sweep.sweep import sweep
from reelscript.pipeline.store import Store
from tests.built import EXAMPLES, SHARED, built, copied, needs_models, needs_shared, rows

REBUILT = (
    "quality.max_words_per_s=3.5",
    "quality.min_mean_word_probability=0.9",
    "quality.video_min_words_per_s=2.2",
    "passage.min_clips=1",
    "passage.max_s=20",
    "passage.max_gap_s=0.3",
    "dedup.same_bytes=false",
    "probe.max_s=70",
    "speech.min_share=0.745",
    "speech.min_share=0.1",
)
REAL = (
    *("action/flipping_pancake_k400.mkv", "no_speech/chrome_ad_music_30s.mp4"),
    *("composite/public_azure_de.mp4", "composite/public_late_speech_en.mp4"),
    *("derived/vfr_speech_autoeditor.mp4", "derived/zero_bytes.mp4"),
    *("speech_en/autoeditor_example_42s.mp4", "speech_en/grid_bbaf2n_3s.mpg"),
    *("speech_en/laion400m_talk_123s.mp4", "speech_en/manifesto_librivox_88s.mp4"),
    *("speech_en/nasa_webb_13s_multistream.mp4", "tts/load_piper_0_00001.mp4"),
)


def kept_keys(corpus: Path) -> dict[str, str | None]:
    """The sample key of each kept clip, by video and index."""
    found = rows(corpus, "clips")
    return {f"{r['video_id']}/{r['clip_index']}": r["sample_key"] for r in found if r["sample_key"]}


def check_rebuilds(sources: Path, folder: Path, *base: str) -> list[dict[str, Any]]:
    """Sweeps a corpus and builds it at each setting of REBUILT; returns what was swept."""
    base = (*base, "speech.enough_s=1000", f"work={folder / 'work'}")
    built(sources, folder / "corpus", *base, workers=2)
    corpus = read_corpus(Store(str(folder / "corpus")))
    decider, found = Decider(corpus), []
    ids = corpus.videos.column("video_id").to_pylist()
    for n, asked in enumerate(REBUILT):
        made, _ = built(sources, folder / f"again-{n}", *base, asked, workers=1)
        point = sweep(str(folder / "corpus"), [asked])["points"][0]
        chosen = decider.chosen(points_of(axes_of([asked], corpus.config), corpus.config)[0].config)
        unknown = {ids[row] for row in chosen.unknown}
        swept = {
            f"{video_id}/{index}": passage.key
            for video_id, passages in chosen.passages.items()
            for passage in passages
            for index in passage.clips
        }
        rebuilt = kept_keys(folder / f"again-{n}")
        assert swept == {k: v for k, v in rebuilt.items() if k.partition("/")[0] not in unknown}
        if not unknown:
            counts, kept = made.dataset["counts"], point["kept"]
            assert kept["videos"] == counts["kept"]
            assert kept["clips"] == counts["clips_kept"]
            assert kept["samples"] == counts["samples"]
            assert kept["hours"] == pytest.approx(made.dataset["hours"]["kept"], abs=2e-6)
        assert point["unknown"]["videos"] == len(unknown)
        found.append(point)
    return found


@needs_models
@pytest.mark.slow
def test_sweep_of_the_demo_is_what_builds_make_of_it(tmp_path: Path) -> None:
    names = [path.name for path in EXAMPLES.glob("*.mp4")]
    sources = copied(names, tmp_path / "videos")
    shutil.copyfile(sources / "garden.mp4", sources / "garden_twice.mp4")
    found = check_rebuilds(sources, tmp_path)
    assert sum(any(point["difference"].values()) for point in found) >= 5


@needs_models
@needs_shared
@pytest.mark.soak
def test_sweep_of_real_media_is_what_builds_make_of_them(tmp_path: Path) -> None:
    media = SHARED / "media"
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{media / name}\n" for name in REAL))
    found = check_rebuilds(listed, tmp_path, "passage.min_clips=2")
    assert sum(any(point["difference"].values()) for point in found) >= 5
    assert found[-1]["unknown"]["videos"] == 1  # the pancake, with 1.9 s of voice
